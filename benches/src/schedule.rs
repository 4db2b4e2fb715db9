//! Times that are fixed before a measurement begins, and what is measured against them.
//!
//! Whoever asks the next question only after the last answer asks less when answers are slow, and so leaves out what is
//! slow (coordinated omission). Here every delay counts from when its turn was, whenever it was really begun.

use hdrhistogram::Histogram;
use std::fs::File;
use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Turns at equal distances.
#[derive(Clone, Copy)]
pub struct Schedule {
    start: Instant,
    every: Duration,
}

impl Schedule {
    /// Turns `every` so often, from now on.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
    pub fn from_now(every: Duration) -> Schedule {
        Schedule { start: Instant::now(), every }
    }

    /// When it is the turn of `n`.
    pub fn turn(&self, n: u64) -> Instant {
        self.start + Duration::from_nanos(self.every.as_nanos() as u64 * n)
    }

    /// How many turns have been.
    pub fn turns_until_now(&self) -> u64 {
        (self.start.elapsed().as_nanos() / self.every.as_nanos()) as u64
    }

    /// Waits until it is the turn of `n`; returns at once when that has passed.
    #[expect(clippy::disallowed_methods, reason = "a load keeps real time")]
    pub fn wait_for(&self, n: u64) {
        loop {
            let left = self.turn(n).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Nobody wakes this thread; it may wake by itself too early.
            std::thread::park_timeout(left);
        }
    }

    /// Writes a text at each turn, on a thread of its own.
    pub fn write(self, texts: Vec<String>, mut to: File) -> JoinHandle<io::Result<()>> {
        std::thread::spawn(move || {
            for (turn, text) in texts.iter().enumerate() {
                self.wait_for(turn as u64);
                to.write_all(text.as_bytes())?;
            }
            Ok(())
        })
    }

    /// How long ago the turn of `n` was.
    pub fn since(&self, n: u64) -> Duration {
        self.turn(n).elapsed()
    }
}

/// Delays, in microseconds.
pub struct Delays(Histogram<u64>);

impl Default for Delays {
    fn default() -> Delays {
        // From a microsecond to an hour, three digits.
        Delays(Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are in order"))
    }
}

impl Delays {
    /// Takes a delay down.
    pub fn record(&mut self, delay: Duration) {
        self.0.saturating_record(delay.as_micros() as u64);
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The delay that a share of `quantile` does not exceed, in milliseconds; of 1, the longest.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The figures.
    pub fn line(&self) -> String {
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| self.ms(quantile));
        format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_delays_are_told_as_they_were() {
        let mut delays = Delays::default();
        delays.record(Duration::from_millis(1));
        delays.record(Duration::from_secs(2));
        assert!(delays.line().starts_with("p50 1.00 ms") && delays.line().contains("max 200"), "{}", delays.line());
    }

    #[test]
    fn turns_do_not_wait_for_anybody() {
        let schedule = Schedule::from_now(Duration::from_millis(1));
        assert_eq!(schedule.turn(1_000) - schedule.turn(0), Duration::from_secs(1));
    }
}
