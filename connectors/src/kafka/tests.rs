//! The connector against librdkafka's mock of a cluster, which fails when told to, and against a real Kafka.

mod broker;
mod faults;
mod reading;
mod real;
mod replaying;
mod writing;

use super::SPEC;
use crate::tests::options;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, ErrorKind};
use thalweg_schemas::source::{Fault, Outlook, Payload, Polled, Reader, Source, SourceRequest, Span};
use thalweg_schemas::table::Metadata;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A mock cluster with a topic `orders` of this many partitions.
fn mock(partitions: i32) -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("orders", partitions, 1).unwrap();
    mock
}

/// What is asked for in `WITH (...)` besides the brokers.
fn request(brokers: &str, given: &[(&str, &str)]) -> SourceRequest {
    let mut all = vec![("brokers", brokers), ("topic", "orders"), ("discovery_interval", "100ms")];
    for option in given {
        all.retain(|(name, _)| *name != option.0);
        all.push(*option);
    }
    SourceRequest {
        name: "s".into(),
        options: options(SPEC.source.unwrap().options, &all),
        format: Some("json".into()),
        format_options: Default::default(),
        fields: Arc::new(arrow::datatypes::Schema::empty()),
        wanted: Vec::new(),
        key: Vec::new(),
        metadata: vec![Metadata::Headers],
    }
}

fn open(brokers: &str, given: &[(&str, &str)]) -> Result<Arc<dyn Source>, Error> {
    (SPEC.source.unwrap().open)(request(brokers, given))
}

/// One message as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    offset: u64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

/// What all readers of a source have handed over.
#[derive(Default)]
struct Read {
    partitions: BTreeMap<String, Vec<Seen>>,
    /// The spans of the chunks, joined where they touch.
    done: Vec<Span>,
    errors: Vec<Error>,
    faults: Vec<Fault>,
    /// Which worker read a partition.
    workers: BTreeMap<String, usize>,
    /// The workers whose reader says that it is at its end, which it goes on saying.
    ended: BTreeSet<usize>,
}

impl Read {
    fn len(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    fn values(&self, partition: &str) -> Vec<String> {
        let seen = self.partitions.get(partition).map(Vec::as_slice).unwrap_or_default();
        seen.iter().map(|seen| seen.value.clone().unwrap_or_default()).collect()
    }

    fn take(&mut self, worker: usize, polled: Result<Polled, Error>) {
        match polled {
            Ok(Polled::Ready(chunk)) => {
                let name = chunk.partition.name.to_string();
                assert!(chunk.start <= chunk.end);
                match self.done.iter_mut().find(|span| span.partition == chunk.partition.name) {
                    Some(span) => {
                        assert!(chunk.start >= span.end, "{name}: {} after {}", chunk.start, span.end);
                        span.end = chunk.end;
                    }
                    None => self.done.push(Span {
                        partition: chunk.partition.name.clone(),
                        start: chunk.start,
                        end: chunk.end,
                    }),
                }
                let Payload::Messages(messages) = chunk.payload else { panic!("no messages") };
                let list = self.partitions.entry(name.clone()).or_default();
                list.extend(seen(&messages));
                assert!(list.windows(2).all(|pair| pair[0].offset < pair[1].offset), "{name} is in order");
                assert_eq!(*self.workers.entry(name).or_insert(worker), worker);
            }
            Ok(Polled::Fault(fault)) => self.faults.push(fault),
            Ok(Polled::Pending) => {}
            Ok(Polled::Ended) => {
                self.ended.insert(worker);
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// The error that ended reading, if one did.
    fn fatal(&self) -> Option<&Error> {
        self.errors.iter().find(|error| error.kind != ErrorKind::Retry)
    }
}

fn seen(messages: &thalweg_schemas::messages::Messages) -> Vec<Seen> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let each = messages.iter().enumerate().map(|(index, message)| Seen {
        offset: message.offset,
        key: message.key.map(text),
        value: message.value.map(text),
        headers: messages.headers(index).map(|(name, value)| (name.to_string(), text(value))).collect(),
    });
    each.collect()
}

fn readers(source: &Arc<dyn Source>, workers: usize) -> Vec<Box<dyn Reader>> {
    (0..workers).map(|index| source.reader(WorkerId { index, peers: workers }).unwrap()).collect()
}

/// Lets others work for a moment.
fn moment() {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_millis(3));
}

/// Asks the readers in turn until `enough`, for a while.
fn poll_until(readers: &mut [Box<dyn Reader>], read: &mut Read, enough: impl Fn(&Read) -> bool) {
    for _ in 0..10_000 {
        if enough(read) || read.fatal().is_some() {
            return;
        }
        let before = read.len();
        for (worker, reader) in readers.iter_mut().enumerate() {
            read.take(worker, reader.poll(4_096));
        }
        if read.len() == before {
            moment();
        }
    }
    panic!("not enough after a while: {} messages, {:?}", read.len(), read.errors);
}

/// Reads until there are `count` messages.
fn read(source: &Arc<dyn Source>, workers: usize, count: usize) -> Read {
    let mut all = Read::default();
    poll_until(&mut readers(source, workers), &mut all, |read| read.len() >= count);
    all
}

/// Writes messages `(partition, key, value)`.
fn write(brokers: &str, topic: &str, messages: &[(i32, Option<&str>, Option<&str>)]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for (partition, key, value) in messages {
        let mut record = BaseRecord::to(topic).partition(*partition);
        record.key = *key;
        record.payload = *value;
        if value.is_some_and(|value| value.contains("traced")) {
            let header = Header { key: "trace", value: Some("abc") };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Writes `count` numbers to each partition.
fn write_numbers(brokers: &str, topic: &str, partitions: i32, count: usize) {
    let texts: Vec<String> = (0..count).map(|n| format!("{{\"n\":{n}}}")).collect();
    let each = |partition| texts.iter().map(move |text| (partition, None, Some(text.as_str())));
    write(brokers, topic, &(0..partitions).flat_map(each).collect::<Vec<_>>());
}
