//! What the engine says about itself: the facts behind the system tables and `/metrics`.

use std::fmt;
use std::time::Duration;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::questions::CacheCounts;
use thalweg_schemas::source::{Progress, Refreshes};

/// A look at a running engine.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The last epoch that is complete on all workers.
    pub epoch: Epoch,
    /// Its beginning, in nanoseconds since 1970.
    pub epoch_start_ns: i64,
    /// Worker threads.
    pub workers: usize,
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// Watermarks by source and partition (as each worker reads it).
    pub watermarks: Vec<WatermarkStatus>,
    /// The views.
    pub views: Vec<ViewStatus>,
    /// The sinks.
    pub sinks: Vec<SinkStatus>,
    /// The operators of all views, one entry for each worker.
    pub operators: Vec<OperatorStatus>,
    /// How long rows took, by what is measured.
    pub latencies: Vec<LatencyStatus>,
    /// The checkpoints: one entry, none where the run keeps no state.
    pub checkpoints: Vec<CheckpointStatus>,
    /// The dead letters.
    pub dead_letters: ArchiveStatus,
    /// The memory.
    pub memory: MemoryStatus,
}

/// One source, over all workers. At any complete epoch `rows_in = rows_out + dead`.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Records taken in, right or wrong.
    pub rows_in: u64,
    /// Rows handed to the dataflow.
    pub rows_out: u64,
    /// Records kept as dead letters.
    pub dead: u64,
    /// Bytes taken in.
    pub bytes: u64,
    /// Dead letters that were taken in again; they count in `rows_in` once more.
    pub replayed: u64,
    /// Whether it has ended.
    pub ended: bool,
    /// How far it has come.
    pub progress: Option<Progress>,
    /// The watermark over all partitions.
    pub watermark: Option<Watermark>,
    /// How reading it again and again has gone, where it is a table outside.
    pub refreshes: Option<Refreshes>,
    /// How often rows found an answer, where it is asked for the rows of keys.
    pub cache: Option<CacheCounts>,
    /// The last thing that went wrong with it.
    pub last_error: Option<String>,
}

/// One partition's watermark.
#[derive(Clone, Debug)]
pub struct WatermarkStatus {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// The worker that reads it.
    pub worker: usize,
    /// Its watermark.
    pub watermark: Watermark,
    /// Whether it is left out because nothing has come for long.
    pub idle: bool,
}

/// One view, over all workers.
#[derive(Clone, Debug, Default)]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes its published rows take.
    pub bytes: u64,
    /// Rows that came after their window had closed.
    pub late: u64,
    /// Rows that could not be computed.
    pub dead: u64,
    /// The last complete epoch.
    pub epoch: Epoch,
}

/// One sink, over all workers.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Rows handed to its writers and accepted.
    pub rows: u64,
    /// Bytes waiting for its writers.
    pub queued_bytes: u64,
    /// Calls that were tried again.
    pub retries: u64,
    /// The last thing that went wrong with it.
    pub last_error: Option<String>,
}

/// One operator on one worker.
#[derive(Clone, Debug, Default)]
pub struct OperatorStatus {
    /// The view (or sink) it works for.
    pub view: String,
    /// Its name, as `explain` prints it.
    pub operator: String,
    /// The worker.
    pub worker: usize,
    /// Rows it was handed.
    pub rows_in: u64,
    /// Rows it sent.
    pub rows_out: u64,
    /// Rows or groups it holds.
    pub state_rows: u64,
    /// Bytes it holds.
    pub state_bytes: u64,
    /// Rows or groups it has forgotten since the run began, because they were silent or too many.
    pub evicted: u64,
    /// Time spent in it, in nanoseconds.
    pub busy_ns: u64,
    /// The keys that most of its rows are of, with their shares, estimated; `None` where none stands out.
    pub hottest_keys: Option<String>,
}

/// What a run goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The epoch of the checkpoint and when it was taken, in nanoseconds since 1970; `None`: there is none yet.
    pub checkpoint: Option<(u64, i64)>,
    /// How many epochs of the log come after it.
    pub epochs: usize,
    /// The length of the time that they span.
    pub span: Duration,
    /// How far the end of the log lies behind the clock.
    pub behind: Duration,
    /// Up to when each source was read: when its last row came in, in nanoseconds since 1970, as of the checkpoint.
    pub sources: Vec<(String, Option<i64>)>,
}

impl fmt::Display for RecoveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.checkpoint {
            Some((epoch, at)) => write!(f, "going on from the checkpoint of epoch {epoch} ({})", Watermark(at))?,
            None => write!(f, "going on from the beginning, for want of a checkpoint")?,
        }
        let seconds = |time: Duration| time.as_millis() as f64 / 1e3;
        let (epochs, span, behind) = (self.epochs, seconds(self.span), seconds(self.behind));
        write!(f, " and {epochs} epochs of the log after it, which span {span} s; {behind} s behind the clock")?;
        for (source, last_row) in &self.sources {
            if let Some(last_row) = last_row {
                write!(f, "; source \"{source}\": last row of the checkpoint at {}", Watermark(*last_row))?;
            }
        }
        Ok(())
    }
}

/// The checkpoints of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// How many were written.
    pub written: u64,
    /// The epoch of the last one.
    pub epoch: u64,
    /// Bytes that the last one wrote.
    pub bytes: u64,
    /// Bytes of the state that the last one names.
    pub state_bytes: u64,
    /// How many could not be written.
    pub failed: u64,
}

/// A distribution of durations.
#[derive(Clone, Debug, Default)]
pub struct LatencyStatus {
    /// What is measured.
    pub name: String,
    /// How many were measured.
    pub count: u64,
    /// Quantiles in nanoseconds: 50, 90, 99 %, and the largest.
    pub p50_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// The largest.
    pub max_ns: u64,
}

/// A record or row that is not part of any result, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it for as long as it is kept.
    pub id: String,
    /// When its epoch began, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The source, the view whose expression failed, or the sink whose outside refused the row.
    pub origin: String,
    /// The partition, where it has one.
    pub partition: String,
    /// The offset, where it has one.
    pub offset: Option<u64>,
    /// Why.
    pub reason: String,
    /// How often it was taken in.
    pub attempts: u32,
    /// The bytes as they came.
    pub raw: Vec<u8>,
}

/// How many dead letters of one kind there were, whether they are kept or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectCount {
    /// The source, view or sink.
    pub origin: String,
    /// The reason, without quoted values and numbers.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The archive of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// How many there were, by origin and kind of reason.
    pub counts: Vec<RejectCount>,
    /// The bytes that those take that are kept.
    pub bytes: u64,
    /// How many bytes they may take.
    pub bytes_max: u64,
    /// How many were removed for want of room, by origin.
    pub removed: Vec<(String, u64)>,
}

/// The memory of a run, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// What it may take; `None`: there is no budget.
    pub budget: Option<u64>,
    /// What the process takes of the machine's memory; 0 where the system does not say.
    pub resident: u64,
    /// The state of operators.
    pub operators: u64,
    /// The published rows of views.
    pub views: u64,
    /// Rows on their way through the dataflow, to sinks and to archives.
    pub queues: u64,
    /// How often the sources were held back.
    pub holds: u64,
    /// Why they are held back now, if they are.
    pub held: Option<String>,
}

/// What became of dead letters that were sent back to their source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many were taken in again.
    pub replayed: u64,
    /// How many of them are dead letters again.
    pub dead: u64,
    /// How many were left: rows of views and sinks, records that were too long to be kept whole, and those that the
    /// source may still read by itself.
    pub left: u64,
}

/// A row that came after its window had closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateRow {
    /// When its epoch began, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The view that could not count it.
    pub view: String,
    /// The row as a JSON object.
    pub row: String,
}
