//! Bad input: each kind shows its reason, nothing else is lost, and every record is accounted for.

use crate::in_process::{Ended, run};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::path::Path;

const PIPELINE: &str = "
CREATE SOURCE readings (ts TIMESTAMP NOT NULL, sensor TEXT NOT NULL, value DOUBLE, n INT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = '${DATA}/*.ndjson', format = 'json');
CREATE MATERIALIZED VIEW good AS SELECT sensor, value, n FROM readings;
";
const GOOD: &str = r#"{"ts":"2026-01-01T00:00:01","sensor":"a","value":1.5,"n":1}"#;

fn count(ended: &Ended, query: &str) -> Vec<i64> {
    let batches: Vec<RecordBatch> = ended.ask(query).unwrap_or_else(|error| panic!("{query}: {}", error.error));
    let row = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    row.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect()
}

/// `lines` beside one good row before and one after: `dead` of them die, with a reason that has `reason` in it.
fn check(lines: &[&[u8]], dead: i64, reason: &str) {
    for workers in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut text = GOOD.as_bytes().to_vec();
        for line in lines.iter().copied().chain([GOOD.as_bytes()]) {
            text.push(b'\n');
            text.extend_from_slice(line);
        }
        text.push(b'\n');
        std::fs::write(folder.path().join("readings.ndjson"), text).unwrap();
        let ended = run(PIPELINE, folder.path(), workers);
        let [rows_in, rows_out, found] = count(&ended, "SELECT rows_in, rows_out, dead FROM thalweg.sources")[..]
        else {
            unreachable!("three columns were asked for")
        };
        assert_eq!(
            (rows_in, rows_out, found),
            (2 + lines.len() as i64, 2 + lines.len() as i64 - dead, dead),
            "{reason}"
        );
        assert_eq!(count(&ended, "SELECT count(*) FROM good"), [rows_out]);
        assert_eq!(count(&ended, "SELECT count(*) FROM good WHERE sensor = 'a' AND n = 1")[0].min(2), 2);
        let batches = ended.ask("SELECT reason FROM thalweg.dead_letters").unwrap();
        let reasons: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(reasons.len() as i64, dead);
        assert!(reasons.iter().all(|told| told.contains(reason)), "no {reason:?} in {reasons:?}");
    }
}

#[test]
fn undecodable_bytes() {
    check(&[b"\xff\xfe\x00garbage"], 1, "");
    check(&[br#"{"ts":"2026-01-01T00:00:01","sensor":"a""#], 1, "");
}

#[test]
fn wrong_types() {
    check(&[br#"{"ts":"2026-01-01T00:00:01","sensor":"a","value":"warm"}"#], 1, "value");
    check(&[br#"{"ts":"2026-01-01T00:00:01","sensor":"a","n":99999999999}"#], 1, "n");
}

#[test]
fn times_that_do_not_parse() {
    check(&[br#"{"ts":"yesterday","sensor":"a"}"#], 1, "ts");
}

#[test]
fn times_in_the_far_future() {
    check(&[br#"{"ts":"2199-01-01T00:00:01","sensor":"a"}"#], 1, "after the clock");
}

#[test]
fn missing_columns_are_null_and_null_where_it_may_not_be_is_dead() {
    check(&[br#"{"ts":"2026-01-01T00:00:01","sensor":"b"}"#], 0, "");
    check(&[br#"{"ts":"2026-01-01T00:00:01"}"#, br#"{"ts":"2026-01-01T00:00:01","sensor":null}"#], 2, "sensor");
}

#[test]
fn an_empty_file_is_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.ndjson"), "").unwrap();
    std::fs::write(folder.path().join("one.ndjson"), GOOD).unwrap();
    let ended = run(PIPELINE, folder.path(), 2);
    assert_eq!(count(&ended, "SELECT rows_in, rows_out, dead FROM thalweg.sources"), [1, 1, 0]);
}

#[test]
fn a_folder_without_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), PIPELINE.replace("${DATA}", "nowhere")).unwrap();
    let output = crate::binary::run(Path::new(folder.path()), &["run", "p.sql", "--pg", "off", "--http", "off"]);
    assert_ne!(output.status.code(), Some(0));
    let told = crate::binary::stderr(&output);
    assert!(told.contains("nowhere"), "{told}");
}
