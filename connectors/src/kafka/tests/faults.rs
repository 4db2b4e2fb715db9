//! A cluster that fails, and statements that cannot work.

use super::*;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

#[test]
fn brokers_that_are_away_are_told_once_and_found_again() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 1, 3);
    let source = open(&brokers, &[]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 3);
    mock.broker_down(1).unwrap();
    poll_until(&mut readers, &mut all, |read| !read.errors.is_empty());
    mock.broker_up(1).unwrap();
    write_numbers(&brokers, "orders", 1, 4);
    poll_until(&mut readers, &mut all, |read| read.len() == 7);
    let [error] = all.errors.as_slice() else { panic!("{:?}", all.errors) };
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, format!("no Kafka broker of source \"s\" can be reached at '{brokers}'"));
    assert_eq!(all.values("orders/0")[3..].len(), 4);
}

#[test]
fn a_cluster_that_is_not_there_yet_is_waited_for() {
    let source = open("127.0.0.1:9", &[]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| !read.errors.is_empty());
    assert_eq!(all.errors[0].kind, ErrorKind::Retry);
    assert!(all.errors[0].detail.as_deref().unwrap_or_default().contains("Connection refused"), "{:?}", all.errors);
}

#[test]
fn errors_of_single_requests_lose_nothing() {
    let mock = mock(2);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 2, 100);
    use RDKafkaRespErr as Err;
    mock.request_errors(
        RDKafkaApiKey::Fetch,
        &[
            Err::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Err::RD_KAFKA_RESP_ERR_NO_ERROR,
            Err::RD_KAFKA_RESP_ERR__TRANSPORT,
            Err::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
            Err::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        ],
    );
    mock.request_errors(RDKafkaApiKey::ListOffsets, &[Err::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE]);
    mock.request_errors(RDKafkaApiKey::Metadata, &[Err::RD_KAFKA_RESP_ERR__TRANSPORT]);
    let read = read(&open(&brokers, &[]).unwrap(), 2, 200);
    assert_eq!(read.values("orders/0").len(), 100);
    assert!(read.fatal().is_none());
}

#[test]
fn a_slow_broker_does_not_hold_the_worker() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 1, 10);
    mock.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let source = open(&brokers, &[]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    let polls = std::cell::Cell::new(0);
    poll_until(&mut readers, &mut all, |read| {
        polls.set(polls.get() + 1);
        read.len() == 10
    });
    // Each poll that finds nothing is followed by three milliseconds; had they waited for the broker, there were few.
    assert!(polls.get() > 50, "{} polls", polls.get());
}

#[test]
fn a_topic_that_is_lost_on_the_way_is_a_trouble_and_not_the_end() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 1, 1);
    let source = open(&brokers, &[]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 1);
    mock.topic_error("orders", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    poll_until(&mut readers, &mut all, |read| !read.errors.is_empty());
    assert!(all.errors[0].message.starts_with("topic \"orders\" of source \"s\" does not exist"), "{:?}", all.errors);
    mock.topic_error("orders", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    write_numbers(&brokers, "orders", 1, 1);
    poll_until(&mut readers, &mut all, |read| read.len() == 2);
}

fn refused(given: &[(&str, &str)]) -> Error {
    open("127.0.0.1:9", given).map(|_| ()).unwrap_err()
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let error = refused(&[("kafka.group.id", "g")]);
    assert_eq!(error.message, "option \"kafka.group.id\" of source \"s\" is not yours to set");
    assert_eq!(error.hint.as_deref(), Some("Use option \"group\"."));
    let error = refused(&[("kafka.sasl.mechanismus", "PLAIN")]);
    assert_eq!(
        error.message,
        "option \"kafka.sasl.mechanismus\" of source \"s\": no such configuration property: \"sasl.mechanismus\""
    );
    assert_eq!(error.kind, ErrorKind::User);
    assert!(refused(&[("brokers", " ,")]).hint.is_some());
    assert!(refused(&[("start", "soon")]).hint.is_some());
    assert!(refused(&[("group", "")]).hint.is_some());
}

#[test]
fn secrets_are_in_no_message() {
    let secret = "s3cr3t";
    let given = [
        ("kafka.security.protocol", "sasl_plaintext"),
        ("kafka.sasl.mechanism", "PLAIN"),
        ("kafka.sasl.username", "alice"),
        ("kafka.sasl.password", secret),
    ];
    let mut wrong = given.to_vec();
    wrong.push(("kafka.socket.timeout.ms", "never"));
    let error = refused(&wrong);
    assert!(!format!("{error:?}").contains(secret));
    let source = open("127.0.0.1:9", &given).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| !read.errors.is_empty());
    assert!(!format!("{:?}", all.errors).contains(secret));
}
