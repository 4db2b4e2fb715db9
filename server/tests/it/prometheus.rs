//! Prometheus' own judgement of translated rules: `promtool test rules` is told what our alerts said at every minute, and
//! must find the same. `$PROMTOOL` names the program; `.ci/run` fetches one.

use crate::binary::{run, stderr};
use crate::documents::block;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::{Command, Stdio};

/// Rules that both can express. Ranges are no whole number of intervals where it would matter whether a sample at the
/// beginning of a range belongs to it: that differs between versions of Prometheus.
const RULES: &str = r#"
groups:
- name: g
  interval: 1m
  rules:
  - record: job:errors:rate
    expr: sum by (job) (rate(errors_total[5m]))
  - alert: Down
    expr: up == 0
    for: 2m
    labels: {severity: critical, team: core}
  - alert: DownAtOnce
    expr: up{instance!="c"} < 1
  - alert: KeptFiring
    expr: up == 0
    for: 1m
    keep_firing_for: 3m
  - alert: FewUp
    expr: sum by (job) (up) < 2
    for: 1m
  - alert: ManyDown
    expr: count by (job) (up == 0) / count by (job) (up) >= 0.5
  - alert: NoneBusy
    expr: max(load) < 2
  - alert: Busy
    expr: avg_over_time(load[2m30s]) > 3
    for: 1m
  - alert: BusyAndUp
    expr: load > 3 and on (instance) up == 1
  - alert: BusyUnlessDown
    expr: load > 3 unless on (instance) up == 0
  - alert: Errors
    expr: job:errors:rate > 0.9
    for: 1m
  - alert: ErrorRatio
    expr: sum by (job) (rate(errors_total[5m])) / sum by (job) (rate(requests_total[5m])) > 0.4
  - alert: Either
    expr: min by (job) (load) > 3 or min by (job) (up) == 0
"#;

/// Series and their samples, one a minute from the first.
const SERIES: &[(&str, &[(&str, &str)], &[f64])] = &[
    ("up", &[("job", "api"), ("instance", "a")], &[1., 1., 0., 0., 0., 0., 1., 1., 0., 1., 1., 1., 0., 0., 1., 1.]),
    ("up", &[("job", "api"), ("instance", "b")], &[1., 1., 1., 0., 0., 0., 0., 1., 1., 1., 1., 0., 0., 0., 1., 1.]),
    ("up", &[("job", "web"), ("instance", "c")], &[1., 1., 1., 1., 1., 0., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]),
    ("load", &[("job", "api"), ("instance", "a")], &[1., 2., 4., 4., 4., 5., 4., 1., 1., 1., 4., 5., 5., 5., 1., 1.]),
    ("load", &[("job", "api"), ("instance", "b")], &[1., 1., 1., 4., 4., 1., 1., 1., 1., 4., 4., 4., 4., 4., 1., 1.]),
    (
        "errors_total",
        &[("job", "api"), ("instance", "a")],
        &[0., 0., 0., 0., 0., 0., 60., 120., 180., 240., 300., 360., 0., 60., 60., 60.],
    ),
    (
        "requests_total",
        &[("job", "api"), ("instance", "a")],
        &[0., 120., 240., 360., 480., 600., 720., 840., 960., 1080., 1200., 1320., 1440., 1560., 1680., 1800.],
    ),
];

/// The hour of the day at which the first evaluation is.
const HOUR: i64 = 1;

fn promtool() -> Option<String> {
    let promtool = std::env::var("PROMTOOL").unwrap_or("promtool".to_string());
    let has = Command::new(&promtool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if has.is_ok_and(|status| status.success()) {
        return Some(promtool);
    }
    eprintln!("skipped: {promtool} is not installed");
    None
}

/// The samples as records. An evaluation comes after the samples that it is to see: they are a millisecond older.
fn records() -> String {
    let mut text = String::new();
    for minute in 0..SERIES[0].2.len() {
        let before = HOUR as usize * 60 + minute - 1;
        let ts = format!("2026-01-01T{:02}:{:02}:59.999Z", before / 60, before % 60);
        for (name, labels, values) in SERIES {
            let labels: BTreeMap<_, _> = labels.iter().copied().collect();
            let labels = serde_json::to_string(&labels).unwrap();
            let _ = writeln!(
                text,
                "{{\"ts\":\"{ts}\",\"name\":\"{name}\",\"labels\":{labels},\"value\":{}}}",
                values[minute]
            );
        }
    }
    text
}

/// What was said of an alert and its labels: whether it fires (or is pending, or neither) from a minute on.
type Said = BTreeMap<String, Vec<(i64, Option<&'static str>)>>;

fn said(stdout: &str) -> Said {
    let mut said = Said::new();
    for line in stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |column: &str| event[column].as_str().unwrap().to_string();
        let mut labels: BTreeMap<String, String> = serde_json::from_str(&text("labels")).unwrap();
        labels.retain(|_, value| !value.is_empty());
        labels.insert("alertname".to_string(), text("alert"));
        if text("alert") == "Down" {
            labels.insert("severity".to_string(), text("severity"));
        }
        let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let state = match text("state").as_str() {
            "pending" => Some("pending"),
            "firing" | "recovering" => Some("firing"),
            _ => None,
        };
        let (date_time, fraction) = text("event_time")
            .split_once('.')
            .map_or((text("event_time"), 0), |(a, b)| (a.to_string(), b.trim_end_matches('Z').parse::<i64>().unwrap()));
        let clock = date_time.trim_end_matches('Z').split_once('T').unwrap().1.to_string();
        let part = |at: usize| clock.split(':').nth(at).unwrap().parse::<i64>().unwrap();
        let seconds = (part(0) - HOUR) * 3600 + part(1) * 60 + part(2) + i64::from(fraction > 0);
        // Prometheus sees it at its next evaluation.
        said.entry(shown.join(", ")).or_default().push(((seconds + 59) / 60, state));
    }
    said
}

/// The test file of `promtool` that expects what was said.
fn expectation(said: &Said) -> String {
    let mut text =
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n".to_string();
    for (name, labels, values) in SERIES {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        let _ = writeln!(text, "  - series: '{name}{{{}}}'\n    values: '{}'", labels.join(", "), values.join(" "));
    }
    text.push_str("  promql_expr_test:\n");
    for minute in 0..SERIES[0].2.len() as i64 {
        let _ = writeln!(text, "  - expr: ALERTS\n    eval_time: {minute}m\n    exp_samples:");
        for (labels, states) in said {
            let state = states.iter().rfind(|(from, _)| *from <= minute).and_then(|(_, state)| *state);
            if let Some(state) = state {
                let _ = writeln!(text, "    - labels: 'ALERTS{{{labels}, alertstate=\"{state}\"}}'\n      value: 1");
            }
        }
    }
    text
}

#[test]
fn promtool_finds_the_same_alerts_pending_and_firing_at_every_minute() {
    let Some(promtool) = promtool() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("rules.yml"), RULES).unwrap();
    std::fs::write(file("metrics.ndjson"), records()).unwrap();
    let source = "connector = 'file', path = 'metrics.ndjson'";
    let output = run(folder.path(), &["import", "prometheus", "rules.yml", "--source", source, "--out", "rules.sql"]);
    assert_eq!(stderr(&output), "13 of 13 rules translated\n");
    let mut pipeline = std::fs::read_to_string(file("rules.sql")).unwrap();
    let names: BTreeSet<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for name in &names {
        let _ = writeln!(pipeline, "CREATE SINK \"{name}_sink\" FROM \"{name}\" WITH (connector = 'stdout');");
    }
    std::fs::write(file("run.sql"), pipeline).unwrap();
    let output =
        run(folder.path(), &["run", "run.sql", "--data", "off", "--pg", "off", "--http", "off", "--workers", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = said(&String::from_utf8(output.stdout).unwrap());
    let spoke: BTreeSet<String> = said.keys().map(|labels| labels.split('"').nth(1).unwrap().to_string()).collect();
    assert_eq!(spoke.iter().map(String::as_str).collect::<BTreeSet<_>>(), names, "each alert has something to say");

    std::fs::write(file("test.yml"), expectation(&said)).unwrap();
    let output =
        Command::new(promtool).args(["test", "rules", "test.yml"]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
}

#[test]
fn the_documents_example_is_what_comes_out() {
    let document = include_str!("../../../docs/prometheus.md");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), block(document, "yaml")).unwrap();
    let output = run(folder.path(), &["import", "prometheus", "rules.yml"]);
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), block(document, "sql"), "{}", stderr(&output));
    std::fs::write(folder.path().join("rules.sql"), output.stdout).unwrap();
    let output = run(folder.path(), &["check", "rules.sql"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_is_left_out_is_listed_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "groups:\n- rules:\n  - alert: Slow\n    expr: histogram_quantile(0.9, x) > 1\n";
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let output = run(folder.path(), &["import", "prometheus", "rules.yml", "--from", "samples"]);
    assert!(output.status.success() && output.stdout.is_empty());
    let told = stderr(&output);
    assert!(told.contains("alert \"Slow\" is left out: histogram_quantile is not translated"), "{told}");
    assert!(told.contains("rules.yml:4:11") && told.ends_with("0 of 1 rule translated\n"), "{told}");
    let output = run(folder.path(), &["import", "prometheus", "rules.yml", "--columns", "tme=ts"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Did you mean \"time\"?"), "{}", stderr(&output));
}
