//! Which keys have changed, for the built-in checker: it looks at those and at no others. Kept only once asked for; the
//! routers of cores compare counters instead (`tracking`).

use std::cell::RefCell;
use std::collections::BTreeSet;

use redis::Value;

use crate::bounds::CHANGES_MAX;

#[derive(Default)]
pub(crate) struct Changes(RefCell<Option<Changed>>);

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Every key may have.
    Everything,
    /// These whole keys.
    Keys(BTreeSet<Vec<u8>>),
}

impl Changes {
    /// What has changed since the last call; everything at the first.
    pub(crate) fn take(&self) -> Changed {
        self.0.replace(Some(Changed::Keys(BTreeSet::new()))).unwrap_or(Changed::Everything)
    }

    /// As [`crate::tracking::Tracking::push`].
    pub(crate) fn push(&self, data: &[Value]) {
        match data.first() {
            Some(Value::Array(keys)) => keys.iter().for_each(|key| match key {
                Value::BulkString(key) => self.written(key),
                _ => self.everything(),
            }),
            _ => self.everything(),
        }
    }

    pub(crate) fn written(&self, key: &[u8]) {
        if let Some(changed) = &mut *self.0.borrow_mut() {
            changed.add(key);
        }
    }

    pub(crate) fn everything(&self) {
        if let Some(changed) = &mut *self.0.borrow_mut() {
            *changed = Changed::Everything;
        }
    }
}

impl Changed {
    fn add(&mut self, key: &[u8]) {
        let Changed::Keys(keys) = self else { return };
        if keys.len() >= CHANGES_MAX {
            *self = Changed::Everything;
        } else {
            keys.insert(key.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redis::Value;

    use super::{Changed, Changes};
    use crate::bounds::CHANGES_MAX;

    fn keys(keys: &[&str]) -> Changed {
        Changed::Keys(keys.iter().map(|key| key.as_bytes().to_vec()).collect())
    }

    #[test]
    fn each_key_once_and_only_when_wanted() {
        let changes = Changes::default();
        changes.written(b"early");
        assert_eq!(changes.take(), Changed::Everything);
        assert_eq!(changes.take(), Changed::Keys(BTreeSet::new()));
        changes.written(b"dead:a");
        changes.push(&[Value::Array(vec![
            Value::BulkString("dead:b".into()),
            Value::BulkString("dead:a".into()),
        ])]);
        assert_eq!(changes.take(), keys(&["dead:a", "dead:b"]));
        changes.written(b"dead:a");
        changes.push(&[Value::Nil]);
        assert_eq!(changes.take(), Changed::Everything);
    }

    #[test]
    fn too_many_are_everything() {
        let changes = Changes::default();
        changes.take();
        (0..=CHANGES_MAX).for_each(|number| changes.written(number.to_string().as_bytes()));
        assert_eq!(changes.take(), Changed::Everything);
    }
}
