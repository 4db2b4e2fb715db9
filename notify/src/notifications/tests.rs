//! Notifications against receivers of their own on the loopback interface, over the real clock.

use super::*;
use crate::alert::tests::{firing, resolved};
use crate::payload::standard::Secrets;
use crate::statements::SPEC;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Condvar;
use std::time::Duration;
use thalweg_schemas::alert_event::{AlertEvent, to_rows};
use thalweg_schemas::options::{GivenOption, Options};

#[derive(Clone, Debug)]
struct Heard {
    headers: BTreeMap<String, String>,
    body: String,
}

/// A receiver that answers the nth request as `answer` says, and keeps what it heard.
struct Receiver {
    address: SocketAddr,
    heard: Arc<(Mutex<Vec<Heard>>, Condvar)>,
}

impl Receiver {
    fn start(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Receiver {
        Receiver::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    fn at(address: SocketAddr, answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (keep, answer) = (heard.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, keep, answer) = (stream.unwrap(), keep.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let lines = reader.by_ref().lines().map(|line| line.unwrap_or_default());
                    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                    let headers = head.iter().filter_map(|line| line.split_once(": "));
                    let headers: BTreeMap<String, String> =
                        headers.map(|(name, value)| (name.to_lowercase(), value.to_string())).collect();
                    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
                    reader.read_exact(&mut body).unwrap();
                    let number = {
                        let mut heard = keep.0.lock().unwrap();
                        heard.push(Heard { headers, body: String::from_utf8(body).unwrap() });
                        keep.1.notify_all();
                        heard.len() - 1
                    };
                    let status = answer(number);
                    write!(stream, "HTTP/1.1 {status}Connection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
                });
            }
        });
        Receiver { address, heard }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Waits until `count` requests have come.
    fn wait(&self, count: usize) -> Vec<Heard> {
        let heard = self.heard.0.lock().unwrap();
        let wait = self.heard.1.wait_timeout_while(heard, Duration::from_secs(30), |heard| heard.len() < count);
        let (heard, timeout) = wait.unwrap();
        assert!(!timeout.timed_out(), "{} of {count} requests came", heard.len());
        heard.clone()
    }
}

fn notifier(name: &str, given: &[(&str, &str)]) -> NotificationPlan {
    let specs = (SPEC.options)(NotificationKind::Notifier, "webhook");
    let given: Vec<GivenOption> = [("type", "webhook")]
        .iter()
        .chain(given)
        .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
        .collect();
    let options = Options::check(&specs, &given, "it").unwrap();
    NotificationPlan { kind: NotificationKind::Notifier, name: name.to_string(), options }
}

#[allow(clippy::disallowed_methods, reason = "receivers are called in real time")]
fn start(plans: &[NotificationPlan], folder: Option<&Path>) -> Arc<Notifications> {
    let began = std::time::Instant::now();
    let clock: Clock = Arc::new(move || 1_800_000_000_000_000_000 + began.elapsed().as_nanos() as i64);
    let folder = folder.map(|folder| folder.join("notifications"));
    let names = plans.iter().map(|plan| plan.name.clone()).collect();
    let routes = Routes { notifiers: [("slow".to_string(), names)].into(), ..Routes::default() };
    let surroundings = Surroundings { clock, folder, external_url: "http://here".to_string() };
    Notifications::start(plans, routes, surroundings).unwrap()
}

fn writer(notifications: &Arc<Notifications>) -> Box<dyn Writer> {
    notifications.writer(WorkerId { index: 0, peers: 1 }).unwrap()
}

fn write(writer: &mut dyn Writer, epoch: u64, events: &[AlertEvent]) {
    writer.write(Epoch(epoch), &Batch::append(to_rows(events).unwrap())).unwrap();
    writer.commit(Epoch(epoch)).unwrap();
}

fn id(heard: &Heard) -> &str {
    &heard.headers["webhook-id"]
}

#[test]
fn an_event_becomes_a_signed_request() {
    let receiver = Receiver::start(|_| "200 OK\r\n");
    let plan = notifier("ops", &[("url", &receiver.url()), ("secret", "sesame"), ("headers", "X-Team: core")]);
    let notifications = start(&[plan], None);
    write(&mut *writer(&notifications), 1, &[firing("slow", "api", "i1", "critical", 5)]);
    let heard = &receiver.wait(1)[0];
    let body: serde_json::Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    assert_eq!(
        (heard.headers["x-team"].as_str(), heard.headers["content-type"].as_str()),
        ("core", "application/json")
    );
    let timestamp: i64 = heard.headers["webhook-timestamp"].parse().unwrap();
    assert!(timestamp >= 1_800_000_000);
    let signed = Secrets::parse("sesame").unwrap().sign(id(heard), timestamp, heard.body.as_bytes());
    assert_eq!(heard.headers.get("webhook-signature"), signed.as_ref());
    assert_eq!(heard.headers["idempotency-key"], id(heard));
    assert!(heard.headers["user-agent"].starts_with("thalweg/"));
}

#[test]
fn what_fails_is_tried_again_under_its_id_and_every_try_is_listed() {
    let receiver = Receiver::start(|number| match number {
        0 => "503 Down\r\n",
        1 => "429 Slow\r\nRetry-After: 1\r\n",
        _ => "200 OK\r\n",
    });
    let notifications = start(&[notifier("ops", &[("url", &receiver.url())])], None);
    let event = firing("slow", "api", "i1", "critical", 5);
    let mut writer = writer(&notifications);
    write(&mut *writer, 1, std::slice::from_ref(&event));
    let heard = receiver.wait(3);
    assert!(heard.iter().all(|request| id(request) == id(&heard[0]) && request.body == heard[0].body));
    write(&mut *writer, 2, &[resolved(&event, 6)]);
    assert_ne!(id(&receiver.wait(4)[3]), id(&heard[0]));
    notifications.end();
    let attempts = notifications.attempts();
    let told: Vec<_> = attempts.iter().map(|a| (a.attempt, a.outcome.as_str(), a.http_status)).collect();
    assert_eq!(
        told,
        [(1, "failed", Some(503)), (2, "failed", Some(429)), (3, "delivered", Some(200)), (1, "delivered", Some(200))]
    );
    let pause = attempts[1].next_try_ns.unwrap() - attempts[1].at_ns;
    assert!(pause >= 1_000_000_000, "the receiver asked for a second: {pause}");
    assert_eq!(attempts[0].error.as_deref(), Some("the server answered 503 Service Unavailable: ok"));
}

#[test]
fn what_is_not_delivered_is_delivered_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}/hook");
    let plans = [notifier("ops", &[("url", &url)])];
    let event = firing("slow", "api", "i1", "critical", 5);
    let notifications = start(&plans, Some(folder.path()));
    write(&mut *writer(&notifications), 7, std::slice::from_ref(&event));
    while !notifications.attempts().iter().any(|attempt| attempt.outcome == "failed") {
        std::thread::yield_now();
    }
    let first = notifications.attempts()[0].id.clone();
    notifications.stop();
    drop(notifications);

    let receiver = Receiver::at(address, |_| "200 OK\r\n");
    let notifications = start(&plans, Some(folder.path()));
    assert_eq!(id(&receiver.wait(1)[0]), first);
    let mut again = writer(&notifications);
    assert_eq!(again.resume(Epoch(3)).unwrap(), Epoch(7), "what is in the outbox need not be written again");
    write(&mut *again, 8, &[event.clone(), resolved(&event, 9)]);
    let heard = receiver.wait(2);
    assert!(heard[1].body.contains("\"status\":\"resolved\""), "the firing is known: {}", heard[1].body);
    drop(again);
    notifications.end();
    assert_eq!(receiver.wait(2).len(), 2);
    assert!(!folder.path().join("notifications").exists(), "nothing is left to be remembered");
}

#[test]
fn a_receiver_that_does_not_answer_holds_up_nobody_else() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let slow = Receiver::start(move |_| {
        let open = closed.1.wait_while(closed.0.lock().unwrap(), |open| !*open).unwrap();
        assert!(*open);
        "200 OK\r\n"
    });
    let quick = Receiver::start(|_| "200 OK\r\n");
    let plans =
        [notifier("slow", &[("url", &slow.url()), ("concurrency", "1")]), notifier("quick", &[("url", &quick.url())])];
    let notifications = start(&plans, None);
    let mut writer = writer(&notifications);
    for n in 0..20 {
        write(&mut *writer, n + 1, &[firing("slow", &format!("s{n}"), &format!("i{n}"), "critical", 5)]);
    }
    assert_eq!(quick.wait(20).len(), 20);
    assert_eq!(slow.wait(1).len(), 1);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let heard = slow.wait(20);
    let ids: std::collections::BTreeSet<&str> = heard.iter().map(id).collect();
    assert_eq!(ids.len(), 20, "each arrives once");
}

#[test]
fn the_end_of_a_pipeline_does_not_wait_for_its_groups() {
    let receiver = Receiver::start(|_| "200 OK\r\n");
    let url = receiver.url();
    let plans = [notifier("ops", &[("url", &url), ("group_by", "alertname"), ("group_wait", "1h")])];
    let notifications = start(&plans, None);
    let (api, web) = (firing("slow", "api", "i1", "critical", 5), firing("slow", "web", "i2", "critical", 5));
    write(&mut *writer(&notifications), 1, &[api, web]);
    assert_eq!(notifications.attempts().len(), 0);
    notifications.end();
    let heard = receiver.wait(1);
    let body: serde_json::Value = serde_json::from_str(&heard[0].body).unwrap();
    assert_eq!(body["alerts"].as_array().unwrap().len(), 2);
}

#[test]
fn silences_are_made_and_ended_from_outside() {
    let receiver = Receiver::start(|_| "200 OK\r\n");
    let notifications = start(&[notifier("ops", &[("url", &receiver.url())])], None);
    let silence = Silence {
        id: String::new(),
        matchers: crate::matchers::parse("service=api").unwrap(),
        starts_at_ns: 0,
        ends_at_ns: i64::MAX,
        created_by: "ada".into(),
        comment: String::new(),
        calendars: Vec::new(),
        declared: false,
    };
    let id = notifications.silence(silence.clone()).unwrap();
    assert_eq!(notifications.silences().len(), 1);
    let mut writer = writer(&notifications);
    write(&mut *writer, 1, &[firing("slow", "api", "i1", "critical", 5), firing("slow", "web", "i2", "critical", 5)]);
    assert!(receiver.wait(1)[0].body.contains("web"));
    notifications.expire(&id).unwrap();
    assert!(receiver.wait(2)[1].body.contains("api"), "told when the silence is over");
    assert!(notifications.expire("nothing").is_err());
    let past = Silence { ends_at_ns: 1, ..silence };
    assert_eq!(notifications.silence(past).unwrap_err().message, "a silence ends in the past");
}

#[test]
fn a_watchdog_is_fed_while_epochs_are_completed() {
    let receiver = Receiver::start(|_| "200 OK\r\n");
    let url = receiver.url();
    let plans = [notifier("pulse", &[("url", &url), ("watchdog", "1s")])];
    let notifications = start(&plans, None);
    let epoch = Arc::new(std::sync::atomic::AtomicU64::new(7));
    notifications.watch(move || epoch.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let heard = receiver.wait(2);
    assert!(heard.iter().all(|beat| beat.body.contains(r#""alertname":"Watchdog""#)), "{}", heard[0].body);
    assert_ne!(id(&heard[0]), id(&heard[1]), "each is a message of its own");
    notifications.stop();
}
