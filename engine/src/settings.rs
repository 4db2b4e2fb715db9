//! What a run is told: plain, checked values.

use std::time::Duration;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Length of an epoch, above 0.
    pub tick: Duration,
    /// How many bytes of rows may be on their way to sinks before the sources are held back.
    pub sink_queue_bytes: usize,
    /// How many changes a subscriber may lag behind before it is cut off.
    pub subscriber_rows_max: usize,
    /// How long the changes of a view are kept for readers of an earlier epoch.
    pub retention: Duration,
    /// How many bytes of them a view keeps at most; beyond that the oldest go first, however young.
    pub retained_bytes_max: usize,
    /// How many late rows of a view and an epoch are kept (the counters are exact).
    pub late_rows_max: usize,
    /// How many bytes of dead letters are kept; late rows may take a quarter of that besides.
    pub dead_letters_max: u64,
    /// How many bytes of memory the process may take; `None`: as many as there are.
    pub memory_max: Option<u64>,
    /// How long after one checkpoint the next is begun, for runs that keep their state.
    pub checkpoint_interval: Duration,
    /// How many checkpoints are kept, at least 1: the older ones are for when the newest turns out damaged.
    pub checkpoints_kept: usize,
    /// Called first on each worker's thread: whoever runs the engine may give the thread its place among others.
    pub worker_started: fn(),
    /// Called on each thread that has done its part of a checkpoint: on the one that wrote it, on those of sinks when they have
    /// flushed, on workers when they next have nothing to do. Whoever runs the engine may let the allocator give back what
    /// the thread has freed.
    pub at_rest: fn(),
    /// Names the state that the run goes on from, for sinks that tell their writers apart by name.
    pub lineage: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workers: std::thread::available_parallelism().map_or(1, |n| n.get()),
            tick: Duration::from_millis(50),
            sink_queue_bytes: 64 << 20,
            subscriber_rows_max: 1 << 20,
            retention: Duration::from_secs(60),
            retained_bytes_max: 16 << 20,
            late_rows_max: 10_000,
            dead_letters_max: 1 << 30,
            memory_max: None,
            checkpoint_interval: Duration::from_secs(10),
            checkpoints_kept: 2,
            worker_started: || {},
            at_rest: || {},
            lineage: "thalweg".into(),
        }
    }
}

impl Settings {
    /// The length of an epoch in nanoseconds.
    pub(crate) fn tick_ns(&self) -> i64 {
        (self.tick.as_nanos() as i64).max(1)
    }

    /// How many epochs lie between two checkpoints.
    pub(crate) fn checkpoint_epochs(&self) -> u64 {
        (self.checkpoint_interval.as_nanos() as i64 / self.tick_ns()).max(1) as u64
    }

    /// For how many epochs changes are kept.
    pub(crate) fn retention_epochs(&self) -> u64 {
        (self.retention.as_nanos() as i64 / self.tick_ns()) as u64
    }
}
