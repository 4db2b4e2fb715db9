//! HTTP, against the built binary.

use crate::binary::{Serving, steady};
use std::io::{BufRead, BufReader};

/// Asks; the status and the body.
fn post(serving: &Serving, path: &str, content_type: &str, body: &str) -> (u16, String) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let request = agent.post(format!("http://{}{path}", serving.http)).content_type(content_type);
    let mut response = request.send(body).unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn get(serving: &Serving, path: &str) -> ureq::http::Response<ureq::Body> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    agent.get(format!("http://{}{path}", serving.http)).call().unwrap()
}

/// The rows of a query as CSV, without the names of the columns.
pub fn rows(serving: &Serving, query: &str) -> String {
    let (status, body) = post(serving, "/api/v1/sql?format=csv", "text/plain", query);
    assert_eq!(status, 200, "{query}: {body}");
    body.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_string())
}

/// Asks until the answer is `expected`.
pub fn wait_for(serving: &Serving, query: &str, expected: &str) {
    let mut found = String::new();
    for _ in 0..20_000 {
        found = rows(serving, query);
        if found == expected {
            return;
        }
    }
    panic!("{query}: {found:?} instead of {expected:?}");
}

/// Waits until all four orders have been counted.
pub fn wait_for_orders(serving: &Serving) {
    wait_for(serving, "SELECT sum(orders) AS n FROM per_item", "4\n");
}

#[test]
fn queries_are_answered_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    let query = "SELECT item, orders FROM per_item ORDER BY item";
    let (status, body) = post(&serving, "/api/v1/sql", "text/plain", query);
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &value["rows"]), (200, &serde_json::json!([["cake", 1], ["tea", 3]])));
    assert!(value["epoch"].as_u64() > Some(0));

    let question = r#"{"query": "SELECT orders FROM per_item WHERE item = $1", "params": ["tea"]}"#;
    let (_, body) = post(&serving, "/api/v1/sql?format=ndjson", "application/json", question);
    assert_eq!(body, "{\"orders\":3}\n");

    let (_, body) = post(&serving, "/api/v1/sql?format=csv", "text/plain", "SELECT item FROM dear");
    assert_eq!(body, "item\ncake\n");
}

#[test]
fn mistakes_have_a_message_a_hint_and_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    let (status, body) = post(&serving, "/api/v1/sql", "text/plain", "SELECT *\nFROM per_itm");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({ "error": {
        "code": "42P01",
        "message": "relation \"per_itm\" does not exist",
        "detail": null,
        "hint": "Did you mean \"per_item\"?",
        "position": { "line": 2, "column": 6 },
    }});
    assert_eq!((status, value), (400, expected));
    assert_eq!(post(&serving, "/api/v1/sql?format=xml", "text/plain", "SELECT 1").0, 400);
    assert_eq!(post(&serving, "/api/v1/sql", "text/plain", "SELECT 1; SELECT 2").0, 400);
    assert_eq!(get(&serving, "/api/v1/subscribe?view=dear").status(), 400);
}

#[test]
fn changes_come_as_events() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    let response = get(&serving, "/api/v1/subscribe?view=sold&snapshot=true&where=n%20%3E%202");
    let mut lines = BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("event: change"));
    let data = lines.next().unwrap();
    let change: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&change["_diff"], &change["item"], &change["n"]), (&1.into(), &"tea".into(), &3.into()));
    assert!(lines.any(|line| line == "event: progress"));
}

#[test]
fn health_metrics_and_console_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    for (path, expected) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "thalweg_source_rows_in_total{source=\"orders\"} 4\n"),
        ("/", "<title>Thalweg</title>"),
    ] {
        let body = get(&serving, path).body_mut().read_to_string().unwrap();
        assert!(body.contains(expected), "{path}: {body}");
    }
}
