//! One worker's share of the partitions, as their messages come in.

use super::feed::Feed;
use super::options::SourceOptions;
use super::partitions::Partitions;
use super::slots::{Slot, Slots};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Fault, Polled, Standing};

/// One worker's share, as it comes in.
pub(super) struct Live {
    options: SourceOptions,
    partitions: Arc<Partitions>,
    worker: WorkerId,
    /// The version of `partitions` that this knows.
    seen: u64,
    heard: u64,
    /// Whether the partitions of the beginning are all known.
    complete: bool,
    feed: Option<Feed>,
    slots: Slots,
    /// What was taken from the queue and not yet handed over.
    ready: VecDeque<Result<Polled>>,
    /// When somebody asked last.
    polled: Instant,
    /// When it was last not known how far the topic has come: nobody had asked, or brokers were away.
    unsure_since: Instant,
}

/// After so long without a question nobody knows what has come meanwhile.
const UNSEEN: Duration = Duration::from_secs(1);
/// So long later what came would be here.
const UNSURE: Duration = Duration::from_secs(2);

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "brokers answer in real time")]
    Instant::now()
}

impl Live {
    pub fn new(options: SourceOptions, partitions: Arc<Partitions>, worker: WorkerId) -> Live {
        let slots = Slots::new(options.headers);
        Live {
            options,
            partitions,
            worker,
            seen: 0,
            heard: 0,
            complete: false,
            feed: None,
            slots,
            ready: VecDeque::new(),
            polled: now(),
            unsure_since: now(),
        }
    }

    pub fn options(&self) -> &SourceOptions {
        &self.options
    }

    pub fn partitions(&self) -> &Arc<Partitions> {
        &self.partitions
    }

    /// The partitions of this share, once those of the beginning are known.
    pub fn share(&self) -> Option<Vec<Standing>> {
        let sure = !self.partitions.away() && self.unsure_since.elapsed() > UNSURE && self.polled.elapsed() < UNSEEN;
        let each = self.slots.all().iter();
        let standing =
            |slot: &Slot| Standing { partition: slot.partition().clone(), caught_up: sure && slot.is_at_end() };
        self.complete.then(|| each.map(standing).collect())
    }

    /// Whether the partitions of the beginning are known.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// See [`thalweg_schemas::source::Reader::poll`].
    pub fn poll(&mut self, budget: usize) -> Result<Polled> {
        let polled = std::mem::replace(&mut self.polled, now());
        if polled.elapsed() > UNSEEN || self.partitions.away() {
            self.unsure_since = self.polled;
        }
        if let Some(ready) = self.ready.pop_front() {
            return ready;
        }
        if let Some(error) = self.partitions.trouble(&mut self.heard) {
            return Err(error);
        }
        self.follow_partitions()?;
        if let Some(feed) = &mut self.feed {
            if feed.listen() {
                self.partitions.set_away(true);
                self.partitions.ask(|errand| errand.look = true);
            }
            self.slots.fill(feed, budget);
            self.hand_over();
        }
        match self.ready.pop_front() {
            Some(ready) => ready,
            None if self.options.bounded && self.complete && self.slots.done() => Ok(Polled::Ended),
            None => Ok(Polled::Pending),
        }
    }

    /// Takes up partitions that the scout has found, and goes on elsewhere with those whose records are gone.
    fn follow_partitions(&mut self) -> Result<()> {
        let version = self.partitions.version();
        if version == self.seen {
            return Ok(());
        }
        let (share, complete) = self.partitions.share(self.worker.index, self.worker.peers);
        (self.seen, self.complete) = (version, complete);
        let mut moved = false;
        let known = self.slots.all().len();
        for found in share {
            if let (Some(lost_from), true) = (found.lost_from, self.slots.is_news(&found)) {
                let reason = format!(
                    "offsets {lost_from} to {} are gone; reading goes on at {}",
                    found.start.saturating_sub(1),
                    found.start
                );
                let partition = found.partition.name.clone();
                self.ready.push_back(Ok(Polled::Fault(Fault { partition, offset: lost_from, reason })));
            }
            moved |= self.slots.put(found);
        }
        // A consumer whose fetching was stopped by an error is replaced, with all that it holds ready.
        if moved {
            self.feed = None;
            self.slots.forget_topics();
        }
        let fresh = &self.slots.all()[if self.feed.is_some() { known } else { 0 }..];
        if fresh.is_empty() {
            return Ok(());
        }
        let feed = match &mut self.feed {
            Some(feed) => feed,
            None => self.feed.insert(Feed::open(&self.options, fresh.len())?),
        };
        feed.add(fresh.iter().filter_map(Slot::wants))
    }

    /// Makes chunks of what the slots hold, and says what came instead of messages.
    fn hand_over(&mut self) {
        self.ready.extend(self.slots.judge_troubles(&self.partitions, &self.options.cluster));
        self.ready.extend(self.slots.chunks().map(|chunk| Ok(Polled::Ready(chunk))));
    }
}
