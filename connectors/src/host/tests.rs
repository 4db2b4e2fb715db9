//! The `host` source on the machine that the tests run on: whatever it is, some things hold.

use super::*;
use crate::tests::options;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Payload, Polled, Reader};

/// The first `count` readings, without waiting between them.
fn read(reader: &mut dyn Reader, count: usize) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while batches.len() < count {
        match reader.poll(1).unwrap() {
            Polled::Ready(chunk) => {
                let Payload::Rows(batch) = chunk.payload else { panic!("rows were expected") };
                assert_eq!(chunk.end - chunk.start, batch.num_rows() as u64);
                batches.push(batch);
            }
            Polled::Pending => {}
            other => panic!("{other:?}"),
        }
    }
    batches
}

fn host(top: usize, columns: &[&str]) -> Host {
    let tick = Tick { interval: Duration::ZERO, first: Duration::ZERO };
    Host::new(tick, top, columns.iter().map(|c| c.to_string()).collect())
}

fn values(batch: &RecordBatch, metric: &str) -> Vec<f64> {
    let metrics = batch.column_by_name("metric").unwrap().as_string::<i32>();
    let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
    (0..batch.num_rows()).filter(|row| metrics.value(*row) == metric).map(|row| values.value(row)).collect()
}

#[test]
fn every_reading_has_the_metrics_that_every_machine_has() {
    let host = host(3, &fields().map(|(name, ..)| name));
    let mut reader = host.reader(WorkerId { index: 0, peers: 2 }).unwrap();
    for batch in read(reader.as_mut(), 2) {
        for metric in
            ["cpu_total", "load1", "load5", "load15", "memory_used", "memory_available", "swap_used", "uptime"]
        {
            assert_eq!(values(&batch, metric).len(), 1, "{metric}");
        }
        assert!(!values(&batch, "cpu_usage").is_empty());
        assert!(values(&batch, "cpu_total").iter().all(|v| (0.0..=100.0).contains(v)));
        assert!(values(&batch, "memory_used")[0] <= values(&batch, "memory_total")[0]);
        assert_eq!(values(&batch, "net_rx_bytes").len(), values(&batch, "net_tx_bytes").len());
        let processes = values(&batch, "process_cpu");
        assert!((1..=3).contains(&processes.len()) && processes.is_sorted_by(|a, b| a >= b), "{processes:?}");
        let pids = batch.column_by_name("pid").unwrap().as_primitive::<Int64Type>();
        assert_eq!(pids.len() - pids.null_count(), 2 * processes.len());
        assert_eq!(batch.column_by_name("ts").unwrap().null_count(), 0);
        assert_eq!(batch.column_by_name("unit").unwrap().null_count(), 0);
    }
}

#[test]
fn only_wanted_columns_come() {
    let host = host(0, &["value", "metric"]);
    let mut reader = host.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let batch = read(reader.as_mut(), 1).remove(0);
    let schema = batch.schema();
    assert_eq!(schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["metric", "value"]);
    assert!(values(&batch, "process_cpu").is_empty());
}

#[test]
fn one_worker_reads_and_the_others_have_ended() {
    let host = host(1, &["ts"]);
    assert!(!host.bounded());
    let mut other = host.reader(WorkerId { index: 1, peers: 2 }).unwrap();
    assert!(matches!(other.poll(1).unwrap(), Polled::Ended));
}

#[test]
fn readings_wait_for_their_time() {
    let tick = Tick { interval: Duration::from_secs(3_600), first: Duration::ZERO };
    let host = Host::new(tick, 1, vec!["ts".into()]);
    let mut reader = host.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    assert_eq!(read(reader.as_mut(), 1).len(), 1);
    assert!(matches!(reader.poll(1).unwrap(), Polled::Pending));
}

#[test]
fn an_interval_that_is_too_short_is_refused() {
    let open_with = |interval: &str| {
        let fields: Vec<Field> = fields().map(|(name, data_type, null)| Field::new(name, data_type, null)).into();
        let options = options(OPTIONS, &[("interval", interval)]);
        let wanted = vec![true; fields.len()];
        open(SourceRequest {
            name: "h".into(),
            options,
            format: None,
            format_options: Options::default(),
            fields: Arc::new(Schema::new(fields)),
            wanted,
            key: Vec::new(),
            metadata: Vec::new(),
        })
    };
    assert!(open_with("1s").is_ok());
    assert_eq!(open_with("1ms").err().unwrap().message, "option \"interval\" takes at least 200ms, not '1ms'");
}
