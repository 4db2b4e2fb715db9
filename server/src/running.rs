//! A started program: the engine, the servers around it, and waiting for the end.

use crate::checkpoint_place::CheckpointPlace;
use crate::compile::Pipeline;
use crate::config::Config;
use crate::deploy::{self, Transition};
use crate::failure::Outcome;
use crate::live::{Live, Redeployer};
use crate::notifications;
use crate::relations::{Relations, know_stores};
use crate::serve;
use crate::state_folder::{StateFolder, find};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::{Clock, SystemClock};
use thalweg_engine::deployment::Surroundings;
use thalweg_engine::durability::standing::standing;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::Free;
use thalweg_pipelines::{Program, fingerprint};
use thalweg_schemas::error::{Error, Result};
use tokio::runtime::Runtime;

/// How long a run that was asked to stop waits for sinks, and how long until the process ends in any case.
const STOP_WITHIN: Duration = Duration::from_secs(6);
const END_WITHIN: Duration = Duration::from_millis(9_500);

/// An engine that runs, and what serves it.
pub struct Running {
    /// What is served.
    pub live: Arc<Live>,
    /// Where the PostgreSQL protocol is served.
    pub pg: Option<SocketAddr>,
    /// Where HTTP is served.
    pub http: Option<SocketAddr>,
    runtime: Runtime,
    /// Holds the lock on the state until the run is over.
    state: Option<StateFolder>,
    /// Heard from the start: a signal that comes while the run begins must end it in order, not kill it.
    signals: tokio::sync::Mutex<Signals>,
}

/// Starts the engine and the servers. Sockets are taken first: a second engine fails before it has touched anything.
///
/// What was changed while an earlier run went on is part of the pipeline: `program` is that of the files alone.
pub fn start(config: &Config, pipeline: &Pipeline, program: Program, allowed: &[String]) -> Outcome<Running> {
    let pg = serve::bind("pg", config.pg)?;
    let http = serve::bind("http", config.http)?;
    let addresses = (serve::address_of(&pg), serve::address_of(&http));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve")
        .build()
        .map_err(|error| Error::io("threads for serving", &error))?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    let place = config.checkpoints.as_deref().map(CheckpointPlace::open).transpose()?;
    let open = |data: &Path| StateFolder::open(data, find(data, place.as_ref(), &program.dataflow, &pipeline.paths)?);
    let state = config.data.as_deref().map(open).transpose()?;
    let settings = Settings {
        workers: config.workers,
        tick: config.epoch,
        checkpoint_interval: config.checkpoint_interval,
        retention: config.retention,
        dead_letters_max: config.dead_letters_max,
        memory_max: config.memory_max,
        lineage: state.as_ref().map_or_else(|| fingerprint(&program.dataflow), StateFolder::lineage),
        worker_started: crate::priority::behind_the_servers,
        at_rest: crate::allocator::give_back,
        ..Settings::default()
    };
    let far = place.as_ref().zip(config.checkpoints.as_deref());
    let storage = state.as_ref().map(|state| state.storage(far)).transpose()?;
    let archives = state.as_ref().map(StateFolder::archives).transpose()?;
    let there = storage.as_ref().map(|storage| standing(storage.as_ref())).transpose()?.flatten();
    let (pipeline, program) = match &there {
        Some(there) => {
            let changed = pipeline.changed_as(&there.deployed);
            let program = changed.compile()?.program;
            (changed, program)
        }
        None => (pipeline.clone(), program),
    };
    let clock: Arc<dyn Clock> = SystemClock::start();
    let outbox = notifications::Place { folder: state.as_ref().map(StateFolder::notifications), http: addresses.1 };
    let notifications = notifications::start(&program, &outbox, clock.clone())?;
    let surroundings = Surroundings {
        clock: clock.clone(),
        turns: Arc::new(Free),
        sinks: notifications::sinks(notifications.as_ref()),
        storage: storage.clone(),
        archives: archives.clone(),
    };
    know_stores(&program)?;
    let transition = Transition { allowed, ..Transition::default() };
    let engine = deploy::start_pipeline(&pipeline, &program.dataflow, transition, settings.clone(), surroundings)?;
    let engine = Arc::new(engine);
    notifications::watch(notifications.as_ref(), &engine);
    let relations = Relations { engine, program: Arc::new(program), pipeline: pipeline.name.clone(), notifications };
    let redeployer = storage.map(|storage| Redeployer { pipeline, settings, clock, storage, archives, outbox });
    let live = Live::new(relations, redeployer);
    serve::spawn(&runtime, live.clone(), pg, http);
    Ok(Running { live, pg: addresses.0, http: addresses.1, runtime, state, signals: tokio::sync::Mutex::new(signals) })
}

impl Running {
    /// Waits until the run has ended by itself, or because Ctrl-C or SIGTERM stopped it; meanwhile calls `look` every
    /// now and then. A second signal does not wait for the engine.
    pub fn wait(&self, every: Duration, mut look: impl FnMut(&Engine)) -> Result<()> {
        self.wait_with(every, async |engine| look(engine))
    }

    /// As [`wait`](Self::wait); `look` may ask questions.
    pub fn wait_with(&self, every: Duration, mut look: impl AsyncFnMut(&Engine)) -> Result<()> {
        self.runtime.block_on(async {
            let live = self.live.clone();
            let mut ended = tokio::task::spawn_blocking(move || live.wait());
            let mut signals = self.signals.lock().await;
            let mut ticks = tokio::time::interval(every);
            let mut stopping = false;
            let (within, at_last) = (tokio::time::sleep(Duration::MAX), tokio::time::sleep(Duration::MAX));
            tokio::pin!(within, at_last);
            loop {
                tokio::select! {
                    outcome = &mut ended => {
                        return outcome.unwrap_or_else(|error| Err(Error::bug(format!("waiting for the engine: {error}"))));
                    }
                    () = signals.next() => {
                        if stopping {
                            return Err(Error::outside("stopped by a second signal before the engine had finished"));
                        }
                        stopping = true;
                        let now = tokio::time::Instant::now();
                        within.as_mut().reset(now + STOP_WITHIN);
                        at_last.as_mut().reset(now + END_WITHIN);
                        self.live.stop();
                    }
                    () = &mut within, if stopping && !self.live.is_over() => {
                        within.as_mut().reset(tokio::time::Instant::now() + END_WITHIN);
                        self.live.engine().abandon();
                    }
                    () = &mut at_last, if stopping => return self.leave_unfinished(),
                    _ = ticks.tick() => look(&self.live.engine()).await,
                }
            }
        })
    }

    /// What is said of a run that goes on for too long after it was asked to stop, busy with what came before. To end it now
    /// is to kill it: with an epoch log the next run loses nothing by that.
    fn leave_unfinished(&self) -> Result<()> {
        let what = format!("the run has not come to its end within {END_WITHIN:?}");
        match self.live.engine().failure() {
            Some(error) => Err(error),
            None if self.state.is_some() => {
                tracing::warn!("{what}; what is left to do is done by the next run, from the epoch log");
                Ok(())
            }
            None => Err(Error::outside(what).with_detail("It keeps no state: what it was still busy with is lost.")),
        }
    }

    /// Lets go of the servers without waiting for their clients.
    pub fn leave(self) {
        self.runtime.shutdown_background();
    }

    /// The addresses, for people.
    pub fn addresses(&self) -> String {
        let pg = self.pg.map(|address| format!("postgres://{address}/thalweg"));
        let http = self.http.map(|address| format!("http://{address}"));
        match (pg, http) {
            (None, None) => "no address".to_string(),
            (pg, http) => pg.into_iter().chain(http).collect::<Vec<_>>().join(", "),
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| Error::io("signals", &error));
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
