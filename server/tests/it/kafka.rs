//! Kafka in, Kafka out, against a real one: as `docs/kafka.md` tells it.

use crate::binary::{run, serve, stderr};
use crate::http::{rows, wait_for};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A broker, stopped when dropped, and when this process dies too: its script waits for the end of its input.
struct Broker {
    script: Child,
    address: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/kafka")
}

impl Broker {
    /// `None`, said in the test's output, where Kafka cannot be had.
    fn start() -> Option<Broker> {
        let mut script =
            Command::new(script()).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())))
            .take(4)
            .collect();
        let Some(address) = said.get("address").cloned() else {
            println!("skipped: no Kafka here");
            drop(script.wait());
            return None;
        };
        Some(Broker { script, address })
    }

    /// Runs one of Kafka's own tools.
    fn tool(&self, arguments: &[&str], input: &str) {
        let mut command = Command::new(script());
        command.arg("tool").args(arguments).args(["--bootstrap-server", &self.address]);
        let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(tool.wait().unwrap().success(), "{arguments:?}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}

#[test]
fn messages_become_views_and_views_become_messages() {
    let Some(broker) = Broker::start() else { return };
    broker.tool(&["topics", "--create", "--topic", "telemetry", "--partitions", "3"], "");
    broker.tool(&["topics", "--create", "--topic", "slowest", "--partitions", "1"], "");
    let mut messages = String::new();
    for second in 0..40 {
        let host = ["a", "b", "c"][second % 3];
        messages +=
            &format!("{host}\t{{\"ts\":\"2026-01-31T12:00:{second:02}Z\",\"host\":\"{host}\",\"ms\":{second}}}\n");
    }
    messages += "poison\t{\"ts\":\"yesterday\"}\n";
    messages += "gone\tNULL\n";
    let producer = [
        "console-producer",
        "--topic",
        "telemetry",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "null.marker=NULL",
    ];
    broker.tool(&producer, &messages);

    let folder = tempfile::tempdir().unwrap();
    let brokers = &broker.address;
    let serving = serve(
        folder.path(),
        &format!(
            "CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, ms BIGINT, _key BYTEA, _partition TEXT,
               WATERMARK FOR ts AS ts - INTERVAL '1 second')
             WITH (connector = 'kafka', brokers = '{brokers}', topic = 'telemetry', format = 'json', idle_timeout = '1s');
             CREATE MATERIALIZED VIEW hosts AS SELECT host, count(*) AS n, max(ms) AS slowest FROM telemetry GROUP BY host;
             CREATE MATERIALIZED VIEW keys AS SELECT count(*) AS n FROM telemetry WHERE CAST(_key AS TEXT) = host;
             CREATE MATERIALIZED VIEW windows AS
               SELECT window_start, host, max(ms) AS slowest FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
               GROUP BY window_start, host EMIT ON WINDOW CLOSE;
             CREATE SINK slowest FROM windows
             WITH (connector = 'kafka', brokers = '{brokers}', topic = 'slowest', key = 'host');"
        ),
    );
    wait_for(&serving, "SELECT host, n, slowest FROM hosts ORDER BY host", "a,14,39\nb,13,37\nc,13,38\n");
    wait_for(&serving, "SELECT n FROM keys", "40\n");
    wait_for(&serving, "SELECT rows_in, rows_out, dead FROM thalweg.sources", "42,40,2\n");
    let dead = rows(&serving, "SELECT reason, text FROM thalweg.dead_letters ORDER BY reason");
    let dead: Vec<&str> = dead.lines().collect();
    assert!(dead[0].contains("yesterday"), "{dead:?}");
    assert!(dead[1].starts_with("the message has no value (a tombstone)"), "{dead:?}");
    let places = rows(
        &serving,
        "SELECT count(*) FROM thalweg.dead_letters WHERE partition LIKE 'telemetry/%' AND \"offset\" >= 0",
    );
    assert_eq!(places, "2\n");
    // Three windows are closed by what came after them.
    wait_for(&serving, "SELECT rows FROM thalweg.sinks", "9\n");
    assert_eq!(serving.terminate(), Some(0));

    let pipeline = format!(
        "CREATE SOURCE slowest (window_start TIMESTAMP, host TEXT, slowest BIGINT)
         WITH (connector = 'kafka', brokers = '{brokers}', topic = 'slowest', mode = 'bounded');
         CREATE MATERIALIZED VIEW all_of_them AS SELECT count(*) AS n, count(DISTINCT host) AS hosts, max(slowest) AS m
         FROM slowest;
         CREATE SINK shown FROM all_of_them WITH (connector = 'file', path = 'shown.ndjson');"
    );
    std::fs::write(folder.path().join("again.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["run", "again.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = std::fs::read_to_string(folder.path().join("shown.ndjson")).unwrap();
    assert_eq!(shown.lines().last(), Some("{\"_diff\":1,\"n\":9,\"hosts\":3,\"m\":29}"), "{shown}");
}

#[test]
fn the_examples_of_the_manual_are_right() {
    for page in ["kafka.md", "connectors/kafka.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
        let page = std::fs::read_to_string(path).unwrap();
        let blocks = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("examples.sql"), blocks.collect::<Vec<_>>().join("\n")).unwrap();
        let output = run(folder.path(), &["check", "examples.sql"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}
