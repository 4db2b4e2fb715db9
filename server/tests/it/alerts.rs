//! Alerts in virtual time: what `docs/alerting.md` shows is so, with any number of workers.

use crate::documents::{block, holds};
use crate::in_process::compile;
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_server::test_run;

#[test]
fn the_documents_example_goes_as_it_says() {
    let document = include_str!("../../../docs/alerting.md");
    holds(block(document, "sql"), block(document, "test"));
}

#[test]
fn without_event_time_the_clock_fires_and_resolves() {
    let pipeline = "CREATE SOURCE jobs (job TEXT PRIMARY KEY, state TEXT)
        WITH (connector = 'file', path = 'jobs.ndjson', format = 'upsert');
        CREATE ALERT stuck FROM jobs CRITICAL WHEN state = 'running' FOR INTERVAL '10 minutes'
        KEEP FIRING FOR INTERVAL '1 minute';";
    let test = "INSERT INTO jobs (job, state) VALUES ('a', 'running'), ('b', 'running');
ADVANCE INTERVAL '9 minutes';
EXPECT SELECT key, state FROM thalweg.alerts;
----
{\"job\":\"a\"} | pending
{\"job\":\"b\"} | pending

INSERT INTO jobs (job, state) VALUES ('b', 'done');
ADVANCE INTERVAL '1 minute';
EXPECT SELECT key, state FROM thalweg.alerts;
----
{\"job\":\"a\"} | firing

INSERT INTO jobs (job, state) VALUES ('a', 'done');
ADVANCE INTERVAL '50 seconds';
EXPECT SELECT key, state FROM thalweg.alerts;
----
{\"job\":\"a\"} | recovering

ADVANCE INTERVAL '10 seconds';
EXPECT SELECT key, state FROM thalweg.alerts;
----
{\"job\":\"a\"} | resolved

EXPECT SELECT key, kind FROM thalweg.alert_events;
----
{\"job\":\"a\"} | pending
{\"job\":\"a\"} | firing
{\"job\":\"a\"} | recovering
{\"job\":\"a\"} | resolved
{\"job\":\"b\"} | pending
{\"job\":\"b\"} | cleared
";
    let program = compile(pipeline, std::path::Path::new("."));
    let text = SqlText { file: "jobs.test.sql".into(), text: test.into() };
    let steps = testfile::parse(&text).unwrap();
    for workers in [1, 3] {
        let failures = test_run::run(&program, &steps, workers).unwrap();
        assert!(failures.is_empty(), "{workers} workers\n{}", render_errors(&failures, std::slice::from_ref(&text)));
    }
}

#[test]
fn keys_of_an_inventory_are_missed_when_they_never_spoke() {
    let pipeline = "CREATE SOURCE beats (ts TIMESTAMP NOT NULL, host TEXT, WATERMARK FOR ts AS ts)
        WITH (connector = 'file', path = 'beats.ndjson');
        CREATE SOURCE hosts (host TEXT PRIMARY KEY, rack TEXT)
        WITH (connector = 'file', path = 'hosts.ndjson', format = 'upsert');
        CREATE ALERT silent FROM beats BY host CRITICAL WHEN false
        ABSENT FOR INTERVAL '2 minutes' EXPECT KEYS FROM hosts ANNOTATIONS (summary = '{{host}} is silent');";
    let test = "INSERT INTO hosts (host, rack) VALUES ('a', 'r1'), ('b', 'r1'), ('c', 'r2');
INSERT INTO beats (ts, host) VALUES ('2026-01-01 00:00:00', 'a'), ('2026-01-01 00:00:10', 'x');
ADVANCE INTERVAL '1 second';
EXPECT SELECT key FROM thalweg.alerts;

INSERT INTO beats (ts, host) VALUES ('2026-01-01 00:01:50', 'a'), ('2026-01-01 00:02:20', 'a');
ADVANCE INTERVAL '1 second';
EXPECT SELECT key, state, reason, since, labels FROM thalweg.alerts;
----
{\"host\":\"b\"} | no_data | no_data | 2026-01-01T00:02:10 | {\"host\":\"b\"}
{\"host\":\"c\"} | no_data | no_data | 2026-01-01T00:02:10 | {\"host\":\"c\"}
{\"host\":\"x\"} | no_data | no_data | 2026-01-01T00:02:10.000000001 | {\"host\":\"x\"}

INSERT INTO beats (ts, host) VALUES ('2026-01-01 00:02:25', 'b'), ('2026-01-01 00:02:30', 'a');
ADVANCE INTERVAL '1 second';
EXPECT SELECT key, kind, reason FROM thalweg.alert_events WHERE kind = 'resolved';
----
{\"host\":\"b\"} | resolved | data_returned
";
    let program = compile(pipeline, std::path::Path::new("."));
    let text = SqlText { file: "hosts.test.sql".into(), text: test.into() };
    let steps = testfile::parse(&text).unwrap();
    for workers in [1, 3] {
        let failures = test_run::run(&program, &steps, workers).unwrap();
        assert!(failures.is_empty(), "{workers} workers\n{}", render_errors(&failures, std::slice::from_ref(&text)));
    }
}
