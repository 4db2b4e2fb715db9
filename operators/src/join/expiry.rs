//! When rows go: their positions by event time, in short stretches of it.

use std::collections::BTreeMap;

/// A millisecond: no stretch is shorter.
const SHORTEST_NS: i64 = 1_000_000;
/// So many stretches there are about in the time for which a row is held.
const STRETCHES: i64 = 64;

/// Rows by their event time. What goes is looked at a few times, whatever is held.
pub(super) struct Expiry {
    stretch_ns: i64,
    rows: BTreeMap<i64, Vec<u32>>,
}

impl Expiry {
    /// For rows that are held for about `held_ns`.
    pub fn new(held_ns: i64) -> Expiry {
        Expiry { stretch_ns: (held_ns / STRETCHES).max(SHORTEST_NS), rows: BTreeMap::new() }
    }

    pub fn add(&mut self, time_ns: i64, row: u32) {
        self.rows.entry(time_ns.div_euclid(self.stretch_ns)).or_default().push(row);
    }

    /// Takes out the rows earlier than `bound_ns`; `time_ns` tells the time of a row.
    pub fn before(&mut self, bound_ns: i64, time_ns: impl Fn(u32) -> i64) -> Vec<u32> {
        let (mut gone, last) = (Vec::new(), bound_ns.div_euclid(self.stretch_ns));
        while let Some(mut stretch) = self.rows.first_entry() {
            if *stretch.key() > last {
                break;
            }
            let (expired, kept): (Vec<u32>, Vec<u32>) = stretch.get().iter().partition(|row| time_ns(**row) < bound_ns);
            gone.extend(expired);
            if !kept.is_empty() {
                *stretch.get_mut() = kept;
                break;
            }
            stretch.remove();
        }
        gone
    }

    pub fn clear(&mut self) {
        self.rows.clear();
    }

    pub fn size(&self) -> usize {
        self.rows.values().map(|rows| rows.capacity() * size_of::<u32>() + 64).sum()
    }
}
