//! A run, from the outside: started from a plan, looked at while it runs, stopped or waited for.

use crate::clock::{Clock, NotBefore};
use crate::delivery::{QueuedBytes, Reunion};
use crate::deployment::{Deployment, Surroundings};
use crate::durability::recover::Recovered;
use crate::durability::recovery;
use crate::ending::{Ending, Until};
use crate::ledger::{Ledger, lock};
use crate::memory::Memory;
use crate::opening::{open_archives, open_sink, open_source, share, start_archivists};
use crate::settings::Settings;
use crate::status::{LatencyStatus, OperatorStatus, RecoveryStatus, SinkStatus, Status, ViewStatus};
use crate::turns::{Free, Turns};
use crate::view::history::Retention;
use crate::view::published::PublishedView;
use crate::view::{Begin, Chunk, Snapshot, Subscription};
use crate::worker::{Job, Past, Share, run};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_operators::plan::Dataflow;
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::Sink;
use thalweg_schemas::source::Source;
use timely::communication::WorkerGuards;

/// How often a start looks whether its workers have ended instead of becoming ready.
const READY_LOOK: Duration = Duration::from_millis(20);

/// A running dataflow. All methods may be called from any thread. Dropping it stops the run and waits for its end.
pub struct Engine {
    pub(crate) job: Arc<Job>,
    began_after: Epoch,
    /// Let go of by [`release`](Engine::release).
    pub(crate) sources: Mutex<Vec<Arc<dyn Source>>>,
    /// Joins the workers when dropped.
    guards: Mutex<Option<WorkerGuards<()>>>,
    /// What the run goes on from.
    recovery: Option<RecoveryStatus>,
    /// The threads that write the archives.
    archivists: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Opens sources and sinks, builds the dataflow on every worker, and runs it.
    ///
    /// Returns as soon as the workers run, and views show what an earlier run left. Errors are those of opening sources and sinks.
    pub fn start(
        dataflow: Dataflow,
        connectors: &[ConnectorSpec],
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Engine> {
        Engine::start_in_turns(dataflow, connectors, clock, settings, Arc::new(Free))
    }

    /// As [`start`](Self::start), with the workers taking turns: for simulations.
    pub fn start_in_turns(
        dataflow: Dataflow,
        connectors: &[ConnectorSpec],
        clock: Arc<dyn Clock>,
        settings: Settings,
        turns: Arc<dyn Turns>,
    ) -> Result<Engine> {
        let surroundings = Surroundings { clock, turns, sinks: BTreeMap::new(), storage: None, archives: None };
        Engine::start_with(dataflow, connectors, settings, surroundings)
    }

    /// As [`start`](Self::start), in surroundings of the caller's choice. With a storage the run keeps its state there
    /// and goes on from what an earlier run of the same dataflow left.
    pub fn start_with(
        dataflow: Dataflow,
        connectors: &[ConnectorSpec],
        settings: Settings,
        surroundings: Surroundings,
    ) -> Result<Engine> {
        Engine::deploy(Deployment { dataflow, ..Deployment::default() }, connectors, settings, surroundings)
    }

    /// As [`start_with`](Self::start_with); what is deployed is kept with the state, which may be another program's.
    pub fn deploy(
        deployment: Deployment,
        connectors: &[ConnectorSpec],
        settings: Settings,
        surroundings: Surroundings,
    ) -> Result<Engine> {
        let workers = settings.workers.max(1);
        let Some(storage) = surroundings.storage.clone() else {
            return Engine::launch(deployment, connectors, settings, surroundings, None, Until::SourcesEnd);
        };
        if recovery::has_ended(storage.as_ref())? {
            let surroundings = Surroundings { storage: None, ..surroundings };
            return Engine::launch(deployment, connectors, settings, surroundings, None, Until::Opened);
        }
        let mut past = recovery::look(storage.as_ref())?;
        let names: Vec<String> = deployment.dataflow.sources.iter().map(|plan| plan.name.clone()).collect();
        let recovery = recovery::report(&past, &names, &settings, surroundings.clock.now_ns());
        if let Some(old) = past.log_workers().filter(|old| *old != workers) {
            tracing::info!("finishing the epoch log with its {old} workers, before going on with {workers}");
            Engine::replay_only(deployment.clone(), connectors, settings.clone(), surroundings.clone(), past)?;
            past = recovery::look(storage.as_ref())?;
        }
        let mut engine = Engine::launch(deployment, connectors, settings, surroundings, Some(past), Until::SourcesEnd)?;
        engine.recovery = recovery;
        Ok(engine)
    }

    /// Takes in once more what the epoch log holds, with `deployment`, whose log it is, so that the state is a checkpoint
    /// and nothing else: only from there can another program go on. Does nothing where the log is empty.
    pub fn finish_log(
        deployment: impl FnOnce() -> Result<Deployment>,
        connectors: &[ConnectorSpec],
        settings: Settings,
        surroundings: Surroundings,
    ) -> Result<()> {
        let Some(storage) = &surroundings.storage else { return Ok(()) };
        let past = recovery::look(storage.as_ref())?;
        match past.log_workers() {
            None => Ok(()),
            Some(_) => Engine::replay_only(deployment()?, connectors, settings, surroundings, past),
        }
    }

    /// The log says what each of its workers took in. As many take it in once more, and stop with a checkpoint, which any
    /// number of workers can go on from.
    fn replay_only(
        deployment: Deployment,
        connectors: &[ConnectorSpec],
        settings: Settings,
        surroundings: Surroundings,
        past: Recovered,
    ) -> Result<()> {
        let workers = past.log_workers().unwrap_or(settings.workers);
        let settings = Settings { workers, ..settings };
        let engine = Engine::launch(deployment, connectors, settings, surroundings, Some(past), Until::LogIsTakenIn)?;
        let outcome = engine.wait();
        // Whoever goes on opens the same sources.
        engine.release();
        outcome
    }

    fn launch(
        deployment: Deployment,
        connectors: &[ConnectorSpec],
        settings: Settings,
        surroundings: Surroundings,
        mut past: Option<Recovered>,
        until: Until,
    ) -> Result<Engine> {
        let workers = settings.workers.max(1);
        let Deployment { dataflow, deployed, takeover } = deployment;
        let sources: Vec<_> =
            dataflow.sources.iter().map(|plan| open_source(plan, connectors)).collect::<Result<_>>()?;
        let sinks: Vec<_> = dataflow
            .sinks
            .iter()
            .map(|plan| match surroundings.sinks.get(&plan.connector) {
                Some(sink) => Ok(sink.clone()),
                None => open_sink(plan, connectors, &settings.lineage),
            })
            .collect::<Result<_>>()?;
        let anew = past.as_ref().is_some_and(|past| past.manifest.is_none() && past.records.is_empty());
        // What may fail outside has been tried: from here on the state is this program's.
        if let (Some(storage), Some(past)) = (&surroundings.storage, &mut past) {
            recovery::take_over(storage.as_ref(), past, &deployed, takeover, workers)?;
        }
        let began_after = Epoch(past.as_ref().map_or(0, Recovered::checkpoint));
        let complete = Arc::new(AtomicU64::new(began_after.0));
        let archives = open_archives(surroundings.archives.as_ref(), &settings, (anew, began_after.0), &complete)?;
        if past.is_none() {
            // Nothing is taken in once more: what lies there is all to be seen.
            complete.fetch_max(archives.0.written().max(archives.1.written()), Ordering::AcqRel);
        }
        let last_epoch =
            past.as_ref().map_or(0, Recovered::last_epoch).max(archives.0.written()).max(archives.1.written());
        let clock = NotBefore::wrap(surroundings.clock, (last_epoch + 1) as i64 * settings.tick_ns());
        let names = (
            dataflow.sources.iter().map(|s| s.name.clone()).collect(),
            dataflow.views.iter().map(|v| v.name.clone()).collect(),
            dataflow.sinks.iter().map(|s| s.name.clone()).collect(),
        );
        let ledger = Arc::new(Ledger::new(names, archives, settings.tick_ns()));
        let ending = Arc::new(Ending::after(until));
        let durability = match (&surroundings.storage, &past) {
            (Some(storage), Some(past)) => {
                let sources = dataflow.sources.iter().map(|plan| plan.name.clone()).zip(sources.iter().cloned());
                let ends = (ledger.clone(), ending.clone());
                Some(recovery::resume(storage, past, sources.collect(), &deployed, &settings, ends)?)
            }
            _ => None,
        };
        let retention = Retention { epochs: settings.retention_epochs(), bytes_max: settings.retained_bytes_max };
        let views = dataflow.views.iter().map(|view| {
            let (name, schema) = (view.name.clone(), view.plan.schema());
            let published = PublishedView::new(name, schema, workers, complete.clone(), retention);
            (view.name.clone(), Arc::new(published))
        });
        let memory = Memory::new(settings.memory_max);
        let job = Arc::new(Job {
            views: views.collect(),
            replayable: sources.iter().map(|source| source.replayable()).collect(),
            single_writers: sinks.iter().map(|s| s.single_writer()).collect(),
            dataflow,
            ledger,
            clock,
            turns: surroundings.turns,
            settings,
            complete,
            ending,
            fed: AtomicU64::new(0),
            queued: QueuedBytes::default(),
            memory,
            durability,
            caught_up_at: past.as_ref().map_or(0, Recovered::last_epoch),
            last_epoch: AtomicU64::new(0),
            latency: Mutex::new(new_histogram()?),
            workers_ready: (Mutex::new(0), Condvar::new()),
            workers_done: (Mutex::new(0), Condvar::new()),
        });
        let resumes = past.as_ref().filter(|past| past.last_epoch() > 0 || !past.records.is_empty());
        let resumed = resumes.is_some();
        let checkpoint = resumes.map(|past| Epoch(past.checkpoint()));
        let past = match (past, &surroundings.storage) {
            (Some(past), Some(storage)) => Some(Arc::new(Past {
                storage: storage.clone(),
                next_epoch: if checkpoint.is_some() { last_epoch + 1 } else { 0 },
                manifest: past.manifest,
                records: past.records.into_iter().map(Arc::new).collect(),
            })),
            _ => None,
        };
        let writers = |sink: &Arc<dyn Sink>| if sink.single_writer() { 1 } else { workers };
        let reunions: Vec<Reunion> = sinks.iter().map(|sink| Reunion::new(writers(sink))).collect();
        let resume = checkpoint.map(|checkpoint| (checkpoint, reunions));
        let shares: Vec<Mutex<Option<Share>>> = (0..workers)
            .map(|index| {
                let worker = WorkerId { index, peers: workers };
                Ok(Mutex::new(Some(share(&job, &sources, &sinks, worker, (resume.clone(), past.clone()))?)))
            })
            .collect::<Result<_>>()?;
        let archivists = start_archivists(&job.ledger)?;
        let worker_job = job.clone();
        let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
        let guards = timely::execute(config, move |worker| {
            (worker_job.settings.worker_started)();
            if let Some(share) = lock(&shares[worker.index()]).take() {
                run(worker, &worker_job, share);
            }
        });
        let guards = guards.map_err(|e| Error::outside(format!("the workers could not be started: {e}")))?;
        let engine = Engine {
            job,
            began_after,
            sources: Mutex::new(sources),
            guards: Mutex::new(Some(guards)),
            recovery: None,
            archivists: Mutex::new(archivists),
        };
        if resumed {
            engine.wait_until_ready();
        }
        Ok(engine)
    }

    /// Waits until the workers hold what an earlier run left: before that, views would be seen without their rows.
    fn wait_until_ready(&self) {
        let (ready, changed) = &self.job.workers_ready;
        let mut count = lock(ready);
        while *count < self.job.settings.workers.max(1) && !self.ended() {
            count = changed.wait_timeout(count, READY_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The epoch as of which it went on from an earlier run; the first one without that.
    pub fn began_after(&self) -> Epoch {
        self.began_after
    }

    /// What the run goes on from; `None` if it began anew.
    pub fn recovery(&self) -> Option<&RecoveryStatus> {
        self.recovery.as_ref()
    }

    /// The last epoch that is complete on all workers.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.job.complete.load(Ordering::Acquire))
    }

    /// Views as of one common epoch, the last complete one. Names that are no view are an error.
    pub fn snapshots(&self, views: &[&str]) -> Result<Vec<Snapshot>> {
        let epoch = self.epoch();
        views.iter().map(|name| self.view(name)?.snapshot(epoch)).collect()
    }

    /// A view as of the last complete epoch, as its rows lie: what few rows are wanted of is not copied for that.
    pub fn chunks(&self, view: &str) -> Result<(Epoch, Vec<Chunk>)> {
        let epoch = self.epoch();
        Ok((epoch, self.view(view)?.chunks(epoch)))
    }

    /// Views as of `epoch`, which may be past as far as their changes since are kept ([`Settings::retention`]).
    pub fn snapshots_as_of(&self, views: &[&str], epoch: Epoch) -> Result<Vec<Snapshot>> {
        views.iter().map(|name| self.view(name)?.snapshot_as_of(epoch)).collect()
    }

    /// The changes of a view from where `begin` says; a snapshot comes as insertions at the epoch it is as of. An epoch
    /// after which not all changes are kept is an error.
    pub fn subscribe(&self, view: &str, begin: Begin) -> Result<Subscription> {
        let view = self.view(view)?;
        let subscription = view.subscribe(begin, self.job.settings.subscriber_rows_max)?;
        if self.ended() {
            view.progress(true);
        }
        Ok(subscription)
    }

    fn view(&self, name: &str) -> Result<&Arc<PublishedView>> {
        self.job.views.get(name).ok_or_else(|| Error::user(format!("view \"{name}\" does not exist")))
    }

    /// A look at the engine.
    pub fn status(&self) -> Status {
        let (job, epoch) = (&self.job, self.epoch());
        let ledger = &job.ledger;
        let workers = job.settings.workers.max(1);
        let open = lock(&self.sources);
        let sources = ledger.sources.iter().enumerate().map(|(position, book)| {
            let mut status = book.status(workers);
            status.progress = open.get(position).and_then(|source| source.progress());
            status.refreshes = open.get(position).and_then(|source| source.refreshes());
            status.cache = open.get(position).and_then(|source| source.questions()).map(|questions| questions.counts());
            status
        });
        let views = job.views.values().map(|view| {
            let (rows, bytes) = view.size();
            let book = &ledger.views[&view.name];
            let (late, dead) = (book.late.load(Ordering::Acquire), book.dead.load(Ordering::Acquire));
            ViewStatus { name: view.name.clone(), rows, bytes, late, dead, epoch }
        });
        let held = job.held();
        let operators = lock(&ledger.operators);
        let operators = operators.iter().map(|(view, operator, worker, meter)| OperatorStatus {
            view: view.clone(),
            operator: operator.clone(),
            worker: *worker,
            rows_in: meter.rows_in.load(Ordering::Relaxed),
            rows_out: meter.rows_out.load(Ordering::Relaxed),
            state_rows: meter.state_rows.load(Ordering::Relaxed),
            state_bytes: meter.state_bytes.load(Ordering::Relaxed),
            evicted: meter.evicted.load(Ordering::Relaxed),
            busy_ns: meter.busy_ns.load(Ordering::Relaxed),
            hottest_keys: meter.hottest_keys(),
        });
        Status {
            epoch,
            epoch_start_ns: (epoch.0 as i64).saturating_mul(job.settings.tick_ns()),
            workers,
            sources: sources.collect(),
            watermarks: ledger.sources.iter().flat_map(|book| book.watermarks()).collect(),
            views: views.collect(),
            sinks: ledger.sinks.iter().map(|book| book.status()).collect(),
            operators: operators.collect(),
            latencies: vec![latency("epoch_to_view", &lock(&job.latency))],
            checkpoints: job.durability.iter().map(|durability| durability.status()).collect(),
            dead_letters: self.archive_status(),
            memory: job.memory.status(held),
        }
    }

    /// Asks the run to end: sources stop, what was taken in is finished, sinks commit.
    pub fn stop(&self) {
        self.job.ending.stop();
    }

    /// Asks the run to end now, whatever it waits for outside: sinks that do not answer, a disk that is full. What was
    /// taken in durably is delivered by the next run; a run that keeps no state ends with an error if it lost rows.
    pub fn abandon(&self) {
        let waiting = self.status().sinks.into_iter().filter(|sink| sink.queued_bytes > 0 || sink.last_error.is_some());
        for sink in waiting {
            let SinkStatus { name, queued_bytes, last_error, .. } = sink;
            let why = last_error.unwrap_or_else(|| "it does not answer".to_string());
            let what = format!("sink \"{name}\" has not taken {queued_bytes} bytes: {why}");
            match &self.job.durability {
                Some(_) => tracing::warn!("{what}; the next run delivers them, from the epoch log"),
                None => self.job.ledger.fail(Error::outside(what).with_detail("the run was asked to stop")),
            }
        }
        self.job.ending.abandon();
    }

    /// Lets go of what the sink `name` has not taken, now and from now on: so that what is about to be dropped, and may be
    /// down for good, does not hold up the end of the run.
    pub fn give_up_sink(&self, name: &str) {
        for book in self.job.ledger.sinks.iter().filter(|book| book.name == name) {
            book.given_up.store(true, Ordering::Release);
        }
    }

    /// Whether the run has ended (all sources ended, or after [`stop`](Self::stop), or by an error).
    pub fn ended(&self) -> bool {
        *lock(&self.job.workers_done.0) == self.job.settings.workers.max(1)
    }

    /// The error that ends the run, if one does.
    pub fn failure(&self) -> Option<Error> {
        self.job.ledger.failure()
    }

    /// Waits until the run has ended and all sinks have finished; the error that ended it, if one did.
    /// Snapshots can be read afterwards.
    pub fn wait(&self) -> Result<()> {
        let workers = self.job.settings.workers.max(1);
        let (done, changed) = &self.job.workers_done;
        drop(changed.wait_while(lock(done), |done| *done < workers).unwrap_or_else(PoisonError::into_inner));
        self.end_durably()?;
        for view in self.job.views.values() {
            view.progress(true);
        }
        match self.job.ledger.failure() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

impl Engine {
    /// Waits for what is being written of the state; a run that has come to its own end leaves none.
    fn end_durably(&self) -> Result<()> {
        let Some(durability) = &self.job.durability else {
            self.end_archives();
            return Ok(());
        };
        durability.finish();
        self.end_archives();
        if durability.is_over() || self.job.ledger.has_failed() {
            return Ok(());
        }
        self.job.complete.fetch_max(self.job.last_epoch.load(Ordering::Acquire), Ordering::AcqRel);
        let stopped = self.job.ending.is_stopping() || self.job.ending.until() == Until::LogIsTakenIn;
        if stopped { Ok(()) } else { durability.forget() }
    }

    /// Lets go of the sources of a run that has ended, so that another can open them: addresses that they listen on, for
    /// one. Views can still be read.
    pub fn release(&self) {
        lock(&self.sources).clear();
        if let Some(durability) = &self.job.durability {
            durability.journal.release();
        }
    }

    /// Writes what is left for the archives.
    fn end_archives(&self) {
        let Job { ledger, complete, last_epoch, .. } = &*self.job;
        let complete = complete.load(Ordering::Acquire);
        let failed = ledger.has_failed();
        let until = if failed { complete } else { complete.max(last_epoch.load(Ordering::Acquire)) };
        [&ledger.dead, &ledger.late].into_iter().for_each(|archive| archive.close(until));
        for thread in lock(&self.archivists).drain(..) {
            // A panic has been told by the panic hook; what lies on disk is what it was.
            drop(thread.join());
        }
    }

    /// Ends the run as the death of its process would: nothing more is written, no sink is finished.
    pub fn crash(&self) {
        [&self.job.ledger.dead, &self.job.ledger.late].into_iter().for_each(|archive| archive.crash());
        if let Some(durability) = &self.job.durability {
            durability.crash();
        }
        self.job.ledger.fail(Error::outside("the run was ended as by a crash"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        if let Some(guards) = lock(&self.guards).take() {
            // A worker that panicked has said so through the books.
            guards.join().into_iter().for_each(drop);
        }
        if let Some(durability) = &self.job.durability {
            durability.finish();
        }
        self.end_archives();
    }
}

fn new_histogram() -> Result<Histogram<u64>> {
    // From a microsecond to an hour, three digits.
    Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|e| Error::bug(format!("the latency histogram: {e}")))
}

fn latency(name: &str, histogram: &Histogram<u64>) -> LatencyStatus {
    let at = |quantile| histogram.value_at_quantile(quantile) * 1_000;
    LatencyStatus {
        name: name.to_string(),
        count: histogram.len(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        max_ns: histogram.max() * 1_000,
    }
}

/// The views of a run by name, for those who list them.
impl Engine {
    /// The schema of each view.
    pub fn view_schemas(&self) -> BTreeMap<String, arrow::datatypes::SchemaRef> {
        self.job.views.values().map(|view| (view.name.clone(), view.schema.clone())).collect()
    }
}
