//! What a checker holds of the backends it checks: where they stand, when they are due, how their checks went. Pure:
//! time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use redis_router::{Backend, Standing};

use crate::bounds::{CHECKED_BACKENDS, CHECKED_PLACES};
use crate::settings::{HealthCheck, Scope};

/// How the checks of a backend have gone.
///
/// ```text
///   Alive --`fall` bad ones in a row, or marked by others--> Dead --`rise` good ones, or unmarked by others--> Alive
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Alive {
        /// Bad checks in a row.
        bad: u32,
    },
    Dead {
        /// Good checks in a row.
        good: u32,
        /// Unix seconds.
        since: u64,
    },
}

/// What a check has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it lives.
    Alive,
    /// It counts as dead from now on.
    Died,
    /// Nothing: it is dead, or not well for long enough yet.
    StillDead,
    /// It lives again.
    Lives,
}

impl Course {
    /// Takes in the outcome of one check at `now`.
    pub(crate) fn judge(&mut self, is_good: bool, now: u64, rules: &HealthCheck) -> Verdict {
        match (*self, is_good) {
            (Self::Alive { .. }, true) => {
                *self = Self::Alive { bad: 0 };
                Verdict::Alive
            }
            (Self::Alive { bad }, false) if bad + 1 < rules.fall => {
                *self = Self::Alive { bad: bad + 1 };
                Verdict::Alive
            }
            (Self::Alive { .. }, false) => {
                *self = Self::Dead { good: 0, since: now };
                Verdict::Died
            }
            (Self::Dead { good, .. }, true) if good + 1 >= rules.rise => {
                *self = Self::Alive { bad: 0 };
                Verdict::Lives
            }
            (Self::Dead { good, since }, is_good) => {
                *self = Self::Dead { good: if is_good { good + 1 } else { 0 }, since };
                Verdict::StillDead
            }
        }
    }

    /// It was judged alive, and that could not be written: the next good check is to say so again.
    pub(crate) fn is_not_told(&mut self, now: u64, rules: &HealthCheck) {
        *self = Self::Dead { good: rules.rise - 1, since: now };
    }

    /// Takes in what the dead sets say, in which others write too.
    fn follow(&mut self, is_marked: bool, now: u64) {
        match (&self, is_marked) {
            (Self::Alive { .. }, true) => *self = Self::Dead { good: 0, since: now },
            (Self::Dead { .. }, false) => *self = Self::Alive { bad: 0 },
            _ => {}
        }
    }
}

/// One backend under check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) backend: Backend,
    /// Where it stands: what is behind `dead:`, and whether it is marked there. `None`: as the only backend, which is never
    /// marked.
    places: BTreeMap<Rc<str>, Option<bool>>,
    pub(crate) course: Course,
    under_way: bool,
    /// What was bad about it last.
    pub(crate) why: String,
    /// Milliseconds at which its marks were written last, by this checker.
    pub(crate) written_ms: Option<u64>,
}

impl Checked {
    pub(crate) fn names(&self) -> Vec<Rc<str>> {
        self.places.keys().cloned().collect()
    }
}

/// All backends under check.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    by_url: HashMap<Rc<str>, Checked, foldhash::fast::RandomState>,
    /// URLs under each name.
    by_name: HashMap<Rc<str>, Vec<Rc<str>>, foldhash::fast::RandomState>,
    /// Those that wait for their next check, by the milliseconds at which it is due: each has its turn, however many there
    /// are.
    due: BTreeSet<(u64, Rc<str>)>,
    /// Those whose places have changed since the last [`Self::settle`].
    changed: BTreeSet<Rc<str>>,
    places: usize,
    /// There were more than are checked.
    full: bool,
}

impl Watch {
    /// Forgets what stood under `name`, until [`Self::settle`] is called.
    pub(crate) fn leaves(&mut self, name: &Rc<str>) {
        let urls = self.by_name.remove(name).unwrap_or_default();
        self.places -= urls.len();
        for url in urls {
            if let Some(checked) = self.by_url.get_mut(&url) {
                checked.places.remove(name);
                self.changed.insert(url);
            }
        }
    }

    /// Takes in what stands under a name now. A name that was known must have left before.
    pub(crate) fn stands(&mut self, standing: &Standing, scope: Scope, (now, now_ms): (u64, u64)) {
        let mut urls = Vec::new();
        let is_alone = standing.frontend.backends.len() == 1;
        for backend in &standing.frontend.backends {
            let is_marked = standing.dead.contains(&backend.index);
            if scope == Scope::Dead && !is_marked {
                continue;
            }
            let is_known = self.by_url.contains_key(&*backend.url);
            if self.places >= CHECKED_PLACES || (!is_known && self.by_url.len() >= CHECKED_BACKENDS) {
                self.full = true;
                continue;
            }
            let url: Rc<str> = Rc::from(&*backend.url);
            if !is_known {
                self.by_url.insert(url.clone(), Checked::new(backend, is_marked, now));
                self.due.insert((now_ms, url.clone()));
            }
            let Some(checked) = self.by_url.get_mut(&url) else { continue };
            // Standing twice in one list it is marked where it is at either place.
            let mark = checked.places.entry(standing.name.clone()).or_insert_with(|| {
                urls.push(url.clone());
                None
            });
            if !is_alone {
                *mark = Some(is_marked || *mark == Some(true));
            }
            self.changed.insert(url);
        }
        self.places += urls.len();
        if !urls.is_empty() {
            self.by_name.insert(standing.name.clone(), urls);
        }
    }

    /// Goes by what has changed: what stands nowhere any more is checked no longer, and what others have marked or unmarked
    /// is taken over.
    pub(crate) fn settle(&mut self, now: u64) {
        for url in std::mem::take(&mut self.changed) {
            let Some(checked) = self.by_url.get_mut(&url) else { continue };
            if checked.places.is_empty() && !checked.under_way {
                self.by_url.remove(&url);
                continue;
            }
            let marks: Vec<bool> = checked.places.values().copied().flatten().collect();
            if !marks.is_empty() {
                checked.course.follow(marks.contains(&true), now);
            }
            if marks.contains(&false) {
                // While it is dead the next check marks it there too.
                checked.written_ms = None;
            }
        }
    }

    /// Backends whose check is due, at most `most`, those that wait longest first; their checks begin.
    pub(crate) fn begin_due(&mut self, now_ms: u64, most: usize) -> Vec<Rc<str>> {
        let mut begun = Vec::new();
        while begun.len() < most
            && let Some((due_ms, url)) = self.due.pop_first()
        {
            if due_ms > now_ms {
                self.due.insert((due_ms, url));
                break;
            }
            if let Some(checked) = self.by_url.get_mut(&url).filter(|checked| !checked.under_way) {
                checked.under_way = true;
                begun.push(url);
            }
        }
        begun
    }

    /// The check of `url` is over; the next one is due at `due_ms`.
    pub(crate) fn ended(&mut self, url: &Rc<str>, due_ms: u64) {
        let Some(checked) = self.by_url.get_mut(url) else { return };
        checked.under_way = false;
        if checked.places.is_empty() {
            self.by_url.remove(url);
        } else {
            self.due.insert((due_ms, url.clone()));
        }
    }

    pub(crate) fn get_mut(&mut self, url: &str) -> Option<&mut Checked> {
        self.by_url.get_mut(url)
    }

    /// Names under which something is checked.
    pub(crate) fn names(&self) -> Vec<Rc<str>> {
        self.by_name.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_url.len()
    }

    /// Whether there were more than are checked since this was asked last.
    pub(crate) fn was_full(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }
}

impl Checked {
    fn new(backend: &Backend, is_marked: bool, now: u64) -> Self {
        let course = if is_marked { Course::Dead { good: 0, since: now } } else { Course::Alive { bad: 0 } };
        let (places, why) = (BTreeMap::new(), String::new());
        Self { backend: backend.clone(), places, course, under_way: false, why, written_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use redis_router::{Frontend, Standing};

    use super::{Course, Verdict, Watch};
    use crate::settings::{HealthCheck, Scope};

    fn rules(rise: u32, fall: u32) -> HealthCheck {
        HealthCheck { rise, fall, ..HealthCheck::default() }
    }

    #[test]
    fn so_many_in_a_row_change_the_course() {
        let rules = rules(2, 3);
        let mut course = Course::Alive { bad: 0 };
        let mut judge = |is_good| course.judge(is_good, 7, &rules);
        let outcomes = [false, false, true, false, false, false, false, true, false, true, true, true];
        let verdicts: Vec<_> = outcomes.into_iter().map(&mut judge).collect();
        use Verdict::{Alive, Died, Lives, StillDead};
        let expected = [
            Alive, Alive, Alive, Alive, Alive, Died, StillDead, StillDead, StillDead, StillDead, Lives, Alive,
        ];
        assert_eq!(verdicts, expected);
        assert_eq!(course, Course::Alive { bad: 0 });
    }

    fn standing(name: &str, list: &[&str], dead: &[usize]) -> Standing {
        let list: Vec<&str> = ["app"].into_iter().chain(list.iter().copied()).collect();
        let frontend = Rc::new(Frontend::from_list(name, &list));
        Standing { name: name.into(), frontend, dead: dead.to_vec() }
    }

    fn urls(watch: &mut Watch, now_ms: u64) -> Vec<String> {
        let mut due: Vec<String> = watch.begin_due(now_ms, 10).iter().map(|url| url.to_string()).collect();
        due.sort();
        due
    }

    #[test]
    fn only_marked_backends_or_all() {
        let both = standing("a", &["http://h1", "http://h2"], &[1]);
        let mut watch = Watch::default();
        watch.stands(&both, Scope::Dead, (1, 0));
        assert_eq!(urls(&mut watch, 0), ["http://h2"]);
        assert_eq!(watch.get_mut("http://h2").unwrap().course, Course::Dead { good: 0, since: 1 });
        let mut watch = Watch::default();
        watch.stands(&both, Scope::All, (1, 0));
        assert_eq!(urls(&mut watch, 0), ["http://h1", "http://h2"]);
        assert_eq!(urls(&mut watch, 0), [""; 0]);
        watch.ended(&"http://h1".into(), 5);
        assert_eq!((urls(&mut watch, 4), urls(&mut watch, 5)), (vec![], vec!["http://h1".to_owned()]));
    }

    #[test]
    fn a_backend_under_several_names_is_one() {
        let mut watch = Watch::default();
        for name in ["a", "b"] {
            watch.stands(&standing(name, &["http://h1", "http://h2"], &[0]), Scope::Dead, (1, 0));
        }
        assert_eq!((watch.len(), watch.places), (1, 2));
        watch.leaves(&"a".into());
        watch.settle(1);
        assert_eq!((watch.len(), watch.places), (1, 1));
        // Unmarked under the other name too.
        watch.leaves(&"b".into());
        watch.stands(&standing("b", &["http://h1", "http://h2"], &[]), Scope::Dead, (1, 0));
        watch.settle(1);
        assert_eq!((watch.len(), watch.places, watch.names()), (0, 0, vec![]));
    }

    #[test]
    fn what_others_mark_is_followed() {
        let mut watch = Watch::default();
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[]), Scope::All, (1, 0));
        watch.leaves(&"a".into());
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[0]), Scope::All, (9, 0));
        watch.settle(9);
        assert_eq!(watch.get_mut("http://h1").unwrap().course, Course::Dead { good: 0, since: 9 });
        watch.leaves(&"a".into());
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[]), Scope::All, (12, 0));
        watch.settle(12);
        assert_eq!(watch.get_mut("http://h1").unwrap().course, Course::Alive { bad: 0 });
    }

    #[test]
    fn marked_at_one_place_it_is_dead() {
        let mut watch = Watch::default();
        let course = |watch: &mut Watch| watch.get_mut("http://h1").unwrap().course;
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[0]), Scope::All, (1, 0));
        watch.settle(1);
        // Another frontend has it too, and no mark of it.
        watch.stands(&standing("b", &["http://h1", "http://h2"], &[]), Scope::All, (2, 0));
        watch.settle(2);
        assert_eq!(course(&mut watch), Course::Dead { good: 0, since: 1 });
        watch.leaves(&"a".into());
        watch.stands(&standing("a", &["http://h1", "http://h2", "http://h1"], &[2]), Scope::All, (3, 0));
        watch.settle(3);
        assert_eq!(course(&mut watch), Course::Dead { good: 0, since: 1 });
        // As an only backend it is never marked: that says nothing.
        watch.leaves(&"b".into());
        watch.stands(&standing("b", &["http://h1"], &[]), Scope::All, (4, 0));
        watch.settle(4);
        assert_eq!((course(&mut watch), watch.places), (Course::Dead { good: 0, since: 1 }, 3));
    }

    #[test]
    fn each_has_its_turn() {
        let list: Vec<String> = (0..100).map(|number| format!("http://h{number}")).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut watch = Watch::default();
        watch.stands(&standing("a", &list, &[]), Scope::All, (1, 0));
        let mut asked = std::collections::BTreeSet::new();
        // Ten at a time, and each is due again before all have had their turn.
        for now_ms in 0..10 {
            for url in watch.begin_due(now_ms, 10) {
                watch.ended(&url, now_ms + 1);
                asked.insert(url);
            }
        }
        assert_eq!(asked.len(), 100);
    }
}
