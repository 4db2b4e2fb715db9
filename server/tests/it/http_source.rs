//! The `http` source, against the built binary: what is posted is in the views.

use crate::binary::{SERVE, Serving, run, serve, serve_as, stderr, thalweg};
use std::net::TcpListener;

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn send(url: &str, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let request = agent.post(url).content_type(content_type);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut response = request.send(body).unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// Asks until the answer is `expected`.
fn wait_for(serving: &Serving, query: &str, expected: &str) {
    let url = format!("http://{}/api/v1/sql?format=csv", serving.http);
    let mut answer = String::new();
    for _ in 0..20_000 {
        answer = send(&url, "text/plain", &[], query.as_bytes()).1;
        if answer == expected {
            return;
        }
    }
    panic!("{query}: {answer}");
}

#[test]
fn what_is_posted_is_in_the_views_and_bad_records_are_dead_letters() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let pipeline = format!(
        "CREATE SOURCE orders (item TEXT NOT NULL, n BIGINT)
         WITH (connector = 'http', listen = '{address}', auth = 's3cret');
         CREATE SOURCE visits (page TEXT) WITH (connector = 'http', listen = '{address}', path = '/visits');
         CREATE MATERIALIZED VIEW sold AS SELECT item, sum(n) AS n FROM orders GROUP BY item;
         CREATE MATERIALIZED VIEW visited AS SELECT count(*) AS n FROM visits;"
    );
    let serving = serve(folder.path(), &pipeline);
    let orders = format!("http://{address}/orders");
    let bearer = [("authorization", "Bearer s3cret"), ("idempotency-key", "1")];
    for _ in 0..2 {
        let answer =
            send(&orders, "application/json", &bearer, b"[{\"item\":\"tea\",\"n\":2},{\"item\":\"cake\",\"n\":1}]");
        assert_eq!(answer, (200, "{\"rows\":2}\n".to_string()));
    }
    assert_eq!(send(&orders, "text/csv", &bearer[..1], b"n,item\n3,tea\nx,tea\n"), (200, "{\"rows\":2}\n".into()));
    assert_eq!(send(&orders, "application/x-ndjson", &bearer[..1], b"nonsense\n"), (200, "{\"rows\":1}\n".into()));
    assert_eq!(send(&orders, "text/csv", &bearer[..1], b"\"n\n3\n"), (200, "{\"rows\":1}\n".into()));
    assert_eq!(send(&orders, "application/json", &[], b"{}").0, 401);
    assert_eq!(send(&format!("http://{address}/visits"), "", &[], b"{\"page\":\"/\"}").0, 200);
    wait_for(&serving, "SELECT item, n FROM sold ORDER BY item", "item,n\ncake,1\ntea,5\n");
    wait_for(&serving, "SELECT n FROM visited", "n\n1\n");
    wait_for(&serving, "SELECT dead FROM thalweg.sources WHERE name = 'orders'", "dead\n3\n");
    assert_eq!(serving.terminate(), Some(0));
}

/// The crash may take the answer away: then the sender cannot know whether its records were taken.
#[test]
fn a_request_that_is_repeated_after_crashes_is_taken_once() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let pipeline = format!(
        "CREATE SOURCE orders (item TEXT NOT NULL, n BIGINT) WITH (connector = 'http', listen = '{address}');
         CREATE MATERIALIZED VIEW sold AS SELECT item, sum(n) AS n FROM orders GROUP BY item;"
    );
    let orders = format!("http://{address}/orders");
    let post = |key: &str, n: u32| {
        let body = format!("[{{\"item\":\"tea\",\"n\":{n}}}]");
        send(&orders, "application/json", &[("idempotency-key", key)], body.as_bytes())
    };
    let start = |interval| {
        let mut command = thalweg(folder.path(), &SERVE);
        command.args(["--checkpoint-interval", interval]);
        serve_as(folder.path(), &pipeline, command)
    };
    let taken = (200, "{\"rows\":1}\n".to_string());
    let first = start("1h");
    assert_eq!(post("from the log", 1), taken);
    drop(first);
    // The log goes with the checkpoints that hold what is in it: two of them are kept.
    let second = start("100ms");
    assert_eq!(post("from the log", 1), taken);
    for n in 0..3 {
        assert_eq!(post(&format!("more {n}"), 10), taken);
        wait_for(&second, &format!("SELECT written > {n} AS done FROM thalweg.checkpoints"), "done\ntrue\n");
    }
    drop(second);
    let third = start("1h");
    for key in ["from the log", "more 0", "more 1", "more 2"] {
        assert_eq!(post(key, 1), taken);
    }
    assert_eq!(post("another", 100), taken);
    wait_for(&third, "SELECT n FROM sold", "n\n131\n");
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let pipeline = format!(
        "CREATE SOURCE orders (item TEXT) WITH (connector = 'http', listen = '{address}');
         CREATE MATERIALIZED VIEW sold AS SELECT item FROM orders;"
    );
    std::fs::write(folder.path().join("pipeline.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let told = stderr(&output);
    assert!(told.contains(&format!("source \"orders\" cannot listen on {address}")), "{told}");
    assert_ne!(output.status.code(), Some(0));
}
