//! `table`: rows of `INSERT`, `UPDATE` and `DELETE` statements. A statement is answered when its rows would survive a crash, and not before.
//!
//! The rows of a statement are one chunk and so come in one epoch: nobody sees a part of them. Offsets go on from the time
//! of the start in nanoseconds, so that no two runs use the same.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest, Span};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "table",
    doc: "Takes the rows of INSERT, UPDATE and DELETE statements: what CREATE TABLE reads.",
    source: Some(SourceSpec {
        options: &[],
        formats: &["json", "upsert"],
        columns: None,
        bounded: |_| false,
        check: None,
        open,
    }),
    table: None,
    sink: None,
};

/// How often a statement that waits looks whether the run is over.
const LOOK: Duration = Duration::from_millis(50);

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    #[expect(clippy::disallowed_methods, reason = "what is written is numbered from the time of the start")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let state = State { next: since.as_nanos() as u64, ..State::default() };
    let inbox = Inbox { name: request.name.as_str().into(), state: Mutex::new(state), moved: Condvar::new() };
    Ok(Arc::new(Table { inbox: Arc::new(inbox) }))
}

/// What was written and waits: to be taken in, and then to be durable.
struct Inbox {
    name: Arc<str>,
    state: Mutex<State>,
    /// Told of what is durable.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// The rows of statements, each with its first offset and the one after its last.
    queue: VecDeque<(u64, u64, Payload)>,
    /// The offset of what comes next.
    next: u64,
    /// Where chunks end that are not durable yet.
    waiting: BTreeSet<u64>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Table {
    inbox: Arc<Inbox>,
}

impl Source for Table {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let letters = self.inbox.name.bytes().map(usize::from);
        let mine = letters.sum::<usize>() % worker.peers.max(1) == worker.index;
        Ok(Box::new(Taker { inbox: mine.then(|| self.inbox.clone()) }))
    }

    fn bounded(&self) -> bool {
        false
    }

    fn write(&self, rows: Payload, is_over: &dyn Fn() -> bool) -> Result<()> {
        let count = match &rows {
            Payload::Rows(rows) | Payload::Changes { rows, .. } => rows.num_rows() as u64,
            _ => return Err(Error::bug("records of a statement are no rows")),
        };
        if count == 0 {
            return Ok(());
        }
        let mut state = self.inbox.state();
        let start = state.next;
        let end = start + count;
        state.next = end;
        state.queue.push_back((start, end, rows));
        state.waiting.insert(end);
        while state.waiting.contains(&end) && !is_over() {
            let waited = self.inbox.moved.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
        }
        if state.waiting.contains(&end) {
            return Err(Error::outside("the run ended before the rows were durable")
                .with_hint("They may have been taken in: look for them before you write them again."));
        }
        Ok(())
    }

    fn durable(&self, spans: &[Span]) {
        if let Some(end) = spans.iter().map(|span| span.end).max() {
            let mut state = self.inbox.state();
            state.waiting = state.waiting.split_off(&(end + 1));
            self.inbox.moved.notify_all();
        }
    }
}

/// The share of the worker that takes the rows; that of the others is nothing.
struct Taker {
    inbox: Option<Arc<Inbox>>,
}

impl Reader for Taker {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let Some(inbox) = &self.inbox else { return Ok(Polled::Ended) };
        let Some((start, end, payload)) = inbox.state().queue.pop_front() else { return Ok(Polled::Pending) };
        let partition = Partition { index: 0, name: inbox.name.clone() };
        Ok(Polled::Ready(Chunk { partition, start, end, header: None, payload }))
    }
}

#[cfg(test)]
mod tests;
