use super::{DeadSet, Marks, Now};
use crate::bounds::{ANNOUNCE_PAUSE_MS, MARKS_MAX, MARKS_SWEEP_MIN, UNPROVEN_KEPT_MS};
use crate::frontend::Frontend;
use crate::message::Death;
use crate::route::Health::{self, Dead, Live, Probed, Unproven};

const TTL_MS: u64 = 30_000;

/// A list of three backends, the marks under its key, and a clock that is set by hand.
struct Bench {
    marks: Marks,
    frontend: Frontend,
    ms: u64,
    checker: bool,
}

impl Bench {
    fn new() -> Bench {
        let frontend = Frontend::from_list("a", &["app", "http://h0", "http://h1", "http://h2"]);
        Bench { marks: Marks::default(), frontend, ms: 0, checker: false }
    }

    fn now(&self) -> Now {
        Now { ms: self.ms, checker: self.checker }
    }

    fn announced(&mut self, index: usize, url: &str) {
        let death = Death { frontend: "a", url, index, backends: 3 };
        self.marks.announced(&death, self.ms + TTL_MS, self.ms);
    }

    /// The set is read and expires at `until_ms`.
    fn read(&mut self, members: &[usize], until_ms: u64) {
        let announcements = self.marks.announcements();
        self.read_as_of(members, until_ms, announcements);
    }

    fn read_as_of(&mut self, members: &[usize], until_ms: u64, announcements: u64) {
        let set = DeadSet { members: members.to_vec(), until_ms, announcements };
        self.marks.set_read("a", &set, &self.frontend, self.ms);
    }

    fn health(&self) -> [Health; 3] {
        [0, 1, 2].map(|place| self.marks.health("a", &self.frontend.backends[place], self.now()))
    }

    fn answered(&mut self, place: usize) {
        let now = self.now();
        self.marks.answered("a", &self.frontend.backends[place], now);
    }

    fn list(&mut self, list: &[&str]) {
        self.frontend = Frontend::from_list("a", list);
    }
}

#[test]
fn a_mark_says_until_when_and_why() {
    let mut bench = Bench::new();
    let charge = |bench: &Bench, place: usize| {
        let charge = bench.marks.charge("a", &bench.frontend.backends[place], bench.now())?;
        Some((charge.until_ms, charge.why.unwrap_or_default().to_string()))
    };
    let death = |url| Death { frontend: "a", url, index: 1, backends: 3 };
    bench.announced(1, "http://h1");
    bench.marks.explain(&death("http://h1"), "refused");
    bench.announced(1, "http://h1");
    assert_eq!(charge(&bench, 1), Some((TTL_MS, "refused".into())), "heard of again it is the same death");
    bench.read(&[1, 2], 2 * TTL_MS);
    assert_eq!(charge(&bench, 1), Some((TTL_MS, "refused".into())));
    assert_eq!((charge(&bench, 0), charge(&bench, 2)), (None, Some((2 * TTL_MS, String::new()))));
    bench.checker = true;
    assert_eq!(charge(&bench, 1), Some((2 * TTL_MS, "refused".into())), "the set alone decides");
    bench.checker = false;
    bench.ms = TTL_MS;
    assert_eq!(charge(&bench, 1), None);
    bench.announced(1, "http://h1");
    assert_eq!(charge(&bench, 1).unwrap().1, "refused", "the set holds it still");
    bench.read(&[2], u64::MAX);
    bench.ms = 4 * TTL_MS;
    bench.announced(1, "http://h1");
    assert_eq!(charge(&bench, 1), Some((5 * TTL_MS, String::new())), "another death has another reason");
    bench.announced(1, "http://other");
    bench.list(&["app", "http://h0", "http://other"]);
    assert_eq!(charge(&bench, 1), Some((5 * TTL_MS, String::new())), "another died there");
}

#[test]
fn an_announced_death_ends_by_its_own_time() {
    let mut bench = Bench::new();
    bench.announced(1, "http://h1");
    bench.read(&[1], TTL_MS);
    bench.ms = 20_000;
    bench.announced(2, "http://h2");
    // EXPIRE has renewed the whole set.
    bench.read(&[1, 2], 50_000);
    assert_eq!(bench.health(), [Live, Dead, Dead]);
    bench.ms = TTL_MS;
    assert_eq!(bench.health(), [Live, Unproven, Dead]);
    bench.checker = true;
    assert_eq!(bench.health(), [Live, Dead, Dead]);
    bench.answered(1);
    bench.checker = false;
    assert_eq!(bench.health(), [Live, Unproven, Dead]);
    bench.answered(1);
    bench.answered(2);
    assert_eq!(bench.health(), [Live, Live, Dead]);
    // In the set still, and of no account until it is announced again.
    bench.read(&[1, 2], 50_000);
    assert_eq!(bench.health(), [Live, Live, Dead]);
    bench.announced(1, "http://h1");
    assert_eq!(bench.health(), [Live, Dead, Dead]);
}

#[test]
fn a_death_known_from_the_set_lasts_as_long_as_the_set() {
    let mut bench = Bench::new();
    bench.read(&[0, 2], 1_000);
    bench.ms = 900;
    assert_eq!(bench.health(), [Dead, Live, Dead]);
    bench.read(&[0, 2], 2_000);
    bench.ms = 1_999;
    assert_eq!(bench.health(), [Dead, Live, Dead]);
    bench.ms = 2_000;
    assert_eq!(bench.health(), [Unproven, Live, Unproven]);
    bench.answered(0);
    assert_eq!(bench.health(), [Live, Live, Unproven]);
    bench.read(&[], 2_000);
    assert_eq!(bench.health(), [Live, Live, Unproven]);
    bench.read(&[2], u64::MAX);
    bench.ms = 1 << 40;
    assert_eq!(bench.health(), [Live, Live, Dead]);
}

#[test]
fn what_is_taken_out_of_the_set_lives() {
    let mut bench = Bench::new();
    bench.announced(0, "http://h0");
    // Not in the set yet: the read may be older, or an external checker owns it.
    bench.read(&[], 0);
    assert_eq!(bench.health()[0], Dead);
    bench.read(&[0], TTL_MS);
    bench.read(&[], 0);
    assert_eq!(bench.health()[0], Live);
    assert!(bench.marks.has_none("a"));
}

#[test]
fn a_read_from_before_an_announcement_takes_nothing_out() {
    let mut bench = Bench::new();
    bench.read(&[0], 1_000);
    let before = bench.marks.announcements();
    bench.announced(0, "http://h0");
    bench.read_as_of(&[], 0, before);
    assert_eq!(bench.health()[0], Dead);
    let before = bench.marks.announcements();
    let death = Death { frontend: "a", url: "http://h0", index: 0, backends: 3 };
    bench.marks.entered(&death, TTL_MS);
    bench.read_as_of(&[], 0, before);
    assert_eq!(bench.health()[0], Dead);
    bench.read(&[], 0);
    assert_eq!(bench.health()[0], Live);
}

#[test]
fn a_mark_speaks_of_one_url() {
    let mut bench = Bench::new();
    bench.announced(0, "http://h0/");
    bench.read(&[0, 1, 5], 10_000);
    assert_eq!(bench.health(), [Dead, Dead, Live]);
    bench.list(&["app", "http://new", "http://h1", "x", "x", "x", "http://h5"]);
    bench.read(&[0, 1, 5], 10_000);
    // The sixth was not there when its index was seen.
    let sixth = bench.frontend.backends.last().unwrap();
    assert_eq!(bench.marks.health("a", sixth, bench.now()), Live);
    assert_eq!(bench.health()[..2], [Live, Dead]);
    // What comes back is attributed anew.
    bench.read(&[], 0);
    bench.read(&[0], 10_000);
    bench.announced(1, "http://other");
    assert_eq!(bench.health()[..2], [Dead, Live]);
}

#[test]
fn one_probe_at_a_time() {
    let mut bench = Bench::new();
    bench.announced(0, "http://h0");
    let begin = |bench: &Bench| bench.marks.begin_probe("a", &bench.frontend.backends[0], bench.now());
    assert!(begin(&bench).is_none());
    bench.ms = TTL_MS;
    let place = begin(&bench).unwrap();
    assert_eq!(bench.health()[0], Probed);
    assert!(begin(&bench).is_none());
    place.set(false);
    assert_eq!(bench.health()[0], Unproven);
    let place = begin(&bench).unwrap();
    bench.announced(0, "http://h0");
    place.set(false);
    assert_eq!(bench.health()[0], Dead);
    bench.answered(0);
    assert_eq!(bench.health()[0], Dead, "an answer to a request from before the death proves nothing");
}

#[test]
fn told_once_in_a_pause() {
    let mut bench = Bench::new();
    let death = Death { frontend: "a", url: "http://h0", index: 0, backends: 3 };
    for (ms, expected) in [(0, true), (0, false), (ANNOUNCE_PAUSE_MS - 1, false), (ANNOUNCE_PAUSE_MS, true)] {
        bench.ms = ms;
        bench.announced(0, "http://h0");
        assert_eq!(bench.marks.is_to_tell(&death, ms), expected, "{ms}");
    }
    bench.announced(0, "http://new");
    assert!(bench.marks.is_to_tell(&Death { url: "http://new", ..death }, bench.ms));
}

fn announce(marks: &mut Marks, name: usize, ms: u64) {
    let death = Death { frontend: &name.to_string(), url: "http://h", index: name % 7, backends: 9 };
    marks.announced(&death, ms + TTL_MS, ms);
}

#[test]
fn marks_that_are_over_are_swept_and_all_are_bounded() {
    let mut marks = Marks::default();
    (0..MARKS_SWEEP_MIN).for_each(|name| announce(&mut marks, name, 0));
    assert_eq!(marks.len, MARKS_SWEEP_MIN);
    let ms = TTL_MS + UNPROVEN_KEPT_MS;
    announce(&mut marks, MARKS_SWEEP_MIN, ms);
    assert_eq!(marks.len, 1);
    (0..MARKS_MAX + 10).for_each(|name| announce(&mut marks, name, ms));
    assert_eq!(marks.len, MARKS_MAX);
    assert_eq!(marks.len, marks.by_name.values().map(Vec::len).sum::<usize>());
    // Those of no account make room at once where there is no other.
    announce(&mut marks, MARKS_MAX + 20, ms + TTL_MS);
    assert_eq!(marks.len, 1);
}
