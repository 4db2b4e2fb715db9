//! Reading from a real Kafka: what the mock does not have.

use super::broker::broker;
use super::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

#[test]
fn open_and_aborted_transactions_are_not_read() {
    let Some(broker) = broker() else { return };
    broker.create("transactions", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .set("transactional.id", "test-transactions")
        .create()
        .unwrap();
    let wait = Duration::from_secs(20);
    producer.init_transactions(wait).unwrap();
    let transaction = |values: &[&str], commit: bool| {
        producer.begin_transaction().unwrap();
        for value in values {
            producer.send(BaseRecord::<(), _>::to("transactions").payload(*value)).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(wait).unwrap();
        if commit { producer.commit_transaction(wait) } else { producer.abort_transaction(wait) }.unwrap();
    };
    transaction(&["a", "b"], true);
    transaction(&["x"], false);
    transaction(&["c"], true);
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), _>::to("transactions").payload("open")).map_err(|(e, _)| e).unwrap();
    producer.flush(wait).unwrap();

    let given = [("topic", "transactions"), ("mode", "bounded")];
    let ended = |given: &[(&str, &str)]| {
        let source = open(&broker.address, given).unwrap();
        let mut all = Read::default();
        poll_until(&mut readers(&source, 1), &mut all, |read| !read.ended.is_empty());
        all
    };
    let committed = ended(&given);
    assert_eq!(committed.values("transactions/0"), ["a", "b", "c"]);
    // Offsets 2, 4 and 6 are markers, 3 was aborted.
    assert_eq!((committed.done[0].start, committed.done[0].end), (0, 6));
    let everything = ended(&[given[0], given[1], ("isolation", "read_uncommitted")]);
    assert_eq!(everything.values("transactions/0"), ["a", "b", "x", "c", "open"]);
    producer.abort_transaction(wait).unwrap();

    // A span may end in what nobody gets to see.
    let source = open(&broker.address, &given).unwrap();
    let span = Span { partition: "transactions/0".into(), start: 0, end: 5 };
    source.resume(std::slice::from_ref(&span)).unwrap();
    let mut reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let chunk = loop {
        match reader.replay(&span, 1 << 20).unwrap() {
            Polled::Ready(chunk) => break chunk,
            Polled::Pending => moment(),
            other => panic!("{other:?}"),
        }
    };
    let Payload::Messages(messages) = chunk.payload else { panic!("no messages") };
    assert_eq!((messages.len(), chunk.end), (2, 5));
}

#[test]
fn a_run_begins_at_a_time() {
    let Some(broker) = broker() else { return };
    broker.create("times", 1, &[("retention.ms", "-1")]);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &broker.address).create().unwrap();
    for hour in 0..3 {
        let at = 1_700_000_000_000 + hour * 3_600_000;
        let value = hour.to_string();
        let record = BaseRecord::<(), _>::to("times").timestamp(at).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let source = open(&broker.address, &[("topic", "times"), ("start", "2023-11-14 22:30:00")]).unwrap();
    assert_eq!(read(&source, 1, 2).values("times/0"), ["1", "2"]);
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    let Some(broker) = broker() else { return };
    broker.create("growing", 1, &[]);
    let source = open(&broker.address, &[("topic", "growing"), ("start", "latest")]).unwrap();
    let mut readers = readers(&source, 2);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| {
        write(&broker.address, "growing", &[(0, None, Some("old"))]);
        read.len() > 0
    });
    broker.grow("growing", 3);
    write_numbers(&broker.address, "growing", 3, 4);
    poll_until(&mut readers, &mut all, |read| {
        read.values("growing/1").len() == 4 && read.values("growing/2").len() == 4
    });
    assert_eq!(all.workers["growing/1"], 1);
}

#[test]
fn offsets_are_told_to_the_group() {
    let Some(broker) = broker() else { return };
    broker.create("told", 2, &[]);
    write_numbers(&broker.address, "told", 2, 3);
    let source = open(&broker.address, &[("topic", "told"), ("group", "auditors")]).unwrap();
    let read = read(&source, 1, 6);
    source.checkpointed(&read.done);
    drop(source);
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &broker.address).set("group.id", "auditors").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range("told", 0, 1);
    let list = consumer.committed_offsets(list, Duration::from_secs(20)).unwrap();
    assert!(list.elements().iter().all(|element| element.offset() == Offset::Offset(3)), "{list:?}");
}

#[test]
fn a_topic_that_does_not_exist_ends_the_run_with_a_suggestion() {
    let Some(broker) = broker() else { return };
    broker.create("payments", 1, &[]);
    let source = open(&broker.address, &[("topic", "payment")]).unwrap();
    let mut all = Read::default();
    poll_until(&mut readers(&source, 1), &mut all, |_| false);
    let error = all.fatal().unwrap();
    let address = &broker.address;
    assert_eq!(error.message, format!("topic \"payment\" of source \"s\" does not exist at '{address}'"));
    assert_eq!(error.hint.as_deref(), Some("Did you mean \"payments\"?"));
}

/// A topic whose first ten records are gone, and what a source makes of it that has read five.
fn after_retention(topic: &str, on_lost: &str) -> Option<Read> {
    let broker = broker()?;
    broker.create(topic, 1, &[]);
    write_numbers(&broker.address, topic, 1, 20);
    broker.delete_before(topic, 10);
    let source = open(&broker.address, &[("topic", topic), ("on_lost_offsets", on_lost)]).unwrap();
    source.resume(&[Span { partition: format!("{topic}/0").into(), start: 0, end: 5 }]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 10 || !read.faults.is_empty());
    write(&broker.address, topic, &[(0, None, Some("last"))]);
    let last = |read: &Read| read.values(&format!("{topic}/0")).last().is_some_and(|value| value == "last");
    poll_until(&mut readers, &mut all, last);
    Some(all)
}

#[test]
fn records_that_are_gone_end_the_run() {
    let Some(read) = after_retention("gone-fail", "fail") else { return };
    let error = read.fatal().unwrap();
    assert_eq!(error.message, "offset 5 of gone-fail/0 is gone, where source \"s\" goes on");
    let detail = "5 records were deleted before they were read; the first there is has offset 10.";
    assert_eq!(error.detail.as_deref(), Some(detail));
    assert_eq!(read.len(), 0);
}

#[test]
fn records_that_are_gone_are_jumped_over_where_the_statement_says_so() {
    let Some(read) = after_retention("gone-earliest", "earliest") else { return };
    assert_eq!(read.partitions["gone-earliest/0"][0].offset, 10);
    assert_eq!(read.len(), 11);
    let reasons: Vec<_> = read.faults.iter().map(|fault| (fault.offset, fault.reason.as_str())).collect();
    assert_eq!(reasons, [(5, "offsets 5 to 9 are gone; reading goes on at 10")]);
    let Some(read) = after_retention("gone-latest", "latest") else { return };
    assert_eq!(read.values("gone-latest/0"), ["last"]);
}

#[test]
fn records_that_go_while_they_are_read_are_noticed() {
    let Some(broker) = broker() else { return };
    broker.create("going", 1, &[]);
    // More than a consumer holds ready, so that it asks for what is deleted meanwhile.
    let big = "x".repeat(100_000);
    let messages: Vec<_> = (0..120).map(|_| (0, None, Some(big.as_str()))).collect();
    write(&broker.address, "going", &messages);
    let given = [
        ("topic", "going"),
        ("on_lost_offsets", "earliest"),
        ("kafka.queued.max.messages.kbytes", "500"),
        ("kafka.queued.min.messages", "2"),
        ("kafka.fetch.message.max.bytes", "200000"),
    ];
    let source = open(&broker.address, &given).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() >= 2);
    broker.delete_before("going", 115);
    poll_until(&mut readers, &mut all, |read| read.partitions["going/0"].last().is_some_and(|last| last.offset == 119));
    let [fault] = all.faults.as_slice() else { panic!("{:?}", all.faults) };
    assert!(fault.reason.ends_with("are gone; reading goes on at 115"), "{}", fault.reason);
    // Nothing else is missing.
    let offsets: Vec<_> = all.partitions["going/0"].iter().map(|seen| seen.offset).collect();
    let expected: Vec<u64> = (0..fault.offset).chain(115..120).collect();
    assert_eq!(offsets, expected);
}

#[test]
fn compaction_leaves_gaps_that_are_nothing() {
    let Some(broker) = broker() else { return };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
    ];
    broker.create("compacted", 1, &settings);
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for text in &texts {
        write(&broker.address, "compacted", &[(0, Some("k"), Some(text))]);
    }
    let offsets = || {
        write(&broker.address, "compacted", &[(0, Some("other"), Some("end"))]);
        let source = open(&broker.address, &[("topic", "compacted"), ("mode", "bounded")]).unwrap();
        let mut all = Read::default();
        poll_until(&mut readers(&source, 1), &mut all, |read| !read.ended.is_empty());
        all
    };
    let mut read = offsets();
    for _ in 0..100 {
        if read.len() < 45 {
            break;
        }
        moment();
        read = offsets();
    }
    assert!(read.len() < 45, "nothing was compacted");
    // One stretch of offsets, whatever is missing in it.
    assert_eq!(read.done.len(), 1);
    assert_eq!(read.done[0].start, 0);
}

fn secured(broker: &broker::Broker, more: &[(&str, &str)]) -> Arc<dyn Source> {
    let ca = format!("{}/ca.pem", broker.folder);
    let mut given = vec![("topic", "secret"), ("kafka.security.protocol", "sasl_ssl"), ("kafka.ssl.ca.location", &ca)];
    given.extend(more);
    open(&broker.secure, &given).unwrap()
}

#[test]
fn tls_and_passwords_work_and_a_wrong_one_is_told() {
    let Some(broker) = broker() else { return };
    broker.create("secret", 1, &[]);
    write_numbers(&broker.address, "secret", 1, 1);
    let plain = |password: &'static str| {
        let user = ("kafka.sasl.username", "alice");
        secured(broker, &[("kafka.sasl.mechanism", "PLAIN"), user, ("kafka.sasl.password", password)])
    };
    assert_eq!(read(&plain("alice-secret"), 1, 1).len(), 1);
    let user = [("kafka.sasl.username", "bob"), ("kafka.sasl.password", "bob-secret")];
    let scram = secured(broker, &[("kafka.sasl.mechanism", "SCRAM-SHA-256"), user[0], user[1]]);
    assert_eq!(read(&scram, 1, 1).len(), 1);

    let refused = |source: &Arc<dyn Source>| {
        let mut all = Read::default();
        poll_until(&mut readers(source, 1), &mut all, |_| false);
        all.fatal().unwrap().clone()
    };
    let error = refused(&plain("guessed"));
    assert_eq!(error.message, "Kafka refuses the credentials of source \"s\"");
    assert!(!format!("{error:?}").contains("guessed"));
    let stranger = open(
        &broker.secure,
        &[("topic", "secret"), ("kafka.security.protocol", "ssl"), ("kafka.ssl.ca.pem", "-----BEGIN CERTIFICATE-----")],
    );
    assert!(stranger.is_err());
    let unknown = open(&broker.secure, &[("topic", "secret"), ("kafka.security.protocol", "ssl")]).unwrap();
    assert_eq!(refused(&unknown).message, "no secure connection to Kafka of source \"s\"");
}
