//! Drives one worker's dataflow turn by turn: follow the clock, ask the sources, let timely work, say how far things are.
//!
//! A worker never waits for anything but the next tick.

use crate::delivery::Delivery;
use crate::durability::Durability;
use crate::durability::record::Entry;
use crate::durability::replay::{Replay, Step};
use crate::ending::Until;
use crate::holdings::Holdings;
use crate::ingest::{Ingest, Intake};
use crate::ledger::lock;
use crate::worker::Job;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_operators::rows::Rows;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::Result;
use thalweg_schemas::questions::Questions;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::InputHandle;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::worker::Worker;

/// How many bytes a source is asked for at a time: enough for long vectors, little enough to stay in a core's cache.
const POLL_BYTES: usize = 512 << 10;
/// How often sources are asked in a row at most, where the dataflow is what takes the time.
const POLLS_IN_A_ROW_MAX: u32 = 32;
/// How many ticks a step of the dataflow may take at most before less is asked for.
const LONG_STEP_TICKS: i64 = 20;
/// How many epochs with rows may be on their way through the dataflow before the sources are held back.
const EPOCHS_IN_FLIGHT_MAX: usize = 8;
/// How long an idle worker rests when no tick is due: the longest that a row may wait unseen at a source.
const REST: Duration = Duration::from_millis(2);

pub(crate) type RowsInput = InputHandle<u64, NoopBuilder<Rows>>;
pub(crate) type WatermarkInput = InputHandle<u64, CapacityContainerBuilder<Vec<WatermarkUpdate>>>;

/// What a turn says about the next one.
pub(crate) enum Turn {
    Busy,
    Idle(Duration),
    Done,
}

/// Drives one worker's dataflow.
pub(crate) struct Driver {
    pub job: Arc<Job>,
    pub id: WorkerId,
    pub ingests: Vec<Ingest>,
    pub inputs: Vec<RowsInput>,
    /// `None` when the inputs are closed.
    pub watermarks: Option<WatermarkInput>,
    pub probe: Probe<u64>,
    pub epoch: Epoch,
    /// Epochs in which this worker sent rows and that are not complete, with the bytes of the rows.
    pub in_flight: VecDeque<(Epoch, u64)>,
    /// What the epoch log is to be told of the current epoch.
    pub entry: Entry,
    pub holdings: Rc<RefCell<Holdings>>,
    pub deliveries: Vec<Rc<Delivery>>,
    /// What an earlier run took in and this one has not yet.
    pub replay: Option<Replay>,
    /// The epoch after which this worker takes in nothing until all have met there, and whether it has arrived.
    pub held: Option<(u64, bool)>,
    /// Whether all have met after the run was asked to stop.
    pub parted: bool,
    pub appetite: Appetite,
    /// What tables are asked for the rows of keys.
    pub questions: Vec<Arc<Questions>>,
}

/// How often the sources are asked before the dataflow gets a turn.
///
/// What an epoch costs grows with the groups that it touches, and those grow more slowly than its rows. So where a step of
/// the dataflow takes longer than a tick, and rows are waiting, more of them are taken into one epoch. Sources that keep up
/// have nothing more to give, and nothing changes for them.
pub(crate) struct Appetite(u32);

impl Default for Appetite {
    fn default() -> Appetite {
        Appetite(1)
    }
}

impl Appetite {
    /// Takes note of how long a step took.
    fn stepped(&mut self, took_ns: i64, tick_ns: i64) {
        self.0 = match took_ns / tick_ns {
            0 | LONG_STEP_TICKS.. => (self.0 / 2).max(1),
            _ => (self.0 * 2).min(POLLS_IN_A_ROW_MAX),
        };
    }
}

impl Driver {
    /// One turn.
    pub fn turn(&mut self, worker: &mut Worker) -> Turn {
        if self.job.ledger.has_failed() {
            self.leave();
            return Turn::Done;
        }
        let now_ns = self.job.clock.now_ns();
        match self.advance(now_ns) {
            Ok(taken) => {
                let begun_ns = self.job.clock.now_ns();
                worker.step();
                self.appetite.stepped(self.job.clock.now_ns() - begun_ns, self.tick_ns());
                let moved = self.note_progress(now_ns);
                // What is not durable yet has not been shown: nobody would show it after the last turn.
                let shown = self.job.durability.as_ref().is_none_or(|d| {
                    d.is_over() || d.journal.durable() >= self.epoch.0 || self.job.ending.is_abandoned()
                });
                if self.watermarks.is_none() && !worker.has_dataflows() && shown {
                    self.job.last_epoch.fetch_max(self.epoch.0, Ordering::AcqRel);
                    return Turn::Done;
                }
                if taken || moved { Turn::Busy } else { Turn::Idle(self.rest(now_ns)) }
            }
            Err(error) => {
                self.job.ledger.fail(error);
                Turn::Busy
            }
        }
    }

    /// Moves on as far as the clock, the sources and the other workers let it; whether anything happened.
    fn advance(&mut self, now_ns: i64) -> Result<bool> {
        let log_only = self.replay.is_none() && self.job.ending.until() == Until::LogIsTakenIn;
        let stopping = log_only || self.job.ending.is_stopping();
        if let Some(replay) = &self.replay {
            // Where nothing is left to be taken in once more, this worker can meet the others for the last checkpoint.
            if stopping && !replay.is_empty() {
                self.leave();
                return Ok(true);
            }
            return self.replay_some(now_ns);
        }
        if self.epoch.0 == 0 {
            // Before its first epoch a worker could not say where to meet.
            self.follow_clock(now_ns)?;
        }
        if let Some(durability) = self.job.durability.clone()
            && self.meet(&durability, now_ns, stopping)?
        {
            return Ok(false);
        }
        // A durable run stops where all have met.
        if stopping && self.watermarks.is_some() {
            self.leave();
            return Ok(true);
        }
        let rolled = self.follow_clock(now_ns)?;
        Ok(self.ask_sources()? || rolled)
    }

    fn rest(&self, now_ns: i64) -> Duration {
        let tick_ns = self.tick_ns();
        let left = tick_ns - now_ns.rem_euclid(tick_ns);
        REST.min(Duration::from_nanos(left.unsigned_abs()))
    }

    fn tick_ns(&self) -> i64 {
        self.job.settings.tick_ns()
    }

    /// Ends the current epoch when the clock has left it. Epochs that nobody used are skipped.
    fn follow_clock(&mut self, now_ns: i64) -> Result<bool> {
        let now = Epoch(now_ns.div_euclid(self.tick_ns()).max(0) as u64);
        if now <= self.epoch || self.watermarks.is_none() {
            return Ok(false);
        }
        self.end_epoch(now, now_ns)?;
        Ok(true)
    }

    /// Ends the current epoch and begins `next`.
    fn end_epoch(&mut self, next: Epoch, now_ns: i64) -> Result<()> {
        self.say_watermarks(now_ns);
        self.hand_in(next.0 - 1)?;
        self.begin(next);
        Ok(())
    }

    fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        for input in &mut self.inputs {
            input.advance_to(epoch.0);
        }
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.advance_to(epoch.0);
        }
    }

    /// Tells the epoch log what was done in the current epoch, and that this worker is through with all up to `until`.
    fn hand_in(&mut self, until: u64) -> Result<()> {
        let Some(durability) = &self.job.durability else { return Ok(()) };
        let entry = std::mem::take(&mut self.entry);
        durability.journal.hand_in(self.id.index, self.epoch.0, Entry { worker: self.id.index, ..entry }, until)
    }

    fn say_watermarks(&mut self, now_ns: i64) {
        for position in 0..self.ingests.len() {
            for update in self.ingests[position].watermark_updates(now_ns) {
                self.tell(update);
            }
        }
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.flush();
        }
    }

    /// Says `update` to all workers, and to the epoch log if there is one.
    fn tell(&mut self, update: WatermarkUpdate) {
        let Some(watermarks) = &mut self.watermarks else { return };
        watermarks.send(update);
        if self.job.durability.is_some() {
            self.entry.said.push(update);
        }
    }

    /// Whether what is on its way must become less before more is taken in.
    fn is_full(&self) -> bool {
        self.job.queued.get() > self.job.settings.sink_queue_bytes
            || self.in_flight.len() > EPOCHS_IN_FLIGHT_MAX
            || self.job.ledger.is_full()
            || self.job.memory.is_crowded()
    }

    /// Whether the run holds so much that nothing more is to come in. What an earlier run took in comes in regardless.
    fn is_out_of_memory(&self) -> bool {
        self.job.memory.is_over(&self.job.ledger, || self.job.held())
    }

    fn sent_rows(&mut self, bytes: u64) {
        self.job.memory.entered(bytes);
        match self.in_flight.back_mut() {
            Some((epoch, sent)) if *epoch == self.epoch => *sent += bytes,
            _ => self.in_flight.push_back((self.epoch, bytes)),
        }
    }

    /// Asks the sources as often as the dataflow's pace suggests, while they have something.
    fn ask_sources(&mut self) -> Result<bool> {
        let mut taken = false;
        for _ in 0..self.appetite.0 {
            if !self.ask_each_source()? {
                break;
            }
            taken = true;
        }
        Ok(taken)
    }

    /// Asks each source once; closes the inputs when all have ended. Tables are asked even when nothing more is to come in:
    /// it may be for them that rows wait, and what they hold is bounded by their own option.
    fn ask_each_source(&mut self) -> Result<bool> {
        if self.watermarks.is_none() {
            return Ok(false);
        }
        let held_back = self.is_full() || self.is_out_of_memory();
        let nobody_asks = self.only_tables_are_left() && self.all_is_answered();
        let (mut taken, mut ended) = (false, 0);
        let epoch_start_ns = self.epoch.0 as i64 * self.tick_ns();
        let logged = self.job.durability.is_some();
        for position in 0..self.ingests.len() {
            if self.ingests[position].is_table() {
                if nobody_asks && self.ingests[position].end_table() {
                    ended += 1;
                    continue;
                }
            } else if held_back {
                continue;
            } else if !self.ingests[position].has_ended() {
                self.note_fed();
            }
            let entry = logged.then_some(&mut self.entry);
            match self.ingests[position].poll(epoch_start_ns, POLL_BYTES, entry)? {
                Intake::Rows(mut rows) => {
                    let bytes = rows.memory_size();
                    self.note_fed();
                    self.inputs[position].send_batch(&mut rows);
                    taken = true;
                    self.sent_rows(bytes);
                }
                Intake::Nothing => taken = true,
                Intake::Pending => {}
                Intake::Ended => ended += 1,
            }
        }
        if ended == self.ingests.len() {
            // The end is said in the last epoch: it closes every window there.
            self.say_watermarks(self.job.clock.now_ns());
            self.hand_in(u64::MAX)?;
            self.close();
            taken = true;
        }
        Ok(taken)
    }

    /// Whether all sources but tables have ended, on all workers; a run of nothing but tables goes on.
    fn only_tables_are_left(&self) -> bool {
        let sources = self.job.dataflow.sources.iter().zip(&self.job.ledger.sources);
        let mut others = sources.filter(|(plan, _)| !plan.is_table).map(|(_, book)| book).peekable();
        let peers = self.id.peers as u64;
        others.peek().is_some() && others.all(|book| book.shares_ended.load(Ordering::Acquire) == peers)
    }

    /// Something comes in, or may, that makes somebody ask.
    fn note_fed(&self) {
        if !self.questions.is_empty() {
            self.job.fed.fetch_max(self.epoch.0, Ordering::AcqRel);
        }
    }

    /// Whether nobody waits for an answer, nor will if nothing comes in but answers: all that came in has been through the
    /// whole dataflow, and what was asked then is answered, and was before anything else could come in.
    fn all_is_answered(&self) -> bool {
        let fed = self.job.fed.load(Ordering::Acquire);
        self.questions.is_empty()
            || !self.probe.less_equal(&fed)
                && self.questions.iter().all(|questions| questions.is_empty())
                && self.job.fed.load(Ordering::Acquire) == fed
    }

    fn close(&mut self) {
        self.inputs.clear();
        self.watermarks = None;
    }

    /// Closes without having come to an end: the other workers must not wait for this one.
    fn leave(&mut self) {
        if let Some(durability) = self.job.durability.clone() {
            durability.barrier.abandon();
            if self.watermarks.is_some() && !self.job.ledger.has_failed() {
                if self.replay.is_none() {
                    self.say_watermarks(self.job.clock.now_ns());
                }
                if let Err(error) = self.hand_in(u64::MAX) {
                    self.job.ledger.fail(error);
                }
            }
        }
        self.close();
    }

    /// Meets the other workers for a checkpoint, if one is announced or due; whether this worker has to wait for that.
    fn meet(&mut self, durability: &Durability, now_ns: i64, stopping: bool) -> Result<bool> {
        let barrier = &durability.barrier;
        let open = self.watermarks.is_some();
        let free = open && barrier.next().is_none() && self.held.is_none() && !self.parted;
        if free && (stopping || durability.is_due(self.epoch.0)) {
            barrier.announce(self.epoch.0);
        }
        let Some(epoch) = barrier.next() else {
            // All have met, if they were to: this worker may be held for the next checkpoint.
            let met = self.held.take().is_some();
            self.parted |= stopping && met;
            return Ok(false);
        };
        match self.held {
            Some((held, true)) if held == epoch => return Ok(true),
            Some((held, false)) if held == epoch => {}
            // A worker whose sources have ended may have spoken in a later epoch too.
            _ if self.epoch.0 > epoch => {
                barrier.announce(self.epoch.0);
                return Ok(true);
            }
            _ => {
                if open {
                    self.end_epoch(Epoch(epoch + 1), now_ns)?;
                }
                self.held = Some((epoch, false));
            }
        }
        if self.probe.less_equal(&epoch) {
            return Ok(true);
        }
        // Rows of a later epoch have come from a worker that is further already: it is about to announce that epoch.
        let Some(mut part) = self.holdings.borrow().snapshot()? else { return Ok(true) };
        self.held = Some((epoch, true));
        part.said = self.ingests.iter().map(Ingest::said).collect();
        part.partitions = self.ingests.iter().flat_map(Ingest::partition_times).collect();
        for delivery in &self.deliveries {
            delivery.flush(Epoch(epoch));
        }
        if let Some(parts) = barrier.arrive(self.id.index, epoch, part) {
            durability.hand_over(epoch, now_ns, parts, self.counters())?;
            barrier.part(epoch);
        }
        Ok(true)
    }

    /// The books, for a checkpoint; with the rows of the views, for those who look at it.
    fn counters(&self) -> BTreeMap<String, u64> {
        let rows = self.job.views.values().map(|view| (format!("view/{}/rows", view.name), view.size().0));
        self.job.ledger.counters().into_iter().chain(rows).collect()
    }

    /// Takes in once more what the epoch log says.
    fn replay_some(&mut self, now_ns: i64) -> Result<bool> {
        if self.is_full() {
            return Ok(false);
        }
        let Some(replay) = &mut self.replay else { return Ok(false) };
        match replay.step(self.id.index) {
            Step::Read { record, taken, from } => {
                if self.epoch.0 < record.epoch {
                    self.begin(Epoch(record.epoch));
                }
                let start_ns = self.epoch.0 as i64 * self.tick_ns();
                let piece = record.entries.iter().find(|entry| entry.worker == self.id.index);
                let Some(piece) = piece.and_then(|entry| entry.taken.get(taken)) else { return Ok(false) };
                let ingest = &mut self.ingests[piece.source];
                let (intake, end) = ingest.replay((&record, piece), from, (start_ns, now_ns), POLL_BYTES)?;
                if let Some(replay) = &mut self.replay
                    && !matches!(intake, Intake::Pending)
                {
                    replay.read(end, piece.end, piece.kept.is_some());
                }
                match intake {
                    Intake::Rows(mut rows) => {
                        let bytes = rows.memory_size();
                        self.inputs[piece.source].send_batch(&mut rows);
                        self.sent_rows(bytes);
                    }
                    Intake::Pending => return Ok(false),
                    Intake::Nothing | Intake::Ended => {}
                }
            }
            Step::EndEpoch { epoch, said } => {
                replay.end_epoch();
                if self.epoch.0 < epoch {
                    self.begin(Epoch(epoch));
                }
                self.say(said);
                self.begin(Epoch(epoch + 1));
            }
            Step::Done { promises } => {
                let next = replay.next_epoch.max(self.epoch.0);
                self.replay = None;
                self.begin(Epoch(next));
                for promise in promises {
                    if let Some(ingest) = self.ingests.get_mut(promise.source as usize) {
                        ingest.go_on(promise);
                        self.tell(promise);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Says watermarks that an earlier run said.
    fn say(&mut self, said: Vec<WatermarkUpdate>) {
        let Some(watermarks) = &mut self.watermarks else { return };
        for update in said {
            if let Some(ingest) = self.ingests.get_mut(update.source as usize) {
                ingest.note_said(update);
            }
            watermarks.send(update);
        }
        watermarks.flush();
    }

    /// Tells readers how far things are complete.
    fn note_progress(&mut self, now_ns: i64) -> bool {
        let frontier = self.probe.with_frontier(|f| f.first().copied());
        let through = match frontier {
            // When the inputs are closed, what remains may be an epoch to come that an operator has asked for.
            Some(frontier) => frontier.saturating_sub(1).min(self.epoch.0),
            None => self.epoch.0,
        };
        let complete = self.job.durability.as_ref().map_or(through, |d| through.min(d.journal.durable()));
        let mut seen = false;
        while self.in_flight.front().is_some_and(|(epoch, _)| epoch.0 <= complete) {
            if let Some((epoch, bytes)) = self.in_flight.pop_front() {
                self.job.memory.left(bytes);
                let waited_ns = now_ns.saturating_sub(epoch.0 as i64 * self.tick_ns());
                let us = waited_ns.max(0) as u64 / 1_000;
                lock(&self.job.latency).saturating_record(us);
                seen = true;
            }
        }
        let before = self.job.complete.fetch_max(complete, Ordering::AcqRel);
        if before >= complete {
            return seen;
        }
        self.job.ledger.progress();
        for view in self.job.views.values().filter(|view| view.is_subscribed()) {
            view.progress(false);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_asked_for_while_steps_are_slow_and_less_when_they_are_quick_or_far_too_long() {
        const TICK_NS: i64 = 50_000_000;
        let mut appetite = Appetite::default();
        let mut after = |steps: &[i64]| {
            steps.iter().for_each(|ticks| appetite.stepped(ticks * TICK_NS, TICK_NS));
            appetite.0
        };
        assert_eq!(after(&[0, 0]), 1);
        assert_eq!(after(&[1, 2, 5]), 8);
        assert_eq!(after(&[3, 3, 3, 3]), POLLS_IN_A_ROW_MAX);
        assert_eq!(after(&[LONG_STEP_TICKS]), POLLS_IN_A_ROW_MAX / 2);
        assert_eq!(after(&[0, 0, 0, 0, 0]), 1);
    }
}
