//! When rows go: their positions by event time, in short stretches of it.

use std::collections::BTreeMap;
use std::ops::Range;

/// A millisecond: no stretch is shorter.
const SHORTEST_NS: i64 = 1_000_000;
/// So many stretches there are about in the time for which a row is held.
const STRETCHES: i64 = 64;

/// Rows by their event time. What goes is looked at a few times, whatever is held.
pub(super) struct Expiry {
    stretch_ns: i64,
    rows: BTreeMap<i64, Vec<u32>>,
    /// The stretch that the row added last is in, kept out of `rows`: the next row is mostly of the same one.
    open: Option<Open>,
}

/// A stretch that rows are added to.
struct Open {
    stretch: i64,
    /// The times that are in it, where they can be told.
    times: Range<i64>,
    rows: Vec<u32>,
}

impl Expiry {
    /// For rows that are held for about `held_ns`.
    pub fn new(held_ns: i64) -> Expiry {
        let stretch_ns = (held_ns / STRETCHES).max(SHORTEST_NS);
        Expiry { stretch_ns, rows: BTreeMap::new(), open: None }
    }

    pub fn add(&mut self, time_ns: i64, row: u32) {
        if let Some(open) = &mut self.open
            && open.times.contains(&time_ns)
        {
            return open.rows.push(row);
        }
        self.close();
        let stretch = time_ns.div_euclid(self.stretch_ns);
        let begin = stretch.saturating_mul(self.stretch_ns);
        let mut rows = self.rows.remove(&stretch).unwrap_or_default();
        rows.push(row);
        self.open = Some(Open { stretch, times: begin..begin.saturating_add(self.stretch_ns), rows });
    }

    /// Puts the open stretch to the others.
    fn close(&mut self) {
        self.rows.extend(self.open.take().map(|open| (open.stretch, open.rows)));
    }

    /// Takes out the rows earlier than `bound_ns`; `time_ns` tells the time of a row.
    pub fn before(&mut self, bound_ns: i64, time_ns: impl Fn(u32) -> i64) -> Vec<u32> {
        self.close();
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
        self.open = None;
    }

    pub fn size(&self) -> usize {
        let rows = self.rows.values().chain(self.open.iter().map(|open| &open.rows));
        rows.map(|rows| rows.capacity() * size_of::<u32>() + 64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_earlier_than_the_bound_goes(
            steps in prop::collection::vec((prop::collection::vec(-300i64..300, 0..20), -300i64..300), 1..12),
        ) {
            let (mut expiry, mut times, mut held) = (Expiry::new(64 * 10 * SHORTEST_NS), Vec::new(), Vec::new());
            for (added, bound) in steps {
                for time in added {
                    let row = times.len() as u32;
                    times.push(time * SHORTEST_NS);
                    expiry.add(time * SHORTEST_NS, row);
                    held.push(row);
                }
                let bound_ns = bound * SHORTEST_NS;
                let mut gone = expiry.before(bound_ns, |row| times[row as usize]);
                gone.sort_unstable();
                let (expected, kept): (Vec<u32>, Vec<u32>) =
                    held.iter().partition(|row| times[**row as usize] < bound_ns);
                prop_assert_eq!(gone, expected);
                held = kept;
            }
        }
    }
}
