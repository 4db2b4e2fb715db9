//! Which offsets of a partition an earlier run has read, and which it has not: workers take pieces side by side, so that
//! what is missing need not be one piece at the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use thalweg_schemas::source::Span;

/// Stretches of offsets, sorted, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretches(Vec<Range<u64>>);

impl Stretches {
    /// The stretches that `ranges` cover, in whatever order they come and however they overlap.
    pub(crate) fn of(ranges: impl IntoIterator<Item = Range<u64>>) -> Stretches {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Stretches(merged)
    }

    /// What was read of each partition.
    pub(crate) fn by_partition(done: &[Span]) -> BTreeMap<Arc<str>, Stretches> {
        let mut ranges: BTreeMap<Arc<str>, Vec<Range<u64>>> = BTreeMap::new();
        for span in done {
            ranges.entry(span.partition.clone()).or_default().push(span.start..span.end);
        }
        ranges.into_iter().map(|(partition, ranges)| (partition, Stretches::of(ranges))).collect()
    }

    /// Where the last one ends.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// How many offsets there are in all.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Those parts of them that are in `range`.
    pub(crate) fn within(&self, range: Range<u64>) -> Stretches {
        Stretches::of(self.0.iter().map(|own| own.start.max(range.start)..own.end.min(range.end)))
    }

    /// The first stretch of `within` that none of these covers.
    pub(crate) fn first_gap(&self, within: Range<u64>) -> Option<Range<u64>> {
        let next = self.0.partition_point(|range| range.end <= within.start);
        let start = match self.0.get(next) {
            Some(range) if range.start <= within.start => range.end,
            _ => within.start,
        };
        let next = self.0.partition_point(|range| range.end <= start);
        let end = self.0.get(next).map_or(within.end, |range| range.start.min(within.end));
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Walking from gap to gap meets exactly the offsets that no range covers.
        #[test]
        fn gaps_are_what_is_not_covered(ranges in prop::collection::vec((0u64..60, 0u64..12), 0..12), from in 0u64..40, len in 0u64..40) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let stretches = Stretches::of(ranges.clone());
            let mut gaps = Vec::new();
            let mut within = from..from + len;
            while let Some(gap) = stretches.first_gap(within.clone()) {
                within.start = gap.end;
                gaps.extend(gap);
            }
            let covered = |offset: &u64| ranges.iter().any(|range| range.contains(offset));
            let expected: Vec<u64> = (from..from + len).filter(|offset| !covered(offset)).collect();
            prop_assert_eq!(gaps, expected);
            prop_assert_eq!(stretches.total(), (0..100).filter(covered).count() as u64);
            prop_assert_eq!(stretches.end(), ranges.iter().filter(|r| !r.is_empty()).map(|r| r.end).max().unwrap_or(0));
        }
    }
}
