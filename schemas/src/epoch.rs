//! Time as the engine counts it: epochs (ticks of the engine's one clock) and event time (what the rows say).

use std::fmt;

/// A tick of the engine's clock: the unit of consistency, of durability and of batching.
///
/// Epoch `e` begins at `e` times the tick length after the start of the run. Nothing inside a dataflow asks the
/// operating system for the time: processing time *is* the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A promise about event time: no row with an event time below it is expected any more.
///
/// Nanoseconds since 1970-01-01T00:00:00Z. A row that breaks the promise is *late*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is promised yet.
    pub const MIN: Watermark = Watermark(i64::MIN);
    /// The input has ended: every window may close.
    pub const MAX: Watermark = Watermark(i64::MAX);

    /// The promise made weaker by `delay_ns`; [`MIN`](Self::MIN) and [`MAX`](Self::MAX) stay what they are.
    pub fn delayed(self, delay_ns: i64) -> Watermark {
        match self {
            Watermark::MIN | Watermark::MAX => self,
            Watermark(ns) => Watermark(ns.saturating_sub(delay_ns)),
        }
    }

    /// Whether a window that ends at `end_ns` (exclusive) can get no more rows.
    pub fn closes(self, end_ns: i64) -> bool {
        self == Watermark::MAX || end_ns <= self.0
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Watermark::MIN => f.write_str("-"),
            Watermark::MAX => f.write_str("end"),
            Watermark(ns) => match arrow::temporal_conversions::timestamp_ns_to_datetime(ns) {
                Some(at) => write!(f, "{}", at.format("%Y-%m-%d %H:%M:%S%.3f")),
                None => write!(f, "{ns} ns"),
            },
        }
    }
}

/// One of the workers that run a dataflow, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId {
    /// From 0 to `peers - 1`.
    pub index: usize,
    /// At least 1; the same for every worker of a run.
    pub peers: usize,
}
