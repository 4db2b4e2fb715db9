//! The notifications of a running pipeline: the sink that takes the events of its alerts, and what is asked of it from
//! outside. Everything goes through one thread (`desk.rs`); nobody but its own callers waits for a receiver.

use crate::alert::Alert;
use crate::desk::{Desk, Message};
use crate::machine::acknowledgement::Acknowledgement;
use crate::machine::{Input, Machine};
use crate::notification::Attempt;
use crate::outbox::Outbox;
use crate::pulse::Pulse;
use crate::shared::Shared;
use crate::silence::Silence;
use crate::speaker::Speaker;
use crate::statements::{Routes, config, declared_silence};
use crossbeam_channel::{Sender, bounded, unbounded};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use thalweg_schemas::alert_event::from_rows;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::{NotificationKind, NotificationPlan};
use thalweg_schemas::sink::{Sink, Writer};

/// The wall clock, in nanoseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Tells the last complete epoch of an engine that is not there yet when notifications are started.
pub(crate) type EpochOf = Arc<OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>>;

/// What notifications are surrounded by.
pub struct Surroundings {
    /// Tells the time.
    pub clock: Clock,
    /// Where the outbox lies; `None`: it does not outlive its process.
    pub folder: Option<PathBuf>,
    /// Where people find the engine.
    pub external_url: String,
}

/// What is done about an incident that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// What holds it back: `silence quiet`, `inhibition graver by incident 9f2c..`, `backfill`.
    pub suppressed_by: Option<String>,
    /// Who takes care of it; an empty text if nobody said who.
    pub acknowledged_by: Option<String>,
}

/// The notifications of a running pipeline.
pub struct Notifications {
    machine: Arc<Mutex<Machine>>,
    messages: Sender<Message>,
    clock: Clock,
    epoch: EpochOf,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Whether the thread is about to be told to stop.
    stopping: Arc<AtomicBool>,
}

pub(crate) fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notifications {
    /// Goes on from what an earlier run left, and begins to deliver. `routes` says for each alert whom it tells.
    pub fn start(plans: &[NotificationPlan], routes: Routes, surroundings: Surroundings) -> Result<Arc<Notifications>> {
        let Surroundings { clock, folder, external_url } = surroundings;
        let of = |kind| plans.iter().filter(move |plan: &&NotificationPlan| plan.kind == kind);
        let speakers: Vec<Speaker> = of(NotificationKind::Notifier)
            .map(|plan| Speaker::new(&plan.name, &plan.options, &external_url))
            .collect::<Result<_>>()?;
        let silences: Vec<Silence> = of(NotificationKind::Silence).map(declared_silence).collect::<Result<_>>()?;
        let (outbox, machine) = Outbox::open(folder.as_deref(), config(plans, routes)?, clock())?;
        let gone: Vec<String> = machine
            .silences()
            .filter(|known| known.declared && silences.iter().all(|silence| silence.id != known.id))
            .map(|silence| silence.id.clone())
            .collect();
        let machine = Arc::new(Mutex::new(machine));
        let (messages, received) = unbounded();
        let epoch = EpochOf::default();
        let pulse = Pulse::new(lock(&machine).config(), epoch.clone(), clock());
        let stopping = Arc::new(AtomicBool::new(false));
        let (times, tell) = ((clock.clone(), pulse), messages.clone());
        let desk = Desk::new(machine.clone(), outbox, speakers, times, tell, stopping.clone())?;
        let thread = std::thread::Builder::new().name("notifications".into()).spawn(move || desk.serve(&received));
        let thread = thread.map_err(|error| Error::io("starting a thread for notifications", &error))?;
        let thread = Mutex::new(Some(thread));
        let notifications = Arc::new(Notifications { machine, messages, clock, epoch, thread, stopping });
        for silence in silences {
            notifications.put(Input::Silence(silence))?;
        }
        for id in gone {
            notifications.put(Input::Expire(id))?;
        }
        Ok(notifications)
    }

    /// What became of messages, oldest first, and what has not been tried.
    pub fn attempts(&self) -> Vec<Attempt> {
        lock(&self.machine).attempts()
    }

    /// The silences that are remembered.
    pub fn silences(&self) -> Vec<Silence> {
        lock(&self.machine).silences().cloned().collect()
    }

    /// The calendars, and whether it is one of their times.
    pub fn calendars(&self) -> BTreeMap<String, bool> {
        let now_ns = self.now_ns();
        let machine = lock(&self.machine);
        let calendars = machine.config().calendars.iter();
        calendars.map(|(name, calendar)| (name.clone(), calendar.contains(now_ns))).collect()
    }

    /// From now on notifiers that have a `watchdog` are told that the engine is at work, as long as `epoch`, the number of
    /// its last complete epoch, grows.
    pub fn watch(&self, epoch: impl Fn() -> u64 + Send + Sync + 'static) {
        drop(self.epoch.set(Box::new(epoch)));
    }

    /// The time by which silences begin and end.
    pub fn now_ns(&self) -> i64 {
        (self.clock)()
    }

    /// Makes a silence, or changes the one of its id; the answer is its id. It is durable on return.
    pub fn silence(&self, silence: Silence) -> Result<String> {
        let silence = silence.checked()?;
        if let Some(name) = lock(&self.machine).config().unknown_calendar(&silence.calendars) {
            return Err(Error::user(format!("calendar \"{name}\" does not exist"))
                .with_hint("SELECT * FROM thalweg.calendars lists those that the pipeline declares."));
        }
        if silence.ends_at_ns <= self.now_ns() {
            return Err(Error::user("a silence ends in the past").with_hint("Say an end that is still to come."));
        }
        let id = silence.id.clone();
        self.put(Input::Silence(silence)).map(|()| id)
    }

    /// Ends a silence now.
    pub fn expire(&self, id: &str) -> Result<()> {
        if !lock(&self.machine).silences().any(|silence| silence.id == id) {
            return Err(Error::user(format!("silence \"{id}\" does not exist")));
        }
        self.put(Input::Expire(id.to_string()))
    }

    /// The pipeline has come to its own end: groups speak at once, and what is to be delivered is delivered, for a while.
    /// When nothing is left the outbox is forgotten: the next run begins anew.
    pub fn end(&self) {
        self.leave(Message::End);
    }

    /// The pipeline was stopped, and will go on: what is being tried comes to its end, everything else waits in the outbox.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.leave(Message::Stop);
    }

    /// Whether an incident goes on that is known by this id.
    pub fn is_open(&self, incident_id: &str) -> bool {
        lock(&self.machine).is_open(incident_id)
    }

    /// Somebody takes care of an incident: it is neither repeated nor escalated from now on. It is durable on return.
    pub fn acknowledge(&self, acknowledgement: Acknowledgement) -> Result<()> {
        self.put(Input::Acknowledge(acknowledgement))
    }

    /// Messages that are dead are tried again, as they are; the answer is how many of `ids` are. It is durable on return.
    pub fn replay(&self, ids: &[String]) -> Result<usize> {
        let found = lock(&self.machine).replayable(ids);
        let count = found.len();
        if count > 0 {
            self.put(Input::Replay(found))?;
        }
        Ok(count)
    }

    /// For each of these incidents what holds it back and who takes care of it, if anything does.
    pub fn attention<'a>(&self, incidents: impl Iterator<Item = &'a str>) -> Vec<Attention> {
        let now_ns = self.now_ns();
        let machine = lock(&self.machine);
        let of = |incident: &'a str| Attention {
            suppressed_by: machine.suppression(incident, now_ns).map(|muting| muting.to_string()),
            acknowledged_by: machine.acknowledgement(incident).map(|by| by.author.clone()),
        };
        incidents.map(of).collect()
    }

    fn leave(&self, message: Message) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Both fail only if the thread is gone already.
            drop(self.messages.send(message));
            drop(thread.join());
        }
    }

    fn put(&self, input: Input) -> Result<()> {
        put(&self.messages, input)
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hands an input over and waits until it is durable.
fn put(messages: &Sender<Message>, input: Input) -> Result<()> {
    let (reply, replied) = bounded(1);
    let gone = || Error::outside("notifications have been stopped");
    messages.send(Message::Put(input, reply)).map_err(|_| gone())?;
    replied.recv().map_err(|_| gone())
}

impl Sink for Notifications {
    fn writer(&self, _worker: WorkerId) -> Result<Box<dyn Writer>> {
        let (messages, machine) = (self.messages.clone(), self.machine.clone());
        Ok(Box::new(Events { messages, machine, alerts: Vec::new(), written: None, known: false }))
    }

    /// Events of one key come in order, and an epoch is taken as a whole.
    fn single_writer(&self) -> bool {
        true
    }
}

/// Takes the events of an epoch, and is done with it when they are in the outbox.
struct Events {
    messages: Sender<Message>,
    machine: Arc<Mutex<Machine>>,
    alerts: Vec<Shared<Alert>>,
    /// The epoch that `alerts` are of.
    written: Option<Epoch>,
    /// Whether it is known whether the run goes on from an earlier one.
    known: bool,
}

impl Writer for Events {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        if self.written.is_some_and(|written| written < epoch) {
            self.commit(epoch)?;
        }
        let events = from_rows(&batch.rows)?;
        self.alerts.extend(Machine::alerts_of(&events));
        self.written = Some(epoch);
        Ok(())
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        if !std::mem::replace(&mut self.known, true) {
            // Nothing is known of epochs: a clock may have been set back since an earlier run ended.
            put(&self.messages, Input::Fresh)?;
        }
        if let Some(epoch) = self.written.take()
            && !self.alerts.is_empty()
        {
            put(&self.messages, Input::Alerts(epoch.0, std::mem::take(&mut self.alerts)))?;
        }
        Ok(())
    }

    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        self.known = true;
        Ok(checkpoint.max(Epoch(lock(&self.machine).state().epoch)))
    }

    fn finish(&mut self) -> Result<()> {
        self.commit(Epoch(0))
    }
}

#[cfg(test)]
mod tests;
