//! Alerts that are changed, renamed and dropped while incidents go on, and messages that are sent again: who was told that
//! something fires is told what becomes of it.

use super::{append, serve};
use crate::http::{rows, wait_for};
use crate::receiver::Receiver;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PIPELINE: &str = "
CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
    WITH (connector = 'file', path = 'requests.ndjson', format = 'json', mode = 'tail');
CREATE NOTIFIER ops WITH (type = 'webhook', url = '${OPS_URL}', format = 'standard');
CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250 NOTIFY ops;
CREATE ALERT other FROM requests BY service CRITICAL WHEN latency_ms > 900 NOTIFY ops;
";

/// What a message says: whether something fires, the alert, and of each incident the severity and the reason.
fn said(message: &crate::receiver::Message) -> String {
    let data = &message.json()["data"];
    let alerts = data["alerts"].as_array().unwrap().iter();
    let alerts = alerts.map(|alert| {
        let of = |name: &str| alert[name].as_str().unwrap_or_default().to_string();
        format!("{} {} {} {} {}", of("rule"), alert["key"]["service"], of("state"), of("severity"), of("reason"))
    });
    alerts.collect::<Vec<_>>().join(", ")
}

#[test]
fn who_was_told_hears_what_becomes_of_an_alert_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0);
    let serving = serve(folder.path(), PIPELINE, &receiver);
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "db", 400.0), ("00:00:03", "x", 1.0)]);
    let mut told: Vec<String> = receiver.wait(2).iter().map(said).collect();
    told.sort();
    let firing = |service: &str| format!("slow \"{service}\" firing warning condition_met");
    assert_eq!(told, [firing("api"), firing("db")]);

    // Other texts are no other alert: the incidents go on, and nobody hears of it.
    rows(
        &serving,
        "CREATE OR REPLACE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250
         ANNOTATIONS (summary = '{{service}} is slow') NOTIFY ops",
    );
    let open = "SELECT json_text(key, 'service'), state, severity FROM thalweg.alerts WHERE alert = 'slow' ORDER BY 1";
    wait_for(&serving, open, "api,firing,warning\ndb,firing,warning\n");

    // By another threshold one of them was none, and the other is worse.
    rows(
        &serving,
        "CREATE OR REPLACE ALERT slow FROM requests BY service
         WARNING WHEN latency_ms > 500 CRITICAL WHEN latency_ms > 600 NOTIFY ops",
    );
    wait_for(&serving, open, "api,firing,critical\n");
    let told: Vec<String> = receiver.wait(4)[2..].iter().map(said).collect();
    let over =
        |name: &str, service: &str, severity: &str| format!("{name} \"{service}\" resolved {severity} rule_changed");
    assert_eq!(told, ["slow \"api\" firing critical condition_met".to_string(), over("slow", "db", "warning")]);

    // Under another name it is another one to everybody.
    rows(&serving, "ALTER ALERT slow RENAME TO slower");
    let mut told: Vec<String> = receiver.wait(6)[4..].iter().map(said).collect();
    told.sort();
    assert_eq!(told, [over("slow", "api", "critical"), "slower \"api\" firing critical condition_met".to_string()]);
    rows(&serving, "DROP ALERT slower");
    assert_eq!(said(&receiver.wait(7)[6]), over("slower", "api", "critical"));
    assert_eq!(serving.terminate(), Some(0));
    assert_eq!(receiver.count(), 7);
}

#[test]
fn messages_that_are_dead_are_sent_again_when_their_receiver_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (receiver, mended) = (Receiver::start(0), Arc::new(AtomicBool::new(false)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_mended = mended.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _read = stream.read(&mut [0; 16_384]);
            let status = if is_mended.load(Ordering::Relaxed) { "200 OK" } else { "401 Unauthorized" };
            let _written = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let broken = format!("CREATE NOTIFIER broken WITH (type = 'webhook', url = 'http://{address}/');");
    let pipeline = PIPELINE.replace("NOTIFY ops;", "NOTIFY broken;") + &broken;
    let serving = serve(folder.path(), &pipeline, &receiver);
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "db", 400.0), ("00:00:03", "x", 1.0)]);
    let outcomes = "SELECT outcome, count(*) FROM thalweg.deliveries GROUP BY outcome ORDER BY outcome";
    wait_for(&serving, outcomes, "dead,2\n");
    assert_eq!(rows(&serving, "REPLAY DEAD LETTERS FROM broken WHERE error LIKE '%nothing%'"), "0,0\n");
    assert_eq!(rows(&serving, "REPLAY DEAD LETTERS FROM broken WHERE group_key LIKE '%\"api\"%'"), "1,0\n");
    wait_for(&serving, outcomes, "dead,3\n");
    mended.store(true, Ordering::Relaxed);
    // One of the messages has died twice.
    assert_eq!(rows(&serving, "REPLAY DEAD LETTERS FROM broken WHERE error LIKE '%401%'"), "2,0\n");
    wait_for(&serving, outcomes, "dead,3\ndelivered,2\n");
    assert_eq!(rows(&serving, "REPLAY DEAD LETTERS FROM broken"), "0,2\n");
    let ids = "SELECT count(DISTINCT notification_id) FROM thalweg.deliveries";
    assert_eq!(rows(&serving, ids), "2\n");
    assert_eq!(serving.terminate(), Some(0));
}
