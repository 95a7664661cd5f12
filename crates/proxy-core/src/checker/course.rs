//! What a checker holds of the backends it checks: where they stand, when they are due, how their checks went. Pure:
//! time is an argument.

use std::collections::{BTreeSet, HashMap};
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
    /// Where it stands: what is behind `dead:`.
    pub(crate) names: BTreeSet<Rc<str>>,
    pub(crate) course: Course,
    /// Milliseconds at which the next check is due.
    due_ms: u64,
    under_way: bool,
    /// What was bad about it last.
    pub(crate) why: String,
    /// Milliseconds at which its marks were written last, by this checker.
    pub(crate) written_ms: Option<u64>,
}

/// All backends under check.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    by_url: HashMap<Rc<str>, Checked, foldhash::fast::RandomState>,
    /// URLs under each name.
    by_name: HashMap<Rc<str>, Vec<Rc<str>>, foldhash::fast::RandomState>,
    places: usize,
    /// There were more than are checked.
    full: bool,
}

impl Watch {
    /// Forgets what stood under `name`; what stands nowhere else is checked no longer, once [`Self::settle`] is called.
    pub(crate) fn leaves(&mut self, name: &Rc<str>) {
        let urls = self.by_name.remove(name).unwrap_or_default();
        self.places -= urls.len();
        for url in urls {
            if let Some(checked) = self.by_url.get_mut(&url) {
                checked.names.remove(name);
            }
        }
    }

    /// Takes in what stands under a name now. A name that was known must have left before.
    pub(crate) fn stands(&mut self, standing: &Standing, scope: Scope, (now, now_ms): (u64, u64)) {
        let mut urls = Vec::new();
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
            let course =
                if is_marked { Course::Dead { good: 0, since: now } } else { Course::Alive { bad: 0 } };
            let checked = self.by_url.entry(url.clone()).or_insert_with(|| Checked {
                backend: backend.clone(),
                names: BTreeSet::new(),
                course,
                due_ms: now_ms,
                under_way: false,
                why: String::new(),
                written_ms: None,
            });
            // An only backend is never marked, so its set says nothing of it.
            if standing.frontend.backends.len() > 1 {
                checked.course.follow(is_marked, now);
            }
            if checked.names.insert(standing.name.clone()) {
                self.places += 1;
                urls.push(url);
            }
        }
        if !urls.is_empty() {
            self.by_name.insert(standing.name.clone(), urls);
        }
    }

    /// Drops what stands nowhere any more.
    pub(crate) fn settle(&mut self) {
        self.by_url.retain(|_, checked| !checked.names.is_empty() || checked.under_way);
    }

    /// Backends whose check is due, at most `most`; their checks begin.
    pub(crate) fn begin_due(&mut self, now_ms: u64, most: usize) -> Vec<Rc<str>> {
        let due = |checked: &Checked| !checked.under_way && checked.due_ms <= now_ms;
        let begin = self.by_url.iter_mut().filter(|(_, checked)| due(checked)).take(most);
        begin
            .map(|(url, checked)| {
                checked.under_way = true;
                url.clone()
            })
            .collect()
    }

    /// The check of `url` is over; the next one is due at `due_ms`.
    pub(crate) fn ended(&mut self, url: &str, due_ms: u64) {
        if let Some(checked) = self.by_url.get_mut(url) {
            (checked.under_way, checked.due_ms) = (false, due_ms);
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
        watch.ended("http://h1", 5);
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
        watch.settle();
        assert_eq!((watch.len(), watch.places), (1, 1));
        // Unmarked under the other name too.
        watch.leaves(&"b".into());
        watch.stands(&standing("b", &["http://h1", "http://h2"], &[]), Scope::Dead, (1, 0));
        watch.settle();
        assert_eq!((watch.len(), watch.places, watch.names()), (0, 0, vec![]));
    }

    #[test]
    fn what_others_mark_is_followed() {
        let mut watch = Watch::default();
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[]), Scope::All, (1, 0));
        watch.leaves(&"a".into());
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[0]), Scope::All, (9, 0));
        assert_eq!(watch.get_mut("http://h1").unwrap().course, Course::Dead { good: 0, since: 9 });
        watch.leaves(&"a".into());
        watch.stands(&standing("a", &["http://h1", "http://h2"], &[]), Scope::All, (12, 0));
        assert_eq!(watch.get_mut("http://h1").unwrap().course, Course::Alive { bad: 0 });
    }
}
