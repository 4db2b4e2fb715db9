//! What is kept of a key, and which of its rows decides.

use super::behind::Behind;
use super::machine::Instance;
use super::rule::Rule;
use super::sample::{Counted, Row, Sample};

/// What is kept of one key.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub instance: Instance,
    /// Of rows that are kept up to date: those that hold and are not clear of everything.
    pub standing: Sample,
    /// How many rows hold, where it matters whether any does.
    pub live: i64,
    /// The row by which it was judged last.
    pub row: Option<Row>,
    /// The rows behind that row, while something is wrong.
    pub behind: Option<Behind>,
    /// The time of the last sample.
    pub sampled_at: i64,
    /// Whether its state is shown.
    pub shown: bool,
    /// When it is to be looked at again.
    pub deadline: Option<i64>,
}

impl Held {
    /// A key of which nothing is wrong, known since `t`. It has a place of its own: a tree is half empty, and much of what
    /// is kept of a key would be too.
    pub fn new(rule: &Rule, t: i64) -> Box<Held> {
        let instance = Instance::new(rule, t);
        let (standing, row, behind) = (Sample::default(), None, None);
        Box::new(Held { instance, standing, live: 0, row, behind, sampled_at: t, shown: false, deadline: None })
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
