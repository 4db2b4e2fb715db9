//! Spans of an earlier run, read again: the same messages, whoever is asked and however small the spans are.

use super::*;
use proptest::prelude::*;

/// The messages of `spans`, read again by one reader.
fn replay(reader: &mut Box<dyn Reader>, spans: &[Span]) -> Vec<Seen> {
    let mut all = Vec::new();
    for span in spans {
        let mut left = span.clone();
        for round in 0.. {
            assert!(round < 10_000, "{left:?} is never covered");
            match reader.replay(&left, 256).unwrap() {
                Polled::Ready(chunk) => {
                    assert_eq!((chunk.partition.name.clone(), chunk.start), (left.partition.clone(), left.start));
                    assert!(chunk.end <= left.end && chunk.end > left.start);
                    let Payload::Messages(messages) = chunk.payload else { panic!("no messages") };
                    all.extend(seen(&messages));
                    left.start = chunk.end;
                }
                Polled::Pending => moment(),
                other => panic!("{other:?}"),
            }
            if left.start == left.end {
                break;
            }
        }
    }
    all
}

fn span(number: usize, start: u64, end: u64) -> Span {
    Span { partition: format!("orders/{number}").into(), start, end }
}

#[test]
fn spans_bring_the_same_messages_again() {
    let mock = mock(3);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 3, 60);
    let first = read(&open(&brokers, &[]).unwrap(), 2, 180);
    proptest!(ProptestConfig::with_cases(5), |(cuts in prop::collection::btree_set(1u64..60, 0..6))| {
        let source = open(&brokers, &[]).unwrap();
        source.resume(&first.done).unwrap();
        let mut reader = source.reader(WorkerId { index: 0, peers: 2 }).unwrap();
        // As the epochs of a run had them: a bit of each partition at a time.
        let mut spans = Vec::new();
        let mut start = 0;
        for end in cuts.into_iter().chain([60]) {
            spans.extend((0..3).map(|number| span(number, start, end)));
            start = end;
        }
        let again = replay(&mut reader, &spans);
        let expected = spans.iter().flat_map(|span| {
            let messages = &first.partitions[&*span.partition];
            messages[span.start as usize..span.end as usize].to_vec()
        });
        prop_assert_eq!(again, expected.collect::<Vec<_>>());
    });
}

#[test]
fn after_the_replay_reading_goes_on() {
    let mock = mock(1);
    let brokers = mock.bootstrap_servers();
    write_numbers(&brokers, "orders", 1, 20);
    let source = open(&brokers, &[]).unwrap();
    source.resume(&[span(0, 0, 15)]).unwrap();
    let mut readers = readers(&source, 1);
    assert_eq!(replay(&mut readers[0], &[span(0, 10, 12), span(0, 12, 15)]).len(), 5);
    let mut all = Read::default();
    poll_until(&mut readers, &mut all, |read| read.len() == 5);
    assert_eq!(all.partitions["orders/0"][0].offset, 15);
}
