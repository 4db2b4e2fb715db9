//! What comes in: every record is a row or a dead letter, and times that cannot be believed move nothing.

use super::fixture::*;
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use thalweg_engine::engine::Engine;
use thalweg_engine::status::DeadLetter;
use thalweg_operators::plan::{Emit, OnBad};

#[test]
fn event_times_far_in_the_future_go_to_the_dead_letters_and_move_no_watermark() {
    let script = script("future");
    let (engine, clock) = start(dataflow("future", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(1));
    script.chunks.lock().unwrap().push_back(Some(rows(&[(990, "a", 1), (5_000, "b", 2), (995, "c", 3)])));
    settle(&engine, &clock, &script);
    let status = engine.status();
    assert_eq!((status.sources[0].rows_in, status.sources[0].rows_out, status.sources[0].dead), (3, 2, 1));
    assert_eq!(status.watermarks[0].watermark.0, 995_000_000_000);
    let letter = dead_letters(&engine).remove(0);
    let reason = "event time 1970-01-01 01:23:20.000 lies more than 10m after the clock (1970-01-01 00:1";
    assert!(letter.reason.starts_with(reason), "{}", letter.reason);
    assert_eq!(String::from_utf8(letter.raw).unwrap(), r#"{"ts":"1970-01-01T01:23:20","key":"b","value":2}"#);
}

fn dead_letters(engine: &Engine) -> Vec<DeadLetter> {
    engine.dead_letters().unwrap().flat_map(Result::unwrap).collect()
}

/// Rows as a system of its own types hands them over: everything is text.
fn untyped(rows: &[(&str, Option<&str>)]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("value", DataType::Utf8, true), Field::new("ts", DataType::Utf8, true)]);
    let values = StringArray::from_iter_values(rows.iter().map(|r| r.0));
    let times = StringArray::from_iter(rows.iter().map(|r| r.1));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values), Arc::new(times)]).unwrap()
}

#[test]
fn columns_are_matched_by_name_and_cast_and_what_does_not_fit_is_a_dead_letter() {
    let script = script("cast");
    script.chunks.lock().unwrap().push_back(Some(untyped(&[
        ("1", Some("1970-01-01T00:00:01")),
        ("many", Some("1970-01-01T00:00:02")),
        ("3", None),
        ("4", Some("1970-01-01T00:00:04")),
    ])));
    *script.closed.lock().unwrap() = true;
    let (engine, _clock) = start(dataflow("cast", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(1));
    engine.wait().unwrap();
    assert_eq!(sum(&engine.snapshots(&["v"]).unwrap()[0].batches, 2), 5);
    let source = engine.status().sources.remove(0);
    assert_eq!((source.rows_in, source.rows_out, source.dead), (4, 2, 2));
    let reasons: Vec<(Option<u64>, String)> = dead_letters(&engine).into_iter().map(|d| (d.offset, d.reason)).collect();
    assert!(reasons.contains(&(Some(1), "column \"value\": 'many' does not fit type Int64".into())), "{reasons:?}");
    assert!(reasons.contains(&(Some(2), "column \"ts\" is NULL but declared NOT NULL".into())), "{reasons:?}");
}

#[test]
fn a_source_that_must_not_lose_anything_ends_the_run_at_the_first_bad_record() {
    let script = script("fail");
    script.chunks.lock().unwrap().push_back(Some(untyped(&[("many", Some("1970-01-01T00:00:02"))])));
    let mut dataflow = dataflow("fail", vec![view("v", source_plan(), Emit::Changes)], vec![]);
    dataflow.sources[0].on_bad = OnBad::Fail;
    let (engine, _clock) = start(dataflow, settings(2));
    let error = engine.wait().unwrap_err();
    assert_eq!(error.message, "column \"value\": 'many' does not fit type Int64");
    assert_eq!(error.detail.as_deref(), Some("source \"events\", script, offset 0"));
}

#[test]
fn a_fault_that_passes_is_waited_for() {
    let script = script("retry");
    script.chunks.lock().unwrap().extend([None, Some(rows(&[(1, "a", 1)]))]);
    let (engine, clock) = start(dataflow("retry", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(1));
    wait_until("the fault is seen", || engine.status().sources[0].last_error.is_some());
    assert_eq!(engine.status().sources[0].last_error.as_deref(), Some("the script says no"));
    settle(&engine, &clock, &script);
    assert_eq!(engine.status().sources[0].rows_out, 1);
}
