//! The archives of a run: dead letters and late rows, kept with their bytes for as long as there is room.
//!
//! What an epoch rejected is written when the epoch has left the engine, as one frame, and once: a restart that takes the
//! epoch in again knows that it is there. What sinks refuse comes when they speak, and is written at once.

pub(crate) mod letter;
pub(crate) mod memory;
pub(crate) mod returns;
pub(crate) mod scan;
pub(crate) mod shelf;

use crate::ledger::lock;
use letter::{Frame, Letter, LetterId};
use shelf::Shelf;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use thalweg_schemas::error::{ErrorKind, Result};

/// How long to wait before what could not be written is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How many bytes may wait to be written before the sources are held back.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// One archive.
pub(crate) struct Archive {
    shelf: Mutex<Shelf>,
    inbox: Mutex<Inbox>,
    moved: Condvar,
    /// The last epoch that has left the engine.
    complete: Arc<AtomicU64>,
    /// The bytes that wait.
    waiting: AtomicUsize,
    over: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    /// What sources and views rejected, by epoch.
    epochs: BTreeMap<u64, Incoming>,
    /// What sinks refused, with the epoch.
    of_sinks: Vec<(u64, Letter)>,
    /// What sinks refused before a crash and may refuse once more.
    repeats: Vec<(u64, Letter)>,
    /// What is being written.
    writing: Writing,
    /// Epochs up to this one were written by an earlier run, or by this one.
    written: u64,
    /// Set at the end: epochs up to this one are still written.
    closing: Option<u64>,
}

#[derive(Default)]
struct Incoming {
    letters: Vec<Letter>,
    returned: Vec<LetterId>,
}

#[derive(Default)]
struct Writing {
    first_epoch: Option<u64>,
    of_sinks: bool,
}

impl Archive {
    /// Goes on with what lies on `shelf`; the run goes on from the checkpoint of epoch `checkpoint`.
    pub fn new(shelf: Shelf, checkpoint: u64, complete: Arc<AtomicU64>) -> Result<Archive> {
        let (written, repeats) = shelf.position(checkpoint)?;
        Ok(Archive {
            shelf: Mutex::new(shelf),
            inbox: Mutex::new(Inbox { written, repeats, ..Inbox::default() }),
            moved: Condvar::new(),
            complete,
            waiting: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// The last epoch whose rejected rows an earlier run wrote.
    pub fn written(&self) -> u64 {
        lock(&self.inbox).written
    }

    /// Keeps what a source or a view rejected in `epoch`.
    pub fn keep(&self, epoch: u64, letter: Letter) {
        let mut inbox = lock(&self.inbox);
        if epoch > inbox.written {
            self.waiting.fetch_add(size_of(&letter), Ordering::AcqRel);
            inbox.epochs.entry(epoch).or_default().letters.push(letter);
        }
    }

    /// Letters were taken in again in `epoch`: they are no letters any more.
    pub fn returned(&self, epoch: u64, ids: impl Iterator<Item = LetterId>) {
        let mut inbox = lock(&self.inbox);
        if epoch > inbox.written {
            inbox.epochs.entry(epoch).or_default().returned.extend(ids);
        }
    }

    /// Keeps what a sink refused in `epoch`, durably on return unless the run is over first.
    pub fn keep_of_sink(&self, epoch: u64, letters: Vec<Letter>) {
        let mut inbox = lock(&self.inbox);
        for letter in letters {
            let known =
                |(at, known): &(u64, Letter)| (*at, &known.origin, &known.raw) == (epoch, &letter.origin, &letter.raw);
            match inbox.repeats.iter().position(known) {
                Some(repeat) => drop(inbox.repeats.swap_remove(repeat)),
                None => inbox.of_sinks.push((epoch, letter)),
            }
        }
        self.moved.notify_all();
        let waits = |inbox: &mut Inbox| !inbox.of_sinks.is_empty() || inbox.writing.of_sinks;
        while waits(&mut inbox) && !self.is_over() {
            inbox = self.moved.wait_timeout(inbox, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether so much waits to be written that no more should come.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > WAITING_BYTES_MAX
    }

    /// How many bytes wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// More epochs have left the engine.
    pub fn progress(&self) {
        let waits = !lock(&self.inbox).epochs.is_empty();
        if waits {
            self.moved.notify_all();
        }
    }

    /// Waits until what `epoch` and those before it rejected is written; false if `give_up` said so first.
    pub fn wait_for(&self, epoch: u64, give_up: impl Fn() -> bool) -> bool {
        let mut inbox = lock(&self.inbox);
        while inbox.is_open(epoch) {
            if give_up() {
                return false;
            }
            inbox = self.moved.wait_timeout(inbox, PAUSE / 5).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Writes until closed or over.
    pub fn serve(&self) -> Result<()> {
        let mut complained = false;
        let mut unwritten: Vec<Frame> = Vec::new();
        loop {
            if unwritten.is_empty() {
                match self.next() {
                    Some(frames) => unwritten = frames,
                    None => return Ok(()),
                }
            }
            let appended = lock(&self.shelf).append(&mut unwritten);
            match appended {
                Ok(()) => {
                    complained = false;
                    unwritten.clear();
                    lock(&self.inbox).writing = Writing::default();
                    self.moved.notify_all();
                    let room = lock(&self.shelf).make_room();
                    if let Err(error) = room {
                        tracing::warn!("old rejected rows cannot be removed: {error}");
                    }
                }
                Err(error) if error.kind == ErrorKind::Retry && !self.is_over() => {
                    if lock(&self.inbox).closing.is_some() {
                        tracing::warn!("rejected rows cannot be written: {error}; the next run writes them");
                        return Ok(());
                    }
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!("rejected rows cannot be written: {error}; sources wait until they can");
                    }
                    let inbox = lock(&self.inbox);
                    drop(self.moved.wait_timeout(inbox, PAUSE).unwrap_or_else(PoisonError::into_inner));
                }
                Err(_) if self.is_over() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for something to write; `None` when nothing will come.
    fn next(&self) -> Option<Vec<Frame>> {
        let mut inbox = lock(&self.inbox);
        loop {
            if self.is_over() {
                return None;
            }
            let complete = inbox.closing.unwrap_or(0).max(self.complete.load(Ordering::Acquire));
            let due = inbox.epochs.first_key_value().is_some_and(|(epoch, _)| *epoch <= complete);
            if due || !inbox.of_sinks.is_empty() {
                let (frames, bytes) = inbox.take(complete);
                self.waiting.fetch_sub(bytes, Ordering::AcqRel);
                return Some(frames);
            }
            if inbox.closing.is_some() {
                return None;
            }
            inbox = self.moved.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets [`serve`](Self::serve) return when all up to `epoch` is written.
    pub fn close(&self, epoch: u64) {
        lock(&self.inbox).closing = Some(epoch);
        self.moved.notify_all();
    }

    /// Ends as the death of the process would: nothing more is written.
    pub fn crash(&self) {
        self.over.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Inbox {
    /// Whether something of `epoch` or an epoch before it is not written.
    fn is_open(&self, epoch: u64) -> bool {
        let first = self.epochs.first_key_value().map(|(first, _)| *first);
        first.is_some_and(|first| first <= epoch) || self.writing.first_epoch.is_some_and(|first| first <= epoch)
    }

    /// The frames of all that may be written, and how many bytes had waited.
    fn take(&mut self, complete: u64) -> (Vec<Frame>, usize) {
        let later = complete.checked_add(1).map(|next| self.epochs.split_off(&next)).unwrap_or_default();
        let due = std::mem::replace(&mut self.epochs, later);
        self.writing.first_epoch = due.first_key_value().map(|(first, _)| *first);
        self.writing.of_sinks = !self.of_sinks.is_empty();
        let mut bytes = 0;
        let mut frames: Vec<Frame> = Vec::new();
        for (epoch, incoming) in due {
            bytes += incoming.letters.iter().map(size_of).sum::<usize>();
            self.written = epoch;
            let Incoming { letters, returned } = incoming;
            frames.push(Frame { epoch, through: epoch, letters, returned, ..Frame::default() });
        }
        for (epoch, letter) in self.of_sinks.drain(..) {
            match frames.last_mut() {
                Some(last) if last.of_sink && last.epoch == epoch => last.letters.push(letter),
                _ => {
                    let letters = vec![letter];
                    frames.push(Frame { epoch, through: self.written, of_sink: true, letters, ..Frame::default() });
                }
            }
        }
        (frames, bytes)
    }
}

/// What a letter takes in memory, about.
fn size_of(letter: &Letter) -> usize {
    std::mem::size_of::<Letter>() + letter.raw.len() + letter.reason.len() + letter.partition.len()
}
