//! Equal frontends are one: hosts that a wildcard serves share its backends, and a row that is read again unchanged keeps
//! what hangs on its frontend.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::frontend::Frontend;

/// The frontends in use, by key. Those that have ended are cleared out whenever there may be a quarter too many of them: each
/// still holds its memory.
#[derive(Default)]
pub(crate) struct Interned {
    by_key: RefCell<HashMap<Box<str>, Weak<Frontend>, foldhash::fast::RandomState>>,
    clear_at: Cell<usize>,
}

const CLEAR_MIN: usize = 64;

impl Interned {
    /// The frontend in use that equals `frontend`, or `frontend` itself from now on.
    pub(crate) fn intern(&self, frontend: Frontend) -> Rc<Frontend> {
        let mut by_key = self.by_key.borrow_mut();
        if let Some(used) = by_key.get(&frontend.key).and_then(Weak::upgrade)
            && *used == frontend
        {
            return used;
        }
        if by_key.len() >= self.clear_at.get().max(CLEAR_MIN) {
            by_key.retain(|_, used| used.strong_count() > 0);
            self.clear_at.set(by_key.len() + by_key.len() / 4);
        }
        let frontend = Rc::new(frontend);
        by_key.insert(frontend.key.clone(), Rc::downgrade(&frontend));
        frontend
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{CLEAR_MIN, Interned};
    use crate::frontend::Frontend;

    #[test]
    fn equal_frontends_are_one() {
        let interned = Interned::default();
        let read = |list: &[&str]| interned.intern(Frontend::from_list("*.tld", list));
        let (first, second) = (read(&["app", "http://h"]), read(&["app", "http://h"]));
        assert!(Rc::ptr_eq(&first, &second));
        let changed = read(&["app", "http://other"]);
        assert!(!Rc::ptr_eq(&first, &changed));
        assert!(Rc::ptr_eq(&changed, &read(&["app", "http://other"])));
    }

    #[test]
    fn ended_ones_do_not_gather() {
        let interned = Interned::default();
        let kept: Vec<_> = (0..50)
            .map(|number| interned.intern(Frontend::from_list(&number.to_string(), &["app"])))
            .collect();
        for number in 0..10_000 {
            interned.intern(Frontend::from_list(&format!("x{number}"), &["app"]));
        }
        assert!(interned.by_key.borrow().len() <= kept.len() + CLEAR_MIN);
    }
}
