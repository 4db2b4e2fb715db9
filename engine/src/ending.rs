//! How a run is ended from outside: it is asked to stop, and later, if the outside world holds that up, abandoned.

use std::sync::atomic::{AtomicBool, Ordering};

/// How long a run goes on of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until its sources end, if they do.
    SourcesEnd,
    /// Until what the epoch log says has been taken in once more: not one row besides, since those who go on are others.
    LogIsTakenIn,
    /// It is only to be looked at: the run before it came to its end, and what its sinks show is whole.
    Opened,
}

/// What was asked of a run.
#[derive(Debug)]
pub(crate) struct Ending {
    until: Until,
    stopping: AtomicBool,
    abandoned: AtomicBool,
}

impl Ending {
    /// Of a run that goes on so long if nobody asks for anything.
    pub fn after(until: Until) -> Ending {
        Ending { until, stopping: (until == Until::Opened).into(), abandoned: AtomicBool::new(false) }
    }

    pub fn until(&self) -> Until {
        self.until
    }

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
