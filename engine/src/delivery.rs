//! Delivery to sinks: a thread and a queue for each worker's writer, so that no worker ever waits for a disk.
//!
//! What waits in the queues is counted in bytes; when it is too much, the workers stop asking the sources (see
//! `driver.rs`). That is the whole of back-pressure: rows in flight are bounded by the queues and one poll of each source.
//! A writer that is slower than the epochs come, and says that it may, gets what waits all at once (group commit).

use crate::archive::letter::Letter;
use crate::durability::Durability;
use crate::ending::Ending;
use crate::ledger::{Ledger, lock};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::sink::{Refused, Writer};

/// Pauses between tries: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// The longest pause after the run was asked to stop.
const PAUSE_AT_END: Duration = Duration::from_millis(500);
/// How often a writer that keeps failing is tried after the run was asked to stop.
const TRIES_AFTER_STOP: u32 = 5;

/// How often a pause looks whether the run was asked to stop.
const LOOK: Duration = Duration::from_millis(50);
/// After so long without an order, the last commit is repeated.
const QUIET: Duration = Duration::from_secs(1);
/// Of how many bytes of rows a commit is put off for the sake of those behind it.
const JOINED_BYTES_MAX: usize = 8 << 20;

enum Order {
    Write(Epoch, Batch),
    Commit(Epoch),
    Flush(Epoch),
    Finish,
}

/// What a writer's thread must know of the run's durability.
#[derive(Clone)]
pub(crate) struct Gate {
    pub durability: Arc<Durability>,
    pub worker: usize,
    /// The checkpoint that the run goes on from, and the other writers of the sink, which do too.
    pub resume: Option<(Epoch, Reunion)>,
}

/// The writers of one sink of a run that goes on: each sees, one after the other, what its predecessor left, and none
/// writes before all have. What a crash left half done is then not taken for what another one has just begun.
#[derive(Clone)]
pub(crate) struct Reunion {
    resumed: Arc<(Mutex<usize>, Condvar)>,
    writers: usize,
}

impl Reunion {
    pub fn new(writers: usize) -> Reunion {
        Reunion { resumed: Arc::default(), writers }
    }
}

/// One worker's way to one sink.
pub(crate) struct Delivery {
    orders: Sender<Order>,
    queue: Queue,
}

/// What waits for all writers of a run, in bytes.
#[derive(Clone, Default)]
pub(crate) struct QueuedBytes(Arc<AtomicUsize>);

impl QueuedBytes {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Queue {
    all: QueuedBytes,
    ledger: Arc<Ledger>,
    sink: usize,
}

impl Queue {
    fn add(&self, bytes: usize) {
        self.all.0.fetch_add(bytes, Ordering::AcqRel);
        self.ledger.sinks[self.sink].queued_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    fn remove(&self, bytes: usize) {
        self.all.0.fetch_sub(bytes, Ordering::AcqRel);
        self.ledger.sinks[self.sink].queued_bytes.fetch_sub(bytes as u64, Ordering::AcqRel);
    }
}

impl Delivery {
    /// Starts the writer's thread.
    pub fn start(
        writer: Box<dyn Writer>,
        sink: usize,
        ledger: Arc<Ledger>,
        all: QueuedBytes,
        ending: Arc<Ending>,
        tick_ns: i64,
        gate: Option<Gate>,
    ) -> Result<(Delivery, JoinHandle<()>)> {
        let (orders, received) = unbounded();
        let queue = Queue { all, ledger, sink };
        let (epoch, visible) = (Epoch(0), None);
        let (written, cut_off) = (0, false);
        let mut desk = Desk { writer, queue: queue.clone(), ending, tick_ns, epoch, gate, visible, written, cut_off };
        let name = format!("sink {}", desk.queue.ledger.sinks[sink].name);
        let thread = std::thread::Builder::new().name(name).spawn(move || desk.serve(Orders::new(received)));
        let thread = thread.map_err(|e| Error::io("starting a thread for a sink", &e))?;
        Ok((Delivery { orders, queue }, thread))
    }

    /// Hands over rows of an epoch, then says that the epoch is whole.
    pub fn deliver(&self, epoch: Epoch, batches: Vec<Batch>) {
        for batch in batches.into_iter().filter(|b| !b.is_empty()) {
            self.queue.add(batch.memory_size());
            let book = &self.queue.ledger.sinks[self.queue.sink];
            book.handed_over.fetch_add(batch.num_rows() as u64, Ordering::AcqRel);
            self.send(Order::Write(epoch, batch));
        }
        self.send(Order::Commit(epoch));
    }

    /// Everything up to `epoch` is about to become part of a checkpoint.
    pub fn flush(&self, epoch: Epoch) {
        self.send(Order::Flush(epoch));
    }

    fn send(&self, order: Order) {
        // The thread ends before its orders do only after the run has failed, which has been told already.
        drop(self.orders.send(order));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.send(Order::Finish);
    }
}

/// The orders as they come, of which the next may be looked at.
struct Orders {
    received: Receiver<Order>,
    ahead: Option<Order>,
}

impl Orders {
    fn new(received: Receiver<Order>) -> Orders {
        Orders { received, ahead: None }
    }

    /// The next order, waited for so long.
    fn next(&mut self, patience: Duration) -> std::result::Result<Order, RecvTimeoutError> {
        self.ahead.take().map_or_else(|| self.received.recv_timeout(patience), Ok)
    }

    /// What comes next, if it is there.
    fn peek(&mut self) -> Option<&Order> {
        self.ahead = self.ahead.take().or_else(|| self.received.try_recv().ok());
        self.ahead.as_ref()
    }
}

/// What runs on the writer's thread.
struct Desk {
    writer: Box<dyn Writer>,
    queue: Queue,
    ending: Arc<Ending>,
    tick_ns: i64,
    /// The epoch that an order named last.
    epoch: Epoch,
    gate: Option<Gate>,
    /// Rows of epochs up to this one are visible outside already; `None`: none are.
    visible: Option<Epoch>,
    /// The bytes of rows that were handed over and not committed, which still count as queued.
    written: usize,
    /// Whether an order was left out because the run was over: none may follow, or a part of an epoch would be seen.
    cut_off: bool,
}

impl Desk {
    fn serve(&mut self, mut orders: Orders) {
        if let Err(error) = self.resume() {
            return self.fail(error);
        }
        let mut committed = None;
        loop {
            let order = match (orders.next(QUIET), committed) {
                (Ok(order), _) => order,
                // Time passes for a writer too that gets no more rows: what it holds back may be due.
                (Err(RecvTimeoutError::Timeout), Some(epoch)) => Order::Commit(epoch),
                (Err(RecvTimeoutError::Timeout), None) => continue,
                (Err(RecvTimeoutError::Disconnected), _) => return,
            };
            committed = match order {
                Order::Commit(epoch) => Some(epoch),
                Order::Write(..) | Order::Flush(_) | Order::Finish => None,
            };
            if let Order::Write(epoch, _) | Order::Commit(epoch) = &order {
                self.epoch = *epoch;
            }
            if matches!(order, Order::Commit(_)) && self.puts_off(&mut orders) {
                continue;
            }
            let last = matches!(order, Order::Finish);
            let (bytes, rows) = match &order {
                Order::Write(_, batch) => (batch.memory_size(), batch.num_rows() as u64),
                _ => (0, 0),
            };
            let done = if self.may(&order) { self.carry_out(&order) } else { Ok(()) };
            self.written += bytes;
            if !matches!(order, Order::Write(..)) {
                self.queue.remove(std::mem::take(&mut self.written));
            }
            match done {
                Ok(()) => {
                    self.book().rows.fetch_add(rows, Ordering::AcqRel);
                    self.bury_refused();
                }
                Err(error) => return self.fail(error),
            }
            if last {
                return;
            }
        }
    }

    fn fail(&self, error: Error) {
        // An end that was not to wait for the sink has been told.
        if error.kind == ErrorKind::Retry && self.gate.is_some() {
            return;
        }
        self.queue.ledger.fail(error.with_detail(format!("in sink \"{}\"", self.book().name)));
    }

    /// Finds out what an earlier run left, and waits for the sink's other writers to.
    fn resume(&mut self) -> Result<()> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let Some((checkpoint, reunion)) = gate.resume.clone() else { return Ok(()) };
        let lost = gate.durability.has_lost_its_log();
        let (resumed, changed) = &*reunion.resumed;
        let visible = self.insist(|desk| {
            let _alone = lock(resumed);
            desk.writer.resume(checkpoint)
        });
        self.visible = match visible {
            Err(_) if self.is_given_up() => None,
            // What it shows of epochs after the checkpoint is of epochs that are gone: those to come bring other rows.
            Ok(_) if lost => Some(checkpoint),
            // The manifest that a run begins with is as of epoch 0, and nothing was shown before it.
            visible => Some(visible?).filter(|visible| visible.0 > 0),
        };
        *lock(resumed) += 1;
        changed.notify_all();
        let mut resumed = lock(resumed);
        while *resumed < reunion.writers && !self.queue.ledger.has_failed() {
            if self.ending.is_abandoned() {
                return Err(Error::retry("the run has ended before all writers of the sink knew where to go on"));
            }
            let waited = changed.wait_timeout(resumed, QUIET).unwrap_or_else(PoisonError::into_inner);
            resumed = waited.0;
        }
        Ok(())
    }

    /// Whether an order is to be carried out: not what is visible outside already, and nothing of an epoch that is not
    /// durable, which is waited for; with rows only where they would be visible before their commit.
    fn may(&mut self, order: &Order) -> bool {
        let Some(gate) = &self.gate else { return true };
        let may = match order {
            Order::Write(epoch, _) | Order::Commit(epoch) if Some(*epoch) <= self.visible => return false,
            _ if self.cut_off => return false,
            Order::Write(..) if self.writer.writes_ahead() => true,
            Order::Write(epoch, _) | Order::Commit(epoch) | Order::Flush(epoch) => gate.durability.wait_for(epoch.0),
            // After a crash there is no orderly end.
            Order::Finish => !gate.durability.is_over(),
        };
        self.cut_off = !may;
        may
    }

    /// Whether a commit is left to the one of an epoch behind it, which waits and is durable already.
    fn puts_off(&self, orders: &mut Orders) -> bool {
        if !self.writer.joins_epochs() || self.written >= JOINED_BYTES_MAX {
            return false;
        }
        let Some(Order::Write(next, _) | Order::Commit(next)) = orders.peek() else { return false };
        self.gate.as_ref().is_none_or(|gate| gate.durability.journal.durable() >= next.0)
    }

    /// Whether what it has not taken yet goes: nobody waits for it any more.
    fn is_given_up(&self) -> bool {
        self.book().given_up.load(Ordering::Acquire)
    }

    fn book(&self) -> &crate::ledger::SinkBook {
        &self.queue.ledger.sinks[self.queue.sink]
    }

    /// Keeps the rows that the outside does not take.
    fn bury_refused(&mut self) {
        let refused = self.writer.refused();
        if let Some(first) = refused.first() {
            tracing::warn!(sink = %self.book().name, rows = refused.len(), "rows are dead letters: {}", first.reason);
        }
        if refused.is_empty() {
            return;
        }
        let letter = |Refused { raw, reason }| Letter {
            time_ns: (self.epoch.0 as i64).saturating_mul(self.tick_ns),
            origin: self.book().name.clone(),
            reason,
            attempts: 1,
            raw,
            ..Letter::default()
        };
        self.queue.ledger.keep_refused(self.epoch.0, refused.into_iter().map(letter).collect());
    }

    /// A pause, which is short when the run was asked to stop.
    fn rest(&self, pause: Duration) {
        let mut left = pause;
        let is_over = || self.ending.is_abandoned() || self.is_given_up();
        while !left.is_zero() && (!self.ending.is_stopping() || left <= PAUSE_AT_END) && !is_over() {
            let part = left.min(LOOK);
            // Nothing is ever sent here.
            let _ = crossbeam_channel::never::<()>().recv_timeout(part);
            left -= part;
        }
    }

    /// Carries out one order.
    fn carry_out(&mut self, order: &Order) -> Result<()> {
        if !self.is_given_up() {
            let done = self.insist(|desk| match order {
                Order::Write(epoch, batch) => desk.writer.write(*epoch, batch),
                Order::Commit(epoch) => desk.writer.commit(*epoch),
                Order::Flush(epoch) => desk.writer.flush(*epoch),
                Order::Finish => desk.writer.finish(),
            });
            match done {
                Err(_) if self.is_given_up() => {}
                done => done?,
            }
        }
        if let (Order::Flush(epoch), Some(gate)) = (order, &self.gate) {
            gate.durability.flushes.flushed(self.queue.sink, gate.worker, epoch.0);
            (gate.durability.at_rest)();
        }
        Ok(())
    }

    /// Calls the writer again and again while the fault may pass.
    fn insist<T>(&mut self, mut call: impl FnMut(&mut Desk) -> Result<T>) -> Result<T> {
        let mut pause = PAUSE.0;
        let mut tries_left = TRIES_AFTER_STOP;
        loop {
            let error = match call(self) {
                Ok(done) => {
                    lock(&self.book().last_error).take();
                    return Ok(done);
                }
                Err(error) if error.kind == ErrorKind::Retry => error,
                Err(error) => return Err(error),
            };
            if self.book().retries.fetch_add(1, Ordering::AcqRel) == 0 || pause == PAUSE.1 {
                tracing::warn!(sink = %self.book().name, "{error}; trying again");
            }
            *lock(&self.book().last_error) = Some(error.to_string());
            if self.is_given_up() {
                return Err(error);
            }
            // What the epoch log keeps is delivered by the next run: this one tries for as long as it may.
            if self.ending.is_abandoned() && self.gate.is_some() {
                return Err(error);
            }
            if (self.ending.is_stopping() && self.gate.is_none()) || self.queue.ledger.has_failed() {
                tries_left -= 1;
                if tries_left == 0 {
                    return Err(error.with_hint(
                        "The run was asked to stop while the sink kept failing; these rows are not written.",
                    ));
                }
            }
            self.rest(pause);
            pause = (pause * 2).min(if self.ending.is_stopping() { PAUSE_AT_END } else { PAUSE.1 });
        }
    }
}
