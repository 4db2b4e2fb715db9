//! Requests that come again: what became of those whose `Idempotency-Key` came before.
//!
//! A key is remembered from the moment its first request is looked at. Whoever comes with it later hears what the first
//! one heard, or waits until that is known. If the first was refused, its key is forgotten, so that it may be tried again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How many keys are remembered at most; the oldest goes.
pub(super) const KEYS_MAX: usize = 100_000;

/// What is known of a request: how many rows it brought, once these are durable.
pub(super) type Fate = Option<usize>;

/// The keys of one source.
pub(super) struct Repeats {
    window: Duration,
    known: BTreeMap<String, watch::Receiver<Fate>>,
    /// By age. A key may be here that was forgotten since, or that came again: its time tells.
    order: VecDeque<(Instant, String)>,
}

/// What a request's key says.
pub(super) enum Seen {
    /// Nobody has it; who asks is the first, and says here what becomes of it.
    First(watch::Sender<Fate>),
    /// Another has, and this is what becomes of it.
    Before(watch::Receiver<Fate>),
}

impl Repeats {
    pub(super) fn new(window: Duration) -> Repeats {
        Repeats { window, known: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Looks `key` up, and remembers it.
    pub(super) fn look(&mut self, key: &str, now: Instant) -> Seen {
        self.forget_old(now);
        if let Some(fate) = self.known.get(key)
            && (fate.borrow().is_some() || fate.has_changed().is_ok())
        {
            return Seen::Before(fate.clone());
        }
        let (sender, receiver) = watch::channel(None);
        self.known.insert(key.to_string(), receiver);
        self.order.push_back((now, key.to_string()));
        Seen::First(sender)
    }

    /// Knows the key of a request that an earlier run took at `since`, when it brought so many rows. In the order of time.
    pub(super) fn remember(&mut self, key: &str, rows: usize, since: Instant) {
        self.known.insert(key.to_string(), watch::channel(Some(rows)).1);
        self.order.push_back((since, key.to_string()));
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && (self.order.len() > KEYS_MAX || now.duration_since(*since) >= self.window)
        {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the window is moved by hand from here on")]
        Instant::now()
    }

    #[test]
    fn the_first_decides_for_all_who_come_within_the_window() {
        let (mut repeats, start) = (Repeats::new(Duration::from_secs(60)), now());
        let Seen::First(first) = repeats.look("a", start) else { panic!("nobody had it") };
        let Seen::Before(second) = repeats.look("a", start) else { panic!("it was looked up") };
        assert_eq!(*second.borrow(), None);
        first.send(Some(3)).unwrap();
        drop(first);
        let Seen::Before(third) = repeats.look("a", start + Duration::from_secs(59)) else { panic!("it is kept") };
        assert_eq!((*second.borrow(), *third.borrow()), (Some(3), Some(3)));
        assert!(matches!(repeats.look("a", start + Duration::from_secs(60)), Seen::First(_)));
    }

    #[test]
    fn a_request_that_was_refused_may_come_again() {
        let (mut repeats, start) = (Repeats::new(Duration::from_secs(60)), now());
        drop(repeats.look("a", start));
        assert!(matches!(repeats.look("a", start), Seen::First(_)));
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let (mut repeats, start) = (Repeats::new(Duration::from_secs(60)), now());
        let mut senders = Vec::new();
        for key in 0..=KEYS_MAX {
            match repeats.look(&key.to_string(), start) {
                Seen::First(sender) => senders.push(sender),
                Seen::Before(_) => panic!("every key is new"),
            }
        }
        assert!(matches!(repeats.look("1", start), Seen::Before(_)));
        assert!(matches!(repeats.look("0", start), Seen::First(_)));
    }
}
