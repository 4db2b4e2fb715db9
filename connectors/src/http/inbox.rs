//! What was posted to one source and waits: for the pipeline to take it in, and then for it to be durable.
//!
//! ```text
//!   reserve -> bytes arrive -> put -> [queue] -> next (the pipeline) -> durable -> the sender is told
//! ```
//!
//! Bodies count against the buffer from their first byte until the pipeline takes them. While it takes none there is no
//! room, whatever the buffer holds, and a post that has waited for too long is withdrawn. Offsets go on from the time of the
//! start in nanoseconds, so that no two runs use the same; those of what was withdrawn are left out.

use super::options::HttpOptions;
use super::repeats::{Fate, KEYS_MAX, Repeats, Seen};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thalweg_schemas::source::{Chunk, Partition, Payload, Receipt};
use tokio::sync::watch;

/// For how long a post may lie there before the pipeline is taken to be held back.
const PATIENCE: Duration = Duration::from_secs(5);

/// One source's posts.
pub(super) struct Inbox {
    pub options: HttpOptions,
    partition: Partition,
    state: Mutex<State>,
    /// Whether it is known what earlier runs took.
    begun: watch::Sender<bool>,
}

struct State {
    /// Bytes of bodies that are arriving or waiting.
    held: usize,
    queue: VecDeque<Part>,
    /// The offset of what comes next.
    next: u64,
    /// Who is to be told when everything before an offset is durable.
    waiting: BTreeMap<u64, Waiting>,
    repeats: Repeats,
    /// The receipts for requests with a key within the window, by the offset after their last record.
    receipts: BTreeMap<u64, Receipt>,
    closed: bool,
}

/// A post's sender, as it waits.
struct Waiting {
    fate: watch::Sender<Fate>,
    rows: usize,
    /// Where its first record is.
    start: u64,
}

/// Records of one post; of a large one, the rest of them.
struct Part {
    start: u64,
    end: u64,
    header: Option<Arc<[u8]>>,
    payload: Payload,
    /// Whether it goes to the pipeline whole: a request that is repeated if this process dies is taken or is not.
    whole: bool,
    /// What goes back to the buffer when it is taken.
    held: usize,
    /// Since when it has waited.
    since: Instant,
}

/// Records as they were posted.
pub(super) struct Post {
    pub header: Option<Arc<[u8]>>,
    pub payload: Payload,
    /// How many records they are.
    pub rows: usize,
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "posts are numbered from the time of the start, and age in real time"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "keys are forgotten in real time")]
    Instant::now()
}

impl Inbox {
    pub(super) fn new(options: HttpOptions) -> Inbox {
        Inbox {
            partition: Partition { index: 0, name: options.path.as_str().into() },
            state: Mutex::new(State {
                held: 0,
                queue: VecDeque::new(),
                next: now_ns(),
                waiting: BTreeMap::new(),
                repeats: Repeats::new(options.idempotency_window),
                receipts: BTreeMap::new(),
                closed: false,
            }),
            begun: watch::Sender::new(false),
            options,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a request's key up.
    pub(super) fn look(&self, key: &str) -> Seen {
        self.state().repeats.look(key, now())
    }

    /// What earlier runs took is known from now on.
    pub(super) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Changes to true when it [begins](Self::begin), or will never.
    pub(super) fn begun(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// Takes receipts on that earlier runs gave.
    pub(super) fn remember(&self, receipts: Vec<Receipt>) {
        let mut state = self.state();
        for receipt in receipts {
            let age = Duration::from_nanos(now_ns().saturating_sub(receipt.time_ns.unsigned_abs()));
            let Some(since) = now().checked_sub(age) else { continue };
            if age < self.options.idempotency_window {
                state.repeats.remember(&receipt.key, receipt.rows, since);
                state.receipts.insert(receipt.end, receipt);
            }
        }
    }

    /// The receipts for requests that end in a stretch of offsets.
    pub(super) fn receipts(&self, start: u64, end: u64) -> Vec<Receipt> {
        let mut state = self.state();
        let since = now_ns().saturating_sub(self.options.idempotency_window.as_nanos() as u64);
        while let Some((_, oldest)) = state.receipts.first_key_value()
            && (oldest.time_ns.unsigned_abs() < since || state.receipts.len() > KEYS_MAX)
        {
            state.receipts.pop_first();
        }
        state.receipts.range(start + 1..end.max(start) + 1).map(|(_, receipt)| receipt.clone()).collect()
    }

    /// Room for `bytes` of a body; `None` when there is none. A body that is larger than the buffer has it for itself.
    pub(super) fn reserve(self: &Arc<Inbox>, bytes: usize) -> Option<Reservation> {
        let mut reservation = Reservation { inbox: self.clone(), bytes: 0 };
        reservation.grow(bytes).then_some(reservation)
    }

    /// Takes a post, whose repetitions are known by `key` and whose sender is told through `fate`. Gives the offset after its
    /// last record; `None` when the source has closed.
    pub(super) fn put(
        &self,
        post: Post,
        key: Option<String>,
        reservation: Reservation,
        fate: watch::Sender<Fate>,
    ) -> Option<u64> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let length = match &post.payload {
            Payload::Bytes(bytes) | Payload::Formatted { bytes, .. } => bytes.len(),
            Payload::Messages(messages) => messages.byte_len(),
            Payload::Rows(rows) | Payload::Changes { rows, .. } => rows.num_rows(),
        };
        let start = state.next;
        let end = start + length as u64;
        state.next = end;
        let held = reservation.keep();
        let whole = key.is_some();
        let Post { header, payload, rows } = post;
        state.queue.push_back(Part { start, end, header, payload, whole, held, since: now() });
        if let Some(key) = key {
            state.receipts.insert(end, Receipt { key, end, rows, time_ns: now_ns() as i64 });
        }
        state.waiting.insert(end, Waiting { fate, rows, start });
        Some(end)
    }

    /// Takes the post that ends at `end` back, if the pipeline has taken nothing of it; whether it has not.
    pub(super) fn withdraw(&self, end: u64) -> bool {
        let mut state = self.state();
        let Some(start) = state.waiting.get(&end).map(|waiting| waiting.start) else { return false };
        let Some(at) = state.queue.iter().position(|part| (part.start, part.end) == (start, end)) else { return false };
        let part = state.queue.remove(at);
        state.held = state.held.saturating_sub(part.map_or(0, |part| part.held));
        state.receipts.remove(&end);
        state.waiting.remove(&end);
        true
    }

    /// About `budget` bytes of what waits, alike enough to be decoded at once.
    pub(super) fn next(&self, budget: usize) -> Option<Chunk> {
        let mut state = self.state();
        let mut part = state.queue.pop_front()?;
        if let Some(rest) = part.split_off(budget) {
            state.queue.push_front(rest);
        }
        while let Some(next) = state.queue.front()
            && part.takes(next, budget)
        {
            if let Some(next) = state.queue.pop_front() {
                part.append(next);
            }
        }
        state.held = state.held.saturating_sub(part.held);
        let Part { start, end, header, payload, .. } = part;
        Some(Chunk { partition: self.partition.clone(), start, end, header, payload })
    }

    /// Tells the senders of everything before `end`.
    pub(super) fn durable(&self, end: u64) {
        let told = {
            let mut state = self.state();
            let later = state.waiting.split_off(&(end + 1));
            std::mem::replace(&mut state.waiting, later)
        };
        for (_, Waiting { fate, rows, .. }) in told {
            // Repeats hear it too, even if the sender is gone.
            fate.send_replace(Some(rows));
        }
    }

    /// Whether it takes nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Takes nothing any more; whoever waits is told that it ends.
    pub(super) fn close(&self) {
        self.begin();
        let mut state = self.state();
        state.closed = true;
        state.queue.clear();
        state.waiting.clear();
    }
}

impl Part {
    fn bytes(&self) -> Option<&Vec<u8>> {
        match &self.payload {
            Payload::Bytes(bytes) | Payload::Formatted { bytes, .. } => Some(bytes),
            Payload::Messages(_) | Payload::Rows(_) | Payload::Changes { .. } => None,
        }
    }

    fn bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.payload {
            Payload::Bytes(bytes) | Payload::Formatted { bytes, .. } => Some(bytes),
            Payload::Messages(_) | Payload::Rows(_) | Payload::Changes { .. } => None,
        }
    }

    /// Keeps whole lines of about `budget` bytes, and gives back the others.
    fn split_off(&mut self, budget: usize) -> Option<Part> {
        let whole = self.whole;
        let bytes = self.bytes_mut().filter(|bytes| !whole && bytes.len() > budget)?;
        let line_end = memchr::memchr(b'\n', &bytes[budget.min(bytes.len() - 1)..])?;
        let at = budget.min(bytes.len() - 1) + line_end + 1;
        if at >= bytes.len() {
            return None;
        }
        let rest = bytes.split_off(at);
        let payload = match &self.payload {
            Payload::Formatted { format, .. } => Payload::Formatted { format, bytes: rest },
            _ => Payload::Bytes(rest),
        };
        let (middle, end) = (self.start + at as u64, self.end);
        self.end = middle;
        let held = self.held.saturating_sub(at);
        self.held -= held;
        Some(Part { start: middle, end, header: self.header.clone(), payload, whole, held, since: self.since })
    }

    /// Whether `next` can be decoded together with this one.
    fn takes(&self, next: &Part, budget: usize) -> bool {
        let format = |part: &Part| match &part.payload {
            Payload::Formatted { format, .. } => Some(*format),
            _ => None,
        };
        let (Some(mine), Some(theirs)) = (self.bytes(), next.bytes()) else { return false };
        let alike = format(self) == format(next) && self.header == next.header && self.end == next.start;
        alike && mine.len() + theirs.len() <= budget
    }

    fn append(&mut self, next: Part) {
        if let (Some(bytes), Some(more)) = (self.bytes_mut(), next.bytes()) {
            bytes.extend_from_slice(more);
        }
        self.end = next.end;
        self.held += next.held;
    }
}

/// Room in the buffer for a body that arrives; given back when the body comes to nothing.
pub(super) struct Reservation {
    inbox: Arc<Inbox>,
    bytes: usize,
}

impl Reservation {
    /// Makes it `bytes` in all; false when there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let mut state = self.inbox.state();
        let is_held_back = state.queue.front().is_some_and(|part| now().duration_since(part.since) > PATIENCE);
        // Who is alone may have more than there is.
        if is_held_back || (state.held > self.bytes && state.held + more > self.inbox.options.buffer) {
            return false;
        }
        state.held += more;
        self.bytes += more;
        true
    }

    /// The bytes, which are the queue's from now on.
    fn keep(mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.inbox.state();
            state.held = state.held.saturating_sub(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
