//! When a receiver may be called: not more often than it is said to bear, not while it asked to be left alone, and not
//! again and again while it is down.

use crate::notification::Outcome;
use crate::time::SECOND;

/// After so many failures in a row a receiver is taken to be down.
const FAILURES_MAX: u32 = 5;
/// It is then asked again with a single call, after pauses that double up to this.
const PAUSE_MAX_NS: i64 = 60 * SECOND;

/// The gate of one receiver, in the time that it is told.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Calls at the same time.
    concurrency: usize,
    /// Nanoseconds between calls; 0: none.
    spacing_ns: i64,
    calling: usize,
    failures: u32,
    /// Whether the call that is going on is the one that finds out whether the receiver is back.
    probing: bool,
    not_before_ns: i64,
    next_ns: i64,
}

impl Gate {
    /// `rate` calls a second at most; 0: any number.
    pub fn new(concurrency: usize, rate: u64) -> Gate {
        let spacing_ns = if rate == 0 { 0 } else { SECOND / rate.min(SECOND as u64) as i64 };
        let concurrency = concurrency.max(1);
        Gate { concurrency, spacing_ns, calling: 0, failures: 0, probing: false, not_before_ns: 0, next_ns: 0 }
    }

    /// When a call may begin, as far as that depends on time; `None` while those that are made must end first.
    pub fn opens_at_ns(&self) -> Option<i64> {
        let most = if self.is_down() { 1 } else { self.concurrency };
        (self.calling < most).then_some(self.not_before_ns.max(self.next_ns))
    }

    /// Whether no call is going on.
    pub fn is_idle(&self) -> bool {
        self.calling == 0
    }

    fn is_down(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// A call begins.
    pub fn begin(&mut self, now_ns: i64) {
        self.calling += 1;
        self.probing = self.is_down();
        self.next_ns = self.next_ns.max(now_ns).saturating_add(self.spacing_ns);
    }

    /// A call has ended.
    pub fn end(&mut self, now_ns: i64, outcome: &Outcome) {
        self.calling = self.calling.saturating_sub(1);
        match outcome {
            Outcome::Delivered { .. } | Outcome::Refused { .. } => self.failures = 0,
            Outcome::Failed { pause_ns: Some(pause_ns), .. } => {
                self.not_before_ns = self.not_before_ns.max(now_ns.saturating_add((*pause_ns).min(3_600 * SECOND)));
            }
            // It is there, and is too busy.
            Outcome::Failed { http_status: Some(429), .. } => {}
            // Of calls that had begun when it was found to be down it says nothing that they fail too.
            Outcome::Failed { .. } if self.is_down() && !self.probing => {}
            Outcome::Failed { .. } => {
                self.failures = self.failures.saturating_add(1);
                if self.is_down() {
                    let doubled = SECOND << (self.failures - FAILURES_MAX).min(6);
                    self.not_before_ns = self.not_before_ns.max(now_ns.saturating_add(doubled.min(PAUSE_MAX_NS)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(http_status: Option<u16>, pause_ns: Option<i64>) -> Outcome {
        Outcome::Failed { http_status, error: String::new(), pause_ns, ambiguous: false }
    }

    #[test]
    fn so_many_calls_at_once_and_in_a_second() {
        let mut gate = Gate::new(2, 4);
        gate.begin(SECOND);
        assert_eq!(gate.opens_at_ns(), Some(SECOND + SECOND / 4));
        gate.begin(2 * SECOND);
        assert_eq!(gate.opens_at_ns(), None);
        gate.end(2 * SECOND, &Outcome::Delivered { http_status: 200 });
        assert_eq!(gate.opens_at_ns(), Some(2 * SECOND + SECOND / 4));
        assert_eq!(Gate::new(0, 0).opens_at_ns(), Some(0));
    }

    #[test]
    fn who_is_down_is_asked_by_single_calls_with_growing_pauses() {
        let mut gate = Gate::new(4, 0);
        for _ in 0..5 {
            gate.begin(0);
            gate.end(0, &failed(None, None));
        }
        assert_eq!(gate.opens_at_ns(), Some(SECOND));
        gate.begin(SECOND);
        assert_eq!(gate.opens_at_ns(), None, "one call finds out");
        gate.end(SECOND, &failed(Some(503), None));
        assert_eq!(gate.opens_at_ns(), Some(3 * SECOND));
        for _ in 0..20 {
            gate.begin(3 * SECOND);
            gate.end(3 * SECOND, &failed(None, None));
        }
        assert_eq!(gate.opens_at_ns(), Some(63 * SECOND));
        gate.begin(63 * SECOND);
        gate.end(63 * SECOND, &Outcome::Delivered { http_status: 200 });
        gate.begin(63 * SECOND);
        assert_eq!(gate.opens_at_ns(), Some(63 * SECOND), "it is there again");
    }

    #[test]
    fn many_calls_that_fail_together_say_once_that_it_is_down() {
        let mut gate = Gate::new(64, 0);
        (0..64).for_each(|_| gate.begin(0));
        (0..64).for_each(|_| gate.end(0, &failed(None, None)));
        assert_eq!(gate.opens_at_ns(), Some(SECOND), "the first pause is short, whatever the concurrency");
        gate.begin(SECOND);
        gate.end(SECOND, &failed(None, None));
        assert_eq!(gate.opens_at_ns(), Some(3 * SECOND));
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_and_is_not_taken_to_be_down() {
        let mut gate = Gate::new(4, 0);
        for _ in 0..9 {
            gate.begin(0);
            gate.end(0, &failed(Some(429), Some(7 * SECOND)));
        }
        assert_eq!(gate.opens_at_ns(), Some(7 * SECOND));
        gate.begin(8 * SECOND);
        assert!(!gate.is_idle() && gate.opens_at_ns() == Some(8 * SECOND), "there is room for another call");
    }
}
