//! The rows in blocks, dealt out to the workers: row `i` depends on the seed and `i` alone.
//!
//! At full speed worker `w` of `n` takes the blocks `w, w + n, ..`. At a pace the rows are dealt in smaller stripes, so
//! that all workers are always at about the same event time; a slow pace needs only one worker.

use super::agents::Agents;
use super::nexmark::Nexmark;
use super::telemetry::Telemetry;
use super::{Kind, Wishes};
use crate::stretches::Stretches;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Progress, Reader, Source, Span};

/// Rows that are made at once.
pub(super) const BLOCK_ROWS: u64 = 8_192;
/// Below this pace one worker makes all rows.
const ONE_WORKER_RATE_MAX: u64 = 10_000;

/// Makes the columns of a block besides the event time.
pub(super) trait Blocks: Send + Sync {
    /// Those of its columns that are `wanted` in block `block`, each of `BLOCK_ROWS` values.
    fn columns(&self, block: u64, wanted: &[&str]) -> Vec<ArrayRef>;
}

/// The source.
pub(super) struct Generator {
    shared: Arc<Shared>,
}

struct Shared {
    wishes: Wishes,
    schema: SchemaRef,
    blocks: OnceLock<Box<dyn Blocks>>,
    begun: OnceLock<Begun>,
    /// The rows that an earlier run has handed over.
    resumed: OnceLock<Stretches>,
    done: AtomicU64,
}

/// When reading began.
struct Begun {
    at: Instant,
    /// Rows that were due then already.
    due: f64,
    /// Event time of the first row.
    start_ns: i64,
}

/// What comes between a partition's number and the event time of the first row.
const FROM: &str = " from ";

impl Generator {
    pub(super) fn new(wishes: Wishes, columns: Vec<String>) -> Generator {
        let fields: Vec<Field> = wishes
            .kind
            .fields()
            .into_iter()
            .filter(|(name, ..)| columns.iter().any(|c| c == name))
            .map(|(name, data_type, nullable)| Field::new(name, data_type, nullable))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let (blocks, begun, resumed, done) = (OnceLock::new(), OnceLock::new(), OnceLock::new(), AtomicU64::new(0));
        Generator { shared: Arc::new(Shared { wishes, schema, blocks, begun, resumed, done }) }
    }
}

impl Source for Generator {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let (stripe, peers) = match self.shared.wishes.rate {
            None => (BLOCK_ROWS, worker.peers),
            Some(rate) if rate < ONE_WORKER_RATE_MAX => (BLOCK_ROWS, 1),
            Some(rate) => ((rate / 100).min(BLOCK_ROWS), worker.peers),
        };
        let mut name = format!("generator/{}", worker.index);
        if self.shared.wishes.start_ns.is_none() {
            name.push_str(&format!("{FROM}{}", self.shared.begun().start_ns));
        }
        let partition = Partition { index: worker.index as u32, name: name.into() };
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

    fn replayable(&self) -> bool {
        true
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        let resumed = Stretches::of(done.iter().map(|span| span.start..span.end));
        if let Some(first) = done.first() {
            self.shared.begin(self.shared.start_of(&first.partition)?, resumed.total());
        }
        self.shared.done.store(resumed.total(), Ordering::Relaxed);
        self.shared.resumed.set(resumed).map_err(|_| Error::bug("a source is resumed once"))
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
        loop {
            if self.next >= rows {
                return Ok(Polled::Ended);
            }
            let start = self.next;
            let stripe_end = (start / self.stripe + 1) * self.stripe;
            let block_end = (start / BLOCK_ROWS + 1) * BLOCK_ROWS;
            let after = |end| if end == stripe_end { end + (self.peers - 1) * self.stripe } else { end };
            let all = start..stripe_end.min(block_end).min(rows);
            let gap = match self.shared.resumed.get() {
                Some(resumed) => resumed.first_gap(all.clone()),
                None => Some(all.clone()),
            };
            let Some(gap) = gap else {
                self.next = after(all.end);
                continue;
            };
            let end = gap.end.min(self.shared.due());
            if end <= gap.start {
                return Ok(Polled::Pending);
            }
            self.next = after(end);
            self.shared.done.fetch_add(end - gap.start, Ordering::Relaxed);
            return self.ready(self.partition.clone(), gap.start, end);
        }
    }

    fn replay(&mut self, span: &Span, _budget: usize) -> Result<Polled> {
        let start_ns = self.shared.start_of(&span.partition)?;
        if self.shared.begun().start_ns != start_ns {
            return Err(Error::bug(format!("{} is not a partition of this run", span.partition)));
        }
        let number = span.partition.split([' ', '/']).nth(1).and_then(|number| number.parse().ok());
        let partition = Partition { index: number.unwrap_or_default(), name: span.partition.clone() };
        let block_end = (span.start / BLOCK_ROWS + 1) * BLOCK_ROWS;
        self.ready(partition, span.start, span.end.min(block_end))
    }
}

impl Stripes {
    /// The rows from `start` to before `end`, which are of one block.
    fn ready(&mut self, partition: Partition, start: u64, end: u64) -> Result<Polled> {
        let batch = self.block(start / BLOCK_ROWS)?.slice((start % BLOCK_ROWS) as usize, (end - start) as usize);
        Ok(Polled::Ready(Chunk { partition, start, end, header: None, payload: Payload::Rows(batch) }))
    }

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
        self.begun.get_or_init(|| Begun { at: now(), due: 1.0, start_ns: self.wishes.start_ns.unwrap_or_else(now_ns) })
    }

    /// Goes on with a run whose first row had event time `start_ns`, and of which `done` rows were handed over.
    fn begin(&self, start_ns: i64, done: u64) {
        // Where event time is the clock's, what was due meanwhile is made up for; otherwise it goes on from there.
        let due = match (self.wishes.start_ns, self.wishes.rate) {
            (None, Some(rate)) => now_ns().saturating_sub(start_ns) as f64 / 1e9 * rate as f64 + 1.0,
            _ => done as f64 + 1.0,
        };
        self.begun.get_or_init(|| Begun { at: now(), due: due.max(done as f64), start_ns });
    }

    /// The event time of the first row, in the run that named a partition so.
    fn start_of(&self, partition: &str) -> Result<i64> {
        match self.wishes.start_ns {
            Some(start_ns) => Ok(start_ns),
            None => partition.split_once(FROM).and_then(|(_, start)| start.parse().ok()).ok_or_else(|| {
                Error::outside(format!("partition '{partition}' does not say when the generator began"))
                    .with_detail("It was read with another \"start_time\" or \"rate\".")
            }),
        }
    }

    /// How many rows may have been handed over by now.
    fn due(&self) -> u64 {
        match self.wishes.rate {
            None => u64::MAX,
            Some(rate) => {
                let begun = self.begun();
                (begun.at.elapsed().as_secs_f64() * rate as f64 + begun.due) as u64
            }
        }
    }

    /// What makes the columns, once it is known when event time begins.
    fn blocks(&self) -> &dyn Blocks {
        let Wishes { kind, seed, keys, interval_ns, .. } = self.wishes;
        let make = || -> Box<dyn Blocks> {
            match kind {
                Kind::Telemetry => Box::new(Telemetry::new(seed, keys)),
                Kind::Agents => Box::new(Agents::new(seed, keys)),
                Kind::Nexmark => Box::new(Nexmark::new(seed, self.begun().start_ns, interval_ns)),
            }
        };
        self.blocks.get_or_init(make).as_ref()
    }

    fn make(&self, block: u64) -> Result<RecordBatch> {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let time = names.iter().position(|name| *name == self.wishes.kind.time());
        let others: Vec<&str> = names.iter().copied().filter(|name| *name != self.wishes.kind.time()).collect();
        let mut columns = self.blocks().columns(block, &others);
        if let Some(position) = time {
            columns.insert(position, self.event_times(block));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(BLOCK_ROWS as usize));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn event_times(&self, block: u64) -> ArrayRef {
        let first = (block * BLOCK_ROWS) as i64;
        let (start, interval) = (self.begun().start_ns, self.wishes.interval_ns);
        let times = (first..first + BLOCK_ROWS as i64).map(|row| start.wrapping_add(row.wrapping_mul(interval)));
        Arc::new(TimestampNanosecondArray::from_iter_values(times))
    }
}

#[expect(clippy::disallowed_methods, reason = "a pace is measured against the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "event time begins now by the real clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}
