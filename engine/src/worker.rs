//! One worker: builds the dataflow, gives it back what an earlier run left, then drives it turn by turn.

use crate::clock::Clock;
use crate::delivery::{Delivery, Gate, QueuedBytes, Reunion};
use crate::driver::{Appetite, Driver, RowsInput, Turn, WatermarkInput};
use crate::durability::Durability;
use crate::durability::manifest::Manifest;
use crate::durability::record::{Entry, EpochRecord};
use crate::durability::replay::Replay;
use crate::durability::said::Said;
use crate::durability::storage::Storage;
use crate::ending::Ending;
use crate::epochs::for_each_epoch;
use crate::holdings::Holdings;
use crate::ingest::Ingest;
use crate::ledger::{Ledger, lock};
use crate::memory::{Held, Memory};
use crate::seeds::{Seeds, sow};
use crate::settings::Settings;
use crate::turns::Turns;
use crate::view::published::PublishedView;
use crate::view::rows::ViewRows;
use crate::view::store::ViewStore;
use crate::watcher::Watcher;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_operators::exchange::by_key;
use thalweg_operators::join::SharedSides;
use thalweg_operators::placement::{Placement, placement};
use thalweg_operators::plan::{Dataflow, Emit, Read};
use thalweg_operators::render::{Demand, Holds, Renderer, Sharing, demanded};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::questions::Questions;
use thalweg_schemas::sink::Writer;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// How often a worker that has ended looks whether its writers have.
const WRITER_LOOK: Duration = Duration::from_millis(2);

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
    /// For each source, whether it can be read again.
    pub replayable: Vec<bool>,
    /// The last epoch that is complete everywhere.
    pub complete: Arc<AtomicU64>,
    pub ending: Arc<Ending>,
    /// Where tables are asked for the rows of keys: the last epoch in which anything came in that may make somebody ask.
    pub fed: AtomicU64,
    pub queued: QueuedBytes,
    pub memory: Memory,
    /// The last epoch of an earlier run: until it is complete, that run is being taken in once more.
    pub caught_up_at: u64,
    /// `None`: the run does not outlive its process.
    pub durability: Option<Arc<Durability>>,
    /// The last epoch of all workers that are done.
    pub last_epoch: AtomicU64,
    /// From the beginning of an epoch with rows until its results are visible, in microseconds.
    pub latency: Mutex<Histogram<u64>>,
    /// Signed off by each worker when it holds its share of what an earlier run left, or never will.
    pub workers_ready: (Mutex<usize>, std::sync::Condvar),
    /// Signed off by each worker when it is done.
    pub workers_done: (Mutex<usize>, std::sync::Condvar),
}

/// What one worker owns from the start.
pub(crate) struct Share {
    pub ingests: Vec<Ingest>,
    /// One a sink, and what it goes on from; `None` where another worker writes alone.
    pub writers: Vec<Option<ShareOfSink>>,
    pub past: Option<Arc<Past>>,
}

/// One worker's writer of a sink; where a run goes on, from which checkpoint and with which others.
pub(crate) type ShareOfSink = (Box<dyn Writer>, Option<(Epoch, Reunion)>);

/// What an earlier run left, as the workers take it on.
pub(crate) struct Past {
    pub storage: Arc<dyn Storage>,
    pub manifest: Option<Manifest>,
    pub records: Vec<Arc<EpochRecord>>,
    /// The epoch with which this run goes on.
    pub next_epoch: u64,
}

/// Runs one worker to its end.
pub(crate) fn run(worker: &mut Worker, job: &Arc<Job>, share: Share) {
    let id = WorkerId { index: worker.index(), peers: worker.peers() };
    let leaving = Leaving { job: job.clone(), index: id.index };
    let mut writers = Vec::new();
    let built = job.take_turn(id.index, || build(worker, job, id, share, &mut writers));
    if let Err(error) = &built {
        job.ledger.fail(error.clone());
    }
    *lock(&job.workers_ready.0) += 1;
    job.workers_ready.1.notify_all();
    let mut checkpoints = 0;
    match built {
        Err(_) => {}
        Ok(mut driver) => loop {
            let turn = job.take_turn(id.index, || driver.turn(worker));
            // What it handed over for a checkpoint has been freed by now.
            let over = job.durability.as_ref().map_or(0, |durability| durability.checkpoints_over());
            if matches!(turn, Turn::Idle(_)) && std::mem::replace(&mut checkpoints, over) != over {
                (job.settings.at_rest)();
            }
            match turn {
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
        while !writer.is_finished() && !job.ending.is_abandoned() {
            std::thread::park_timeout(WRITER_LOOK);
        }
        // A thread that hangs in the outside world goes with the process.
        if writer.is_finished() && writer.join().is_err() {
            job.ledger.fail(Error::bug("a sink's thread ended in a panic"));
        }
    }
    drop(leaving);
}

impl Job {
    /// What the run holds in memory.
    pub fn held(&self) -> Held {
        let operators = lock(&self.ledger.operators);
        Held {
            operators: operators.iter().map(|(.., meter)| meter.state_bytes.load(Ordering::Relaxed)).sum(),
            views: self.views.values().map(|view| view.own_bytes()).sum(),
            queues: (self.queued.get() + self.ledger.waiting_bytes()) as u64,
        }
    }

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
    let mut seed_inputs = BTreeMap::new();
    let probe = Probe::new();
    let holdings = Rc::new(RefCell::new(Holdings::default()));
    let mut deliveries = Vec::new();
    let plans = job.dataflow.sources.iter().zip(&share.ingests);
    let asked: Vec<_> = plans.filter_map(|(plan, ingest)| Some((plan.name.clone(), ingest.questions()?))).collect();
    let questions: Vec<Arc<Questions>> = asked.iter().map(|(_, questions)| questions.clone()).collect();
    let manifest = share.past.as_ref().and_then(|past| past.manifest.as_ref());
    // What begins with the rows of views has another beginning than its neighbours.
    let seeded = manifest.map(|manifest| manifest.seeds.keys().cloned().collect()).unwrap_or_default();
    let shared = SharedSides::of(&job.dataflow, &seeded);
    worker.dataflow_named::<u64, _, _>("thalweg", |scope| -> Result<()> {
        let mut renderer = Renderer {
            scope,
            peers: id.peers,
            tick_ns: job.settings.tick_ns(),
            sources: BTreeMap::new(),
            source_ids: BTreeMap::new(),
            watermarks: scope.input_from(&mut watermarks).broadcast(),
            views: BTreeMap::new(),
            observer: Rc::new(Watcher::new(job.clone(), id.index, holdings.clone())),
            questions: asked.into_iter().collect(),
            holds: Holds::default(),
            sharing: Sharing::of(shared),
            built: Default::default(),
        };
        for (position, (plan, input)) in job.dataflow.sources.iter().zip(&mut inputs).enumerate() {
            renderer.source(plan, scope.input_from(input))?;
            renderer.source_ids.insert(plan.name.clone(), position as u32);
        }
        let seeds = Seeds::new(scope, manifest, &mut seed_inputs);
        let views = build_views(scope, &mut renderer, job, &seeds, id, &probe)?;
        let sinks = SinkThreads { threads, deliveries: &mut deliveries, worker: id.index };
        build_sinks(scope, &mut renderer, job, &seeds, share.writers, &probe, sinks)?;
        views.into_iter().for_each(|(view, place, rows)| holdings.borrow_mut().add_view(&view, place, rows));
        Ok(())
    })?;
    let mut driver = Driver {
        job: job.clone(),
        id,
        ingests: share.ingests,
        inputs,
        watermarks: Some(watermarks),
        probe,
        epoch: Epoch(0),
        in_flight: VecDeque::new(),
        entry: Entry::default(),
        holdings,
        deliveries,
        replay: None,
        held: None,
        parted: false,
        appetite: Appetite::default(),
        questions,
    };
    if let Some(past) = share.past {
        take_on(&mut driver, &past, seed_inputs)?;
    }
    Ok(driver)
}

/// Gives a worker its share of what an earlier run left.
fn take_on(driver: &mut Driver, past: &Past, seed_inputs: BTreeMap<String, RowsInput>) -> Result<()> {
    let mut said = Said::new(driver.id.peers);
    let mut primes = Vec::new();
    if let Some(manifest) = &past.manifest {
        let holdings = driver.holdings.borrow();
        let floor = holdings.restore(manifest, past.storage.as_ref(), driver.id)?;
        for (position, (plan, ingest)) in driver.job.dataflow.sources.iter().zip(&mut driver.ingests).enumerate() {
            // A source that the checkpoint does not know is read from its beginning.
            let Some(source) = manifest.sources.get(&plan.name).cloned() else { continue };
            ingest.restore(source.partitions, floor);
            said.restore(position as u32, source.said);
        }
        // The log is of as many workers, and each said more of the same shares in it.
        if !past.records.is_empty() {
            primes = said.by(driver.id.index);
        }
        holdings.publish(&driver.job.views, driver.id.index, Epoch(manifest.epoch));
        sow(seed_inputs, &holdings, Epoch(manifest.epoch))?;
    }
    said.follow(&past.records);
    driver.replay = Some(Replay::new(past.records.clone(), primes, said.promises(driver.id.index), past.next_epoch));
    Ok(())
}

fn build_views<'scope>(
    scope: Scope<'scope, u64>,
    renderer: &mut Renderer<'scope>,
    job: &Arc<Job>,
    seeds: &Seeds<'scope>,
    id: WorkerId,
    probe: &Probe<u64>,
) -> Result<Vec<(String, Placement, Rc<RefCell<ViewRows>>)>> {
    let mut views = Vec::new();
    let keyed = job.dataflow.sources.iter().filter(|source| !source.key.is_empty());
    let mut placements: BTreeMap<String, Placement> =
        keyed.map(|source| (source.name.clone(), Placement::By(source.placed_by()))).collect();
    let demanded = demanded(&job.dataflow);
    for view in &job.dataflow.views {
        let mut rendered = seeds.render(renderer, &view.name, &view.plan, demanded[&view.name])?;
        if view.emit == Emit::OnWindowClose {
            rendered = rendered.only_finals();
        }
        let stream = match published(view.emit) {
            Read::Changes => rendered.changes.clone(),
            Read::Finals => rendered.finals.clone(),
        };
        let lent = rendered.arrangement.clone().filter(|_| view.retain.is_none());
        renderer.views.insert(view.name.clone(), rendered);
        let stream = stream.ok_or_else(|| Error::bug(format!("view \"{}\" has no stream to publish", view.name)))?;
        let (stream, bounds) = match &view.retain {
            Some(retain) => {
                let (stream, bounds) = renderer.watched(&view.name, stream, retain);
                (stream, Some((retain.column, bounds)))
            }
            None => (stream, None),
        };
        let target = job.views[&view.name].clone();
        let rows = lent.map_or_else(|| ViewRows::Own(ViewStore::new(view.plan.schema())), ViewRows::lent);
        let rows = Rc::new(RefCell::new(rows));
        let mut place = placement(&view.plan, &placements);
        placements.insert(view.name.clone(), place.clone());
        let ledger = job.ledger.clone();
        let kept = rows.clone();
        let publish = move |epoch, batches: Vec<Batch>| {
            let mut rows = kept.borrow_mut();
            let within = bounds.as_ref().map(|(column, bounds)| (*column, bounds.as_of(epoch)));
            match rows.apply(batches, within) {
                // An epoch in which only event time went on, and nothing fell behind.
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => target.publish(id.index, epoch, rows.version(epoch), &changes),
                Err(error) => ledger.fail(error),
            }
        };
        let name = format!("Publish {}", view.name);
        // Rows also leave a worker's part when nothing comes to it.
        let moves = view.retain.as_ref().map(|_| renderer.watermarks.clone());
        if place == Placement::Scattered {
            // A row and its retraction must come to one worker, by what is known of both.
            let all: Vec<usize> = (0..view.plan.schema().fields().len()).collect();
            for_each_epoch(scope, &name, stream, by_key(all.clone()), moves, probe, publish);
            place = Placement::By(all);
        } else {
            for_each_epoch(scope, &name, stream, Pipeline, moves, probe, publish);
        }
        views.push((view.name.clone(), place, rows));
    }
    Ok(views)
}

fn published(emit: Emit) -> Read {
    match emit {
        Emit::Changes => Read::Changes,
        Emit::OnWindowClose => Read::Finals,
    }
}

/// Where the threads of a worker's sinks are noted.
struct SinkThreads<'a> {
    threads: &'a mut Vec<JoinHandle<()>>,
    deliveries: &'a mut Vec<Rc<Delivery>>,
    worker: usize,
}

fn build_sinks<'scope>(
    scope: Scope<'scope, u64>,
    renderer: &mut Renderer<'scope>,
    job: &Arc<Job>,
    seeds: &Seeds<'scope>,
    writers: Vec<Option<ShareOfSink>>,
    probe: &Probe<u64>,
    sinks: SinkThreads<'_>,
) -> Result<()> {
    for (position, (sink, writer)) in job.dataflow.sinks.iter().zip(writers).enumerate() {
        let rendered = seeds.render(renderer, &sink.name, &sink.plan, Demand::of(sink.read))?;
        let stream = match sink.read {
            Read::Changes => rendered.changes,
            Read::Finals => rendered.finals,
        };
        let stream = stream.ok_or_else(|| Error::bug(format!("sink \"{}\" has no stream to write", sink.name)))?;
        let delivery = match writer {
            None => None,
            Some((writer, resume)) => {
                let (ledger, queued, ending) = (job.ledger.clone(), job.queued.clone(), job.ending.clone());
                let tick_ns = job.settings.tick_ns();
                let gate = job.durability.clone().map(|durability| Gate { durability, worker: sinks.worker, resume });
                let (delivery, thread) = Delivery::start(writer, position, ledger, queued, ending, tick_ns, gate)?;
                sinks.threads.push(thread);
                let delivery = Rc::new(delivery);
                sinks.deliveries.push(delivery.clone());
                Some(delivery)
            }
        };
        let changelog = sink.changelog;
        let deliver = move |epoch, batches: Vec<Batch>| {
            if let Some(delivery) = &delivery {
                // A sink of changes is told of each row what it is.
                let changes = |batch: Batch| if changelog { batch.into_changes() } else { batch };
                delivery.deliver(epoch, batches.into_iter().map(changes).collect());
            }
        };
        let name = format!("Deliver {}", sink.name);
        if job.single_writers[position] {
            for_each_epoch(scope, &name, stream, by_key(Vec::new()), None, probe, deliver);
        } else {
            for_each_epoch(scope, &name, stream, Pipeline, None, probe, deliver);
        }
    }
    Ok(())
}
