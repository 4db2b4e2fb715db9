//! Exactly once: a transaction is an epoch, or several that wait. With their rows goes, in the same transaction, the number
//! of the last of them as an offset of a consumer group of this writer's own; after a crash that number says which epochs are
//! visible already.
//!
//! ```text
//!   init: fences an earlier writer of this name, ends its open transaction; the group's offset is the last epoch there
//!   begin -> messages -> epoch's number -> commit        any step may fail: done again from there, or
//!                                                        aborted and done again from the beginning
//! ```
//!
//! Messages are on their way before their epoch is durable; its number and the commit wait for that. A transaction that
//! is open for longer than the cluster allows is aborted there, and its producer fenced as if another instance had come:
//! then, and only then, a new producer goes on, unless the last epoch says that another one was indeed there.

use super::client::{Client, Cluster, Heard};
use super::outbox::{Clerk, Outbox, Outlet, flush};
use super::sink::topic_there;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{Producer, PurgeConfig};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// How long one question to the cluster may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a transaction may be open unless the user says otherwise: librdkafka's default.
const LASTS_MAX: Duration = Duration::from_secs(60);
/// The property by which the user does.
const TIMEOUT: &str = "transaction.timeout.ms";

/// A writer that writes transactions.
pub(super) struct Transactions {
    cluster: Cluster,
    topic: String,
    /// Its transactional id, and its group.
    name: String,
    producer: Option<Transactional>,
    /// The epoch whose fate is not known.
    in_doubt: Option<Epoch>,
    /// The last epoch that this writer knows to be visible, once it has begun: none behind it is there.
    shown: Option<Option<Epoch>>,
    /// How long the cluster lets a transaction be open.
    lasts_max: Duration,
}

struct Transactional {
    outlet: Outlet,
    group: ConsumerGroupMetadata,
    /// The last epoch that was there when this producer began.
    last: Option<Epoch>,
    step: Step,
    /// When the transaction in hand was begun.
    begun: Instant,
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the cluster aborts transactions in real time")]
    Instant::now()
}

/// What is to be done next for the epoch in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Send,
    Number,
    Commit,
    Abort,
}

impl Transactions {
    pub fn new(cluster: Cluster, topic: &str, name: String) -> Transactions {
        let given = cluster.config(&[], &[]).get(TIMEOUT).and_then(|ms| ms.parse().ok());
        let lasts_max = given.map_or(LASTS_MAX, Duration::from_millis);
        let topic = topic.to_string();
        Transactions { cluster, topic, name, producer: None, in_doubt: None, shown: None, lasts_max }
    }

    /// The last epoch that is visible, as far as the cluster remembers one.
    pub fn last(&mut self) -> Result<Option<Epoch>> {
        Ok(self.connected()?.last)
    }

    /// Has messages on their way that are to be committed later, if all goes well: what does not is for the commit.
    pub fn begin(&mut self, outbox: &mut Outbox) {
        // The fate of an epoch is asked for first.
        let Some(producer) = self.producer.as_mut().filter(|_| self.in_doubt.is_none()) else { return };
        if producer.step == Step::Begin && producer.begin().is_ok() {
            producer.step = Step::Send;
        }
        if producer.step == Step::Send {
            outbox.begin_to_send(&producer.outlet, &self.topic);
        }
    }

    /// Makes the messages of all epochs up to `epoch` that are not visible yet so, all of them or none.
    pub fn commit(&mut self, epoch: Epoch, outbox: &mut Outbox) -> Result<()> {
        let (topic, in_doubt, lasts_max) = (self.topic.clone(), self.in_doubt, self.lasts_max);
        let producer = self.connected()?;
        if producer.step == Step::Begin && in_doubt == Some(epoch) && producer.last >= Some(epoch) {
            (self.in_doubt, self.shown) = (None, Some(Some(epoch)));
            return Ok(());
        }
        let Err((step, error)) = producer.carry_on(epoch, outbox, &topic) else {
            (self.in_doubt, self.shown) = (None, Some(Some(epoch)));
            return Ok(());
        };
        let has_lapsed = producer.begun.elapsed() >= lasts_max;
        let fatal = producer.outlet.client().fatal_error();
        let heard = producer.outlet.context().listener.heard();
        // Whether the transaction's end was reached may not be known.
        if step == Step::Commit {
            self.in_doubt = Some(epoch);
        }
        Err(match fatal {
            Some((Code::Fenced | Code::ProducerFenced, _)) if !has_lapsed => self.fenced(),
            Some((code, reason)) => {
                // A new producer ends the transaction and learns what became of it.
                self.producer = None;
                outbox.take_back();
                Error::retry(format!("the Kafka producer of {} failed: {code}", self.cluster.owner)).with_detail(reason)
            }
            None => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                self.cluster.call(&format!("writing to topic \"{topic}\""), code, heard.as_ref(), true)
            }
        })
    }

    fn fenced(&self) -> Error {
        Error::outside(format!("another instance writes as \"{}\", so this one may not any more", self.name))
            .with_hint("Two runs share one state: stop one of them, or give it a data folder of its own.")
    }

    fn connected(&mut self) -> Result<&mut Transactional> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect()?,
        };
        let shown = *self.shown.get_or_insert(producer.last);
        if producer.last > shown.max(self.in_doubt) {
            return Err(self.fenced());
        }
        Ok(self.producer.insert(producer))
    }

    fn connect(&self) -> Result<Transactional> {
        let id = [("transactional.id", self.name.as_str())];
        let config = self.cluster.config(super::sink::DEFAULTS, &id);
        let made = config.create_with_context(Clerk::new(&self.cluster.owner));
        let outlet: Outlet = made.map_err(|error| self.cluster.configuration(&error))?;
        let failed = |what: String, error: KafkaError, heard: Option<Heard>| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            self.cluster.call(&what, code, heard.as_ref(), false)
        };
        if let Err(error) = outlet.init_transactions(PATIENCE) {
            let what = format!("beginning transactions as \"{}\"", self.name);
            return Err(failed(what, error, outlet.context().listener.heard()));
        }
        topic_there(&outlet, &self.cluster, &self.topic)?;
        let fixed = [("group.id", self.name.as_str()), ("isolation.level", "read_committed")];
        let client = Client::new(&self.cluster, &self.cluster.config(&[], &fixed))?;
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let told = client.consumer().committed_offsets(list, PATIENCE);
        let told = told.map_err(|error| {
            client.listen();
            failed(format!("the last epoch of \"{}\"", self.name), error, client.listener().heard())
        })?;
        let last = told.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(epoch) => u64::try_from(epoch).ok().map(Epoch),
            _ => None,
        });
        let group = client.consumer().group_metadata();
        let group = group.ok_or_else(|| Error::bug("librdkafka has no metadata of a group"))?;
        Ok(Transactional { outlet, group, last, step: Step::Begin, begun: now() })
    }
}

impl Transactional {
    /// Does what is left to do for an epoch; an error comes with the step that failed.
    fn carry_on(&mut self, epoch: Epoch, outbox: &mut Outbox, topic: &str) -> Result<(), (Step, KafkaError)> {
        loop {
            let done = match self.step {
                Step::Begin => self.begin(),
                Step::Send => outbox.send(&self.outlet, topic),
                Step::Number => self.say_number(epoch, topic),
                Step::Commit => self.outlet.commit_transaction(PATIENCE),
                Step::Abort => self.abort(),
            };
            if let Err(error) = done {
                let step = self.step;
                let again = match &error {
                    KafkaError::Transaction(inner) => inner.is_retriable() && !inner.txn_requires_abort(),
                    _ => false,
                };
                // What cannot be done again from there is begun anew; the transaction then comes to nothing first.
                if !again && !matches!(step, Step::Begin | Step::Abort) {
                    self.step = if self.abort().is_ok() { Step::Begin } else { Step::Abort };
                    outbox.take_back();
                }
                return Err((step, error));
            }
            self.step = match self.step {
                Step::Begin => Step::Send,
                Step::Send => Step::Number,
                Step::Number => Step::Commit,
                Step::Abort => Step::Begin,
                Step::Commit => {
                    self.step = Step::Begin;
                    return Ok(());
                }
            };
        }
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        self.begun = now();
        self.outlet.begin_transaction()
    }

    fn abort(&self) -> Result<(), KafkaError> {
        // Aborting waits for the answers to all messages, which somebody has to take.
        self.outlet.purge(PurgeConfig::default().queue());
        flush(&self.outlet)?;
        self.outlet.abort_transaction(PATIENCE)?;
        self.outlet.context().forget();
        Ok(())
    }

    fn say_number(&self, epoch: Epoch, topic: &str) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        let number = i64::try_from(epoch.0).unwrap_or(i64::MAX);
        list.add_partition_offset(topic, 0, Offset::Offset(number))?;
        self.outlet.send_offsets_to_transaction(&list, &self.group, PATIENCE)
    }
}
