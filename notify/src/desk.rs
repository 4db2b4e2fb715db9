//! The thread between the machine, the outbox and the receivers.
//!
//! Each turn takes all messages that are there, puts them into the machine, chooses what is to be tried, and appends all of
//! that to the outbox at once. Only then anything of it is seen outside: an answer to who handed something in, a try.
//! Receivers are called on threads of their own, so that a slow one holds up neither this thread nor another receiver.

use crate::gate::Gate;
use crate::machine::{Input, Machine};
use crate::notification::{Notification, Outcome};
use crate::notifications::{Clock, lock};
use crate::outbox::{Outbox, Record};
use crate::pulse::Pulse;
use crate::speaker::Speaker;
use crate::time::SECOND;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};

/// The longest that the thread rests.
const REST_NS: i64 = SECOND;
/// How long the outbox is left alone when it could not be written.
const PAUSE_NS: i64 = SECOND / 2;
/// How many messages a turn takes.
const TURN_MESSAGES: usize = 10_000;
/// How long a pipeline that has ended waits for its receivers.
const END_NS: i64 = 30 * SECOND;
/// How long one that was stopped waits for tries that have begun.
const STOP_NS: i64 = 5 * SECOND;

pub(crate) enum Message {
    /// An input, and who waits until it is durable.
    Put(Input, Sender<()>),
    /// A try has ended.
    Ended { notifier: String, id: String, outcome: Outcome, took_ns: i64 },
    /// Nothing will ever come.
    End,
    /// Nothing will come from this process.
    Stop,
}

/// A notifier's receiver: when it may be called, and the threads that call it.
struct Station {
    gate: Gate,
    jobs: Sender<Notification>,
}

/// What is seen outside when it is durable.
enum Effect {
    Reply(Sender<()>),
    Try(Notification),
}

/// Whether and how long the desk still waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// When nothing is left, or at that time.
    WhenQuiet(i64),
    /// When no try is going on, or at that time.
    WhenIdle(i64),
}

pub(crate) struct Desk {
    machine: Arc<Mutex<Machine>>,
    outbox: Outbox,
    stations: BTreeMap<String, Station>,
    clock: Clock,
    pulse: Pulse,
    now_ns: i64,
    /// What the machine knows and the outbox does not.
    unlogged: Vec<Record>,
    effects: Vec<Effect>,
    /// When the outbox, which could not be written, is tried again.
    paused_until_ns: i64,
    leaving: Leaving,
    /// Set before it is told to stop, for what it would be busy with until it hears of that.
    stopping: Arc<AtomicBool>,
}

impl Desk {
    /// A desk with the threads that call receivers.
    pub fn new(
        machine: Arc<Mutex<Machine>>,
        outbox: Outbox,
        speakers: Vec<Speaker>,
        (clock, pulse): (Clock, Pulse),
        messages: Sender<Message>,
        stopping: Arc<AtomicBool>,
    ) -> Result<Desk> {
        let mut stations = BTreeMap::new();
        for speaker in speakers {
            let (name, (concurrency, rate)) = (speaker.name().to_string(), speaker.limits);
            let (jobs, received) = unbounded();
            let speaker = Arc::new(speaker);
            for _ in 0..concurrency {
                let caller = Caller {
                    speaker: speaker.clone(),
                    jobs: received.clone(),
                    messages: messages.clone(),
                    clock: clock.clone(),
                };
                let thread = std::thread::Builder::new().name(format!("notifier {name}"));
                thread.spawn(move || caller.serve()).map_err(|e| Error::io("starting a thread for a notifier", &e))?;
            }
            stations.insert(name, Station { gate: Gate::new(concurrency, rate), jobs });
        }
        let (unlogged, effects, leaving) = (Vec::new(), Vec::new(), Leaving::No);
        let now_ns = clock();
        let paused_until_ns = 0;
        Ok(Desk {
            machine,
            outbox,
            stations,
            clock,
            pulse,
            now_ns,
            unlogged,
            effects,
            paused_until_ns,
            leaving,
            stopping,
        })
    }

    /// Serves until it is told to leave.
    pub fn serve(mut self, messages: &Receiver<Message>) {
        loop {
            let rest = Duration::from_nanos(self.rest_ns().unsigned_abs());
            let first = match messages.recv_timeout(rest) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.now_ns = self.now_ns.max((self.clock)());
            for message in first.into_iter().chain(messages.try_iter().take(TURN_MESSAGES)) {
                self.take(message);
            }
            let due = lock(&self.machine).due_at_ns().is_some_and(|at| at <= self.now_ns);
            if due {
                self.apply(Input::Tick);
            }
            if self.leaving == Leaving::No {
                for notifier in self.pulse.beat(self.now_ns) {
                    self.apply(Input::Beat(notifier));
                }
            }
            self.begin_tries();
            self.settle();
            if self.is_done() {
                return self.close();
            }
        }
    }

    /// How long nothing is to be done unless a message comes.
    fn rest_ns(&self) -> i64 {
        let machine = lock(&self.machine);
        let tries = self.stations.iter().filter(|_| !matches!(self.leaving, Leaving::WhenIdle(_)));
        let tries =
            tries.filter_map(|(name, station)| Some(machine.ready_at_ns(name)?.max(station.gate.opens_at_ns()?)));
        let mut next_ns = self.now_ns.saturating_add(REST_NS);
        next_ns = next_ns.min(self.pulse.due_at_ns().unwrap_or(i64::MAX));
        next_ns = next_ns.min(machine.due_at_ns().unwrap_or(i64::MAX)).min(tries.min().unwrap_or(i64::MAX));
        if let Leaving::WhenQuiet(until) | Leaving::WhenIdle(until) = self.leaving {
            next_ns = next_ns.min(until);
        }
        if !self.unlogged.is_empty() {
            next_ns = self.paused_until_ns;
        }
        next_ns.saturating_sub((self.clock)()).clamp(0, REST_NS)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Put(input, reply) => {
                self.apply(input);
                self.effects.push(Effect::Reply(reply));
            }
            Message::Ended { notifier, id, outcome, took_ns } => {
                if let Some(station) = self.stations.get_mut(&notifier) {
                    station.gate.end(self.now_ns, &outcome);
                }
                tell(&notifier, &id, &outcome);
                self.apply(Input::Ended(id, outcome, took_ns));
            }
            Message::End => {
                self.apply(Input::Last);
                self.leaving = Leaving::WhenQuiet(self.now_ns.saturating_add(END_NS));
            }
            Message::Stop => self.leaving = Leaving::WhenIdle(self.now_ns.saturating_add(STOP_NS)),
        }
    }

    fn apply(&mut self, input: Input) {
        lock(&self.machine).apply(self.now_ns, input.clone());
        self.unlogged.push(Record { at_ns: self.now_ns, input });
    }

    /// Chooses what is to be tried now.
    fn begin_tries(&mut self) {
        if matches!(self.leaving, Leaving::WhenIdle(_)) {
            return;
        }
        let mut machine = lock(&self.machine);
        for (name, station) in &mut self.stations {
            while station.gate.opens_at_ns().is_some_and(|at| at <= self.now_ns) {
                let Some(delivery) = machine.ready(name, self.now_ns) else { break };
                let notification = delivery.notification.clone();
                let input = Input::Started(notification.id.clone());
                machine.apply(self.now_ns, input.clone());
                self.unlogged.push(Record { at_ns: self.now_ns, input });
                station.gate.begin(self.now_ns);
                self.effects.push(Effect::Try(notification));
            }
        }
    }

    /// Makes durable what was done, and lets it be seen.
    fn settle(&mut self) {
        if self.unlogged.is_empty() || self.now_ns < self.paused_until_ns {
            return;
        }
        if let Err(error) = self.outbox.append(&self.unlogged) {
            tracing::warn!("notifications wait, since their outbox cannot be written: {error}");
            self.paused_until_ns = self.now_ns.saturating_add(PAUSE_NS);
            return;
        }
        self.unlogged.clear();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                // Who no longer waits needs no answer.
                Effect::Reply(reply) => drop(reply.send(())),
                Effect::Try(notification) => {
                    if let Some(station) = self.stations.get(&notification.notifier) {
                        drop(station.jobs.send(notification));
                    }
                }
            }
        }
        // Nobody waits for that at the end: the next run begins with it.
        if self.leaving == Leaving::No && !self.stopping.load(Ordering::Acquire) {
            let shorten = self.outbox.shorten(&lock(&self.machine), || self.stopping.load(Ordering::Acquire));
            if let Err(error) = shorten {
                tracing::warn!("the outbox stays long: {error}");
            }
        }
    }

    fn is_done(&self) -> bool {
        let idle = self.stations.values().all(|station| station.gate.is_idle());
        match self.leaving {
            Leaving::No => false,
            Leaving::WhenQuiet(until) => lock(&self.machine).is_quiet() && idle || self.now_ns >= until,
            Leaving::WhenIdle(until) => idle && self.unlogged.is_empty() || self.now_ns >= until,
        }
    }

    fn close(self) {
        let left = lock(&self.machine).undelivered();
        if let Leaving::WhenQuiet(_) = self.leaving {
            if left.is_empty() {
                if let Err(error) = self.outbox.remove() {
                    tracing::warn!("the outbox of the run that has ended is still there: {error}");
                }
                return;
            }
            for (notifier, count) in left {
                tracing::warn!(
                    notifier,
                    "{count} messages are not delivered; they are tried when the pipeline runs again"
                );
            }
        }
    }
}

/// Says in the log what an operator of the engine should know.
fn tell(notifier: &str, id: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered { .. } => {}
        Outcome::Failed { error, .. } => tracing::info!(notifier, id, "a message is tried again: {error}"),
        Outcome::Refused { error, .. } => tracing::warn!(notifier, id, "a message was refused and is dead: {error}"),
    }
}

/// A thread that calls a receiver.
struct Caller {
    speaker: Arc<Speaker>,
    jobs: Receiver<Notification>,
    messages: Sender<Message>,
    clock: Clock,
}

impl Caller {
    fn serve(self) {
        for notification in &self.jobs {
            let began_ns = (self.clock)();
            let outcome = self.speaker.speak(&notification, began_ns);
            let took_ns = (self.clock)().saturating_sub(began_ns);
            let notifier = self.speaker.name().to_string();
            let ended = Message::Ended { notifier, id: notification.id.clone(), outcome, took_ns };
            if self.messages.send(ended).is_err() {
                return;
            }
        }
    }
}
