//! What is kept of a key, and which of its rows decides.

use super::behind::Behind;
use super::machine::{Instance, Moment};
use super::rule::Rule;
use super::sample::{Counted, Row, Sample};
use std::sync::Arc;

/// What is kept of one key.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub instance: Instance,
    /// Of rows that are kept up to date: those that hold.
    pub standing: Option<Box<Standing>>,
    /// The row by which it was judged last.
    pub row: Option<Row>,
    /// The rows behind that row, while something is wrong.
    pub behind: Option<Arc<Behind>>,
    /// The time of the last sample.
    pub sampled_at: i64,
    /// Whether its state is shown.
    pub shown: bool,
    /// When it is to be looked at again.
    pub deadline: Moment,
}

/// The rows of a key that hold until they are taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Those that are not clear of everything.
    pub rows: Sample,
    /// How many there are, where it matters whether there are any.
    pub live: i64,
}

impl Standing {
    /// Whether there is nothing to keep.
    pub fn is_default(&self) -> bool {
        self.rows.is_empty() && self.live == 0
    }
}

impl Held {
    /// A key of which nothing is wrong, known since `t`. It has a place of its own: a tree is half empty, and much of what
    /// is kept of a key would be too.
    pub fn new(rule: &Rule, t: i64) -> Box<Held> {
        let instance = Instance::new(rule, t);
        let (standing, row, behind, deadline) = (None, None, None, Moment::NONE);
        Box::new(Held { instance, standing, row, behind, sampled_at: t, shown: false, deadline })
    }

    /// The rows that hold, to be changed.
    pub fn standing(&mut self) -> &mut Standing {
        self.standing.get_or_insert_default()
    }

    /// Lets the rows behind its row go when nothing is wrong any more.
    pub fn forget_behind(&mut self, rule: &Rule) {
        if self.instance.is_blank(rule) {
            self.behind = None;
        }
    }
}

/// How many rows there are.
pub(super) fn count(sample: &Sample) -> i64 {
    sample.values().map(|counted| counted.times).sum()
}

/// What is worse comes later: by the level, then by what is not clear.
fn weight(counted: &Counted) -> (usize, u32) {
    (counted.judged.raised_level(), counted.judged.cleared.count_zeros())
}

/// The rows, the one that decides first.
pub(super) fn weightiest(sample: &Sample) -> Vec<&Row> {
    let mut rows: Vec<_> = sample.iter().map(|(row, counted)| (weight(counted), row)).collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The row that decides: the one that raises the highest level; of several the last in the order of their bytes.
pub(super) fn worst(sample: &Sample) -> Option<Row> {
    let worst = sample.iter().max_by_key(|(row, counted)| (weight(counted), *row));
    worst.map(|(row, _)| row.clone())
}
