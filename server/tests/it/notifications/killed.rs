//! The process is killed with SIGKILL while alerts flip and a third of the calls fail: in the end the receiver knows what is
//! true, heard everything in order, and each id had one content.

use super::receiver::Receiver;
use crate::binary::thalweg;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PIPELINE: &str = "
CREATE SOURCE g (WATERMARK FOR ts AS ts - INTERVAL '1 second')
    WITH (connector = 'generator', kind = 'telemetry', rate = '20000', rows = '120000', seed = '7');
CREATE MATERIALIZED VIEW w AS
    SELECT window_start, window_end, service, count(*) AS n
    FROM TUMBLE(g, ts, INTERVAL '200 milliseconds') GROUP BY window_start, window_end, service;
CREATE NOTIFIER ops WITH (type = 'webhook', url = '${OPS_URL}', format = 'standard', concurrency = '8');
CREATE ALERT flips FROM w BY service WARNING WHEN n % 2 = 0 CRITICAL WHEN n % 4 = 0 NOTIFY ops;
CREATE SINK truth FROM flips WITH (connector = 'file', path = 'truth.ndjson', format = 'json');
";

fn start(folder: &Path, receiver: &Receiver, workers: usize) -> Child {
    let workers = workers.to_string();
    let arguments = [
        "run",
        "pipeline.sql",
        "--pg",
        "off",
        "--http",
        "off",
        "--checkpoint-interval",
        "400ms",
        "--workers",
        &workers,
    ];
    let mut command = thalweg(folder, &arguments);
    command.env("OPS_URL", receiver.url());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the process has ended (true) or its receiver knows more than `count` messages.
#[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
fn ends_before_more_come(child: &mut Child, receiver: &Receiver, count: usize) -> bool {
    let began = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if receiver.count() > count {
            return false;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no new message within a minute");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The last event of each incident: whether it goes on.
fn truth(folder: &Path) -> BTreeMap<String, bool> {
    let text = std::fs::read_to_string(folder.join("truth.ndjson")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut last: BTreeMap<String, (i64, bool)> = BTreeMap::new();
    for event in events {
        let (seq, open) = (event["seq"].as_i64().unwrap(), event["state"] != "resolved");
        let known = last.entry(event["incident_id"].as_str().unwrap().to_string()).or_insert((0, false));
        assert!(known.0 < seq, "the sink has each event once, in order: {event}");
        *known = (seq, open);
    }
    last.into_iter().map(|(incident, (_, open))| (incident, open)).collect()
}

#[test]
fn a_process_that_is_killed_leaves_no_message_out_and_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    let receiver = Receiver::start(3);
    let mut kills = 0;
    while kills < 8 {
        let count = receiver.count() + 5;
        let mut child = start(folder.path(), &receiver, 1 + kills % 3);
        let ended = ends_before_more_come(&mut child, &receiver, count);
        child.kill().unwrap();
        child.wait().unwrap();
        if ended {
            break;
        }
        kills += 1;
    }
    assert!(kills > 1, "only {kills} kills came before the end");
    if kills == 8 {
        let output = start(folder.path(), &receiver, 2).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(receiver.changed(), [""; 0], "an id has one content");

    // For each key what was heard, in order; for each incident whether it was last heard to go on.
    let (mut last, mut heard) = (BTreeMap::<String, (String, i64)>::new(), BTreeMap::<String, bool>::new());
    for message in receiver.wait(1) {
        for alert in message.json()["data"]["alerts"].as_array().unwrap() {
            let text = |field: &str| alert[field].as_str().unwrap().to_string();
            let order = (text("fired_at"), alert["seq"].as_i64().unwrap());
            let before = last.insert(alert["key"].to_string(), order.clone());
            assert!(before.as_ref().is_none_or(|before| *before <= order), "{before:?} was heard before {alert}");
            let open = text("state") == "firing";
            let known = heard.insert(text("incident_id"), open);
            assert!(open || known == Some(true), "an end without a beginning: {alert}");
            assert!(known != Some(false), "it was over: {alert}");
        }
    }
    let truth = truth(folder.path());
    let open = |known: &BTreeMap<String, bool>| -> Vec<String> {
        known.iter().filter(|(_, open)| **open).map(|(incident, _)| incident.clone()).collect()
    };
    assert_eq!(open(&heard), open(&truth), "after {kills} kills");
    assert!(heard.keys().all(|incident| truth.contains_key(incident)));
    assert!(heard.len() > 20, "{} of {} incidents were heard of", heard.len(), truth.len());
}
