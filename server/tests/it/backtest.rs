//! `thalweg test --backtest`: a changed rule over what a run left in Parquet, beside what fired then.

use crate::binary::{run, stderr};
use std::fmt::Write;
use std::path::Path;
use std::process::Output;

const VIEW: &str = "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, ms DOUBLE, WATERMARK FOR ts AS ts)
  WITH (connector = 'file', path = 'requests.ndjson');
CREATE MATERIALIZED VIEW latency AS SELECT window_start, window_end, service, max(ms) AS worst
  FROM TUMBLE(requests, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service;
";
const SINKS: &str = "CREATE SINK latency_history FROM latency WITH (connector = 'parquet', path = 'latency');
CREATE SINK slow_events FROM slow WITH (connector = 'parquet', path = 'slow');
";
const RULE: &str = "CREATE ALERT slow FROM latency BY service WARNING WHEN worst > 250 CRITICAL WHEN worst > 500
  FOR INTERVAL '2 minutes';
";
const CHANGED: &str = "CREATE ALERT slow FROM latency BY service WARNING WHEN worst > 315 CRITICAL WHEN worst > 500
  FOR INTERVAL '1 minute';
";

/// Ten minutes of two services.
fn requests() -> String {
    let mut text = String::new();
    let api = [300, 310, 320, 330, 100, 100, 700, 700, 700, 100];
    let web = [1, 400, 400, 1, 1, 1, 1, 1, 1, 1];
    for minute in 0..10 {
        for (service, ms) in [("api", api[minute]), ("web", web[minute])] {
            let _ = writeln!(text, r#"{{"ts":"2026-01-01T00:0{minute}:30","service":"{service}","ms":{ms}}}"#);
        }
    }
    text
}

fn backtest(folder: &Path, pipeline: &str, arguments: &[&str]) -> Output {
    std::fs::write(folder.join("changed.sql"), pipeline).unwrap();
    run(folder, &[&["test", "changed.sql", "--backtest"], arguments].concat())
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_changed_rule_is_shown_beside_what_fired() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("requests.ndjson"), requests()).unwrap();
    std::fs::write(folder.join("first.sql"), format!("{VIEW}{RULE}{SINKS}")).unwrap();
    let output = run(folder, &["run", "first.sql", "--data", "off", "--pg", "off", "--http", "off", "--workers", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));

    // What the source read is gone: its history is enough.
    let elsewhere =
        VIEW.replace("'file', path = 'requests.ndjson'", "'http', listen = '127.0.0.1:0', path = '/requests'");
    let changed = format!("{elsewhere}{CHANGED}{SINKS}");
    let shown = stdout(&backtest(folder, &changed, &["slow"]));
    let expected = r#"alert slow over sink "latency_history", 20 rows
key                would have fired                      fired
{"service":"api"}  2026-01-01 00:04:00 for 1m, warning   2026-01-01 00:03:00 for 2m, warning
{"service":"api"}  2026-01-01 00:08:00 for 2m, critical  2026-01-01 00:09:00 for 1m, critical
{"service":"web"}  2026-01-01 00:03:00 for 1m, warning   -
3 firings: 2 that fired too, 1 new, 0 no longer
"#;
    assert_eq!(shown, expected);
    let shown =
        stdout(&backtest(folder, &changed, &["slow", "--from", "2026-01-01T00:06:00", "--to", "2026-01-01T00:09:00"]));
    assert!(shown.contains("00:08:00 still, critical  -\n1 firing: 0 that fired too, 1 new, 0 no longer\n"), "{shown}");
    // The rule as it is says what it said.
    let shown = stdout(&backtest(folder, &format!("{elsewhere}{RULE}{SINKS}"), &["slow"]));
    assert!(shown.ends_with("2 firings: 2 that fired too, 0 new, 0 no longer\n"), "{shown}");
    for line in shown.lines().filter(|line| line.starts_with('{')) {
        let (would, did) = line.split_at(line.rfind("2026").unwrap());
        assert!(would.trim_end().ends_with(did), "{line}");
    }
}

#[test]
fn without_a_history_the_files_are_read_or_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("requests.ndjson"), requests()).unwrap();
    let shown = stdout(&backtest(folder, &format!("{VIEW}{CHANGED}"), &["slow"]));
    assert!(shown.starts_with("alert slow over the files of its sources, 20 rows\n"), "{shown}");
    assert!(shown.contains("{\"service\":\"web\"}  2026-01-01 00:03:00 for 1m, warning   ?\n"), "{shown}");
    assert!(
        shown.ends_with("3 firings: what fired is not known: no Parquet sink keeps the events of slow\n"),
        "{shown}"
    );

    let wrong = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let unknown = wrong(backtest(folder, &format!("{VIEW}{RULE}"), &["slw"]));
    assert!(
        unknown.contains("alert \"slw\" does not exist") && unknown.contains("Did you mean \"slow\"?"),
        "{unknown}"
    );
    let elsewhere =
        VIEW.replace("'file', path = 'requests.ndjson'", "'http', listen = '127.0.0.1:0', path = '/requests'");
    let nowhere = wrong(backtest(folder, &format!("{elsewhere}{RULE}"), &["slow"]));
    assert!(
        nowhere.contains("CREATE SINK latency_history FROM latency WITH (connector = 'parquet', path = '..')"),
        "{nowhere}"
    );
    let time = wrong(backtest(folder, &format!("{VIEW}{RULE}"), &["slow", "--from", "yesterday"]));
    assert!(time.contains("\"yesterday\" is no time"), "{time}");
    let swapped = ["slow", "--from", "2026-01-02", "--to", "2026-01-01"];
    let swapped = wrong(backtest(folder, &format!("{VIEW}{RULE}"), &swapped));
    assert!(swapped.contains("--from is not before --to"), "{swapped}");
}
