//! What was read for names that clients choose, within bounds: names that the store holds something for and names that it
//! holds nothing for are bounded apart, so that names that are made up, however many, displace none that counts.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

pub(crate) struct Remembered<R> {
    by_name: HashMap<Rc<str>, (R, Held), foldhash::fast::RandomState>,
    /// Of either kind; the oldest goes.
    max: usize,
    some: VecDeque<Rc<str>>,
    none: VecDeque<Rc<str>>,
}

/// Whether the store holds something for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Some,
    None,
}

impl From<bool> for Held {
    fn from(holds: bool) -> Held {
        if holds { Held::Some } else { Held::None }
    }
}

impl<R> Remembered<R> {
    pub(crate) fn new(max: usize) -> Remembered<R> {
        let (some, none) = (VecDeque::new(), VecDeque::new());
        Remembered { by_name: HashMap::default(), max, some, none }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&R> {
        self.by_name.get(name).map(|(row, _)| row)
    }

    pub(crate) fn put(&mut self, name: &Rc<str>, held: Held, row: R) {
        let before = self.by_name.insert(Rc::clone(name), (row, held));
        if before.is_some_and(|(_, before)| before == held) {
            return;
        }
        let queue = match held {
            Held::Some => &mut self.some,
            Held::None => &mut self.none,
        };
        queue.push_back(Rc::clone(name));
        if queue.len() <= self.max {
            return;
        }
        if let Some(oldest) = queue.pop_front()
            && self.by_name.get(&oldest).is_some_and(|(_, kind)| *kind == held)
        {
            self.by_name.remove(&oldest);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Remembered::new(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Remembered};

    #[test]
    fn names_of_nothing_displace_nothing() {
        const MAX: usize = 100;
        let mut rows = Remembered::new(MAX);
        rows.put(&"known".into(), Held::Some, 0);
        for number in 0..2 * MAX {
            rows.put(&number.to_string().into(), Held::None, number);
        }
        assert!(rows.get("known").is_some());
        assert_eq!(rows.by_name.len(), MAX + 1);
        for number in 0..=MAX {
            rows.put(&format!("with{number}").into(), Held::Some, number);
        }
        assert!(rows.get("known").is_none());
        assert_eq!(rows.by_name.len(), 2 * MAX);
        rows.clear();
        assert!(rows.get("with5").is_none());
    }
}
