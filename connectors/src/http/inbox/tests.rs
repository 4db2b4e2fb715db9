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
    assert!(inbox.put(Post { header, payload, rows: 1 }, reservation, fate));
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
    assert!(inbox.put(Post { header: None, payload, rows: 1 }, first, fate));
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
    assert!(!inbox.put(Post { header: None, payload: Payload::Bytes(vec![]), rows: 1 }, reservation, fate));
}
