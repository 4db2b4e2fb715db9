//! A started program: the engine, the servers around it, and waiting for the end.

use crate::compile::Pipeline;
use crate::config::Config;
use crate::deploy::{self, Request};
use crate::failure::Outcome;
use crate::notifications;
use crate::relations::Relations;
use crate::serve;
use crate::session::Sessions;
use crate::state_folder::{StateFolder, find};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg_engine::clock::SystemClock;
use thalweg_engine::engine::{Engine, Surroundings};
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::Free;
use thalweg_notify::notifications::Notifications;
use thalweg_pipelines::{Program, fingerprint};
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::NOTIFICATIONS;
use thalweg_schemas::sink::Sink;
use tokio::runtime::Runtime;

/// An engine that runs, and what serves it.
pub struct Running {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where the PostgreSQL protocol is served.
    pub pg: Option<SocketAddr>,
    /// Where HTTP is served.
    pub http: Option<SocketAddr>,
    /// Where SQL over it is answered.
    pub sessions: Arc<Sessions>,
    notifications: Option<Arc<Notifications>>,
    runtime: Runtime,
    /// Holds the lock on the state until the run is over.
    _state: Option<StateFolder>,
    /// Heard from the start: a signal that comes while the run begins must end it in order, not kill it.
    signals: tokio::sync::Mutex<Signals>,
}

/// Starts the engine and the servers. Sockets are taken first: a second engine fails before it has touched anything.
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
    let open = |data: &Path| StateFolder::open(find(data, &program.dataflow, &pipeline.paths)?);
    let state = config.data.as_deref().map(open).transpose()?;
    let settings = Settings {
        workers: config.workers,
        tick: config.epoch,
        checkpoint_interval: config.checkpoint_interval,
        retention: config.retention,
        lineage: state.as_ref().map_or_else(|| fingerprint(&program.dataflow), StateFolder::lineage),
        worker_started: crate::priority::behind_the_servers,
        ..Settings::default()
    };
    let storage = state.as_ref().map(StateFolder::storage).transpose()?;
    let request = Request {
        dataflow: &program.dataflow,
        paths: &pipeline.paths,
        texts: pipeline.kept_texts(),
        compile: &|texts| pipeline.compile_kept(texts),
        connectors: thalweg_connectors::ALL,
        allowed,
        seen: Epoch(0),
    };
    let clock = SystemClock::start();
    let notifications = notifications::start(&program, state.as_ref(), addresses.1, clock.clone())?;
    let sinks = notifications.iter().map(|sink| (NOTIFICATIONS.to_string(), sink.clone() as Arc<dyn Sink>)).collect();
    let surroundings = Surroundings { clock, turns: Arc::new(Free), sinks, storage };
    let engine = Arc::new(deploy::start(&request, settings, surroundings)?);
    let relations = Relations {
        engine: engine.clone(),
        program: Arc::new(program),
        pipeline: pipeline.name.clone(),
        notifications: notifications.clone(),
    };
    let sessions = Sessions::new(Arc::new(relations));
    serve::spawn(&runtime, sessions.clone(), pg, http);
    Ok(Running {
        engine,
        pg: addresses.0,
        http: addresses.1,
        sessions,
        notifications,
        runtime,
        _state: state,
        signals: tokio::sync::Mutex::new(signals),
    })
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
            let engine = self.engine.clone();
            let (notifications, stopped) = (self.notifications.clone(), Arc::new(AtomicBool::new(false)));
            let was_stopped = stopped.clone();
            let mut ended = tokio::task::spawn_blocking(move || {
                let outcome = engine.wait();
                match notifications {
                    Some(notifications) if outcome.is_ok() && !was_stopped.load(Ordering::Acquire) => notifications.end(),
                    Some(notifications) => notifications.stop(),
                    None => {}
                }
                outcome
            });
            let mut signals = self.signals.lock().await;
            let mut ticks = tokio::time::interval(every);
            let mut stopping = false;
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
                        stopped.store(true, Ordering::Release);
                        self.engine.stop();
                    }
                    _ = ticks.tick() => look(&self.engine).await,
                }
            }
        })
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
