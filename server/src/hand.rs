//! A source whose rows are handed over by the program itself: what `thalweg test` feeds pipelines with.
//!
//! Connectors are opened by name with plain functions, so the queues stand in one list, found by a number in the
//! options; each run takes numbers of its own.

use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use thalweg_operators::plan::SourcePlan;
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest};

static HANDS: LazyLock<Mutex<BTreeMap<u64, Arc<Hand>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

const OPTIONS: &[OptionSpec] =
    &[OptionSpec { name: "hand", kind: OptionKind::Count, default: None, required: true, doc: "Which queue." }];

/// The connector.
pub const CONNECTOR: ConnectorSpec = ConnectorSpec {
    name: "hand",
    doc: "Takes the rows that the program hands over.",
    source: Some(SourceSpec { options: OPTIONS, formats: &[], columns: None, bounded: |_| false, check: None, open }),
    table: None,
    sink: None,
};

/// The queue of one source of one run.
#[derive(Default)]
pub struct Hand {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<RecordBatch>,
    finished: bool,
}

impl Hand {
    /// Makes `source` read from a queue, which is the answer, instead of from where it did.
    pub fn take_over(source: &mut SourcePlan) -> Result<Arc<Hand>> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let hand = Arc::new(Hand::default());
        lock(&HANDS).insert(number, hand.clone());
        let given = GivenOption { name: "hand".to_string(), value: number.to_string(), position: None };
        let checked = Options::check(OPTIONS, &[given], "connector 'hand'");
        source.options = checked.map_err(|_| Error::bug("the option of connector 'hand' is not as it declares"))?;
        source.connector = CONNECTOR.name.to_string();
        source.format = None;
        Ok(hand)
    }

    /// Hands rows over.
    pub fn push(&self, rows: RecordBatch) {
        lock(&self.state).waiting.push_back(rows);
    }

    /// Says that no more come.
    pub fn finish(&self) {
        lock(&self.state).finished = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let number = request.options.count("hand").unwrap_or_default();
    match lock(&HANDS).remove(&number) {
        Some(hand) => Ok(Arc::new(Handed(hand))),
        None => Err(Error::bug(format!("source \"{}\" has no queue", request.name))),
    }
}

struct Handed(Arc<Hand>);

impl Source for Handed {
    /// The first worker reads everything; the others have ended, and hold no watermark back.
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        Ok(Box::new(HandReader { hand: (worker.index == 0).then(|| self.0.clone()), offset: 0 }))
    }

    fn bounded(&self) -> bool {
        false
    }
}

struct HandReader {
    hand: Option<Arc<Hand>>,
    offset: u64,
}

impl Reader for HandReader {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let Some(hand) = &self.hand else { return Ok(Polled::Ended) };
        let mut state = lock(&hand.state);
        let Some(rows) = state.waiting.pop_front() else {
            return Ok(if state.finished { Polled::Ended } else { Polled::Pending });
        };
        let start = self.offset;
        self.offset += rows.num_rows() as u64;
        let partition = Partition { index: 0, name: "test".into() };
        Ok(Polled::Ready(Chunk { partition, start, end: self.offset, header: None, payload: Payload::Rows(rows) }))
    }
}
