//! How a run is ended from outside: it is asked to stop, and later, if the outside world holds that up, abandoned.

use std::sync::atomic::{AtomicBool, Ordering};

/// What was asked of a run.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    stopping: AtomicBool,
    abandoned: AtomicBool,
}

impl Ending {
    /// Sources stop, what was taken in is finished, sinks commit.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Nobody waits any more for what is outside: sinks that do not answer, a disk that is full.
    pub fn abandon(&self) {
        self.stop();
        self.abandoned.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}
