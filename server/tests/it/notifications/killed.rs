//! The process is killed with SIGKILL while alerts flip and a third of the calls fail: in the end the receiver knows what is
//! true, heard everything in order, and each id had one content.
//!
//! `THALWEG_KILLS` says how often it is killed, and asks for the long form: 1,000 alert keys instead of some. `THALWEG_SEED`
//! says at which moments.

use crate::equivalence::Random;
use crate::process::{Process, number, pass, unserved};
use crate::receiver::Receiver;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PIPELINE: &str = "
CREATE SOURCE g (WATERMARK FOR ts AS ts - INTERVAL '1 second')
    WITH (connector = 'generator', kind = 'telemetry', rate = '{rate}', rows = '{rows}', seed = '7', keys = '{keys}');
CREATE MATERIALIZED VIEW w AS
    SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(g, ts, INTERVAL '{window}') GROUP BY window_start, window_end, host;
CREATE NOTIFIER ops WITH (type = 'webhook', url = '${OPS_URL}', format = 'standard', concurrency = '8');
CREATE ALERT flips FROM w BY host WARNING WHEN n % 2 = 0 CRITICAL WHEN n % 4 = 0 NOTIFY ops;
CREATE SINK truth FROM flips WITH (connector = 'file', path = 'truth.ndjson', format = 'json');
";

/// How much is done.
struct Form {
    kills: u64,
    keys: u64,
    /// Rows a second.
    rate: u64,
    /// So many rows come between two kills, or more: a run that ends before the last kill leaves off with a receiver that fails.
    rows_per_kill: u64,
    window: &'static str,
}

impl Form {
    fn asked() -> Form {
        let short = Form { kills: 8, keys: 20, rate: 20_000, rows_per_kill: 30_000, window: "200 milliseconds" };
        match number("THALWEG_KILLS", 0) {
            0 => short,
            kills => Form { kills, keys: 1_000, rate: 5_000, rows_per_kill: 20_000, window: "2 seconds" },
        }
    }

    fn pipeline(&self) -> String {
        let rows = self.kills * self.rows_per_kill;
        let pipeline = PIPELINE.replace("{rows}", &rows.to_string()).replace("{keys}", &self.keys.to_string());
        pipeline.replace("{rate}", &self.rate.to_string()).replace("{window}", self.window)
    }
}

/// How long the list of all events is.
fn told(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("truth.ndjson")).map_or(0, |file| file.len())
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
    let form = Form::asked();
    std::fs::write(folder.path().join("pipeline.sql"), form.pipeline()).unwrap();
    let receiver = Receiver::start(3);
    let start = |workers: usize| {
        let mut command = unserved(folder.path(), "400ms", workers);
        command.env("OPS_URL", receiver.url());
        Process::start(folder.path(), command)
    };
    let seed = number("THALWEG_SEED", 1);
    let (mut random, mut kills) = (Random::new(seed), 0);
    while kills < form.kills {
        let (count, length) = (receiver.count() + 5, told(folder.path()));
        let mut process = start(1 + kills as usize % 3);
        // Some anywhere, while it starts and recovers too; the others when alerts flip and it has something to say.
        if kills % 3 == 0 {
            pass(Duration::from_millis(random.below(800) as u64));
        } else if process.ends_before("no news", || receiver.count() > count && told(folder.path()) > length) {
            break;
        }
        drop(process);
        kills += 1;
    }
    assert!(kills > 1, "only {kills} kills came before the end");
    if kills == form.kills {
        // A run that ends tries for half a minute: what fails again and again would be left over.
        receiver.recover();
        start(2).finish();
    }
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("not delivered"), "{log}");
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
    println!("{kills} kills, seed {seed}: {} messages, {} came again", receiver.count(), receiver.repeated());
    assert!(heard.len() > 20, "{} of {} incidents were heard of", heard.len(), truth.len());
}
