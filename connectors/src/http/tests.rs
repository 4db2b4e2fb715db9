//! The source against a real client, with the test in the place of the pipeline.

use super::options::{HttpOptions, SOURCE};
use super::source::Http;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::options::Options;
use thalweg_schemas::source::{Chunk, Payload, Polled, Reader, Source, SourceRequest, Span};

/// The options of a source named `events`, as a statement would have given them.
pub(super) fn try_options(given: &[(&str, &str)]) -> Result<HttpOptions> {
    let format = given.iter().find(|(name, _)| *name == "format").map_or("json", |(_, format)| format);
    let mut own: Vec<_> = given.iter().filter(|(name, _)| *name != "format").copied().collect();
    if !own.iter().any(|(name, _)| *name == "listen") {
        own.push(("listen", "127.0.0.1:0"));
    }
    HttpOptions::read(&SourceRequest {
        name: "events".into(),
        options: crate::tests::options(SOURCE, &own),
        format: Some(format.into()),
        format_options: Options::default(),
        wanted: vec![true],
        key: Vec::new(),
        metadata: Vec::new(),
        fields: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
    })
}

pub(super) fn options(given: &[(&str, &str)]) -> HttpOptions {
    try_options(given).unwrap()
}

/// A source and the reader that takes its records.
struct Running {
    source: Http,
    reader: Box<dyn Reader>,
}

fn start(given: &[(&str, &str)]) -> Running {
    let source = Http::open(options(given)).unwrap();
    let reader = source.reader(WorkerId { index: 0, peers: 1 }).unwrap();
    Running { source, reader }
}

impl Running {
    /// What the pipeline takes next.
    fn take(&mut self) -> Chunk {
        loop {
            match self.reader.poll(1 << 20).unwrap() {
                Polled::Ready(chunk) => return chunk,
                Polled::Pending => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn acknowledge(&self, chunk: &Chunk) {
        let partition = chunk.partition.name.clone();
        self.source.durable(&[Span { partition, start: chunk.start, end: chunk.end }]);
    }

    /// Posts from a thread of its own.
    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> std::thread::JoinHandle<Answer> {
        let url = format!("http://{}/events", self.source.address());
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let body = body.to_vec();
        std::thread::spawn(move || send(&url, &headers, &body))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
    retry_after: bool,
    repeated: bool,
}

fn send(url: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    let mut request = ureq::Agent::new_with_config(config.build()).post(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut response = request.send(body).unwrap();
    Answer {
        status: response.status().as_u16(),
        retry_after: response.headers().contains_key("retry-after"),
        repeated: response.headers().contains_key("idempotent-replayed"),
        body: response.body_mut().read_to_string().unwrap(),
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn taken(rows: usize, repeated: bool) -> Answer {
    Answer { status: 200, body: format!("{{\"rows\":{rows}}}\n"), retry_after: false, repeated }
}

#[test]
fn a_request_is_answered_when_its_records_are_durable() {
    let mut running = start(&[]);
    let request = running.post(&[JSON], b"[{\"n\":1},{\"n\":2}]");
    let chunk = running.take();
    assert!(matches!(&chunk.payload, Payload::Bytes(bytes) if bytes == b"{\"n\":1}\n{\"n\":2}\n"));
    assert_eq!(&*chunk.partition.name, "/events");
    assert!(!request.is_finished(), "it was answered before it was durable");
    running.acknowledge(&chunk);
    assert_eq!(request.join().unwrap(), taken(2, false));
}

#[test]
fn a_repeated_key_is_answered_as_the_first_without_taking_anything() {
    let mut running = start(&[]);
    let headers = [JSON, ("idempotency-key", "order-17")];
    let first = running.post(&headers, b"{\"n\":1}");
    let chunk = running.take();
    let meanwhile = running.post(&headers, b"{\"n\":1}");
    running.acknowledge(&chunk);
    assert_eq!(first.join().unwrap(), taken(1, false));
    assert_eq!(meanwhile.join().unwrap(), taken(1, true));
    assert_eq!(running.post(&headers, b"{\"n\":1}").join().unwrap(), taken(1, true));
    let other = running.post(&[JSON, ("idempotency-key", "order-18")], b"{\"n\":1}{\"n\":2}");
    let chunk = running.take();
    running.acknowledge(&chunk);
    assert_eq!(other.join().unwrap(), taken(2, false));
}

#[test]
fn what_cannot_be_taken_is_refused_with_a_reason() {
    let running = start(&[("body_max", "1kb"), ("auth", "s3cret")]);
    let bearer = ("authorization", "Bearer s3cret");
    let refused = |headers: &[(&str, &str)], body: &[u8]| running.post(headers, body).join().unwrap();
    assert_eq!(refused(&[JSON], b"{}").status, 401);
    assert_eq!(refused(&[JSON, ("authorization", "Bearer s3cres")], b"{}").status, 401);
    assert_eq!(refused(&[JSON, ("authorization", "Basic s3cret")], b"{}").status, 401);
    assert_eq!(refused(&[JSON, bearer], &[b' '; 2_000]).status, 413);
    let bomb = zstd::encode_all(&vec![b' '; 1 << 20][..], 3).unwrap();
    assert_eq!(refused(&[JSON, bearer, ("content-encoding", "zstd")], &bomb).status, 413);
    assert_eq!(refused(&[JSON, bearer, ("content-encoding", "br")], b"{}").status, 415);
    assert_eq!(refused(&[JSON, bearer, ("content-encoding", "gzip")], b"{}").status, 400);
    assert_eq!(refused(&[("content-type", "application/xml"), bearer], b"<a/>").status, 415);
    assert_eq!(refused(&[JSON, bearer, ("idempotency-key", "")], b"{}").status, 400);
    let bad = refused(&[JSON, bearer], b"{\"n\":");
    assert_eq!(bad.status, 400);
    assert!(bad.body.starts_with("{\"error\":\"the body is not valid JSON at byte "), "{}", bad.body);
    assert_eq!(refused(&[JSON, bearer], b" ").body, "{\"rows\":0}\n");

    let url = format!("http://{}", running.source.address());
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    assert_eq!(agent.post(format!("{url}/nobody")).send("{}").unwrap().status(), 404);
    let get = agent.get(format!("{url}/events")).header(bearer.0, bearer.1).call().unwrap();
    assert_eq!((get.status().as_u16(), &get.headers()["allow"]), (405, &"POST".parse().unwrap()));
}

#[test]
fn compressed_bodies_are_read() {
    let mut running = start(&[]);
    let mut gzip = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzEncoder::new(&b"{\"n\":1}\n"[..], flate2::Compression::fast()),
        &mut gzip,
    )
    .unwrap();
    let zstd = zstd::encode_all(&b"{\"n\":1}\n"[..], 3).unwrap();
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let request = running.post(&[("content-type", "application/x-ndjson"), ("content-encoding", encoding)], &body);
        let chunk = running.take();
        assert!(matches!(&chunk.payload, Payload::Bytes(bytes) if bytes == b"{\"n\":1}\n"));
        running.acknowledge(&chunk);
        assert_eq!(request.join().unwrap(), taken(1, false));
    }
}

#[test]
fn a_full_buffer_asks_senders_to_come_again() {
    let mut running = start(&[("buffer", "1kb")]);
    let body = format!("{{\"n\":1,\"pad\":\"{}\"}}", "x".repeat(900));
    let first = running.post(&[JSON], body.as_bytes());
    while running.source.inbox().reserve(500).is_some() {
        std::thread::yield_now();
    }
    let refused = running.post(&[JSON, ("idempotency-key", "later")], body.as_bytes()).join().unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.retry_after);
    let chunk = running.take();
    running.acknowledge(&chunk);
    assert_eq!(first.join().unwrap(), taken(1, false));
    let again = running.post(&[JSON, ("idempotency-key", "later")], body.as_bytes());
    let chunk = running.take();
    running.acknowledge(&chunk);
    assert_eq!(again.join().unwrap(), taken(1, false));
}

#[test]
fn a_request_that_the_pipeline_does_not_take_in_time_leaves_nothing_behind() {
    let mut running = start(&[("timeout", "200ms")]);
    let headers = [JSON, ("idempotency-key", "order-17")];
    let refused = running.post(&headers, b"{\"n\":1}").join().unwrap();
    assert_eq!((refused.status, refused.retry_after), (429, true));
    assert!(matches!(running.reader.poll(1 << 20).unwrap(), Polled::Pending));
    let again = running.post(&headers, b"{\"n\":1}");
    let chunk = running.take();
    running.acknowledge(&chunk);
    let answer = again.join().unwrap();
    assert!(answer == taken(1, false) || answer.status == 503, "taken, and at worst told too late: {answer:?}");
}

#[test]
fn whoever_waits_when_the_source_ends_is_told() {
    let mut running = start(&[]);
    let request = running.post(&[JSON], b"{\"n\":1}");
    running.take();
    drop(running);
    let answer = request.join().unwrap();
    assert_eq!((answer.status, answer.retry_after), (503, true));
}

#[test]
fn sources_share_an_address_and_free_it() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let listen = ("listen", free.as_str());
    let first = start(&[listen]);
    let clash = Http::open(options(&[listen])).err().unwrap();
    assert_eq!(clash.message, format!("sources \"events\" and \"events\" both listen on {free}/events"));
    let mut second = start(&[listen, ("path", "/other")]);
    drop(first);
    let url = format!("http://{free}/other");
    let request = std::thread::spawn(move || send(&url, &[("content-type".into(), "text/csv".into())], b"n\n1\n"));
    let chunk = second.take();
    assert!(matches!(&chunk.payload, Payload::Formatted { format: "csv", bytes } if bytes == b"1\n"));
    second.acknowledge(&chunk);
    assert_eq!(request.join().unwrap(), taken(1, false));
    drop(second);
    let taken_port = std::net::TcpListener::bind(&free).unwrap();
    let refused = Http::open(options(&[listen])).err().unwrap();
    assert!(refused.message.starts_with(&format!("source \"events\" cannot listen on {free}: ")), "{refused}");
    assert!(refused.hint.unwrap().contains("another port"));
    drop(taken_port);
    drop(start(&[listen]));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |given| try_options(given).err().unwrap().message;
    assert_eq!(refused(&[("path", "events")]), "option \"path\" takes a path such as '/events', not 'events'");
    assert_eq!(refused(&[("auth", " ")]), "option \"auth\" is given and holds no token");
    let nowhere = Http::open(options(&[("listen", "nowhere")])).err().unwrap().message;
    assert_eq!(nowhere, "option \"listen\" takes an address such as '127.0.0.1:8080', not 'nowhere'");
}
