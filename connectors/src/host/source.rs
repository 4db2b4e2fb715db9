//! Readings at a steady pace, on one worker: there is only one machine.

use super::fields;
use super::readings::{Machine, Reading};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source};

/// When to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    pub interval: Duration,
    /// How long after the beginning the first reading is: the use of a processor is known from two.
    pub first: Duration,
}

/// The source.
pub(super) struct Host {
    tick: Tick,
    top: usize,
    schema: SchemaRef,
}

impl Host {
    pub(super) fn new(tick: Tick, top: usize, columns: Vec<String>) -> Host {
        let fields = fields().into_iter().filter(|(name, ..)| columns.iter().any(|c| c == name));
        let fields = fields.map(|(name, data_type, nullable)| Field::new(name, data_type, nullable));
        Host { tick, top, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }
    }
}

impl Source for Host {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        if worker.index > 0 {
            return Ok(Box::new(Nobody));
        }
        let name = sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_string());
        let partition = Partition { index: 0, name: name.as_str().into() };
        let schema = self.schema.clone();
        Ok(Box::new(Observer { tick: self.tick, top: self.top, schema, name, partition, state: None, rows: 0 }))
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// The share of the other workers: nothing.
struct Nobody;

impl Reader for Nobody {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }
}

struct Observer {
    tick: Tick,
    top: usize,
    schema: SchemaRef,
    name: String,
    partition: Partition,
    /// The machine, and when to read it next; nothing before the first poll.
    state: Option<(Machine, Instant)>,
    rows: u64,
}

impl Reader for Observer {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        #[expect(clippy::disallowed_methods, reason = "a machine is read in real time")]
        let (now, time) = (Instant::now(), SystemTime::now());
        let Some((machine, next)) = &mut self.state else {
            self.state = Some((Machine::open(self.top)?, now + self.tick.first));
            return Ok(Polled::Pending);
        };
        if now < *next {
            return Ok(Polled::Pending);
        }
        // After a pause (a laptop that slept) the pace is taken up again; what was missed is not made up for.
        *next = (*next + self.tick.interval).max(now + self.tick.interval / 2);
        let readings = machine.read();
        let ts = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        let rows = self.rows(&readings, ts)?;
        let start = self.rows;
        self.rows += readings.len() as u64;
        let (partition, end) = (self.partition.clone(), self.rows);
        Ok(Polled::Ready(Chunk { partition, start, end, header: None, payload: Payload::Rows(rows) }))
    }
}

impl Observer {
    fn rows(&self, readings: &[Reading], ts: i64) -> Result<RecordBatch> {
        let text = |of: &dyn Fn(&Reading) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(readings.iter().map(of)))
        };
        let columns = self.schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "ts" => Arc::new(TimestampNanosecondArray::from(vec![ts; readings.len()])),
                "host" => text(&|_| Some(self.name.clone())),
                "metric" => text(&|r| Some(r.metric.to_string())),
                "label" => text(&|r| r.label.clone()),
                "pid" => Arc::new(Int64Array::from_iter(readings.iter().map(|r| r.pid))),
                "value" => Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value))),
                _ => text(&|r| Some(r.unit.to_string())),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(readings.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options)?)
    }
}
