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
fn why_is_as_the_document_shows() {
    let document = include_str!("../../../docs/alerting.md");
    holds(block(document, "sql"), block(document.split_once("## Why").unwrap().1, "test"));
}

/// Rows of a source, of an aggregate's input, of that of the aggregate nearest below; of what is too small the least, of a
/// filtered count those that are counted.
#[test]
fn events_show_the_rows_that_weigh_most() {
    let pipeline = "
CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, path TEXT, status BIGINT, ms DOUBLE, WATERMARK FOR ts AS ts)
  WITH (connector = 'file', path = 'requests.ndjson');
CREATE MATERIALIZED VIEW latency AS
  SELECT window_start, window_end, service, max(ms) AS worst, count(*) FILTER (WHERE status >= 500) AS errors
  FROM TUMBLE(requests, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service;
CREATE MATERIALIZED VIEW doubled AS SELECT service, window_end, worst * 2 AS twice FROM latency WHERE service <> 'web';
CREATE MATERIALIZED VIEW hours AS SELECT window_end, max(worst) AS worst
  FROM TUMBLE(latency, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW totals AS SELECT service, sum(ms) AS spent FROM requests GROUP BY service;
CREATE ALERT a_source FROM requests BY service CRITICAL WHEN ms > 800;
CREATE ALERT b_window FROM latency BY service CRITICAL WHEN worst > 800 WITH (sample_rows = 3);
CREATE ALERT c_view_of_a_view FROM doubled BY service CRITICAL WHEN twice > 1600 WITH (sample_rows = 2);
CREATE ALERT d_rollup FROM hours CRITICAL WHEN worst > 800;
CREATE ALERT e_too_fast FROM latency BY service CRITICAL WHEN 6 >= worst;
CREATE ALERT f_errors FROM latency BY service CRITICAL WHEN errors > 0 WITH (sample_rows = 1);
CREATE ALERT g_totals FROM totals BY service CRITICAL WHEN spent > 1000 WITH (sample_rows = 1);
CREATE ALERT h_without FROM latency BY service CRITICAL WHEN worst > 800 WITH (sample_rows = 0);";
    let test = "
INSERT INTO requests (ts, service, path, status, ms) VALUES
  ('2026-01-01 00:00:05', 'api', '/a', 200, 100), ('2026-01-01 00:00:06', 'api', '/b', 200, 900),
  ('2026-01-01 00:00:07', 'api', '/c', 503, 20), ('2026-01-01 00:00:08', 'api', '/d', 200, 300),
  ('2026-01-01 00:00:09', 'web', '/e', 200, 5), ('2026-01-01 00:00:10', 'web', '/f', 200, 4),
  ('2026-01-01 00:01:30', 'api', '/g', 200, 7), ('2026-01-01 01:00:00', 'api', '/h', 200, 8);
ADVANCE INTERVAL '1 second';

EXPECT SELECT alert, key, input_rows, sample FROM thalweg.alert_events WHERE kind = 'firing' ORDER BY alert, event_time;
----
a_source | {\"service\":\"api\"} | 1 | [{\"ts\":\"2026-01-01T00:00:06\",\"service\":\"api\",\"path\":\"/b\",\"status\":200,\"ms\":900.0}]
b_window | {\"service\":\"api\"} | 4 | [{\"ts\":\"2026-01-01T00:00:06\",\"service\":\"api\",\"path\":\"/b\",\"status\":200,\"ms\":900.0},{\"ts\":\"2026-01-01T00:00:08\",\"service\":\"api\",\"path\":\"/d\",\"status\":200,\"ms\":300.0},{\"ts\":\"2026-01-01T00:00:05\",\"service\":\"api\",\"path\":\"/a\",\"status\":200,\"ms\":100.0}]
c_view_of_a_view | {\"service\":\"api\"} | 4 | [{\"ts\":\"2026-01-01T00:00:06\",\"service\":\"api\",\"path\":\"/b\",\"status\":200,\"ms\":900.0},{\"ts\":\"2026-01-01T00:00:08\",\"service\":\"api\",\"path\":\"/d\",\"status\":200,\"ms\":300.0}]
d_rollup | {} | 3 | [{\"window_start\":\"2026-01-01T00:00:00\",\"window_end\":\"2026-01-01T00:01:00\",\"service\":\"api\",\"worst\":900.0,\"errors\":1},{\"window_start\":\"2026-01-01T00:01:00\",\"window_end\":\"2026-01-01T00:02:00\",\"service\":\"api\",\"worst\":7.0,\"errors\":0},{\"window_start\":\"2026-01-01T00:00:00\",\"window_end\":\"2026-01-01T00:01:00\",\"service\":\"web\",\"worst\":5.0,\"errors\":0}]
e_too_fast | {\"service\":\"web\"} | 2 | [{\"ts\":\"2026-01-01T00:00:10\",\"service\":\"web\",\"path\":\"/f\",\"status\":200,\"ms\":4.0},{\"ts\":\"2026-01-01T00:00:09\",\"service\":\"web\",\"path\":\"/e\",\"status\":200,\"ms\":5.0}]
f_errors | {\"service\":\"api\"} | 4 | [{\"ts\":\"2026-01-01T00:00:07\",\"service\":\"api\",\"path\":\"/c\",\"status\":503,\"ms\":20.0}]
g_totals | {\"service\":\"api\"} | 6 | [{\"ts\":\"2026-01-01T00:00:06\",\"service\":\"api\",\"path\":\"/b\",\"status\":200,\"ms\":900.0}]
h_without | {\"service\":\"api\"} | NULL | NULL
";
    holds(pipeline, test);
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
