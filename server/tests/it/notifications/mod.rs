//! From rows to webhooks, against the built binary: the manual's pages as they are written, grouping, silences over SQL and
//! HTTP, and a process that is killed again and again while alerts flip and its receiver fails.

mod alertmanager;
mod changed;
mod killed;
mod revised;

use crate::binary::{Serving, run, serve_as, stderr, thalweg};
use crate::http::{rows, wait_for};
use crate::receiver::Receiver;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

/// The `n`th SQL block of the page.
fn example(n: usize) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/notifiers.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.split("```sql\n").nth(n + 1).unwrap().split("```").next().unwrap().to_string()
}

fn append(folder: &Path, lines: &[(&str, &str, f64)]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(folder.join("requests.ndjson")).unwrap();
    for (time, service, latency) in lines {
        writeln!(file, r#"{{"ts":"2026-01-01T{time}","service":"{service}","latency_ms":{latency}}}"#).unwrap();
    }
}

fn serve(folder: &Path, pipeline: &str, receiver: &Receiver) -> Serving {
    append(folder, &[]);
    let arguments = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "1"];
    let mut command = thalweg(folder, &arguments);
    command.env("OPS_URL", receiver.url()).env("OPS_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    serve_as(folder, pipeline, command)
}

#[test]
fn the_manuals_example_tells_when_it_begins_and_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0);
    let serving = serve(folder.path(), &example(0), &receiver);
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "web", 20.0), ("00:00:11", "web", 20.0)]);
    let firing = &receiver.wait(1)[0];
    let body = firing.json();
    assert_eq!((&body["receiver"], &body["status"], &body["version"]), (&"ops".into(), &"firing".into(), &"4".into()));
    assert_eq!(body["groupKey"], r#"{}:{alertname="slow_service", service="api"}"#);
    let alert = &body["alerts"][0];
    let labels = serde_json::json!({"alertname": "slow_service", "service": "api", "severity": "critical"});
    assert_eq!((&alert["labels"], &alert["startsAt"]), (&labels, &"2026-01-01T00:00:10Z".into()));
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("api takes 700"), "{summary}");
    assert!(firing.headers["webhook-signature"].starts_with("v1,"));

    append(folder.path(), &[("00:00:12", "api", 30.0), ("00:00:21", "web", 20.0)]);
    let over = receiver.wait(2)[1].json();
    assert_eq!((&over["status"], &over["alerts"][0]["endsAt"]), (&"resolved".into(), &"2026-01-01T00:00:20Z".into()));
    let deliveries = "SELECT notifier, status, attempt, outcome, http_status FROM thalweg.deliveries ORDER BY time";
    wait_for(&serving, deliveries, "ops,firing,1,delivered,204\nops,resolved,1,delivered,204\n");
    assert_eq!(rows(&serving, "SHOW NOTIFIERS").lines().count(), 1);
    let secret = rows(&serving, "SELECT * FROM thalweg.notifiers");
    assert!(!secret.contains("whsec") && !secret.contains("http://"), "{secret}");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn the_manuals_other_examples_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<String> = (0..9).map(example).collect();
    std::fs::write(folder.path().join("pipeline.sql"), all.join("\n")).unwrap();
    let mut command = thalweg(folder.path(), &["check", "pipeline.sql"]);
    for variable in ["OPS_URL", "SLACK_URL", "WATCHDOG_URL"] {
        command.env(variable, "http://127.0.0.1:9/");
    }
    for variable in ["OPS_SECRET", "MAIL_PASSWORD", "PAGERDUTY_KEY"] {
        command.env(variable, "secret");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let listed = String::from_utf8(output.stdout).unwrap();
    for line in [
        "chat notifier",
        "moving_day silence",
        "graver inhibition",
        "dead_service alert",
        "slow_then alert",
        "nights calendar",
    ] {
        assert!(listed.lines().any(|l| l.split_whitespace().take(2).eq(line.split_whitespace())), "{line}: {listed}");
    }
}

#[test]
fn silences_are_made_and_ended_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0);
    let serving = serve(folder.path(), &example(0), &receiver);
    let made = rows(&serving, "CREATE SILENCE quiet WITH (matchers = 'service=api', duration = '1h', author = 'ada')");
    assert_eq!(made, "quiet\n");
    let listed = "SELECT name, state, matchers, author FROM thalweg.silences ORDER BY name";
    assert_eq!(rows(&serving, listed), "quiet,active,\"service=\"\"api\"\"\",ada\n");

    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let url = |path: &str| format!("http://{}{path}", serving.http);
    let silence = r#"{"matchers":[{"name":"service","value":"web","isRegex":false,"isEqual":true}],
        "startsAt":"2026-01-01T00:00:00Z","endsAt":"2999-01-01T00:00:00Z","createdBy":"amtool","comment":"x"}"#;
    let mut posted = agent.post(url("/api/v2/silences")).content_type("application/json").send(silence).unwrap();
    let posted: serde_json::Value = serde_json::from_str(&posted.body_mut().read_to_string().unwrap()).unwrap();
    let id = posted["silenceID"].as_str().unwrap().to_string();
    let mut all = agent.get(url("/api/v2/silences")).call().unwrap();
    let all: serde_json::Value = serde_json::from_str(&all.body_mut().read_to_string().unwrap()).unwrap();
    let states: Vec<&str> = all.as_array().unwrap().iter().map(|s| s["status"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "active"]);
    assert_eq!(agent.post(url("/api/v2/silences")).send("{}").unwrap().status(), 400);
    assert_eq!(agent.get(url("/api/v2/silence/nothing")).call().unwrap().status(), 404);

    let slow =
        [("00:00:01", "api", 700.0), ("00:00:02", "web", 700.0), ("00:00:03", "db", 700.0), ("00:00:11", "db", 1.0)];
    append(folder.path(), &slow);
    assert!(receiver.wait(1)[0].body.contains("\"service\":\"db\""));
    assert_eq!(agent.delete(url(&format!("/api/v2/silence/{id}"))).call().unwrap().status(), 200);
    assert!(receiver.wait(2)[1].body.contains("\"service\":\"web\""));
    assert_eq!(rows(&serving, "DROP SILENCE quiet"), "quiet\n");
    assert!(receiver.wait(3)[2].body.contains("\"service\":\"api\""));
}

#[test]
fn what_goes_on_is_escalated_a_calendar_mutes_and_a_watchdog_is_fed() {
    let folder = tempfile::tempdir().unwrap();
    let [ops, oncall, pulse, muted] = [(); 4].map(|()| Receiver::start(0));
    let pipeline = format!(
        "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'requests.ndjson', format = 'json', mode = 'tail');
         CREATE CALENDAR always WITH (times = '00:00-24:00', location = 'Europe/Berlin');
         CREATE CALENDAR never WITH (years = '1999');
         CREATE NOTIFIER ops WITH (type = 'webhook', url = '${{OPS_URL}}', mute_calendars = 'never');
         CREATE NOTIFIER oncall WITH (type = 'webhook', url = '{}', active_calendars = 'always');
         CREATE NOTIFIER muted WITH (type = 'webhook', url = '{}', mute_calendars = 'never, always');
         CREATE NOTIFIER pulse WITH (type = 'webhook', url = '{}', watchdog = '1s');
         CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250
         NOTIFY ops, muted ESCALATE AFTER INTERVAL '1 second' TO oncall, ops;",
        oncall.url(),
        muted.url(),
        pulse.url()
    );
    let serving = serve(folder.path(), &pipeline, &ops);
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "web", 1.0)]);
    assert_eq!((&ops.wait(1)[0].json()["status"], oncall.count()), (&"firing".into(), 0));
    assert_eq!(oncall.wait(1)[0].json()["alerts"][0]["labels"]["service"], "api");
    append(folder.path(), &[("00:00:03", "api", 1.0), ("00:00:04", "web", 1.0)]);
    assert_eq!(oncall.wait(2)[1].json()["status"], "resolved");
    assert_eq!((&ops.wait(2)[1].json()["status"], ops.count(), muted.count()), (&"resolved".into(), 2, 0));
    for beat in pulse.wait(2) {
        assert_eq!(beat.json()["alerts"][0]["labels"]["alertname"], "Watchdog");
    }
    let calendars = rows(&serving, "SELECT name, state FROM thalweg.calendars ORDER BY name");
    assert_eq!(calendars, "always,active\nnever,inactive\n");
    assert_eq!(rows(&serving, "SHOW CALENDARS").lines().count(), 2);
    let rule = "SELECT notify, escalate FROM thalweg.alert_rules";
    assert_eq!(rows(&serving, rule), "\"ops, muted\",\"oncall, ops after 1s\"\n");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn an_incident_is_acknowledged_and_who_fails_is_stood_in_for() {
    let folder = tempfile::tempdir().unwrap();
    let [ops, mail] = [(); 2].map(|()| Receiver::start(0));
    let refuses = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refuses.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in refuses.incoming() {
            let mut stream = stream.unwrap();
            let _read = stream.read(&mut [0; 4_096]);
            let _written =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let pipeline = format!(
        "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'requests.ndjson', format = 'json', mode = 'tail');
         CREATE NOTIFIER ops WITH (type = 'webhook', url = '${{OPS_URL}}', repeat_interval = '1s');
         CREATE NOTIFIER gone WITH (type = 'webhook', url = 'http://{address}/', fallback = 'mail');
         CREATE NOTIFIER mail WITH (type = 'webhook', url = '{}');
         CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250 NOTIFY ops, gone;",
        mail.url()
    );
    let serving = serve(folder.path(), &pipeline, &ops);
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "web", 1.0)]);
    ops.wait(2);
    let failed = mail.wait(1)[0].json();
    assert_eq!(failed["commonLabels"]["alertname"], "thalweg.delivery_failed");
    assert_eq!(failed["commonAnnotations"]["summary"], "gone was not told: [FIRING:1] slow (api warning)");
    let incident = rows(&serving, "SELECT incident_id FROM thalweg.alerts").trim().to_string();
    let said = rows(&serving, &format!("ACKNOWLEDGE INCIDENT '{incident}' BY 'ada' COMMENT 'on it'"));
    assert_eq!(said.trim(), incident);
    assert_eq!(rows(&serving, "SELECT acknowledged_by FROM thalweg.alerts"), "ada\n");
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let post = |incident: &str, body: &str| {
        agent
            .post(format!("http://{}/api/v1/incidents/{incident}/acknowledge", serving.http))
            .send(body)
            .unwrap()
            .status()
    };
    assert_eq!(post(&incident, r#"{"author": "bob"}"#), 200);
    assert_eq!(rows(&serving, "SELECT acknowledged_by FROM thalweg.alerts"), "bob\n");
    assert_eq!((post("nothing", "").as_u16(), post(&incident, "?").as_u16()), (400, 400));
    append(folder.path(), &[("00:00:03", "api", 1.0), ("00:00:04", "web", 1.0)]);
    let mut told = 2..;
    let mut last = || ops.wait(told.next().unwrap()).last().unwrap().json()["status"].clone();
    while last() != "resolved" {}
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn who_reads_alerts_sees_what_holds_an_incident_back() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0);
    let pipeline =
        "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'requests.ndjson', format = 'json', mode = 'tail');
         CREATE NOTIFIER ops WITH (type = 'webhook', url = '${OPS_URL}');
         CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250 NOTIFY ops;
         CREATE ALERT down FROM requests BY service CRITICAL WHEN latency_ms > 5000 NOTIFY ops;
         CREATE INHIBITION of_the_down WITH (source_matchers = 'alertname=down', target_matchers = 'alertname=slow',
                                             equal = 'service');";
    let serving = serve(folder.path(), pipeline, &receiver);
    rows(&serving, "CREATE SILENCE quiet WITH (matchers = 'service=api', duration = '1h', author = 'ada')");
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "db", 9000.0), ("00:00:03", "web", 800.0)]);
    append(folder.path(), &[("00:00:04", "x", 1.0)]);
    let down = "SELECT incident_id FROM thalweg.alerts WHERE alert = 'down'";
    // That of the others is told when the group of the last has heard of it.
    receiver.wait(2);
    let down = rows(&serving, down).trim().to_string();
    let held = "SELECT alert, json_text(key, 'service'), suppressed_by FROM thalweg.alerts ORDER BY 1, 2";
    let expected =
        format!("down,db,\nslow,api,silence quiet\nslow,db,inhibition of_the_down by incident {down}\nslow,web,\n");
    wait_for(&serving, held, &expected);
    rows(&serving, "DROP SILENCE quiet");
    append(folder.path(), &[("00:00:05", "db", 300.0), ("00:00:06", "x", 1.0)]);
    wait_for(&serving, &held.replace("ORDER", "WHERE state = 'firing' ORDER"), "slow,api,\nslow,db,\nslow,web,\n");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_pipeline_that_ends_tells_its_groups_before_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(2);
    let options = format!("(type = 'webhook', url = '{}', group_by = 'alertname')", receiver.url());
    let pipeline = format!(
        "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'requests.ndjson', format = 'json');
         CREATE NOTIFIER ops WITH {options};
         CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250 NOTIFY ops;
         CREATE ALERT down FROM requests BY service CRITICAL WHEN latency_ms > 5000;
         CREATE INHIBITION of_the_down WITH (source_matchers = 'alertname=down', target_matchers = 'alertname=slow',
                                             equal = 'service');"
    );
    std::fs::write(folder.path().join("pipeline.sql"), pipeline).unwrap();
    append(folder.path(), &[("00:00:01", "api", 700.0), ("00:00:02", "web", 800.0), ("00:00:03", "db", 9000.0)]);
    let output = run(folder.path(), &["run", "pipeline.sql", "--pg", "off", "--http", "off"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let messages = receiver.wait(1);
    let body = messages[0].json();
    let mut services: Vec<&str> =
        body["alerts"].as_array().unwrap().iter().map(|a| a["labels"]["service"].as_str().unwrap()).collect();
    services.sort_unstable();
    assert_eq!((messages.len(), services), (1, vec!["api", "web"]), "{}", messages[0].body);
}

#[test]
fn a_notifier_that_does_not_exist_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "CREATE NOTIFIER ops WITH (type = 'webhook', url = 'http://169.254.169.254/latest');\n";
    std::fs::write(folder.path().join("pipeline.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["check", "pipeline.sql"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("notifier \"ops\" may not call 169.254.169.254"), "{said}");
    assert!(said.contains("pipeline.sql:1:17") && said.contains("allow_local = 'true'"), "{said}");
}
