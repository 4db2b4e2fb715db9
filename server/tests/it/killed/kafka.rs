//! From a real Kafka into Parquet, Kafka and HTTP, under load, while everything that can die does: the process, the broker,
//! the clock, the network. In the end every message is in every sink once, and every closed window is told once with the right count.
//!
//! `THALWEG_KILLS` says how often the process is killed (10), `THALWEG_SEED` at which moments (1).

use super::load::{BEGIN_MS, KEYS, Load, PARTITIONS, key};
use crate::binary::{SERVE, serve_as, thalweg};
use crate::broker::Broker;
use crate::equivalence::Random;
use crate::http::rows;
use crate::process::{Process, number, pass, unserved, wait};
use crate::receiver::Receiver;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

const PIPELINE: &str = "
CREATE SOURCE numbers (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, k TEXT, WATERMARK FOR ts AS ts - INTERVAL '1 second')
    WITH (connector = 'kafka', brokers = '{brokers}', topic = 'numbers', format = 'json');
CREATE MATERIALIZED VIEW per_key AS SELECT k, count(*) AS n, sum(id) AS s FROM numbers GROUP BY k;
CREATE MATERIALIZED VIEW windows AS
    SELECT window_start, k, count(*) AS n FROM TUMBLE(numbers, ts, INTERVAL '1 second')
    GROUP BY window_start, k EMIT ON WINDOW CLOSE;
CREATE SINK files FROM numbers WITH (connector = 'parquet', path = 'files');
CREATE SINK copied AS SELECT id, k FROM numbers
    WITH (connector = 'kafka', brokers = '{brokers}', topic = 'copied', key = 'k');
CREATE SINK closed FROM windows WITH (connector = 'kafka', brokers = '{brokers}', topic = 'closed', key = 'k');
CREATE SINK posted AS SELECT id FROM numbers WITH (connector = 'webhook', url = 'http://{receiver}/', body = 'ndjson');
";

/// A broker with load, a receiver, and the pipeline between them.
struct Scene<'a> {
    broker: &'a Broker,
    receiver: Receiver,
    folder: tempfile::TempDir,
    load: Load,
}

/// How many messages come in a second.
const RATE: u64 = 4_000;

impl Scene<'_> {
    fn set(broker: &Broker) -> Scene<'_> {
        broker.create(&[("numbers", PARTITIONS), ("copied", 3), ("closed", 3)]);
        let receiver = Receiver::start(0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.sql"), pipeline(broker, &receiver)).unwrap();
        let load = Load::start(&broker.address, "numbers", RATE);
        Scene { broker, receiver, folder, load }
    }

    /// Starts the process.
    fn start(&self, workers: usize) -> Process {
        Process::start(self.folder.path(), unserved(self.folder.path(), "500ms", workers))
    }

    /// Waits until something new has come out.
    fn wait_for_news(&self, process: &mut Process) {
        let before = self.receiver.count();
        if process.ends_before("nothing comes out", || self.receiver.count() > before) {
            panic!("it ended by itself:\n{}", process.log());
        }
    }

    /// Ends the load, lets a last process come to the end of it, stops that, and compares.
    fn finish_and_compare(self) {
        let Scene { broker, receiver, folder, load } = self;
        let count = load.finish();
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let serving = serve_as(folder.path(), &pipeline(broker, &receiver), thalweg(folder.path(), &SERVE));
        wait("all is counted", || rows(&serving, "SELECT sum(n) FROM per_key") == format!("{count}\n"));
        let view = rows(&serving, "SELECT k, n, s FROM per_key ORDER BY k");
        // A process that is asked to end leaves to the next one what a sink that is behind has not taken within seconds.
        wait("all is taken", || rows(&serving, "SELECT sum(queued_bytes) FROM thalweg.sinks") == "0\n");
        let (code, told) = serving.terminate_and_tell();
        assert!(code == Some(0) && !told.contains("has not taken"), "{log}\n{told}");

        let mut expected = BTreeMap::<u64, (u64, u64)>::new();
        (0..count).for_each(|id| {
            let of_key = expected.entry(key(id)).or_default();
            (of_key.0, of_key.1) = (of_key.0 + 1, of_key.1 + id);
        });
        let expected: String = expected.iter().map(|(k, (n, s))| format!("{k},{n},{s}\n")).collect();
        assert_eq!(view, expected, "the view");
        let mut faults = String::new();
        faults += &once("Parquet", count, &super::ids_in_parquet(&folder.path().join("files")));
        let copied: Vec<serde_json::Value> = values(broker, "copied");
        faults += &once("Kafka", count, &copied.iter().map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>());
        let posted = receiver.lines();
        let id = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap();
        faults += &once("HTTP", count, &posted.iter().map(id).collect::<Vec<_>>());
        let (repeated, changed) = (receiver.repeated(), receiver.changed());
        if !changed.is_empty() {
            faults += &format!("requests that came again with other rows: {changed:?}\n");
        }
        faults += &windows(&values(broker, "closed"), count);
        assert!(faults.is_empty(), "{faults}{log}");
        println!("{count} messages, {repeated} requests came again, nothing is lost and nothing is there twice");
    }
}

fn pipeline(broker: &Broker, receiver: &Receiver) -> String {
    PIPELINE.replace("{brokers}", &broker.address).replace("{receiver}", &receiver.address.to_string())
}

fn values(broker: &Broker, topic: &str) -> Vec<serde_json::Value> {
    let committed = broker.committed(topic);
    let each = committed.iter().map(|(key, value)| {
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        assert_eq!(key.as_deref(), value["k"].as_str());
        value
    });
    each.collect()
}

/// What is wrong if each number below `count` should be there once.
fn once(sink: &str, count: u64, found: &[u64]) -> String {
    let mut times = vec![0u32; count as usize];
    found.iter().for_each(|id| times[*id as usize] += 1);
    let examples = |wrong: fn(u32) -> bool| -> (usize, Vec<usize>) {
        let ids = (0..times.len()).filter(|id| wrong(times[*id]));
        (ids.clone().count(), ids.take(10).collect())
    };
    let (lost, twice) = (examples(|times| times == 0), examples(|times| times > 1));
    match (lost.0, twice.0) {
        (0, 0) => String::new(),
        (l, t) => {
            format!("{sink}: of {count} messages {l} are lost ({:?}), {t} are there twice ({:?})\n", lost.1, twice.1)
        }
    }
}

/// What is wrong with the closed windows: each is told once, and counts all of its messages.
fn windows(closed: &[serde_json::Value], count: u64) -> String {
    let mut expected = BTreeMap::<(i64, String), u64>::new();
    for id in 0..count {
        let second = (BEGIN_MS + id as i64).div_euclid(1_000);
        *expected.entry((second, key(id).to_string())).or_default() += 1;
    }
    let mut faults = String::new();
    let mut told = BTreeMap::<(i64, String), usize>::new();
    for row in closed {
        let start = row["window_start"].as_str().unwrap();
        let start = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(start).unwrap() / 1_000_000_000;
        let window = (start, row["k"].as_str().unwrap().to_string());
        if expected.get(&window) != row["n"].as_u64().as_ref() {
            faults += &format!("window {window:?} counts {}, not {:?}\n", row["n"], expected.get(&window));
        }
        *told.entry(window).or_default() += 1;
    }
    told.iter()
        .filter(|(_, times)| **times > 1)
        .for_each(|(window, _)| faults += &format!("{window:?} is told twice\n"));
    // All but those that the last second and the watermark's delay keep open.
    let due = (count / 1_000).saturating_sub(3) * KEYS;
    if (told.len() as u64) < due {
        faults += &format!("only {} of at least {due} windows are closed\n", told.len());
    }
    faults
}

#[test]
fn a_process_killed_at_random_loses_nothing_and_tells_nothing_twice() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::set(broker);
    let (kills, seed) = (number("THALWEG_KILLS", 10), number("THALWEG_SEED", 1));
    let mut random = Random::new(seed);
    for kill in 0..kills {
        let mut process = scene.start(1 + kill as usize % 3);
        // Half of them anywhere, while it starts and recovers too; the others when it is at work.
        if kill % 2 == 0 {
            pass(Duration::from_millis(random.below(1_500) as u64));
        } else {
            scene.wait_for_news(&mut process);
            pass(Duration::from_millis(random.below(400) as u64));
        }
        if let Some(status) = process.ended() {
            panic!("before kill {kill} of seed {seed} it ended by itself, {status}:\n{}", process.log());
        }
    }
    println!("{kills} kills, seed {seed}");
    scene.finish_and_compare();
}

/// Says to the test that it runs in a network of its own.
const OWN_NETWORK: &str = "OWN_NETWORK_OF_A_TEST";

/// Has the network of this process, which has nothing but a loopback device, up or down.
fn loopback(state: &str) -> bool {
    Command::new("ip").args(["link", "set", "lo", state]).status().is_ok_and(|status| status.success())
}

#[test]
fn broker_network_and_clock_may_go_and_come_back() {
    if std::env::var_os(OWN_NETWORK).is_some() {
        assert!(loopback("up"));
        return goes_and_comes_back(true);
    }
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-n", "ip", "link", "set", "lo", "up"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!("skipped: no network of its own can be had here, so none is cut");
        return goes_and_comes_back(false);
    }
    let mut inside = Command::new("unshare");
    inside.arg("-n").arg(std::env::current_exe().unwrap()).args(["--nocapture", "--exact"]);
    let name = std::thread::current().name().unwrap().to_string();
    assert!(inside.arg(name).env(OWN_NETWORK, "1").status().unwrap().success());
}

fn goes_and_comes_back(own_network: bool) {
    let Some(broker) = Broker::start() else { return };
    let scene = Scene::set(&broker);
    let mut process = scene.start(2);
    scene.wait_for_news(&mut process);
    process.signal("-STOP");
    pass(Duration::from_secs(2));
    process.signal("-CONT");
    scene.wait_for_news(&mut process);
    if own_network {
        assert!(loopback("down"));
        pass(Duration::from_secs(2));
        assert!(loopback("up"));
        scene.wait_for_news(&mut process);
    }
    broker.kill();
    pass(Duration::from_millis(500));
    broker.start_again();
    scene.wait_for_news(&mut process);
    // Both at once: the process comes back before the broker does.
    broker.kill();
    drop(process);
    let mut process = scene.start(3);
    broker.start_again();
    scene.wait_for_news(&mut process);
    drop(process);
    scene.finish_and_compare();
}
