//! The generator: the same rows for the same seed, whatever the number of workers.

use super::*;
use crate::tests::options;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Payload, Polled, Span};

fn open_with(given: &[(&str, &str)], columns: &[&str]) -> Arc<dyn Source> {
    let options = options(OPTIONS, given);
    let fields: Vec<Field> = Kind::of(&options)
        .fields()
        .into_iter()
        .map(|(name, data_type, nullable)| Field::new(name, data_type, nullable))
        .collect();
    let wanted = fields.iter().map(|f| columns.is_empty() || columns.contains(&f.name().as_str())).collect();
    let fields = Arc::new(Schema::new(fields));
    open(SourceRequest {
        name: "g".into(),
        options,
        format: None,
        format_options: Options::default(),
        fields,
        wanted,
        key: Vec::new(),
        metadata: Vec::new(),
    })
    .unwrap()
}

/// All rows of a bounded run, as `(row number, text)`, sorted.
fn rows(source: &dyn Source, peers: usize) -> Vec<(u64, String)> {
    let mut rows = Vec::new();
    for index in 0..peers {
        let mut reader = source.reader(WorkerId { index, peers }).unwrap();
        loop {
            match reader.poll(1 << 20).unwrap() {
                Polled::Ready(chunk) => {
                    let Payload::Rows(batch) = chunk.payload else { panic!("rows were expected") };
                    assert_eq!(chunk.end - chunk.start, batch.num_rows() as u64);
                    rows.extend((chunk.start..chunk.end).zip(texts(&batch)));
                }
                Polled::Ended => break,
                other => panic!("{other:?}"),
            }
        }
    }
    rows.sort();
    rows
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let mut out = Vec::new();
    crate::text::TextFormat::Json.append(&thalweg_schemas::batch::Batch::append(batch.clone()), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn rows_do_not_depend_on_the_number_of_workers() {
    for kind in ["telemetry", "agents"] {
        let open = || open_with(&[("kind", kind), ("rows", "30000"), ("seed", "7")], &[]);
        let alone = rows(open().as_ref(), 1);
        assert_eq!(alone.len(), 30_000);
        assert!(alone.iter().enumerate().all(|(i, (row, _))| *row == i as u64));
        for peers in [2, 3, 8] {
            assert_eq!(rows(open().as_ref(), peers), alone, "{kind} with {peers} workers");
        }
        let other_seed = rows(open_with(&[("kind", kind), ("rows", "30000"), ("seed", "8")], &[]).as_ref(), 1);
        assert_ne!(other_seed, alone);
    }
}

#[test]
fn event_times_follow_start_and_interval() {
    let source = open_with(&[("rows", "3"), ("start_time", "2026-03-01T00:00:00Z"), ("interval", "1s")], &["ts"]);
    let texts: Vec<String> = rows(source.as_ref(), 2).into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        texts,
        ["{\"ts\":\"2026-03-01T00:00:00\"}", "{\"ts\":\"2026-03-01T00:00:01\"}", "{\"ts\":\"2026-03-01T00:00:02\"}"]
    );
}

#[test]
fn only_wanted_columns_are_made_and_none_is_possible() {
    let source = open_with(&[("rows", "10")], &["service", "latency_ms"]);
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let Polled::Ready(chunk) = reader.poll(1).unwrap() else { panic!() };
    let Payload::Rows(batch) = chunk.payload else { panic!() };
    let schema = batch.schema();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["service", "latency_ms"]);

    let source = open_with(&[("rows", "10")], &["nothing"]);
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let Polled::Ready(chunk) = reader.poll(1).unwrap() else { panic!() };
    let Payload::Rows(batch) = chunk.payload else { panic!() };
    assert_eq!((batch.num_rows(), batch.num_columns()), (10, 0));
}

#[test]
fn a_pace_is_kept_and_slow_ones_need_one_worker() {
    let source = open_with(&[("rate", "1"), ("rows", "100")], &[]);
    let mut first = source.reader(WorkerId { index: 0, peers: 2 }).unwrap();
    let mut second = source.reader(WorkerId { index: 1, peers: 2 }).unwrap();
    let Polled::Ready(chunk) = first.poll(1).unwrap() else { panic!("the first row is due at once") };
    assert_eq!((chunk.start, chunk.end), (0, 1));
    assert!(matches!(first.poll(1).unwrap(), Polled::Pending));
    assert!(matches!(second.poll(1).unwrap(), Polled::Ended));
    assert!(source.bounded());
    assert_eq!(source.progress().unwrap().done, 1);
}

#[test]
fn a_fast_pace_is_dealt_to_all_workers_without_gaps() {
    let source = open_with(&[("rate", "1000000000"), ("rows", "50000")], &["ts"]);
    let mut seen = Vec::new();
    for index in 0..3 {
        let mut reader = source.reader(WorkerId { index, peers: 3 }).unwrap();
        loop {
            match reader.poll(1).unwrap() {
                Polled::Ready(chunk) => seen.extend(chunk.start..chunk.end),
                Polled::Pending => {}
                Polled::Ended => break,
                Polled::Fault(fault) => panic!("{fault:?}"),
            }
        }
    }
    seen.sort();
    assert!(seen.into_iter().eq(0..50_000));
}

#[test]
fn wishes_that_cannot_be_met_are_refused_with_what_was_written() {
    let refused = |given: &[(&str, &str)]| Wishes::read(&options(OPTIONS, given)).unwrap_err().message;
    assert_eq!(refused(&[("rate", "0")]), "option \"rate\" takes at least 1 row a second, not '0'");
    assert_eq!(refused(&[("keys", "0")]), "option \"keys\" takes 1 to 1000000, not '0'");
    assert_eq!(refused(&[("start_time", "noon")]), "option \"start_time\" takes a timestamp, not 'noon'");
}

#[test]
fn names_look_like_what_they_stand_for() {
    let all = rows(open_with(&[("rows", "20000"), ("keys", "5")], &["host", "status"]).as_ref(), 1);
    let hosts: std::collections::BTreeSet<_> = all.iter().map(|(_, text)| text.split('"').nth(3).unwrap()).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["host-000", "host-001", "host-002", "host-003", "host-004"]);
    assert!(all.iter().any(|(_, text)| text.contains("503")));
}

/// Reads `polls` chunks with `peers` readers that take turns, in the order that `turns` says; the spans and the rows.
fn read_partly(source: &dyn Source, peers: usize, turns: &[usize]) -> (Vec<Span>, Vec<(u64, String)>) {
    let mut readers: Vec<_> = (0..peers).map(|index| source.reader(WorkerId { index, peers }).unwrap()).collect();
    let (mut spans, mut rows) = (Vec::new(), Vec::new());
    for turn in turns {
        if let Polled::Ready(chunk) = readers[turn % peers].poll(1 << 20).unwrap() {
            spans.push(Span { partition: chunk.partition.name.clone(), start: chunk.start, end: chunk.end });
            let Payload::Rows(batch) = chunk.payload else { panic!() };
            rows.extend((chunk.start..chunk.end).zip(texts(&batch)));
        }
    }
    (spans, rows)
}

fn replayed(source: &dyn Source, spans: &[Span]) -> Vec<(u64, String)> {
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let mut rows = Vec::new();
    for span in spans {
        let mut left = span.clone();
        while left.start < left.end {
            let Polled::Ready(chunk) = reader.replay(&left, 1).unwrap() else { panic!() };
            assert_eq!((chunk.start, &chunk.partition.name), (left.start, &span.partition));
            let Payload::Rows(batch) = chunk.payload else { panic!() };
            rows.extend((chunk.start..chunk.end).zip(texts(&batch)));
            left.start = chunk.end;
        }
    }
    rows
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// However far each worker came and however many go on: every row once, and what is made again is the same.
    #[test]
    fn another_run_goes_on_without_gap_or_repetition(
        turns in proptest::collection::vec(0usize..4, 0..6),
        peers in 1usize..4,
        peers_then in 1usize..4,
        paced: bool,
    ) {
        let rate = [("rate", "1000000000"), ("rows", "40000"), ("interval", "1us")];
        let open = || if paced { open_with(&rate, &["ts", "host"]) } else { open_with(&rate[1..], &["ts", "host"]) };
        let (spans, mut seen) = read_partly(open().as_ref(), peers, &turns);
        let source = open();
        proptest::prop_assert!(source.replayable());
        source.resume(&spans).unwrap();
        proptest::prop_assert_eq!(source.progress().unwrap().done, seen.len() as u64);
        proptest::prop_assert_eq!(replayed(source.as_ref(), &spans), seen.clone());
        for index in 0..peers_then {
            let mut reader = source.reader(WorkerId { index, peers: peers_then }).unwrap();
            loop {
                match reader.poll(1).unwrap() {
                    Polled::Ready(chunk) => {
                        let Payload::Rows(batch) = chunk.payload else { panic!() };
                        seen.extend((chunk.start..chunk.end).zip(texts(&batch)));
                    }
                    Polled::Pending => {}
                    Polled::Ended => break,
                    Polled::Fault(fault) => panic!("{fault:?}"),
                }
            }
        }
        seen.sort();
        proptest::prop_assert!(seen.iter().map(|(row, _)| *row).eq(0..40_000));
        if !paced {
            proptest::prop_assert_eq!(seen, rows(open().as_ref(), 1));
        }
    }
}

#[test]
fn a_pace_by_the_clock_makes_up_for_the_time_it_was_down() {
    let hour_ago = source::now_ns() - 3_600_000_000_000;
    let source = open_with(&[("rate", "10")], &["ts"]);
    let partition: Arc<str> = format!("generator/0 from {hour_ago}").into();
    source.resume(&[Span { partition: partition.clone(), start: 0, end: 5 }]).unwrap();
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let Polled::Ready(chunk) = reader.poll(1).unwrap() else { panic!() };
    assert_eq!((chunk.partition.name, chunk.start), (partition, 5));
    assert!(chunk.end > 1_000, "an hour's rows are due, {} came", chunk.end);

    let given = [("rate", "10"), ("start_time", "2026-01-01T00:00:00Z")];
    let source = open_with(&given, &["ts"]);
    source.resume(&[Span { partition: "generator/0".into(), start: 0, end: 5 }]).unwrap();
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let Polled::Ready(chunk) = reader.poll(1).unwrap() else { panic!() };
    assert_eq!((chunk.start, chunk.end), (5, 6));
}
