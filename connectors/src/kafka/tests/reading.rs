//! What comes in: everything once, in order, whatever the number of workers.

use super::*;

#[test]
fn workers_share_the_partitions_and_lose_nothing() {
    let mock = mock(5);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 5, 200);
    let expected: Vec<String> = (0..200).map(|n| format!("{{\"n\":{n}}}")).collect();
    for workers in [1, 2, 4] {
        let source = open(&brokers, &[]).unwrap();
        let read = read(&source, workers, 1_000);
        for number in 0..5 {
            let name = format!("orders/{number}");
            assert_eq!(read.values(&name), expected);
            assert_eq!(read.workers[&name], number % workers);
        }
        let spans: Vec<_> = read.done.iter().map(|span| (span.start, span.end)).collect();
        assert_eq!(spans, [(0, 200); 5]);
        assert_eq!((read.faults.len(), read.errors.len()), (0, 0));
    }
}

#[test]
fn keys_headers_and_tombstones_come_along() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write(&brokers, "orders", &[(0, Some("a"), Some("traced")), (0, Some("a"), None), (0, None, Some(""))]);
    let read = read(&open(&brokers, &[]).unwrap(), 1, 3);
    let seen = |offset, key: Option<&str>, value: Option<&str>, headers| Seen {
        offset,
        key: key.map(str::to_string),
        value: value.map(str::to_string),
        headers,
    };
    let trace = vec![("trace".to_string(), "abc".to_string())];
    assert_eq!(
        read.partitions["orders/0"],
        [seen(0, Some("a"), Some("traced"), trace), seen(1, Some("a"), None, vec![]), seen(2, None, Some(""), vec![])]
    );
}

#[test]
fn several_topics_are_numbered_through_and_new_ones_are_taken_up() {
    let mock = mock(2);
    let brokers = mock.bootstrap_servers();
    mock.create_topic("orders-eu", 1, 1).unwrap();
    mock.create_topic("bills", 1, 1).unwrap();
    write_numbers(&brokers, "orders", 2, 1);
    write_numbers(&brokers, "orders-eu", 1, 1);
    write_numbers(&brokers, "bills", 1, 1);
    let source = open(&brokers, &[("topic", "orders*")]).unwrap();
    let mut readers = readers(&source, 2);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 3);
    mock.create_topic("orders-us", 1, 1).unwrap();
    write_numbers(&brokers, "orders-us", 1, 3);
    poll_until(&mut readers, &mut all, |read| read.len() == 6);
    let names: Vec<_> = all.partitions.keys().map(String::as_str).collect();
    assert_eq!(names, ["orders-eu/0", "orders-us/0", "orders/0", "orders/1"]);
}

#[test]
fn the_latest_are_those_that_come_after_the_start() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 1, 5);
    let source = open(&brokers, &[("start", "latest")]).unwrap();
    let mut readers = readers(&source, 1);
    let mut all = Read::default();
    // What is written before the start is settled may come or not, so it is written until something comes.
    poll_until(&mut readers, &mut all, |read| {
        if read.len() == 0 {
            write(&brokers, "orders", &[(0, None, Some("new"))]);
        }
        read.len() > 0
    });
    assert!(all.values("orders/0").iter().all(|value| value == "new"));
}

#[test]
fn a_bounded_source_ends_with_what_was_there() {
    let mock = mock(3);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 2, 50);
    let source = open(&brokers, &[("mode", "bounded")]).unwrap();
    assert!(source.bounded());
    let mut readers = readers(&source, 2);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.ended.len() >= 2);
    assert_eq!(all.len(), 100);
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let mock = mock(2);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 2, 30);
    let first = read(&open(&brokers, &[]).unwrap(), 2, 60);
    write(&brokers, "orders", &[(1, None, Some("later"))]);
    let source = open(&brokers, &[]).unwrap();
    source.resume(&first.done).unwrap();
    let second = read(&source, 1, 1);
    assert_eq!(second.len(), 1);
    assert_eq!(second.partitions["orders/1"][0].offset, 30);
    assert_eq!(second.values("orders/1"), ["later"]);
}

#[test]
fn a_share_says_which_partitions_it_has_and_which_are_read_to_their_end() {
    let mock = mock(3);
    let brokers = mock.bootstrap_servers();
    write(&brokers, "orders", &[(0, None, Some("a")), (2, None, Some("b"))]);
    let source = open(&brokers, &[]).unwrap();
    let mut readers = readers(&source, 4);
    assert_eq!((readers[0].partitions(), readers[0].outlook()), (None, Outlook::MoreToCome));
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 2);
    let standings = |readers: &[Box<dyn Reader>]| -> Vec<(String, bool)> {
        let each = readers.iter().flat_map(|reader| reader.partitions().unwrap_or_default());
        each.map(|standing| (standing.partition.name.to_string(), standing.caught_up)).collect()
    };
    let names = ["orders/0", "orders/1", "orders/2"];
    let expected = |caught_up: bool| names.map(|name| (name.to_string(), caught_up)).to_vec();
    // The fourth reader has none, and says so.
    let found = (0..10_000).any(|_| {
        readers.iter_mut().for_each(|reader| all.take(0, reader.poll(4_096)));
        moment();
        standings(&readers) == expected(true)
    });
    assert!(found, "{:?}", standings(&readers));
    assert_eq!((readers[3].partitions(), readers[3].outlook()), (Some(vec![]), Outlook::Open));
    // Nobody knows while the brokers are away.
    mock.broker_down(1).unwrap();
    poll_until(&mut readers, &mut all, |read| !read.errors.is_empty());
    assert_eq!(standings(&readers), expected(false));
}
