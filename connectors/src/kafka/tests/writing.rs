//! What goes out: each row once, whatever happens between producing and committing.

use super::broker::{Broker, broker};
use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};

const WAIT: Duration = Duration::from_secs(20);

fn rows(values: &[(&str, i64)]) -> RecordBatch {
    let hosts: ArrayRef = Arc::new(StringArray::from_iter_values(values.iter().map(|(host, _)| host)));
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|(_, count)| *count)));
    RecordBatch::try_from_iter([("host", hosts), ("n", counts)]).unwrap()
}

fn schema() -> SchemaRef {
    rows(&[]).schema()
}

fn sink(brokers: &str, given: &[(&str, &str)]) -> Result<Arc<dyn Sink>, Error> {
    let mut all = vec![("brokers", brokers), ("topic", "out")];
    for option in given {
        all.retain(|(name, _)| *name != option.0);
        all.push(*option);
    }
    let spec = SPEC.sink.unwrap();
    let options = options(spec.options, &all);
    // Tests run side by side, and writers of one name would fence each other.
    let lineage = all.iter().find(|(name, _)| *name == "topic").unwrap().1.to_string();
    let name = "s".into();
    (spec.open)(SinkRequest { name, options, schema: schema(), changelog: false, envelope: None, lineage })
}

fn writer(brokers: &str, given: &[(&str, &str)]) -> Box<dyn Writer> {
    sink(brokers, given).unwrap().writer(WorkerId { index: 0, peers: 1 }).unwrap()
}

/// Makes a call as the engine does: again while the fault may pass. How often it was made in vain.
fn insist(mut call: impl FnMut() -> Result<(), Error>) -> Result<usize, Error> {
    for tries in 0..1_000 {
        match call() {
            Ok(()) => return Ok(tries),
            Err(error) if error.kind == ErrorKind::Retry => moment(),
            Err(error) => return Err(error),
        }
    }
    panic!("it never succeeds");
}

fn epoch(writer: &mut Box<dyn Writer>, number: u64, values: &[(&str, i64)]) -> Result<usize, Error> {
    writer.write(Epoch(number), &Batch::append(rows(values)))?;
    insist(|| writer.commit(Epoch(number)))
}

/// What readers of committed records see in a topic of one partition.
fn committed(broker: &Broker, topic: &str) -> Vec<Seen> {
    let source = open(&broker.address, &[("topic", topic), ("mode", "bounded")]).unwrap();
    let mut all = Read::default();
    poll_until(&mut readers(&source, 1), &mut all, |read| !read.ended.is_empty());
    all.partitions.into_values().flatten().collect()
}

fn values(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.value.as_deref().unwrap_or_default()).collect()
}

#[test]
fn an_epoch_is_a_transaction_that_a_restart_remembers() {
    let Some(broker) = broker() else { return };
    broker.create("once", 1, &[]);
    let given = [("topic", "once"), ("key", "host"), ("headers", "n")];
    let mut first = writer(&broker.address, &given);
    epoch(&mut first, 5, &[("a", 1), ("b", 2)]).unwrap();
    first.commit(Epoch(6)).unwrap();
    epoch(&mut first, 7, &[("a", 3)]).unwrap();
    drop(first);
    let seen = committed(broker, "once");
    assert_eq!(values(&seen), [r#"{"host":"a","n":1}"#, r#"{"host":"b","n":2}"#, r#"{"host":"a","n":3}"#]);
    assert_eq!(seen[1].key.as_deref(), Some("b"));
    assert_eq!(seen[1].headers, [("n".to_string(), "2".to_string())]);
    let mut second = writer(&broker.address, &given);
    assert_eq!(second.resume(Epoch(3)).unwrap(), Epoch(7));
    assert_eq!(second.resume(Epoch(9)).unwrap(), Epoch(9));
    epoch(&mut second, 10, &[("c", 4)]).unwrap();
    assert_eq!(committed(broker, "once").len(), 4);
}

#[test]
fn epochs_that_waited_are_one_transaction_that_says_the_last_of_them() {
    let Some(broker) = broker() else { return };
    broker.create("joined", 1, &[]);
    let mut first = writer(&broker.address, &[("topic", "joined")]);
    assert!(first.joins_epochs());
    first.write(Epoch(1), &Batch::append(rows(&[("a", 1)]))).unwrap();
    epoch(&mut first, 2, &[("a", 2)]).unwrap();
    epoch(&mut first, 3, &[("a", 3)]).unwrap();
    drop(first);
    // Between two transactions lies the marker that ends the first.
    let offsets: Vec<_> = committed(broker, "joined").iter().map(|seen| seen.offset).collect();
    assert_eq!(offsets, [0, 1, 3]);
    assert_eq!(writer(&broker.address, &[("topic", "joined")]).resume(Epoch(0)).unwrap(), Epoch(3));
}

#[test]
fn what_a_crash_left_half_done_is_never_seen() {
    let Some(broker) = broker() else { return };
    broker.create("halves", 1, &[]);
    let given = [("topic", "halves")];
    let mut first = writer(&broker.address, &given);
    epoch(&mut first, 1, &[("a", 1)]).unwrap();
    drop(first);
    // What a process leaves that is killed between producing and committing.
    let killed: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .set("transactional.id", "thalweg-halves-s-0")
        .create()
        .unwrap();
    killed.init_transactions(WAIT).unwrap();
    killed.begin_transaction().unwrap();
    killed.send(BaseRecord::<(), _>::to("halves").payload("half")).map_err(|(error, _)| error).unwrap();
    killed.flush(WAIT).unwrap();

    let mut second = writer(&broker.address, &given);
    assert_eq!(second.resume(Epoch(0)).unwrap(), Epoch(1));
    epoch(&mut second, 2, &[("a", 2)]).unwrap();
    assert_eq!(values(&committed(broker, "halves")), [r#"{"host":"a","n":1}"#, r#"{"host":"a","n":2}"#]);
    // And had it only been away, it could not go on.
    assert!(killed.commit_transaction(WAIT).is_err());
    assert_eq!(committed(broker, "halves").len(), 2);
}

/// How far a topic of one partition has come for those who read what is committed, and for all.
fn ends(broker: &Broker, topic: &str) -> (i64, i64) {
    let end = |isolation: &str| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &broker.address)
            .set("isolation.level", isolation)
            .create()
            .unwrap();
        consumer.fetch_watermarks(topic, 0, WAIT).unwrap().1
    };
    (end("read_committed"), end("read_uncommitted"))
}

fn wait_for_ends(broker: &Broker, topic: &str, expected: impl Fn((i64, i64)) -> bool) {
    for _ in 0..1_000 {
        if expected(ends(broker, topic)) {
            return;
        }
        moment();
    }
    panic!("{topic} has come to {:?}", ends(broker, topic));
}

#[test]
fn rows_are_on_their_way_before_their_epoch_is_durable_and_gone_if_it_never_is() {
    let Some(broker) = broker() else { return };
    broker.create("ahead", 1, &[]);
    let given = [("topic", "ahead")];
    let mut first = writer(&broker.address, &given);
    assert!(first.writes_ahead());
    first.resume(Epoch(0)).unwrap();
    first.write(Epoch(1), &Batch::append(rows(&[("a", 1)]))).unwrap();
    first.write(Epoch(1), &Batch::append(rows(&[("b", 1)]))).unwrap();
    wait_for_ends(broker, "ahead", |ends| ends == (0, 2));
    drop(first);
    let mut second = writer(&broker.address, &given);
    assert_eq!(second.resume(Epoch(0)).unwrap(), Epoch(0));
    epoch(&mut second, 1, &[("c", 1)]).unwrap();
    assert_eq!(values(&committed(broker, "ahead")), [r#"{"host":"c","n":1}"#]);
}

#[test]
fn a_transaction_that_was_open_for_too_long_is_written_again() {
    let Some(broker) = broker() else { return };
    broker.create("slow", 1, &[]);
    let mut writer = writer(&broker.address, &[("topic", "slow"), ("kafka.transaction.timeout.ms", "1000")]);
    epoch(&mut writer, 1, &[("a", 1)]).unwrap();
    let (_, before) = ends(broker, "slow");
    writer.write(Epoch(2), &Batch::append(rows(&[("b", 2)]))).unwrap();
    // The row is there, and no transaction is open any more.
    wait_for_ends(broker, "slow", |(stable, end)| end > before && stable == end);
    insist(|| writer.commit(Epoch(2))).unwrap();
    epoch(&mut writer, 3, &[("c", 3)]).unwrap();
    let expected = [r#"{"host":"a","n":1}"#, r#"{"host":"b","n":2}"#, r#"{"host":"c","n":3}"#];
    assert_eq!(values(&committed(broker, "slow")), expected);
}

#[test]
fn of_two_instances_the_later_one_writes() {
    let Some(broker) = broker() else { return };
    broker.create("zombies", 1, &[]);
    let given = [("topic", "zombies")];
    let mut zombie = writer(&broker.address, &given);
    epoch(&mut zombie, 1, &[("a", 1)]).unwrap();
    let mut later = writer(&broker.address, &given);
    assert_eq!(later.resume(Epoch(0)).unwrap(), Epoch(1));
    let error = epoch(&mut zombie, 2, &[("zombie", 2)]).unwrap_err();
    assert_eq!(error.message, "another instance writes as \"thalweg-zombies-s-0\", so this one may not any more");
    assert_eq!(error.kind, ErrorKind::Outside);
    epoch(&mut later, 2, &[("a", 2)]).unwrap();
    assert_eq!(values(&committed(broker, "zombies")), [r#"{"host":"a","n":1}"#, r#"{"host":"a","n":2}"#]);
}

#[test]
fn a_row_that_is_too_large_is_set_aside_and_the_others_arrive_once() {
    let Some(broker) = broker() else { return };
    broker.create("small", 1, &[("max.message.bytes", "3000")]);
    let large = "x".repeat(20_000);
    let many: Vec<(&str, i64)> = (0..200).map(|n| if n == 77 { (large.as_str(), n) } else { ("a", n) }).collect();
    for delivery in ["exactly_once", "at_least_once"] {
        let before = committed(broker, "small").len();
        let given = [("topic", "small"), ("delivery", delivery), ("kafka.compression.type", "none")];
        let mut writer = writer(&broker.address, &given);
        epoch(&mut writer, 1, &many).unwrap();
        let refused = writer.refused();
        assert_eq!(refused.len(), 1, "{delivery}");
        assert_eq!(refused[0].reason, "the message of 20018 bytes is larger than the topic takes");
        assert_eq!(committed(broker, "small").len(), before + 199, "{delivery}");
        writer.finish().unwrap();
    }
}

#[test]
fn a_topic_that_is_not_there_is_told() {
    let Some(broker) = broker() else { return };
    let mut writer = writer(&broker.address, &[("topic", "nowhere"), ("delivery", "at_least_once")]);
    let error = epoch(&mut writer, 1, &[("a", 1)]).unwrap_err();
    assert_eq!(error.message, format!("topic \"nowhere\" of sink \"s\" does not exist at '{}'", broker.address));
    assert!(error.hint.is_some());
}

#[test]
fn a_broker_that_goes_away_delays_rows_and_loses_none() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("out", 1, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    for delivery in ["exactly_once", "at_least_once"] {
        let mut writer = writer(&brokers, &[("delivery", delivery), ("kafka.message.timeout.ms", "1000")]);
        epoch(&mut writer, 1, &[("a", 1)]).unwrap();
        mock.broker_down(1).unwrap();
        writer.write(Epoch(2), &Batch::append(rows(&[("b", 2)]))).unwrap();
        let error = writer.commit(Epoch(2)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retry, "{error:?}");
        mock.broker_up(1).unwrap();
        insist(|| writer.commit(Epoch(2))).unwrap();
        epoch(&mut writer, 3, &[("c", 3)]).unwrap();
    }
    let source = open(&brokers, &[("topic", "out")]).unwrap();
    let read = read(&source, 1, 6);
    for row in [r#"{"host":"a","n":1}"#, r#"{"host":"b","n":2}"#, r#"{"host":"c","n":3}"#] {
        assert!(read.values("out/0").iter().filter(|value| *value == row).count() >= 2, "{row}");
    }
}

#[test]
fn statements_that_cannot_work_are_refused() {
    let refused = |given: &[(&str, &str)]| sink("127.0.0.1:9", given).map(|_| ()).unwrap_err();
    let error = refused(&[("key", "hots")]);
    assert_eq!(error.message, "column \"hots\" of option \"key\" does not exist in sink \"s\"");
    assert_eq!(error.hint.as_deref(), Some("Did you mean \"host\"?"));
    assert!(refused(&[("topic", "orders-*")]).hint.is_some());
    assert!(refused(&[("kafka.transactional.id", "mine")]).hint.is_some());
    assert!(refused(&[("kafka.linger.ms", "soon")]).hint.is_some());
}
