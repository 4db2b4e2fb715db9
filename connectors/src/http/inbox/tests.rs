//! The queue between senders and the pipeline: what comes out, in which pieces, and who hears of it.

use super::super::tests::options;
use super::*;

fn inbox(more: &[(&str, &str)]) -> Arc<Inbox> {
    Arc::new(Inbox::new(options(more)))
}

fn put(inbox: &Arc<Inbox>, text: &str) -> watch::Receiver<Fate> {
    post(inbox, None, Payload::Bytes(text.into()))
}

fn post(inbox: &Arc<Inbox>, header: Option<&str>, payload: Payload) -> watch::Receiver<Fate> {
    let (fate, receiver) = watch::channel(None);
    let reservation = inbox.reserve(1).unwrap();
    let header = header.map(|header| Arc::from(header.as_bytes()));
    assert!(inbox.put(Post { header, payload, rows: 1 }, None, reservation, fate).is_some());
    receiver
}

fn text(chunk: &Chunk) -> String {
    match &chunk.payload {
        Payload::Bytes(bytes) | Payload::Formatted { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
        other => format!("{other:?}"),
    }
}

#[test]
fn small_posts_are_taken_together_and_each_sender_is_told() {
    let inbox = inbox(&[]);
    let fates: Vec<_> = ["a\n", "b\n", "c\n"].iter().map(|text| put(&inbox, text)).collect();
    let first = inbox.next(4).unwrap();
    let second = inbox.next(4).unwrap();
    assert_eq!((text(&first), text(&second)), ("a\nb\n".into(), "c\n".into()));
    assert_eq!((first.end - first.start, first.end), (4, second.start));
    assert!(inbox.next(4).is_none());
    inbox.durable(first.end);
    assert_eq!(fates.iter().map(|fate| *fate.borrow()).collect::<Vec<_>>(), [Some(1), Some(1), None]);
    inbox.durable(second.end);
    assert_eq!(*fates[2].borrow(), Some(1));
}

#[test]
fn a_large_post_is_cut_at_line_ends_and_told_when_all_of_it_is_durable() {
    let inbox = inbox(&[]);
    let fate = put(&inbox, "aaa\nbbbbbbbb\nc\n");
    let chunks: Vec<_> = std::iter::from_fn(|| inbox.next(5)).collect();
    assert_eq!(chunks.iter().map(text).collect::<Vec<_>>(), ["aaa\nbbbbbbbb\n", "c\n"]);
    assert_eq!(chunks[0].end, chunks[1].start);
    inbox.durable(chunks[0].end);
    assert_eq!(*fate.borrow(), None);
    inbox.durable(chunks[1].end);
    assert_eq!(*fate.borrow(), Some(1));
}

#[test]
fn a_post_is_withdrawn_as_long_as_nothing_of_it_is_taken() {
    let inbox = inbox(&[]);
    let fates = ["aaaa\nbbbb\n", "c\n", "d\n"].map(|text| put(&inbox, text));
    let ends: Vec<u64> = inbox.state().waiting.keys().copied().collect();
    let first = inbox.next(4).unwrap();
    assert_eq!([0, 1].map(|post: usize| inbox.withdraw(ends[post])), [false, true]);
    assert!(!inbox.withdraw(ends[1]), "once");
    assert!(fates[1].has_changed().is_err());
    let rest: Vec<_> = std::iter::from_fn(|| inbox.next(100)).collect();
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["bbbb\n", "d\n"], "over a gap nothing is put together");
    assert_eq!((first.end, rest[0].end, rest[1].start), (rest[0].start, ends[0], ends[1]));
    assert_eq!(inbox.state().held, 0);
    inbox.durable(ends[2]);
    assert_eq!([0, 2].map(|post: usize| *fates[post].borrow()), [Some(1), Some(1)]);
}

#[test]
fn posts_of_different_kinds_stay_apart() {
    let inbox = inbox(&[]);
    let formatted = |text: &str| Payload::Formatted { format: "csv", bytes: text.into() };
    let _fates = [
        put(&inbox, "j\n"),
        post(&inbox, Some("x"), formatted("1\n")),
        post(&inbox, Some("x"), formatted("2\n")),
        post(&inbox, Some("y"), formatted("3\n")),
    ];
    let chunks: Vec<_> = std::iter::from_fn(|| inbox.next(100)).collect();
    assert_eq!(chunks.iter().map(text).collect::<Vec<_>>(), ["j\n", "1\n2\n", "3\n"]);
    assert_eq!(chunks[2].header.as_deref(), Some(&b"y"[..]));
}

#[test]
fn the_buffer_is_full_until_the_pipeline_takes_something() {
    let inbox = inbox(&[("buffer", "10")]);
    let mut first = inbox.reserve(8).unwrap();
    assert!(inbox.reserve(3).is_none());
    assert!(first.grow(20), "who is alone may have more than there is");
    let (fate, _receiver) = watch::channel(None);
    let payload = Payload::Bytes(b"0123456789\n".to_vec());
    assert!(inbox.put(Post { header: None, payload, rows: 1 }, None, first, fate).is_some());
    assert!(inbox.reserve(1).is_none());
    inbox.next(100).unwrap();
    let second = inbox.reserve(10).unwrap();
    drop(second);
    assert!(inbox.reserve(10).is_some(), "a body that came to nothing leaves its room");
}

#[test]
fn a_source_that_closes_leaves_nobody_waiting() {
    let inbox = inbox(&[]);
    let waiting = put(&inbox, "a\n");
    inbox.close();
    assert!(waiting.has_changed().is_err());
    let (fate, _receiver) = watch::channel(None);
    let reservation = inbox.reserve(1).unwrap();
    let post = Post { header: None, payload: Payload::Bytes(vec![]), rows: 1 };
    assert!(inbox.put(post, None, reservation, fate).is_none());
}

/// Puts a post with a key; what becomes of it is of no matter.
fn put_as(inbox: &Arc<Inbox>, key: &str, text: &str) {
    let Seen::First(fate) = inbox.look(key) else { panic!("{key} was looked up before") };
    let post = Post { header: None, payload: Payload::Bytes(text.into()), rows: 1 };
    assert!(inbox.put(post, Some(key.to_string()), inbox.reserve(1).unwrap(), fate).is_some());
}

#[test]
fn a_post_with_a_key_is_taken_whole_and_its_receipt_goes_with_its_end() {
    let inbox = inbox(&[]);
    put_as(&inbox, "first", "aaa\nbbbbbbbb\nc\n");
    put(&inbox, "d\n");
    put_as(&inbox, "second", "e\n");
    let chunks: Vec<_> = std::iter::from_fn(|| inbox.next(5)).collect();
    assert_eq!(chunks.iter().map(text).collect::<Vec<_>>(), ["aaa\nbbbbbbbb\nc\n", "d\ne\n"]);
    let keys = |chunk: &Chunk| -> Vec<String> {
        inbox.receipts(chunk.start, chunk.end).into_iter().map(|receipt| receipt.key).collect()
    };
    assert_eq!(chunks.iter().map(keys).collect::<Vec<_>>(), [["first"], ["second"]]);
}

#[test]
fn what_an_earlier_run_took_is_known_for_the_rest_of_the_window() {
    let receipt = |key: &str, end, age: u64| {
        let time_ns = (now_ns() - age * 1_000_000_000) as i64;
        Receipt { key: key.to_string(), end, rows: 7, time_ns }
    };
    let inbox = inbox(&[("idempotency_window", "10 seconds")]);
    inbox.remember(vec![receipt("old", 1, 20), receipt("young", 2, 3)]);
    assert!(matches!(inbox.look("old"), Seen::First(_)));
    let Seen::Before(fate) = inbox.look("young") else { panic!("it is remembered") };
    assert_eq!(*fate.borrow(), Some(7));
    let left: Vec<u64> = inbox.receipts(0, 10).into_iter().map(|receipt| receipt.end).collect();
    assert_eq!(left, [2], "the next run is told too");
}
