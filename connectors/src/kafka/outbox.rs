//! Messages on their way out, and what the cluster said of each: they are kept until all of them are where they belong, so
//! that whatever did not succeed can be done again.

use super::client::{Listener, lock};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;
use thalweg_schemas::messages::{Message, Messages};
use thalweg_schemas::sink::Refused;

/// A producer that reports to a [`Clerk`].
pub(super) type Outlet = BaseProducer<Clerk>;

/// Listens to a producer, and notes what became of each message.
pub(super) struct Clerk {
    pub listener: Listener,
    reports: Mutex<Vec<(usize, Option<Code>)>>,
}

impl Clerk {
    pub fn new(owner: &str) -> Clerk {
        Clerk { listener: Listener::new(owner), reports: Mutex::default() }
    }

    /// Forgets what became of messages that are to be sent again.
    pub fn forget(&self) {
        lock(&self.reports).clear();
    }
}

impl ClientContext for Clerk {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Clerk {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, message: usize) {
        let code = result.as_ref().err().map(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Fail));
        lock(&self.reports).push((message, code));
    }
}

/// How long one attempt to send waits for the cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it listens at a time: the client's own `flush` listens for a tenth of a second, whatever comes.
const TURN: Duration = Duration::from_millis(1);

/// Waits until the cluster has answered for every message.
pub(super) fn flush(outlet: &Outlet) -> KafkaResult<()> {
    let mut waited = Duration::ZERO;
    while outlet.in_flight_count() > 0 {
        if waited >= PATIENCE {
            return Err(KafkaError::Flush(Code::OperationTimedOut));
        }
        outlet.poll(TURN);
        waited += TURN;
    }
    Ok(())
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Sent,
    There,
    /// It goes nowhere.
    Refused,
}

/// Messages that are written together.
#[derive(Default)]
pub(super) struct Outbox {
    messages: Messages,
    places: Vec<Place>,
    /// Those that came back as too large, perhaps only for the company that they were in: from then on they go alone.
    alone: BTreeSet<usize>,
    refused: Vec<Refused>,
}

impl Outbox {
    /// Adds a message.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.messages.push(Message { offset: self.places.len() as u64, key, value });
        self.places.push(Place::Here);
    }

    /// Adds a header to the message that was added last.
    pub fn push_header(&mut self, name: &str, value: &[u8]) {
        self.messages.push_header(name, value);
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets the messages behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.messages.truncate(len);
        self.places.truncate(len);
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Sends what is here, and waits until the cluster has it. After an error some of it may be there.
    pub fn send(&mut self, outlet: &Outlet, topic: &str) -> KafkaResult<()> {
        let enqueued = self.enqueue_all(outlet, topic);
        // A message that the cluster refuses keeps those behind it from being taken, so the answers come first.
        let settled = self.settle(outlet);
        settled.and(enqueued)
    }

    /// Begins to send what is here, as far as that goes without waiting for an answer: what is left to do, or went wrong, is
    /// for [`send`](Self::send).
    pub fn begin_to_send(&mut self, outlet: &Outlet, topic: &str) {
        if self.alone.is_empty() {
            // An error will come again.
            drop(self.enqueue_all(outlet, topic));
        }
    }

    fn enqueue_all(&mut self, outlet: &Outlet, topic: &str) -> KafkaResult<()> {
        let send = |index, message| enqueue(outlet, topic, index, message, headers(&self.messages, index));
        let mut alone = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            match self.places[index] {
                Place::Here if self.alone.contains(&index) => alone.push((index, message)),
                Place::Here => {
                    send(index, message)?;
                    self.places[index] = Place::Sent;
                }
                Place::Sent | Place::There | Place::Refused => {}
            }
        }
        for (index, message) in alone {
            flush(outlet)?;
            send(index, message)?;
            self.places[index] = Place::Sent;
        }
        Ok(())
    }

    /// Waits for the answers.
    fn settle(&mut self, outlet: &Outlet) -> KafkaResult<()> {
        let flushed = flush(outlet);
        let mut failed = None;
        for (index, code) in std::mem::take(&mut *lock(&outlet.context().reports)) {
            let Some(place) = self.places.get_mut(index) else { continue };
            *place = match code {
                None => Place::There,
                // Only alone is it an answer about the message itself.
                Some(Code::MessageSizeTooLarge) if !self.alone.insert(index) => Place::Refused,
                Some(_) => Place::Here,
            };
            if *place == Place::Refused {
                let raw = self.messages.iter().nth(index).and_then(|message| message.value).unwrap_or_default();
                let reason = format!("the message of {} bytes is larger than the topic takes", raw.len());
                self.refused.push(Refused { raw: raw.to_vec(), reason });
            }
            if let Some(code) = code {
                failed = Some(KafkaError::MessageProduction(code));
            }
        }
        match failed {
            Some(error) => Err(error),
            None => flushed,
        }
    }

    /// Nothing of it is there after all: what is not refused is to be sent again.
    pub fn take_back(&mut self) {
        for place in &mut self.places {
            if matches!(place, Place::Sent | Place::There) {
                *place = Place::Here;
            }
        }
    }

    /// Makes room for those that come next.
    pub fn clear(&mut self) {
        let room = Messages::with_capacity(self.messages.len(), self.messages.byte_len());
        self.messages = room;
        self.places.clear();
        self.alone.clear();
    }

    /// The messages that go nowhere, since the last call.
    pub fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }
}

fn headers(messages: &Messages, index: usize) -> Option<OwnedHeaders> {
    let mut all = None;
    for (key, value) in messages.headers(index) {
        let before = all.take().unwrap_or_else(OwnedHeaders::new);
        all = Some(before.insert(Header { key, value: Some(value) }));
    }
    all
}

/// Hands a message to the producer, waiting for room if there is none.
fn enqueue(
    outlet: &Outlet,
    topic: &str,
    index: usize,
    message: Message<'_>,
    headers: Option<OwnedHeaders>,
) -> KafkaResult<()> {
    let mut record = BaseRecord::with_opaque_to(topic, index);
    record.key = message.key;
    record.payload = message.value;
    record.headers = headers;
    let mut waited = Duration::ZERO;
    loop {
        match outlet.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) if waited < PATIENCE => {
                outlet.poll(TURN);
                waited += TURN;
                record = back;
            }
            // Larger than the client takes: an answer like the cluster's.
            Err((KafkaError::MessageProduction(code @ Code::MessageSizeTooLarge), _)) => {
                lock(&outlet.context().reports).push((index, Some(code)));
                return Ok(());
            }
            Err((error, _)) => return Err(error),
        }
    }
}
