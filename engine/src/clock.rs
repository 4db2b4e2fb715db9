//! The engine's only clock: real, or moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Tells the time, in nanoseconds since 1970-01-01T00:00:00Z; never goes back.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now_ns(&self) -> i64;
}

/// The operating system's clock, made monotonic: started at the wall time, moved by the monotonic clock.
pub struct SystemClock {
    start_ns: i64,
    started: std::time::Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "the one place where the engine's time comes from")]
    pub fn start() -> Arc<SystemClock> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Arc::new(SystemClock { start_ns: since.as_nanos() as i64, started: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        self.start_ns + self.started.elapsed().as_nanos() as i64
    }
}

/// A clock that does not begin before a time: a run that goes on from an earlier one must not repeat its epochs, even if
/// the wall clock was set back in between.
pub(crate) struct NotBefore {
    clock: Arc<dyn Clock>,
    ahead_ns: i64,
}

impl NotBefore {
    /// `clock`, set forward if it is before `start_ns`.
    pub fn wrap(clock: Arc<dyn Clock>, start_ns: i64) -> Arc<dyn Clock> {
        let ahead_ns = start_ns.saturating_sub(clock.now_ns());
        if ahead_ns > 0 { Arc::new(NotBefore { clock, ahead_ns }) } else { clock }
    }
}

impl Clock for NotBefore {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns().saturating_add(self.ahead_ns)
    }
}

/// A clock that stands until it is moved.
#[derive(Default)]
pub struct VirtualClock {
    now_ns: AtomicI64,
}

impl VirtualClock {
    /// A clock that stands at `now_ns`.
    pub fn at(now_ns: i64) -> Arc<VirtualClock> {
        Arc::new(VirtualClock { now_ns: AtomicI64::new(now_ns) })
    }

    /// Moves it on.
    pub fn advance(&self, by: std::time::Duration) {
        self.now_ns.fetch_add(by.as_nanos() as i64, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}
