//! What is being served, and changing it while it runs: the engine is stopped with a checkpoint, the changed pipeline goes
//! on from it, and takes the old one's place behind the servers, whose sockets stay open.

use crate::change::{Changed, Done, changed, first_of, is_a_column_too, notices, skipped, tag_of, with_created};
use crate::compile::Pipeline;
use crate::deploy::{self, Transition};
use crate::failure::Failure;
use crate::notifications;
use crate::relations::{Relations, know_stores};
use crate::session::Sessions;
use crate::sql_error::{NOT_SUPPORTED, SqlError, SqlResult};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use thalweg_engine::clock::Clock;
use thalweg_engine::deployment::{Archives, Surroundings};
use thalweg_engine::durability::standing::standing;
use thalweg_engine::durability::storage::Storage;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::Free;
use thalweg_notify::notifications::Notifications;
use thalweg_pipelines::redeploy::{compare, renaming};
use thalweg_pipelines::{Change, Program, alert_history_of, explain};
use thalweg_schemas::error::{Error, Result};

/// How long to wait before looking again whether one engine has taken the place of another.
const PAUSE: Duration = Duration::from_millis(5);

/// How often it is looked whether the first epoch is complete: for some seconds, in which a full disk may not be mended.
const FIRST_EPOCH_LOOKS: u32 = 1_000;

/// How often it is looked whether sinks take rows again before a change is refused: for some seconds.
const SINK_LOOKS: u32 = 600;

/// What is being served.
pub struct Live {
    current: RwLock<Arc<Sessions>>,
    /// Whether another engine is about to take the place of the current one.
    changing: AtomicBool,
    /// Whether the run is to end.
    stopping: AtomicBool,
    /// Why nothing took the place of an engine that was stopped for a change.
    failure: OnceLock<Error>,
    /// What can be changed; `None` where nothing can.
    redeployer: Option<Mutex<Redeployer>>,
}

/// What it takes to deploy a changed pipeline.
pub struct Redeployer {
    /// What runs.
    pub pipeline: Pipeline,
    /// How.
    pub settings: Settings,
    /// The clock of all engines, one after the other.
    pub clock: Arc<dyn Clock>,
    /// The state, which one hands to the next.
    pub storage: Arc<dyn Storage>,
    /// Where notifications wait to be delivered.
    pub outbox: notifications::Place,
    /// Where what is rejected is kept, which outlives every change.
    pub archives: Option<Archives>,
}

impl Live {
    /// Serves `relations`.
    pub fn new(relations: Relations, redeployer: Option<Redeployer>) -> Arc<Live> {
        Arc::new_cyclic(|live| Live {
            current: RwLock::new(Sessions::of_live(Arc::new(relations), live.clone(), 0)),
            changing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failure: OnceLock::new(),
            redeployer: redeployer.map(Mutex::new),
        })
    }

    /// The sessions over what runs now.
    pub fn sessions(&self) -> Arc<Sessions> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What runs now.
    pub fn engine(&self) -> Arc<Engine> {
        self.sessions().relations().engine.clone()
    }

    /// Whether the run has ended.
    pub fn is_over(&self) -> bool {
        !self.is_changing() && self.engine().ended()
    }

    fn is_changing(&self) -> bool {
        self.changing.load(Ordering::Acquire)
    }

    /// Waits until what runs has ended, and nothing takes its place.
    pub fn wait(&self) -> Result<()> {
        loop {
            let before = self.sessions();
            let outcome = before.relations().engine.wait();
            let after = self.after(&before);
            if after.is_none() {
                if let Some(notifications) = &before.relations().notifications {
                    match outcome.is_ok() && !self.stopping.load(Ordering::Acquire) {
                        true => notifications.end(),
                        false => notifications.stop(),
                    }
                }
                return self.failure.get().map_or(outcome, |error| Err(error.clone()));
            }
        }
    }

    /// What took the place of `before`, whose engine has ended; waits while that is about to happen.
    pub fn after(&self, before: &Arc<Sessions>) -> Option<Arc<Sessions>> {
        while self.is_changing() && Arc::ptr_eq(&self.sessions(), before) {
            std::thread::park_timeout(PAUSE);
        }
        Some(self.sessions()).filter(|current| !Arc::ptr_eq(current, before))
    }

    /// Asks what runs to end, and what is about to take its place.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.engine().stop();
    }

    fn redeployer(&self) -> SqlResult<&Mutex<Redeployer>> {
        self.redeployer.as_ref().ok_or_else(|| {
            SqlError::user(NOT_SUPPORTED, "a run that keeps no state cannot be changed")
                .with_hint("Run it with --data DIR.")
        })
    }

    /// The dataflow that the statement `text`, which declares `name`, would make. Waits while something changes.
    pub fn explain_created(&self, name: &str, text: &str) -> SqlResult<String> {
        let redeployer = self.redeployer()?.lock().unwrap_or_else(PoisonError::into_inner);
        let program = self.sessions().relations().program.clone();
        let pipeline = with_created(&redeployer.pipeline, &program, name, text);
        let program = pipeline.compile_errors().map_err(first_of)?;
        Ok(explain(&program, Some(name))?)
    }

    /// Makes a change, and answers when it is durable and can be seen. Waits for the engine: not for a thread
    /// that must not.
    pub fn change(&self, change: &Change) -> SqlResult<Done> {
        let mut redeployer = self.redeployer()?.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.sessions();
        let relations = before.relations();
        if relations.engine.ended() {
            return Err(has_ended().into());
        }
        let Some(Changed { pipeline, mut allowed, renamed }) =
            changed(change, &relations.program, &redeployer.pipeline)?
        else {
            return Ok(Done { tag: tag_of(change), notices: vec![skipped(change)] });
        };
        // What an alert has said goes with it.
        let histories: Vec<String> = allowed.iter().map(|name| alert_history_of(name)).collect();
        allowed.extend(histories);
        let program = pipeline.compile_errors().map_err(first_of)?;
        if program.dataflow.sources.is_empty() {
            return Err(SqlError::user(NOT_SUPPORTED, "nothing would be left that reads a source")
                .with_hint("Stop the run, or create what takes its place first."));
        }
        let mut there = standing(redeployer.storage.as_ref())?.unwrap_or_default();
        let mut new = None;
        if let Some((from, to)) = renamed {
            new = renaming(&relations.program.dataflow, &program.dataflow, from, to);
            let Some(renaming) = &new else { return Err(is_a_column_too(from)) };
            there = renaming.standing(there);
        }
        compare(&program.dataflow, &there).check(&allowed)?;
        settle_sinks(&relations.engine, &allowed)?;
        let notices = notices(change, &program);
        let transition = Transition { allowed: &allowed, renaming: new, ..Transition::default() };
        self.changing.store(true, Ordering::Release);
        let outcome = self.hand_over(&redeployer, &pipeline, program, transition);
        if outcome.is_ok() {
            redeployer.pipeline = pipeline;
        }
        self.changing.store(false, Ordering::Release);
        if outcome.is_ok() {
            self.wait_for_first_epoch();
        }
        outcome.map(|()| Done { tag: tag_of(change), notices }).map_err(SqlError::from)
    }

    /// Waits until what was created shows the rows that it begins with: they are of the first epoch.
    fn wait_for_first_epoch(&self) {
        let engine = self.engine();
        for _ in 0..FIRST_EPOCH_LOOKS {
            if engine.epoch() > engine.began_after() || engine.ended() {
                return;
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Stops what runs, and starts `pipeline` on its state; if that cannot be, what ran before.
    fn hand_over(
        &self,
        redeployer: &Redeployer,
        pipeline: &Pipeline,
        program: Program,
        transition: Transition<'_>,
    ) -> Result<()> {
        let before = self.sessions();
        let relations = before.relations();
        let old = &relations.engine;
        old.stop();
        old.wait()?;
        old.release();
        if let Some(notifications) = &relations.notifications {
            notifications.stop();
        }
        // It may have come to its own end at this very moment, and then its state is gone.
        if standing(redeployer.storage.as_ref())?.is_none() {
            return Err(has_ended());
        }
        let seen = old.epoch();
        match redeployer.start(pipeline, &program, Transition { seen, ..transition }) {
            Ok(started) => {
                self.replace(&before, started, Arc::new(program));
                Ok(())
            }
            Err(error) => {
                let again = redeployer.start(
                    &redeployer.pipeline,
                    &relations.program,
                    Transition { seen, ..Transition::default() },
                );
                let started = again.inspect_err(|error| drop(self.failure.set(error.clone())))?;
                self.replace(&before, started, relations.program.clone());
                Err(error)
            }
        }
    }

    fn replace(&self, before: &Arc<Sessions>, (engine, notifications): Started, program: Arc<Program>) {
        let engine = Arc::new(engine);
        notifications::watch(notifications.as_ref(), &engine);
        let relations =
            Relations { engine: engine.clone(), program, pipeline: before.relations().pipeline.clone(), notifications };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = before.followed_by(Arc::new(relations));
        // Whoever stopped the run may have met the engine before it.
        if self.stopping.load(Ordering::Acquire) {
            engine.stop();
        }
    }
}

/// What takes the place of what ran.
type Started = (Engine, Option<Arc<Notifications>>);

impl Redeployer {
    fn start(&self, pipeline: &Pipeline, program: &Program, transition: Transition<'_>) -> Result<Started> {
        know_stores(program)?;
        let notifications = notifications::start(program, &self.outbox, self.clock.clone())?;
        let surroundings = Surroundings {
            clock: self.clock.clone(),
            turns: Arc::new(Free),
            sinks: notifications::sinks(notifications.as_ref()),
            storage: Some(self.storage.clone()),
            archives: self.archives.clone(),
        };
        let started =
            deploy::start_pipeline(pipeline, &program.dataflow, transition, self.settings.clone(), surroundings);
        match started {
            Ok(engine) => Ok((engine, notifications)),
            Err(Failure::Error(error)) => Err(*error),
            Err(Failure::Mistakes(text)) => Err(Error::user(text)),
            Err(Failure::Told(_)) => Err(Error::bug("a change failed without a word")),
        }
    }
}

/// Waits a while for sinks that are being tried again; of those in `gone`, what they have not taken is let go. A change
/// begins with a checkpoint, and that has what every sink was to take.
fn settle_sinks(engine: &Engine, gone: &[String]) -> Result<()> {
    let failing = |go: bool| {
        let sinks = engine.status().sinks.into_iter().filter(move |sink| gone.contains(&sink.name) == go);
        sinks.filter_map(|sink| Some((sink.name, sink.last_error?)))
    };
    let mut looks = 0;
    while let Some((sink, why)) = failing(false).next() {
        if looks == SINK_LOOKS {
            let what = format!("nothing can be changed while sink \"{sink}\" is tried again: {why}");
            let hint = format!("Change it once the sink takes rows again, or DROP SINK {sink} first.");
            return Err(Error::outside(what).with_hint(hint));
        }
        looks += 1;
        std::thread::park_timeout(PAUSE);
    }
    failing(true).for_each(|(sink, _)| engine.give_up_sink(&sink));
    Ok(())
}

fn has_ended() -> Error {
    Error::user("the run has ended").with_hint("Start it again to change it.")
}
