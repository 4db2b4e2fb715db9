//! More keys than go into one batch of events, or one section of a checkpoint.

use super::operator::{Driven, by_event_time, rule, schema, spec};
use crate::operator::Operator;
use crate::plan::Read;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_schemas::alert_event::Kind;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Watermark;

const KEYS: usize = 20_000;

/// A row of each key.
fn rows(t: i64, value: f64) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values((0..KEYS).map(|key| format!("s{key}")))),
        Arc::new(TimestampNanosecondArray::from(vec![t; KEYS])),
        Arc::new(Float64Array::from(vec![value; KEYS])),
        Arc::new(BooleanArray::from(vec![value > 10.0; KEYS])),
        Arc::new(BooleanArray::from(vec![value > 20.0; KEYS])),
    ];
    Batch::append(RecordBatch::try_new(schema(), columns).unwrap())
}

#[test]
fn each_of_many_keys_is_told_once_and_comes_back_from_a_checkpoint() {
    let spec = spec(by_event_time(), Read::Finals, rule(2));
    let mut driven = Driven::new(&spec);
    driven.epoch_of(1, Some(rows(10, 12.0)), Watermark(10));
    assert_eq!((driven.events.len(), driven.state.len()), (KEYS, KEYS));
    let labels: Vec<String> = driven.alert.snapshot().unwrap().into_iter().map(|section| section.label).collect();
    assert_eq!(labels.iter().filter(|label| *label == "keys").count(), 3, "{labels:?}");
    let ids = |driven: &mut Driven| -> BTreeSet<u64> {
        driven.alert.snapshot().unwrap().into_iter().map(|section| section.id).collect()
    };
    let before = ids(&mut driven);
    assert_eq!(before.len(), labels.len(), "each section has an id of its own");
    driven.epoch_of(2, None, Watermark(11));
    assert_eq!(ids(&mut driven), before, "what has not changed is not written again");
    let mut driven = driven.restored(&spec, 3);
    driven.epoch_of(3, Some(rows(20, 1.0)), Watermark(20));
    assert!(ids(&mut driven).is_disjoint(&before));
    let over = driven.events.iter().filter(|event| event.kind == Kind::Resolved && event.seq == 2);
    assert_eq!((over.count(), driven.events.len(), driven.state.len()), (KEYS, 2 * KEYS, KEYS));
    let incidents: BTreeSet<&str> = driven.events.iter().map(|event| event.incident_id.as_str()).collect();
    assert_eq!(incidents.len(), KEYS);
}
