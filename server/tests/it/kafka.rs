//! Kafka in, Kafka out, against a real one: as `docs/kafka.md` tells it.

use crate::binary::{SERVE, run, serve, serve_as, stderr, thalweg};
use crate::broker::Broker;
use crate::http::{rows, wait_for};
use std::path::Path;
use std::process::Command;

#[test]
fn messages_become_views_and_views_become_messages() {
    let Some(broker) = Broker::shared() else { return };
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
         CREATE SINK shown FROM all_of_them WITH (connector = 'file', path = 'shown.ndjson') ENVELOPE changelog;"
    );
    std::fs::write(folder.path().join("again.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["run", "again.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = std::fs::read_to_string(folder.path().join("shown.ndjson")).unwrap();
    assert_eq!(shown.lines().last(), Some("{\"_diff\":1,\"n\":9,\"hosts\":3,\"m\":29}"), "{shown}");
}

/// Copies messages; `THALWEG_DATA` is left to the command.
const COPY: &str = "
CREATE SOURCE numbers (n BIGINT NOT NULL) WITH (connector = 'kafka', brokers = '{brokers}', topic = 'takeover-in');
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM numbers;
CREATE SINK copied FROM numbers WITH (connector = 'kafka', brokers = '{brokers}', topic = 'takeover-out');
";

#[test]
fn of_two_processes_the_later_one_writes_and_the_earlier_one_says_so() {
    let Some(broker) = Broker::shared() else { return };
    broker.create(&[("takeover-in", 2), ("takeover-out", 1)]);
    let numbers = |range: std::ops::Range<u32>| range.map(|n| format!("{{\"n\":{n}}}"));
    broker.write("takeover-in", numbers(0..100));
    let folder = tempfile::tempdir().unwrap();
    let start = |data: &str| {
        let mut command = thalweg(folder.path(), &SERVE);
        command.args(["--data", data, "--checkpoint-interval", "200ms"]);
        serve_as(folder.path(), &COPY.replace("{brokers}", &broker.address), command)
    };
    let zombie = start("first");
    wait_for(&zombie, "SELECT rows FROM thalweg.sinks", "100\n");
    wait_for(&zombie, "SELECT written > 0 FROM thalweg.checkpoints", "true\n");
    // It stands still, and somebody takes it for dead and starts another one from what it left.
    zombie.signal("-STOP");
    let copied = Command::new("cp").args(["-r", "first", "second"]).current_dir(folder.path()).status().unwrap();
    assert!(copied.success());
    let later = start("second");
    broker.write("takeover-in", numbers(100..200));
    wait_for(&later, "SELECT n FROM total", "200\n");
    wait_for(&later, "SELECT rows FROM thalweg.sinks", "200\n");
    zombie.signal("-CONT");
    let (code, log) = zombie.finish();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("another instance writes as \"thalweg-"), "{log}");
    broker.write("takeover-in", numbers(200..300));
    wait_for(&later, "SELECT rows FROM thalweg.sinks", "300\n");
    assert_eq!(later.terminate(), Some(0));
    let mut found: Vec<String> = broker.committed("takeover-out").into_iter().map(|(_, value)| value).collect();
    let mut expected: Vec<String> = numbers(0..300).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn protobuf_goes_out_and_comes_in_and_upserts_and_tombstones_make_a_table() {
    let Some(broker) = Broker::shared() else { return };
    broker.create(&[("stock", 2), ("protobuf", 1)]);
    let producer = ["console-producer", "--topic", "stock", "--reader-property", "parse.key=true"];
    let input = "\"tea\"\t{\"n\":1}\n\"cake\"\t{\"n\":2}\n\"tea\"\t{\"n\":3}\n\"cake\"\tNULL\n\"milk\"\t{\"n\":4}\n";
    broker.tool(&[&producer[..], &["--reader-property", "null.marker=NULL"]].concat(), input);
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(
        folder.path(),
        &r#"
        CREATE SOURCE readings (id BIGINT NOT NULL, at TIMESTAMP, name TEXT)
            WITH (connector = 'file', path = 'readings.ndjson', format = 'json', mode = 'tail');
        CREATE SINK written FROM readings WITH (connector = 'kafka', brokers = '{brokers}', topic = 'protobuf',
            format = 'protobuf', schema = '{schema}');
        CREATE SOURCE read (id BIGINT NOT NULL, at TIMESTAMP, name TEXT, _offset BIGINT)
            WITH (connector = 'kafka', brokers = '{brokers}', topic = 'protobuf', format = 'protobuf', schema = '{schema}');
        CREATE MATERIALIZED VIEW back AS SELECT id, at, name, _offset >= 0 AS placed FROM read;
        CREATE SOURCE stock (item TEXT, n BIGINT, PRIMARY KEY (item))
            WITH (connector = 'kafka', brokers = '{brokers}', topic = 'stock', format = 'upsert');
        CREATE MATERIALIZED VIEW in_stock AS SELECT count(*) AS items, sum(n) AS n FROM stock;
        "#
        .replace("{brokers}", &broker.address)
        .replace(
            "{schema}",
            "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message Reading \
             { sint64 id = 3; google.protobuf.Timestamp at = 5; optional string name = 9; }",
        ),
    );
    let readings = "{\"id\":-7,\"at\":\"2026-01-31T12:00:00.25Z\",\"name\":\"a\"}\n{\"id\":8,\"at\":null}\n";
    std::fs::write(folder.path().join("readings.ndjson"), readings).unwrap();
    wait_for(&serving, "SELECT count(*) FROM back", "2\n");
    let back = rows(&serving, "SELECT id, at, name, placed FROM back ORDER BY id");
    assert_eq!(back, "-7,2026-01-31T12:00:00.250,a,true\n8,,,true\n");
    wait_for(&serving, "SELECT items, n FROM in_stock", "2,7\n");
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
