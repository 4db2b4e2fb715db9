//! The keys that an alert expects to hear of: those of a relation that is kept up to date.
//!
//! A key is there for as long as some row says it. What has changed is taken once, when the alert's time has begun: until
//! then nothing can be silent.

use super::pending::Key;
use std::collections::{BTreeMap, BTreeSet};

/// Keys with the number of rows that say them.
#[derive(Debug, Default)]
pub(super) struct Expected {
    rows: BTreeMap<Key, i64>,
    /// Those that are new since [`begun`](Self::begun) was asked.
    begun: BTreeSet<Key>,
    /// Those that are gone since [`ended`](Self::ended) was asked.
    ended: BTreeSet<Key>,
}

impl Expected {
    /// Takes in that `times` more rows say a key.
    pub fn change(&mut self, key: Key, times: i64) {
        let before = self.rows.get(&key).copied().unwrap_or_default();
        let after = before + times;
        if after == 0 {
            self.rows.remove(&key);
        } else {
            self.rows.insert(key.clone(), after);
        }
        match (before > 0, after > 0) {
            // What goes and comes again between two looks has not gone.
            (false, true) if !self.ended.remove(&key) => drop(self.begun.insert(key)),
            (true, false) if !self.begun.remove(&key) => drop(self.ended.insert(key)),
            _ => {}
        }
    }

    /// Whether there is anything to take.
    pub fn has_changed(&self) -> bool {
        !self.begun.is_empty() || !self.ended.is_empty()
    }

    /// Takes the keys that are expected from now on.
    pub fn begun(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.begun)
    }

    /// Takes the keys that are no longer expected.
    pub fn ended(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.ended)
    }

    /// Its keys, the rows that say each, and whether it still waits to be taken.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, i64, bool)> {
        self.rows.iter().map(|(key, rows)| (key, *rows, self.begun.contains(key)))
    }

    /// Takes a key on as a checkpoint has it.
    pub fn take_on(&mut self, key: Key, rows: i64, waits: bool) {
        if waits {
            self.begun.insert(key.clone());
        }
        self.rows.insert(key, rows);
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}
