//! One worker: builds the dataflow, then drives it turn by turn.
//!
//! A turn is: follow the clock, ask the sources, let timely work, say how far things are complete. A worker never waits
//! for anything but the next tick.

use crate::clock::Clock;
use crate::delivery::{Delivery, QueuedBytes};
use crate::epochs::for_each_epoch;
use crate::ingest::{Ingest, Intake};
use crate::ledger::{Ledger, lock};
use crate::settings::Settings;
use crate::turns::Turns;
use crate::view::published::PublishedView;
use crate::view::store::ViewStore;
use crate::watcher::Watcher;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_operators::exchange::by_key;
use thalweg_operators::plan::{Dataflow, Emit, Read};
use thalweg_operators::render::{Demand, Renderer, demands};
use thalweg_operators::rows::Rows;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::Writer;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// How many bytes a source is asked for at a time: enough for long vectors, little enough to stay in a core's cache.
const POLL_BYTES: usize = 512 << 10;
/// How many epochs with rows may be on their way through the dataflow before the sources are held back.
const EPOCHS_IN_FLIGHT_MAX: usize = 8;
/// How long an idle worker rests when no tick is due: the longest that a row may wait unseen at a source.
const REST: Duration = Duration::from_millis(2);

/// What all workers of a run share.
pub(crate) struct Job {
    pub dataflow: Dataflow,
    pub views: BTreeMap<String, Arc<PublishedView>>,
    pub ledger: Arc<Ledger>,
    pub clock: Arc<dyn Clock>,
    pub turns: Arc<dyn Turns>,
    pub settings: Settings,
    /// For each sink, whether one worker writes alone.
    pub single_writers: Vec<bool>,
    /// The last epoch that is complete everywhere.
    pub complete: Arc<AtomicU64>,
    pub stopping: Arc<AtomicBool>,
    pub queued: QueuedBytes,
    /// From the beginning of an epoch with rows until its results are visible, in microseconds.
    pub latency: Mutex<Histogram<u64>>,
    /// Signed off by each worker when it is done.
    pub workers_done: (Mutex<usize>, std::sync::Condvar),
}

/// What one worker owns from the start.
pub(crate) struct Share {
    pub ingests: Vec<Ingest>,
    /// One a sink; `None` where another worker writes alone.
    pub writers: Vec<Option<Box<dyn Writer>>>,
}

/// Runs one worker to its end.
pub(crate) fn run(worker: &mut Worker, job: &Arc<Job>, share: Share) {
    let id = WorkerId { index: worker.index(), peers: worker.peers() };
    let leaving = Leaving { job: job.clone(), index: id.index };
    let mut writers = Vec::new();
    let built = job.take_turn(id.index, || build(worker, job, id, share, &mut writers));
    match built {
        Err(error) => job.ledger.fail(error),
        Ok(mut driver) => loop {
            match job.take_turn(id.index, || driver.turn(worker)) {
                Turn::Busy => {}
                // A simulation decides by itself who goes on: nothing may happen outside of a turn.
                Turn::Idle(rest) if job.turns.parks() => drop(worker.step_or_park(Some(rest))),
                Turn::Idle(_) => {}
                Turn::Done => break,
            }
        },
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    for writer in writers {
        if writer.join().is_err() {
            job.ledger.fail(Error::bug("a sink's thread ended in a panic"));
        }
    }
    drop(leaving);
}

impl Job {
    fn take_turn<R>(&self, worker: usize, turn: impl FnOnce() -> R) -> R {
        let (mut turn, mut result) = (Some(turn), None);
        self.turns.take(worker, &mut || result = turn.take().map(|turn| turn()));
        result.expect("`Turns::take` runs the turn before it returns")
    }
}

/// Signs the worker off however it leaves.
struct Leaving {
    job: Arc<Job>,
    index: usize,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::bug(format!("worker {} ended in a panic", self.index));
            self.job.ledger.fail(error.with_hint("The message of the panic is in the log; please report it."));
        } else {
            self.job.turns.leave(self.index);
        }
        *lock(&self.job.workers_done.0) += 1;
        self.job.workers_done.1.notify_all();
    }
}

type RowsInput = InputHandle<u64, NoopBuilder<Rows>>;
type WatermarkInput = InputHandle<u64, CapacityContainerBuilder<Vec<WatermarkUpdate>>>;

/// Builds the dataflow on this worker.
fn build(
    worker: &mut Worker,
    job: &Arc<Job>,
    id: WorkerId,
    share: Share,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Driver> {
    let mut inputs: Vec<RowsInput> = share.ingests.iter().map(|_| InputHandle::new_with_builder()).collect();
    let mut watermarks: WatermarkInput = InputHandle::new();
    let probe = Probe::new();
    worker.dataflow_named::<u64, _, _>("thalweg", |scope| -> Result<()> {
        let mut renderer = Renderer {
            scope,
            peers: id.peers,
            sources: BTreeMap::new(),
            source_ids: BTreeMap::new(),
            watermarks: scope.input_from(&mut watermarks).broadcast(),
            views: BTreeMap::new(),
            observer: Rc::new(Watcher::new(job.clone(), id.index)),
        };
        for (position, (plan, input)) in job.dataflow.sources.iter().zip(&mut inputs).enumerate() {
            renderer.source(plan, scope.input_from(input))?;
            renderer.source_ids.insert(plan.name.clone(), position as u32);
        }
        build_views(scope, &mut renderer, job, id, &probe)?;
        build_sinks(scope, &renderer, job, share.writers, &probe, threads)
    })?;
    Ok(Driver {
        job: job.clone(),
        ingests: share.ingests,
        inputs,
        watermarks: Some(watermarks),
        probe,
        epoch: Epoch(0),
        in_flight: VecDeque::new(),
    })
}

fn build_views<'scope>(
    scope: Scope<'scope, u64>,
    renderer: &mut Renderer<'scope>,
    job: &Arc<Job>,
    id: WorkerId,
    probe: &Probe<u64>,
) -> Result<()> {
    let mut demanded = BTreeMap::new();
    for sink in &job.dataflow.sinks {
        demands(&sink.plan, Demand::of(sink.read), &mut demanded);
    }
    for view in job.dataflow.views.iter().rev() {
        let demand = demanded.entry(view.name.clone()).or_default();
        *demand = match view.emit {
            Emit::Changes => demand.and(Demand::of(Read::Changes)),
            // Whoever reads such a view reads what is final, downstream views included.
            Emit::OnWindowClose => Demand::of(Read::Finals),
        };
        let demand = *demand;
        demands(&view.plan, demand, &mut demanded);
    }
    for view in &job.dataflow.views {
        let mut rendered = renderer.render(&view.name, &view.plan, demanded[&view.name])?;
        if view.emit == Emit::OnWindowClose {
            rendered = rendered.only_finals();
        }
        let stream = match published(view.emit) {
            Read::Changes => rendered.changes.clone(),
            Read::Finals => rendered.finals.clone(),
        };
        renderer.views.insert(view.name.clone(), rendered);
        let stream = stream.ok_or_else(|| Error::bug(format!("view \"{}\" has no stream to publish", view.name)))?;
        let target = job.views[&view.name].clone();
        let mut store = ViewStore::new(view.plan.schema());
        let ledger = job.ledger.clone();
        for_each_epoch(scope, &format!("Publish {}", view.name), stream, Pipeline, probe, move |epoch, batches| {
            match store.apply(&batches) {
                Ok(()) => target.publish(id.index, epoch, store.version(), &batches),
                Err(error) => ledger.fail(error),
            }
        });
    }
    Ok(())
}

fn published(emit: Emit) -> Read {
    match emit {
        Emit::Changes => Read::Changes,
        Emit::OnWindowClose => Read::Finals,
    }
}

fn build_sinks<'scope>(
    scope: Scope<'scope, u64>,
    renderer: &Renderer<'scope>,
    job: &Arc<Job>,
    writers: Vec<Option<Box<dyn Writer>>>,
    probe: &Probe<u64>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<()> {
    for (position, (sink, writer)) in job.dataflow.sinks.iter().zip(writers).enumerate() {
        let rendered = renderer.render(&sink.name, &sink.plan, Demand::of(sink.read))?;
        let stream = match sink.read {
            Read::Changes => rendered.changes,
            Read::Finals => rendered.finals,
        };
        let stream = stream.ok_or_else(|| Error::bug(format!("sink \"{}\" has no stream to write", sink.name)))?;
        let delivery = match writer {
            None => None,
            Some(writer) => {
                let (ledger, queued, stopping) = (job.ledger.clone(), job.queued.clone(), job.stopping.clone());
                let tick_ns = job.settings.tick.as_nanos() as i64;
                let (delivery, thread) = Delivery::start(writer, position, ledger, queued, stopping, tick_ns)?;
                threads.push(thread);
                Some(delivery)
            }
        };
        let deliver = move |epoch, batches| {
            if let Some(delivery) = &delivery {
                delivery.deliver(epoch, batches);
            }
        };
        let name = format!("Deliver {}", sink.name);
        if job.single_writers[position] {
            for_each_epoch(scope, &name, stream, by_key(Vec::new()), probe, deliver);
        } else {
            for_each_epoch(scope, &name, stream, Pipeline, probe, deliver);
        }
    }
    Ok(())
}

/// What a turn says about the next one.
enum Turn {
    Busy,
    Idle(Duration),
    Done,
}

/// Drives one worker's dataflow.
struct Driver {
    job: Arc<Job>,
    ingests: Vec<Ingest>,
    inputs: Vec<RowsInput>,
    /// `None` when the inputs are closed.
    watermarks: Option<WatermarkInput>,
    probe: Probe<u64>,
    epoch: Epoch,
    /// Epochs in which this worker sent rows and that are not complete.
    in_flight: VecDeque<Epoch>,
}

impl Driver {
    fn turn(&mut self, worker: &mut Worker) -> Turn {
        if self.job.ledger.has_failed() {
            self.close();
            return Turn::Done;
        }
        let now_ns = self.job.clock.now_ns();
        let rolled = self.follow_clock(now_ns);
        let taken = match self.ask_sources() {
            Ok(taken) => taken,
            Err(error) => {
                self.job.ledger.fail(error);
                return Turn::Busy;
            }
        };
        worker.step();
        let moved = self.note_progress(now_ns);
        if self.watermarks.is_none() && !worker.has_dataflows() {
            return Turn::Done;
        }
        if rolled || taken || moved {
            return Turn::Busy;
        }
        let tick_ns = self.tick_ns();
        let left = tick_ns - now_ns.rem_euclid(tick_ns);
        Turn::Idle(REST.min(Duration::from_nanos(left.unsigned_abs())))
    }

    fn tick_ns(&self) -> i64 {
        (self.job.settings.tick.as_nanos() as i64).max(1)
    }

    /// Ends the current epoch when the clock has left it. Epochs that nobody used are skipped.
    fn follow_clock(&mut self, now_ns: i64) -> bool {
        let now = Epoch(now_ns.div_euclid(self.tick_ns()).max(0) as u64);
        if now <= self.epoch || self.watermarks.is_none() {
            return false;
        }
        self.say_watermarks(now_ns);
        self.epoch = now;
        for input in &mut self.inputs {
            input.advance_to(now.0);
        }
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.advance_to(now.0);
        }
        true
    }

    fn say_watermarks(&mut self, now_ns: i64) {
        let Some(watermarks) = &mut self.watermarks else { return };
        for ingest in &mut self.ingests {
            if let Some(update) = ingest.watermark_update(now_ns) {
                watermarks.send(update);
            }
        }
        watermarks.flush();
    }

    /// Asks each source once; closes the inputs when all have ended or the run is to stop.
    fn ask_sources(&mut self) -> Result<bool> {
        if self.watermarks.is_none() {
            return Ok(false);
        }
        if self.job.stopping.load(Ordering::Acquire) {
            self.close();
            return Ok(true);
        }
        if self.job.queued.get() > self.job.settings.sink_queue_bytes || self.in_flight.len() > EPOCHS_IN_FLIGHT_MAX {
            return Ok(false);
        }
        let (mut taken, mut ended) = (false, 0);
        let epoch_start_ns = self.epoch.0 as i64 * self.tick_ns();
        for (ingest, input) in self.ingests.iter_mut().zip(&mut self.inputs) {
            match ingest.poll(epoch_start_ns, POLL_BYTES)? {
                Intake::Rows(mut rows) => {
                    input.send_batch(&mut rows);
                    taken = true;
                    if self.in_flight.back() != Some(&self.epoch) {
                        self.in_flight.push_back(self.epoch);
                    }
                }
                Intake::Nothing => taken = true,
                Intake::Pending => {}
                Intake::Ended => ended += 1,
            }
        }
        if ended == self.ingests.len() {
            // The end is said in the last epoch: it closes every window there.
            self.say_watermarks(self.job.clock.now_ns());
            self.close();
            taken = true;
        }
        Ok(taken)
    }

    fn close(&mut self) {
        self.inputs.clear();
        self.watermarks = None;
    }

    /// Tells readers how far things are complete.
    fn note_progress(&mut self, now_ns: i64) -> bool {
        let frontier = self.probe.with_frontier(|f| f.first().copied());
        let complete = match frontier {
            Some(frontier) => frontier.saturating_sub(1),
            None => self.epoch.0,
        };
        let mut seen = false;
        while self.in_flight.front().is_some_and(|e| e.0 <= complete) {
            if let Some(epoch) = self.in_flight.pop_front() {
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
        for view in self.job.views.values().filter(|view| view.is_subscribed()) {
            view.progress(false);
        }
        true
    }
}
