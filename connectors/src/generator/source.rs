//! The rows in blocks, dealt out to the workers: row `i` depends on the seed and `i` alone.
//!
//! At full speed worker `w` of `n` takes the blocks `w, w + n, ..`. At a pace the rows are dealt in smaller stripes, so
//! that all workers are always at about the same event time; a slow pace needs only one worker.

use super::agents::Agents;
use super::telemetry::Telemetry;
use super::{Kind, Wishes};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Progress, Reader, Source};

/// Rows that are made at once.
pub(super) const BLOCK_ROWS: u64 = 8_192;
/// Below this pace one worker makes all rows.
const ONE_WORKER_RATE_MAX: u64 = 10_000;

/// Makes the columns of a block besides the event time.
pub(super) trait Blocks: Send + Sync {
    /// The values of `column` in block `block`, `BLOCK_ROWS` of them.
    fn column(&self, block: u64, column: &str) -> Option<ArrayRef>;
}

/// The source.
pub(super) struct Generator {
    shared: Arc<Shared>,
}

struct Shared {
    wishes: Wishes,
    schema: SchemaRef,
    blocks: Box<dyn Blocks>,
    begun: OnceLock<Begun>,
    done: AtomicU64,
}

/// When reading began, by both clocks.
struct Begun {
    at: Instant,
    start_ns: i64,
}

impl Generator {
    pub(super) fn new(wishes: Wishes, columns: Vec<String>) -> Generator {
        let fields: Vec<Field> = wishes
            .kind
            .fields()
            .into_iter()
            .filter(|(name, ..)| columns.iter().any(|c| c == name))
            .map(|(name, data_type, nullable)| Field::new(name, data_type, nullable))
            .collect();
        let blocks: Box<dyn Blocks> = match wishes.kind {
            Kind::Telemetry => Box::new(Telemetry::new(wishes.seed, wishes.keys)),
            Kind::Agents => Box::new(Agents::new(wishes.seed, wishes.keys)),
        };
        let schema = Arc::new(Schema::new(fields));
        Generator {
            shared: Arc::new(Shared { wishes, schema, blocks, begun: OnceLock::new(), done: AtomicU64::new(0) }),
        }
    }
}

impl Source for Generator {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let (stripe, peers) = match self.shared.wishes.rate {
            None => (BLOCK_ROWS, worker.peers),
            Some(rate) if rate < ONE_WORKER_RATE_MAX => (BLOCK_ROWS, 1),
            Some(rate) => ((rate / 100).min(BLOCK_ROWS), worker.peers),
        };
        let partition = Partition { index: worker.index as u32, name: format!("generator/{}", worker.index).into() };
        let next = if worker.index < peers { worker.index as u64 * stripe } else { u64::MAX };
        Ok(Box::new(Stripes { shared: self.shared.clone(), partition, stripe, peers: peers as u64, next, block: None }))
    }

    fn bounded(&self) -> bool {
        self.shared.wishes.rows.is_some()
    }

    fn progress(&self) -> Option<Progress> {
        let done = self.shared.done.load(Ordering::Relaxed);
        self.shared.wishes.rows.map(|total| Progress { done, total })
    }
}

struct Stripes {
    shared: Arc<Shared>,
    partition: Partition,
    stripe: u64,
    peers: u64,
    /// The next row of this worker.
    next: u64,
    /// The block made last, as a pace may take it in small parts.
    block: Option<(u64, RecordBatch)>,
}

impl Reader for Stripes {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let rows = self.shared.wishes.rows.unwrap_or(u64::MAX);
        if self.next >= rows {
            return Ok(Polled::Ended);
        }
        let stripe_end = (self.next / self.stripe + 1) * self.stripe;
        let block_end = (self.next / BLOCK_ROWS + 1) * BLOCK_ROWS;
        let end = stripe_end.min(block_end).min(self.shared.due()).min(rows);
        if end <= self.next {
            return Ok(Polled::Pending);
        }
        let start = self.next;
        let batch = self.block(start / BLOCK_ROWS)?.slice((start % BLOCK_ROWS) as usize, (end - start) as usize);
        self.next = if end == stripe_end { end + (self.peers - 1) * self.stripe } else { end };
        self.shared.done.fetch_add(end - start, Ordering::Relaxed);
        let partition = self.partition.clone();
        Ok(Polled::Ready(Chunk { partition, start, end, header: None, payload: Payload::Rows(batch) }))
    }
}

impl Stripes {
    fn block(&mut self, block: u64) -> Result<RecordBatch> {
        if let Some((number, batch)) = &self.block
            && *number == block
        {
            return Ok(batch.clone());
        }
        let batch = self.shared.make(block)?;
        self.block = Some((block, batch.clone()));
        Ok(batch)
    }
}

impl Shared {
    fn begun(&self) -> &Begun {
        self.begun.get_or_init(|| {
            #[expect(clippy::disallowed_methods, reason = "a pace is measured against the real clock")]
            let (at, now) = (Instant::now(), SystemTime::now());
            let now_ns = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
            Begun { at, start_ns: self.wishes.start_ns.unwrap_or(now_ns) }
        })
    }

    /// How many rows may have been handed over by now.
    fn due(&self) -> u64 {
        match self.wishes.rate {
            None => u64::MAX,
            Some(rate) => (self.begun().at.elapsed().as_secs_f64() * rate as f64) as u64 + 1,
        }
    }

    fn make(&self, block: u64) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            "ts" => self.event_times(block),
            name => self.blocks.column(block, name).expect("the schema names only columns of this kind"),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(BLOCK_ROWS as usize));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options)?)
    }

    fn event_times(&self, block: u64) -> ArrayRef {
        let first = (block * BLOCK_ROWS) as i64;
        let (start, interval) = (self.begun().start_ns, self.wishes.interval_ns);
        let times = (first..first + BLOCK_ROWS as i64).map(|row| start.wrapping_add(row.wrapping_mul(interval)));
        Arc::new(TimestampNanosecondArray::from_iter_values(times))
    }
}
