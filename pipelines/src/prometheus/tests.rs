//! Rules and what becomes of them: each translation by its text, and whether it compiles.

use super::*;
use crate::program::{Environment, SqlText};

fn file(text: &str) -> SqlText {
    SqlText { file: "rules.yml".into(), text: text.into() }
}

/// A file with one rule.
fn rule(expr: &str) -> SqlText {
    file(&format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: |\n      {expr}\n"))
}

fn imported(files: &[SqlText]) -> Imported {
    let options = ImportOptions {
        declare: Some("connector = 'file', path = 'metrics.ndjson'".to_string()),
        ..ImportOptions::default()
    };
    import(files, &options).unwrap()
}

/// What is wrong with statements, laid out.
fn faults(sql: &str) -> String {
    let text = SqlText { file: "out.sql".into(), text: sql.into() };
    let environment = Environment {
        connectors: thalweg_connectors::ALL,
        notification: &thalweg_schemas::notification::NotificationSpec {
            options: |_, _| Vec::new(),
            check: |_| Ok(()),
            names: |_| Vec::new(),
        },
        variables: &|_| None,
    };
    match crate::compile(std::slice::from_ref(&text), &environment) {
        Ok(_) => String::new(),
        Err(errors) => crate::render_errors(&errors, &[text]),
    }
}

/// The expressions of the subset, one for each thing that can be said.
const SUBSET: &[&str] = &[
    "up == 0",
    "0 == up{job=\"api\"}",
    "up{job=~\"api|web\", group!=\"x\"} != 1",
    "sum by (job) (up) < 3",
    "sum(up) < 3",
    "count without (instance) (up == 0) / count without (instance) (up) > 0.5",
    "avg by (job, le) (latency) >= 1 or avg by (job, le) (latency_old) >= 1",
    "sum by (service) (rate(errors_total{code=~\"5..\"}[5m])) / sum by (service) (rate(requests_total[5m])) > 0.05",
    "max by (job) (rate(requests_total[5m])) > 100",
    "increase(restarts_total[1h]) > 3 and on (instance) up == 1",
    "up == 0 unless on (instance) maintenance == 1",
    "changes(boots[15m]) > 2",
    "resets(requests_total[15m]) > 2",
    "node_free_bytes / node_size_bytes * 100 < 10",
    "node_free_bytes / on (instance) node_size_bytes < 0.1",
    "node_cpu * on (instance) group_left (nodename) node_uname > 1",
    "node_uname * on (instance) group_right () node_cpu > 1",
    "predict_linear(node_free_bytes[6h], 4 * 3600) < 0",
    "deriv(queue_length[10m]) > 5",
    "avg_over_time(cpu[10m]) > 0.9",
    "avg_over_time(cpu[90s]) > 0.9",
    "min_over_time(up[5m]) == 0 and max_over_time(up[5m]) == 1",
    "quantile_over_time(0.9, latency[10m]) > 1",
    "quantile by (job) (0.9, latency) > 1",
    "stddev_over_time(latency[10m]) > 1 or stdvar_over_time(latency[10m]) > 1",
    "count_over_time(up[10m]) < 5",
    "sum by (job) (sum_over_time(errors[10m])) > 5",
    "last_over_time(up[10m]) == 0",
    "present_over_time(panic[10m]) == 1",
    "time() - last_success_timestamp_seconds > 3600",
    "abs(clock_offset) > 0.05",
    "round(ceil(floor(exp(ln(log2(log10(sqrt(sgn(x))))))))) > 1",
    "clamp_max(clamp_min(x, 0), 1) > 0.5",
    "-x > 1",
    "x ^ 2 % 7 > 1",
    "(up > bool 0) == 1",
    "stddev by (job) (x) > 1",
    "stdvar by (job) (x) > 1",
    "group by (job) (x) == 1",
    "min(x) < 1 and max(x) > 2",
    "a > b",
    "x",
    "absent(up{job=\"api\"})",
    "absent_over_time(up{job=\"api\"}[10m])",
];

#[test]
fn all_of_the_subset_compiles() {
    for expr in SUBSET {
        let imported = imported(&[rule(expr)]);
        assert!(imported.refused.is_empty(), "{expr}: {:?}", imported.refused);
        assert_eq!(faults(&imported.sql), "", "{expr}\n{}", imported.sql);
    }
}

#[test]
fn the_rest_is_refused_with_a_reason() {
    let cases = [
        ("histogram_quantile(0.9, sum by (le) (rate(b[5m]))) > 1", "histogram_quantile is not translated"),
        ("topk(3, x)", "topk is not translated"),
        ("irate(x[5m]) > 1", "function irate is not translated"),
        ("max_over_time(rate(x[5m])[1h:1m]) > 1", "a subquery is not translated"),
        ("x offset 5m > 1", "\"offset\" and \"@\" are not translated"),
        ("x @ 1609746000 > 1", "\"offset\" and \"@\" are not translated"),
        ("{job=\"a\"} > 1", "a selector without the name of a series is not translated"),
        ("sum by (a) (x) / sum by (b) (y) > 1", "the two sides are matched by label \"a\", which only one of them has"),
        ("sum by (job) (x or y) > 1", "\"or\" is translated only where it joins whole conditions of an alert"),
        ("vector(1)", "function vector is not translated"),
        ("1 + 2", "the expression selects no series"),
        ("x >", "its expression is no PromQL: "),
        ("absent(sum(x)) == 1", "absent is translated only where it is the whole expression of an alert"),
        ("x atan2 y > 1", "atan2 is not translated"),
    ];
    for (expr, reason) in cases {
        let imported = imported(&[rule(expr)]);
        let messages: Vec<_> = imported.refused.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(messages.len(), 1, "{expr}: {messages:?}\n{}", imported.sql);
        assert!(messages[0].starts_with(&format!("alert \"A\" is left out: {reason}")), "{expr}: {messages:?}");
        assert_eq!(imported.refused[0].position.as_ref().unwrap().line, 6, "{expr}");
    }
}

#[test]
fn a_file_of_rules_becomes_a_pipeline() {
    let text = include_str!("tests/rules.yml");
    let imported = imported(&[file(text)]);
    assert_eq!(faults(&imported.sql), "", "{}", imported.sql);
    let expected = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/prometheus/tests/rules.sql");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&expected, &imported.sql).unwrap();
    }
    assert_eq!(imported.sql, std::fs::read_to_string(expected).unwrap());
    let refused: Vec<_> = imported.refused.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(refused, ["alert \"SlowRequests\" is left out: histogram_quantile is not translated"]);
    let notes: Vec<_> = imported.notes.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(notes, [""; 0]);
}
