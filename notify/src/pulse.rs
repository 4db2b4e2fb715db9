//! When notifiers are to be told that the engine is at work (`machine/watchdog.rs` says what): in their rhythm, if another
//! epoch is complete than when they were told last.

use crate::config::Config;
use crate::notifications::EpochOf;
use crate::time::SECOND;
use std::collections::BTreeMap;

/// How long it is waited for an epoch that should have been complete.
const PAUSE_NS: i64 = SECOND;

/// A notifier's next beat.
struct Beat {
    interval_ns: i64,
    due_ns: i64,
    /// The epoch that was complete at the last one.
    epoch: u64,
}

pub(crate) struct Pulse {
    beats: BTreeMap<String, Beat>,
    epoch: EpochOf,
}

impl Pulse {
    /// The beats that the notifiers of `config` ask for, from `now_ns` on.
    pub fn new(config: &Config, epoch: EpochOf, now_ns: i64) -> Pulse {
        let asked = config.notifiers.iter().filter(|(_, policy)| policy.watchdog_ns > 0);
        let beats = asked
            .map(|(name, policy)| (name.clone(), Beat { interval_ns: policy.watchdog_ns, due_ns: now_ns, epoch: 0 }));
        Pulse { beats: beats.collect(), epoch }
    }

    /// When to look again.
    pub fn due_at_ns(&self) -> Option<i64> {
        self.beats.values().map(|beat| beat.due_ns).min()
    }

    /// The notifiers that are to be told now.
    pub fn beat(&mut self, now_ns: i64) -> Vec<String> {
        let mut told = Vec::new();
        for (name, beat) in self.beats.iter_mut().filter(|(_, beat)| beat.due_ns <= now_ns) {
            let epoch = self.epoch.get().map_or(0, |epoch| epoch());
            // The epoch of the first look may be one that an earlier run completed.
            let works = beat.epoch > 0 && epoch > beat.epoch;
            if works {
                told.push(name.clone());
            }
            beat.due_ns = now_ns.saturating_add(if works { beat.interval_ns } else { PAUSE_NS });
            beat.epoch = beat.epoch.max(epoch);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Policy;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn an_engine_that_stands_still_is_not_said_to_be_at_work() {
        let policy = Policy { watchdog_ns: 10 * SECOND, ..Policy::default() };
        let config = Config { notifiers: [("pulse".to_string(), policy)].into(), ..Config::default() };
        let (of, epoch) = (EpochOf::default(), Arc::new(AtomicU64::new(0)));
        let mut pulse = Pulse::new(&config, of.clone(), 0);
        let mut told = |second: i64| !pulse.beat(second * SECOND).is_empty();
        assert!(!told(0), "nothing is known of an engine");
        let known = epoch.clone();
        drop(of.set(Box::new(move || known.load(Ordering::Relaxed))));
        let complete = |number: u64| epoch.store(number, Ordering::Relaxed);
        complete(700);
        assert!(!told(1), "that may be of an earlier run");
        complete(720);
        assert!(told(2));
        complete(800);
        assert!(!told(11), "it is not time");
        assert!(told(12));
        assert!(!told(22), "no epoch since");
        assert!(!told(23));
        complete(801);
        assert!(told(24));
        complete(900);
        assert!(!told(33) && told(34), "in its rhythm from then on");
    }
}
