//! Clients of a Kafka cluster: how they are configured, what they say of themselves, and what their errors mean.

use super::queue::Queue;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;

/// A consumer that reports to a [`Listener`].
pub(super) type Consumer = BaseConsumer<Listener>;

/// What the statement says about the cluster, for any client.
#[derive(Clone)]
pub(super) struct Cluster {
    /// Who connects, for people: `source "orders"`.
    pub owner: String,
    /// Where to find it, as the user wrote it.
    pub brokers: String,
    config: ClientConfig,
    /// The options that the user gave as `kafka.`, which no default of ours replaces.
    given: Vec<String>,
}

/// Properties that follow from other options, each with what to use instead.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "option \"brokers\""),
    ("metadata.broker.list", "option \"brokers\""),
    ("group.id", "option \"group\""),
    ("group.instance.id", "option \"group\""),
    ("isolation.level", "option \"isolation\""),
    ("auto.offset.reset", "options \"start\" and \"on_lost_offsets\""),
    ("enable.auto.commit", "nothing: offsets are kept with the state and told to Kafka at each checkpoint"),
    ("enable.auto.offset.store", "nothing: offsets are kept with the state"),
    ("enable.partition.eof", "option \"mode\""),
    ("transactional.id", "nothing: it follows from the sink's name"),
    ("enable.idempotence", "option \"delivery\""),
    ("log.queue", "nothing"),
];

impl Cluster {
    /// Reads `brokers` and the `kafka.` options.
    pub fn read(owner: String, options: &Options) -> Result<Cluster> {
        let brokers = options.get("brokers").unwrap_or_default().to_string();
        if brokers.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(Error::user(format!("option \"brokers\" of {owner} names no broker"))
                .with_hint("Name one or more, such as 'broker-1:9092,broker-2:9092'."));
        }
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &brokers);
        // A broker that comes back is found soon.
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("socket.keepalive.enable", "true");
        let mut given = Vec::new();
        for (property, value) in options.with_prefix("kafka.") {
            if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == property) {
                return Err(Error::user(format!("option \"kafka.{property}\" of {owner} is not yours to set"))
                    .with_hint(format!("Use {instead}.")));
            }
            config.set(property, value);
            given.push(property.to_string());
        }
        let cluster = Cluster { owner, brokers, config, given };
        cluster.config.create_native_config().map_err(|error| cluster.configuration(&error))?;
        Ok(cluster)
    }

    /// The configuration with `defaults`, which give way to what the user wrote, and `fixed`, which do not.
    pub fn config(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config.clone();
        for (property, value) in defaults.iter().filter(|(property, _)| !self.given.iter().any(|g| g == property)) {
            config.set(*property, *value);
        }
        for (property, value) in fixed {
            config.set(*property, *value);
        }
        config
    }

    /// What it means that a client could not be made.
    pub fn configuration(&self, error: &KafkaError) -> Error {
        let owner = &self.owner;
        match error {
            // The description quotes the value only where it is a word out of a list.
            KafkaError::ClientConfig(_, description, property, _) => {
                Error::user(format!("option \"kafka.{property}\" of {owner}: {}", lower_first(description)))
                    .with_hint("The options that begin with \"kafka.\" are those of librdkafka, by their names there.")
            }
            KafkaError::ClientCreation(reason) => {
                Error::user(format!("the Kafka client of {owner} cannot be made: {}", lower_first(reason)))
                    .with_hint("Check the options that begin with \"kafka.\".")
            }
            other => Error::bug(format!("the Kafka client of {owner}: {other}")),
        }
    }

    /// What it means that a call did not succeed: whether it may pass, and what to do. `heard` is what the client said
    /// meanwhile; `known` whether the cluster has ever answered, so that a refusal is no mistake of the user's.
    pub fn call(&self, what: &str, code: RDKafkaErrorCode, heard: Option<&Heard>, known: bool) -> Error {
        use RDKafkaErrorCode as Code;
        let owner = &self.owner;
        let refused = heard.filter(|heard| heard.code == Code::Authentication || heard.code == Code::SSL);
        let error = match (code, refused) {
            (_, Some(heard)) => {
                let (message, hint) = match heard.code {
                    Code::SSL => (
                        "no secure connection to Kafka",
                        "Check \"kafka.ssl.ca.location\" and the certificates; \"kafka.security.protocol\" says whether \
                         the connection is secure at all.",
                    ),
                    _ => (
                        "Kafka refuses the credentials",
                        "Check \"kafka.sasl.mechanism\", \"kafka.sasl.username\" and \"kafka.sasl.password\".",
                    ),
                };
                let message = format!("{message} of {owner}");
                if known { Error::retry(message) } else { Error::outside(message) }.with_hint(hint)
            }
            (Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed, _)
            | (Code::TransactionalIdAuthorizationFailed, _) => {
                let message = format!("{what}: {owner} is not allowed to: {code}");
                if known { Error::retry(message) } else { Error::outside(message) }
                    .with_hint("Give the user an ACL for it.")
            }
            (Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve, _) => {
                Error::retry(format!("no Kafka broker of {owner} can be reached at '{}'", self.brokers))
                    .with_hint("It is tried again by itself; if it never succeeds, check option \"brokers\".")
            }
            (code, _) => Error::retry(format!("{what}, {owner}: {code}")),
        };
        match heard {
            Some(heard) => error.with_detail(heard.reason.clone()),
            None => error,
        }
    }
}

/// What a client said last about its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub code: RDKafkaErrorCode,
    pub reason: String,
}

/// Listens to one client: its log goes to ours, its troubles are kept for whoever asks.
#[derive(Default)]
pub(super) struct Listener {
    owner: String,
    heard: Mutex<Option<Heard>>,
    lost: Mutex<bool>,
}

impl Listener {
    pub fn new(owner: &str) -> Listener {
        Listener { owner: owner.to_string(), ..Listener::default() }
    }

    /// What was said last about connections.
    pub fn heard(&self) -> Option<Heard> {
        lock(&self.heard).clone()
    }

    /// Whether the client has lost all brokers since this was asked last.
    pub fn take_lost(&self) -> bool {
        std::mem::take(&mut lock(&self.lost))
    }

    fn hear(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut heard = lock(&self.heard);
        let transport = |code| code == RDKafkaErrorCode::BrokerTransportFailure;
        // A refusal is the cause of the lost connections that follow it.
        if !transport(code) || heard.as_ref().is_none_or(|before| transport(before.code)) {
            *heard = Some(Heard { code, reason: reason.to_string() });
        }
    }

    /// Forgets the troubles: the cluster answers.
    pub fn forget(&self) {
        lock(&self.heard).take();
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of it comes as an error too, and is told once, with what it means.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!("{}: Kafka client: {facility}: {message}", self.owner);
            }
            _ => tracing::debug!("{}: Kafka client: {facility}: {message}", self.owner),
        }
        // Why a connection failed is said in the log alone.
        if facility == "FAIL" {
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            self.hear(RDKafkaErrorCode::BrokerTransportFailure, reason);
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            RDKafkaErrorCode::AllBrokersDown => *lock(&self.lost) = true,
            code => self.hear(code, reason),
        }
    }
}

impl ConsumerContext for Listener {}

/// A consumer, and the queue of what it says of itself.
pub(super) struct Client {
    // Goes before the consumer that it belongs to.
    events: Queue,
    consumer: Arc<Consumer>,
}

impl Client {
    /// Makes a consumer that reports to a listener of its own.
    pub fn new(cluster: &Cluster, config: &ClientConfig) -> Result<Client> {
        let made = config.create_with_context(Listener::new(&cluster.owner));
        let consumer = made.map(Arc::new).map_err(|error| cluster.configuration(&error))?;
        let events = Queue::of_events(&consumer).ok_or_else(|| Error::bug("librdkafka gives no queue"))?;
        Ok(Client { events, consumer })
    }

    pub fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    /// Lets the consumer say what it has to say; whether it has lost all brokers.
    pub fn listen(&self) -> bool {
        // Messages have queues of their own, so what waits here are events, which the listener hears. An event is
        // answered as nothing at all is, so they are counted.
        for _ in 0..self.events.len() {
            drop(self.consumer.poll(Duration::ZERO));
        }
        self.listener().take_lost()
    }

    /// What the consumer reports to.
    pub fn listener(&self) -> &Listener {
        self.consumer.context()
    }
}

/// A lock whose holders leave nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim().trim_end_matches('.').chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
