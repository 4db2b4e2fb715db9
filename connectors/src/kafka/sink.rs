//! A topic as a sink. What an epoch brings to a writer is encoded as it comes, kept, and written when the epoch is
//! complete, together with epochs that came meanwhile: as one transaction, or at least once and then without that cost.

use super::client::{Cluster, lock};
use super::enveloped::{self, Parts};
use super::outbox::{Clerk, Outbox, Outlet};
use super::transactions::Transactions;
use crate::schema_registry;
use crate::text::TextFormat;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::format::{self, EncodeRequest, Records};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::sink::{Envelope, Refused, Sink, SinkRequest, Writer};
use thalweg_schemas::suggest::closest;

/// The options of the sink.
pub(super) const SINK: &[OptionSpec] = &[
    super::options::BROKERS,
    OptionSpec {
        name: "topic",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "The topic. Where brokers make topics by themselves it need not be there.",
    },
    OptionSpec {
        name: "key",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The columns, with commas between, that make the message's key: one as text, several as a JSON object. \
              Messages of one key go to one partition, the same that Kafka's Java clients choose.",
    },
    OptionSpec {
        name: "headers",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The columns, with commas between, that become headers of the message too, as text.",
    },
    OptionSpec {
        name: "delivery",
        kind: OptionKind::OneOf(&["exactly_once", "at_least_once"]),
        default: Some("exactly_once"),
        required: false,
        doc: "'exactly_once' writes whole epochs as transactions, which readers see whole if they read what is committed; \
              'at_least_once' writes without transactions, and after a crash some rows may be there twice.",
    },
    schema_registry::URL,
    schema_registry::AUTH,
    super::options::PROPERTIES,
];

/// What a producer is told unless the user says otherwise.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "thalweg"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    // What an epoch brings is handed over all at once, and waited for.
    ("linger.ms", "0"),
    // Messages without a key go to one partition for so long: a transaction costs by the partitions that it is in.
    ("sticky.partitioning.linger.ms", "10"),
    // What is too large is for the topic to say.
    ("message.max.bytes", "16000000"),
    ("queue.buffering.max.messages", "500000"),
];

pub(super) fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    let owner = format!("sink \"{}\"", request.name);
    let cluster = Cluster::read(owner.clone(), &request.options)?;
    let topic = request.options.get("topic").unwrap_or_default().trim().to_string();
    if topic.is_empty() || !topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        return Err(Error::user(format!("option \"topic\" of {owner}: '{topic}' is no name of a topic"))
            .with_hint("Letters, digits, '.', '_' and '-' make a name."));
    }
    let columns = |option: &str| -> Result<Vec<usize>> {
        let written = request.options.get(option).unwrap_or_default();
        let names = written.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| column(&request.schema, name, option, &owner)).collect()
    };
    let headers = columns("headers")?;
    let envelope = request.envelope.clone();
    let key = match &envelope {
        Some(envelope) => {
            let named = request.options.get("key").map(|key| key.split(',').map(str::trim).collect::<Vec<_>>());
            let own = enveloped::key_names(&request.schema, envelope);
            if named.is_some_and(|named| named != own) {
                return Err(Error::user(format!("option \"key\" of {owner} is not the key of its ENVELOPE"))
                    .with_detail(format!("A row is found by ({}).", own.join(", ")))
                    .with_hint("Leave the option out: the message's key is that of the row."));
            }
            envelope.key.clone()
        }
        None => columns("key")?,
    };
    let format = request.options.get("format").unwrap_or("json").to_string();
    let values = EncodeRequest {
        schema: enveloped::values_of(&request.schema, envelope.as_ref()),
        registry: schema_registry::from_options(&request.options)?,
        subject: format!("{topic}-value"),
        options: request.options.clone(),
    };
    // What cannot be encoded is found now, and not when the first row is written.
    format::encoder(&format, values.clone())?;
    let encoding = Encoding { key, headers, format, values, envelope };
    let exactly_once = request.options.get("delivery") != Some("at_least_once");
    let name = format!("thalweg-{}-{}", request.lineage, request.name);
    // What is wrong with the configuration is found now, and not when the first row is written.
    cluster.config(DEFAULTS, &[]).create_native_config().map_err(|error| cluster.configuration(&error))?;
    Ok(Arc::new(Topic { cluster, topic, name, encoding, exactly_once, missed: Arc::default() }))
}

fn column(schema: &SchemaRef, name: &str, option: &str, owner: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let error = Error::user(format!("column \"{name}\" of option \"{option}\" does not exist in {owner}"));
        match closest(name, schema.fields().iter().map(|field| field.name().as_str())) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        }
    })
}

struct Topic {
    cluster: Cluster,
    topic: String,
    /// What names its writers, together with their numbers.
    name: String,
    encoding: Encoding,
    exactly_once: bool,
    /// How often the topic was not there.
    missed: Arc<Mutex<u32>>,
}

impl Sink for Topic {
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn Writer>> {
        let name = format!("{}-{}", self.name, worker.index);
        let (cluster, topic) = (self.cluster.clone(), self.topic.clone());
        let way = match self.exactly_once {
            true => Way::ExactlyOnce(Box::new(Transactions::new(cluster.clone(), &topic, name))),
            false => Way::AtLeastOnce(None),
        };
        let (encoder, missed) = (Encoder::new(&self.encoding)?, self.missed.clone());
        Ok(Box::new(TopicWriter { cluster, topic, encoder, outbox: Outbox::default(), last: None, way, missed }))
    }
}

struct TopicWriter {
    cluster: Cluster,
    topic: String,
    encoder: Encoder,
    /// Rows that are not there yet, of epochs up to `last`.
    outbox: Outbox,
    last: Option<Epoch>,
    way: Way,
    missed: Arc<Mutex<u32>>,
}

enum Way {
    ExactlyOnce(Box<Transactions>),
    AtLeastOnce(Option<Outlet>),
}

/// After so many tries a topic that is not there ends the run.
const TRIES_FOR_A_TOPIC: u32 = 5;
/// How long a look for the topic may take.
const LOOK: Duration = Duration::from_secs(5);

impl TopicWriter {
    fn send(&mut self) -> Result<()> {
        let Some(epoch) = self.last.filter(|_| !self.outbox.is_empty()) else { return Ok(()) };
        let sent = match &mut self.way {
            Way::ExactlyOnce(transactions) => transactions.commit(epoch, &mut self.outbox),
            Way::AtLeastOnce(outlet) => deliver(outlet, &self.cluster, &self.topic, &mut self.outbox),
        };
        match sent {
            Ok(()) => {
                self.outbox.clear();
                *lock(&self.missed) = 0;
                Ok(())
            }
            Err(error) => Err(self.judge(error)),
        }
    }

    /// A topic that is not there may be on its way; for a while.
    fn judge(&self, error: Error) -> Error {
        if error != no_topic(&self.cluster, &self.topic) {
            return error;
        }
        let mut missed = lock(&self.missed);
        *missed += 1;
        if *missed < TRIES_FOR_A_TOPIC {
            return error;
        }
        Error { kind: ErrorKind::User, ..error }
    }
}

fn no_topic(cluster: &Cluster, topic: &str) -> Error {
    Error::retry(format!("topic \"{topic}\" of {} does not exist at '{}'", cluster.owner, cluster.brokers))
        .with_hint("Create it first, with as many partitions as its readers are to share.")
}

/// Looks for the topic; where brokers make topics by themselves, it is made.
pub(super) fn topic_there(outlet: &Outlet, cluster: &Cluster, topic: &str) -> Result<()> {
    let code = match outlet.client().fetch_metadata(Some(topic), LOOK) {
        Ok(metadata) => metadata.topics().iter().find_map(|topic| topic.error()).map(Code::from),
        Err(error) => Some(error.rdkafka_error_code().unwrap_or(Code::Fail)),
    };
    match code {
        None => Ok(()),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Err(no_topic(cluster, topic)),
        Some(code) => {
            outlet.poll(Duration::ZERO);
            let heard = outlet.context().listener.heard();
            Err(cluster.call(&format!("topic \"{topic}\""), code, heard.as_ref(), false))
        }
    }
}

impl Writer for TopicWriter {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        let before = self.outbox.len();
        self.last = Some(epoch);
        let encoded = self.encoder.encode(&batch.rows, &mut self.outbox);
        match (&encoded, &mut self.way) {
            (Err(_), _) => self.outbox.truncate(before),
            (Ok(()), Way::ExactlyOnce(transactions)) => transactions.begin(&mut self.outbox),
            (Ok(()), Way::AtLeastOnce(_)) => {}
        }
        encoded
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        self.send()
    }

    /// A transaction costs the cluster its round trips and a marker in each partition, whatever it holds.
    fn joins_epochs(&self) -> bool {
        true
    }

    /// Who dies with a transaction open leaves it to the next one, which aborts it.
    fn writes_ahead(&self) -> bool {
        matches!(self.way, Way::ExactlyOnce(_))
    }

    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        let Way::ExactlyOnce(transactions) = &mut self.way else { return Ok(checkpoint) };
        match transactions.last() {
            Ok(last) => Ok(last.map_or(checkpoint, |last| last.max(checkpoint))),
            Err(error) => Err(self.judge(error)),
        }
    }

    fn refused(&mut self) -> Vec<Refused> {
        self.outbox.take_refused()
    }

    fn finish(&mut self) -> Result<()> {
        self.send()
    }
}

/// Sends messages without a transaction.
fn deliver(outlet: &mut Option<Outlet>, cluster: &Cluster, topic: &str, outbox: &mut Outbox) -> Result<()> {
    let outlet = match outlet {
        Some(outlet) => outlet,
        None => {
            let config = cluster.config(DEFAULTS, &[("enable.idempotence", "true")]);
            let made = config.create_with_context(Clerk::new(&cluster.owner));
            let made = made.map_err(|error| cluster.configuration(&error))?;
            topic_there(&made, cluster, topic)?;
            outlet.insert(made)
        }
    };
    outbox.send(outlet, topic).map_err(|error| {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let heard = outlet.context().listener.heard();
        cluster.call(&format!("writing to topic \"{topic}\""), code, heard.as_ref(), true)
    })
}

/// Rows as messages.
struct Encoder {
    key: Vec<usize>,
    headers: Vec<usize>,
    envelope: Option<Envelope>,
    values: Box<dyn format::Encoder>,
    records: Records,
}

/// How rows become messages, as the statement says.
#[derive(Clone)]
struct Encoding {
    key: Vec<usize>,
    headers: Vec<usize>,
    format: String,
    values: EncodeRequest,
    envelope: Option<Envelope>,
}

impl Encoder {
    fn new(encoding: &Encoding) -> Result<Encoder> {
        let Encoding { key, headers, format, values, envelope } = encoding.clone();
        let values = format::encoder(&format, values)?;
        Ok(Encoder { key, headers, envelope, values, records: Records::default() })
    }

    fn encode(&mut self, rows: &RecordBatch, outbox: &mut Outbox) -> Result<()> {
        self.records.clear();
        let Parts { values, keyed, key, deleted } = enveloped::parts(rows, &self.key, self.envelope.as_ref())?;
        self.values.encode(&values, &mut self.records)?;
        let keys = keys(&keyed, &key)?;
        let names: Vec<_> = self.headers.iter().map(|column| rows.schema_ref().field(*column).name()).collect();
        let headers: Vec<Texts> = self.headers.iter().map(|column| texts(rows, *column)).collect::<Result<_>>()?;
        for (row, value) in self.records.iter().enumerate() {
            let gone = deleted.as_ref().is_some_and(|deleted| deleted.value(row));
            outbox.push(keys.as_ref().and_then(|keys| keys[row].as_deref()), (!gone).then_some(value));
            for (name, texts) in names.iter().zip(&headers) {
                if let Some(text) = &texts[row] {
                    outbox.push_header(name, text);
                }
            }
        }
        Ok(())
    }
}

/// The messages' keys, of the columns `key`.
fn keys(rows: &RecordBatch, key: &[usize]) -> Result<Option<Texts>> {
    match key {
        [] => Ok(None),
        [column] => texts(rows, *column).map(Some),
        several => {
            let mut lines = Vec::new();
            TextFormat::Json.append(&Batch::append(rows.project(several)?), &mut lines)?;
            let lines = lines.split(|byte| *byte == b'\n').take(rows.num_rows());
            Ok(Some(lines.map(|line| Some(line.to_vec())).collect()))
        }
    }
}

/// For each row a text, or none.
type Texts = Vec<Option<Vec<u8>>>;

/// A column's values as text; bytes are what they are.
fn texts(rows: &RecordBatch, column: usize) -> Result<Texts> {
    let array = rows.column(column);
    if *array.data_type() == DataType::Binary {
        return Ok(array.as_binary::<i32>().iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect());
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let text = |row| array.is_valid(row).then(|| formatter.value(row).to_string().into_bytes());
    Ok((0..array.len()).map(text).collect())
}
