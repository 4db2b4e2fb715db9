//! The rows of one key at one time, each as often as it is there.
//!
//! Nearly always there is one, and there are as many samples as keys: a tree for each would take ten times its room.

use super::rule::Judgement;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row's columns as bytes.
pub(super) type Row = Arc<[u8]>;

/// How often a row is there, and what the conditions say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub times: i64,
    pub judged: Judgement,
}

/// So many rows are looked through one by one.
const FEW: usize = 8;

/// Rows, in the order of their bytes.
#[derive(Clone, Debug)]
pub(super) enum Sample {
    Few(Vec<(Row, Counted)>),
    Many(BTreeMap<Row, Counted>),
}

impl Sample {
    /// The count of a row; if it is not there it is 0 times.
    pub fn entry(&mut self, row: Row) -> &mut Counted {
        if let Sample::Few(few) = self
            && few.len() == FEW
        {
            *self = Sample::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Sample::Many(many) => many.entry(row).or_default(),
            Sample::Few(few) => {
                let at = few.binary_search_by(|(known, _)| known.cmp(&row)).unwrap_or_else(|at| {
                    few.reserve_exact(1);
                    few.insert(at, (row, Counted::default()));
                    at
                });
                &mut few[at].1
            }
        }
    }

    /// A row is there so often more, and this is what the conditions say of it; how often it is there now.
    pub fn add(&mut self, row: Row, Counted { times, judged }: Counted) -> i64 {
        let known = self.entry(row);
        *known = Counted { times: known.times + times, judged };
        known.times
    }

    /// The rows with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&Row, &Counted)> {
        let (few, many) = match self {
            Sample::Few(few) => (few.as_slice(), None),
            Sample::Many(many) => (&[][..], Some(many)),
        };
        few.iter().map(|(row, counted)| (row, counted)).chain(many.into_iter().flatten())
    }

    /// The counts.
    pub fn values(&self) -> impl Iterator<Item = &Counted> {
        self.iter().map(|(_, counted)| counted)
    }

    /// Keeps the rows whose counts are `kept`.
    pub fn retain(&mut self, kept: impl Fn(&Counted) -> bool) {
        match self {
            Sample::Few(few) => few.retain(|(_, counted)| kept(counted)),
            Sample::Many(many) => many.retain(|_, counted| kept(counted)),
        }
        if self.is_empty() {
            *self = Sample::default();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different rows there are.
    pub fn len(&self) -> usize {
        match self {
            Sample::Few(few) => few.len(),
            Sample::Many(many) => many.len(),
        }
    }

    /// What the conditions say of all of them.
    pub fn judged(&self) -> Judgement {
        self.values().fold(Judgement::CLEAR, |all, counted| all.worst(counted.judged))
    }
}

impl Default for Sample {
    fn default() -> Sample {
        Sample::Few(Vec::new())
    }
}

impl FromIterator<(Row, Counted)> for Sample {
    fn from_iter<I: IntoIterator<Item = (Row, Counted)>>(rows: I) -> Sample {
        let mut sample = Sample::default();
        rows.into_iter().for_each(|(row, counted)| *sample.entry(row) = counted);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn few_or_many_it_is_a_map(steps in prop::collection::vec((0..14u8, -1..2i64, any::<bool>()), 0..60)) {
            let (mut sample, mut model) = (Sample::default(), BTreeMap::<Row, Counted>::new());
            for (row, times, thin) in steps {
                let row: Row = Arc::from([row]);
                sample.entry(row.clone()).times += times;
                model.entry(row).or_default().times += times;
                if thin {
                    sample.retain(|counted| counted.times != 0);
                    model.retain(|_, counted| counted.times != 0);
                }
                prop_assert!(sample.iter().eq(model.iter()));
                prop_assert_eq!((sample.len(), sample.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
