//! The `webhook` sink against a server of its own that answers as it is told.

use super::call::{Answer, CallOptions, Caller};
use super::options::OPTIONS;
use super::target::Target;
use crate::tests::options;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, ErrorKind};
use thalweg_schemas::sink::{SinkRequest, Writer};

/// A request: its first line and headers, and its body.
type Request = (Vec<String>, String);

/// A server that gives these answers, one after the other, and then 200.
fn serve(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let lines = reader.by_ref().lines().map(|line| line.unwrap_or_default());
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let length = head.iter().find_map(|h| h.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            seen.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            let answer = answers.get(number).unwrap_or(&"200 OK\r\n");
            write!(stream, "HTTP/1.1 {answer}Connection: close\r\nContent-Length: 4\r\n\r\nwhy?").unwrap();
        }
    });
    (url, requests)
}

fn open(given: &[(&str, &str)]) -> Result<Box<dyn Writer>, Error> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let (options, lineage) = (options(OPTIONS, given), "a/b".to_string());
    let request = SinkRequest { name: "calls".into(), options, schema, changelog: false, envelope: None, lineage };
    super::open(request)?.writer(WorkerId { index: 1, peers: 2 })
}

fn batch(values: &[i64]) -> Batch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    Batch::append(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap())
}

fn header(request: &Request, name: &str) -> String {
    let line = request.0.iter().find_map(|h| h.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
    line.map(|(_, value)| value.to_string()).unwrap_or_default()
}

#[test]
fn rows_are_posted_by_epoch_each_request_with_its_key() {
    let (url, requests) = serve(&[]);
    let given = [("url", url.as_str()), ("batch_rows", "2"), ("auth", "secret"), ("headers", "X-Team: core")];
    let mut writer = open(&given).unwrap();
    writer.write(Epoch(7), &batch(&[1, 2, 3])).unwrap();
    assert!(requests.lock().unwrap().is_empty(), "an epoch is sent when it is complete");
    writer.commit(Epoch(7)).unwrap();
    writer.write(Epoch(9), &batch(&[4])).unwrap();
    writer.finish().unwrap();
    let requests = requests.lock().unwrap();
    let bodies: Vec<&str> = requests.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, ["[{\"n\":1},{\"n\":2}]", "[{\"n\":3}]", "[{\"n\":4}]"]);
    let keys: Vec<String> = requests.iter().map(|request| header(request, "idempotency-key")).collect();
    assert_eq!(keys, ["a_b-calls-1-7-0", "a_b-calls-1-7-1", "a_b-calls-1-9-0"]);
    let told = ["authorization", "x-team", "content-type"].map(|name| header(&requests[0], name));
    assert_eq!(told, ["Bearer secret", "core", "application/json"]);
    assert_eq!(requests[0].0[0], "POST /hook?token=hidden HTTP/1.1");
}

#[test]
fn an_authorization_may_name_its_scheme() {
    let (url, requests) = serve(&[]);
    let mut writer = open(&[("url", &url), ("auth", "Basic YWxhZGRpbjpzZXNhbWU=")]).unwrap();
    writer.write(Epoch(7), &batch(&[1])).unwrap();
    writer.finish().unwrap();
    assert_eq!(header(&requests.lock().unwrap()[0], "authorization"), "Basic YWxhZGRpbjpzZXNhbWU=");
}

#[test]
fn what_may_pass_is_tried_again_with_the_same_key_and_nothing_twice() {
    let (url, requests) = serve(&["200 OK\r\n", "503 Down\r\n", "429 Slow\r\nRetry-After: 0\r\n"]);
    let mut writer = open(&[("url", &url), ("batch_rows", "1"), ("body", "ndjson"), ("method", "PUT")]).unwrap();
    writer.write(Epoch(7), &batch(&[1, 2])).unwrap();
    let error = writer.commit(Epoch(7)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retry);
    assert!(error.message.ends_with("the server answered 503 Service Unavailable: why?"), "{}", error.message);
    assert!(!error.message.contains("hidden"), "{}", error.message);
    assert_eq!(writer.commit(Epoch(7)).unwrap_err().kind, ErrorKind::Retry);
    writer.commit(Epoch(7)).unwrap();
    let sent: Vec<(String, String)> =
        requests.lock().unwrap().iter().map(|r| (header(r, "idempotency-key"), r.1.clone())).collect();
    let pair = |key: &str, body: &str| (key.to_string(), body.to_string());
    let second = pair("a_b-calls-1-7-1", "{\"n\":2}\n");
    assert_eq!(sent, [pair("a_b-calls-1-7-0", "{\"n\":1}\n"), second.clone(), second.clone(), second]);
}

#[test]
fn a_server_that_broke_off_may_have_taken_what_it_was_sent() {
    let answers =
        &["408 A\r\n", "429 B\r\n", "500 C\r\n", "501 D\r\n", "502 E\r\n", "503 F\r\n", "504 G\r\n", "507 H\r\n"];
    let (url, _) = serve(answers);
    let target = Target::parse("sink \"calls\"", "url", &url, false).unwrap();
    let caller = Caller::new(target, &CallOptions::of(&options(OPTIONS, &[("url", &url)]))).unwrap();
    let may_have_taken = answers.iter().filter_map(|_| match caller.call(false, &[], b"[]") {
        Answer::Failed { status, ambiguous, .. } => status.filter(|_| ambiguous),
        other => panic!("{other:?}"),
    });
    assert_eq!(may_have_taken.collect::<Vec<_>>(), [408, 500, 502, 504, 507]);
}

#[test]
fn a_pause_is_so_many_seconds_or_until_a_date_by_the_servers_clock() {
    let answers = &[
        "503 A\r\nRetry-After: 7\r\n",
        "503 B\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:30:00 GMT\r\n",
        "503 C\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:00:00 GMT\r\n",
        "503 D\r\nRetry-After: soon\r\n",
    ];
    let (url, _) = serve(answers);
    let target = Target::parse("sink \"calls\"", "url", &url, false).unwrap();
    let caller = Caller::new(target, &CallOptions::of(&options(OPTIONS, &[("url", &url)]))).unwrap();
    let pauses = answers.map(|_| match caller.call(false, &[], b"[]") {
        Answer::Failed { pause, .. } => pause.map(|pause| pause.as_secs()),
        other => panic!("{other:?}"),
    });
    assert_eq!(pauses, [Some(7), Some(120), None, None]);
}

#[test]
fn a_pause_that_was_asked_for_is_kept() {
    let (url, requests) = serve(&["429 Slow\r\nRetry-After: 100\r\n"]);
    let mut writer = open(&[("url", &url)]).unwrap();
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    assert_eq!(writer.commit(Epoch(1)).unwrap_err().kind, ErrorKind::Retry);
    let error = writer.commit(Epoch(1)).unwrap_err();
    assert!(error.kind == ErrorKind::Retry && error.message.contains("asked for a pause"), "{}", error.message);
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[test]
fn what_the_server_refuses_ends_the_run_and_what_is_not_there_is_waited_for() {
    let (url, _) = serve(&["400 Bad\r\n"]);
    let mut writer = open(&[("url", &url)]).unwrap();
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    let error = writer.commit(Epoch(1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Outside);
    assert!(error.message.starts_with("sink \"calls\" at 127.0.0.1:"), "{}", error.message);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut writer = open(&[("url", &format!("http://{nobody}"))]).unwrap();
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    assert_eq!(writer.commit(Epoch(1)).unwrap_err().kind, ErrorKind::Retry);
}

/// A proxy for one connection, which leads to `server` whatever is asked for; the lines of what it was asked.
fn proxy(server: String) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://ada:secret@{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let lines = reader.by_ref().lines().map(|line| line.unwrap_or_default());
        let asked: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let mut server = TcpStream::connect(server).unwrap();
        let mut up = server.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut reader, &mut up));
        std::io::copy(&mut server, &mut client).unwrap();
        asked
    });
    (url, served)
}

#[test]
fn a_proxy_is_asked_for_a_host_that_only_it_knows() {
    let (url, requests) = serve(&[]);
    let server = url.strip_prefix("http://").and_then(|url| url.split('/').next()).unwrap().to_string();
    let (proxy, served) = proxy(server);
    let mut writer = open(&[("url", "http://receiver.invalid:8080/hook"), ("proxy", &proxy)]).unwrap();
    writer.write(Epoch(1), &batch(&[1])).unwrap();
    writer.commit(Epoch(1)).unwrap();
    drop(writer);
    let asked = served.join().unwrap();
    assert_eq!(asked[0], "CONNECT receiver.invalid:8080 HTTP/1.1");
    assert!(asked.iter().any(|line| line == "Proxy-Authorization: Basic YWRhOnNlY3JldA=="), "{asked:?}");
    let requests = requests.lock().unwrap();
    assert_eq!((requests[0].0[0].as_str(), requests[0].1.as_str()), ("POST /hook HTTP/1.1", "[{\"n\":1}]"));
}

#[test]
fn mistakes_in_options_are_explained() {
    let refused = |given: &[(&str, &str)]| open(given).err().unwrap().message;
    assert_eq!(
        refused(&[("url", "http://x"), ("ca", "nowhere.pem")]),
        "nowhere.pem: No such file or directory (os error 2)"
    );
    let proxy = refused(&[("url", "http://x"), ("proxy", "nonsense://")]);
    assert_eq!(proxy, "'nonsense://' is not the address of a proxy");
    assert_eq!(refused(&[("url", "x")]), "option \"url\" of sink \"calls\" is not the address of a server");
    let headers = refused(&[("url", "http://x"), ("headers", "nonsense")]);
    assert_eq!(headers, "option \"headers\" of sink \"calls\" is not a list of headers");
}

/// Answers one request over TLS with the certificate that it is given, and prints its port.
const TLS_SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body == b'[{"n":1}]' else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
while True:
    server.handle_request()
"#;

#[test]
fn a_server_must_show_a_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    let server = std::process::Command::new("python3")
        .args(["-c", TLS_SERVER, &certificate, &key])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn();
    let (Ok(made), Ok(mut server)) = (made, server) else {
        eprintln!("skipped: there is no openssl or no python3");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("https://localhost:{}/hook", port.trim());
    let send = |given: &[(&str, &str)]| {
        let mut writer = open(given).unwrap();
        writer.write(Epoch(1), &batch(&[1])).unwrap();
        writer.commit(Epoch(1))
    };
    let known = send(&[("url", &url), ("ca", &certificate)]);
    let stranger = send(&[("url", &url)]).unwrap_err();
    server.kill().unwrap();
    server.wait().unwrap();
    known.unwrap();
    assert!(stranger.kind == ErrorKind::Retry && stranger.message.contains("certificate"), "{}", stranger.message);
}
