//! What has been read of a source: stretches of offsets, put together where they touch.

use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::source::Span;

/// A set of offsets by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanSet(BTreeMap<Arc<str>, Vec<(u64, u64)>>);

impl SpanSet {
    /// Adds a stretch; stretches that touch become one.
    pub fn add(&mut self, partition: &Arc<str>, start: u64, end: u64) {
        let spans = match self.0.get_mut(partition) {
            Some(spans) => spans,
            None => self.0.entry(partition.clone()).or_default(),
        };
        let (mut start, mut end) = (start, end);
        let from = spans.partition_point(|(_, e)| *e < start);
        let until = spans.partition_point(|(s, _)| *s <= end);
        for (s, e) in &spans[from..until] {
            (start, end) = (start.min(*s), end.max(*e));
        }
        spans.splice(from..until, [(start, end)]);
    }

    /// All stretches, by partition and offset.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.0.iter().flat_map(|(partition, spans)| {
            spans.iter().map(|&(start, end)| Span { partition: partition.clone(), start, end })
        });
        spans.collect()
    }
}

impl FromIterator<Span> for SpanSet {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> SpanSet {
        let mut set = SpanSet::default();
        spans.into_iter().for_each(|span| set.add(&span.partition, span.start, span.end));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_spans_is_a_set_of_offsets(spans in proptest::collection::vec((0u64..40, 0u64..8), 0..30)) {
            let mut set = SpanSet::default();
            let mut model = std::collections::BTreeSet::new();
            for (start, length) in spans {
                set.add(&"p".into(), start, start + length + 1);
                model.extend(start..=start + length);
            }
            let spans = set.spans();
            let offsets: Vec<u64> = spans.iter().flat_map(|s| s.start..s.end).collect();
            prop_assert_eq!(offsets, model.into_iter().collect::<Vec<_>>());
            prop_assert!(spans.windows(2).all(|w| w[0].end < w[1].start), "no two touch: {:?}", spans);
        }
    }
}
