//! Dead letters of the built binary: there after SIGKILL, once, and sent back to their source after a fix.

use crate::binary::{SERVE, Serving, serve, serve_as, thalweg};
use std::net::TcpListener;
use std::path::Path;

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn try_post(url: &str, body: &[u8]) -> Option<String> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let mut response = agent.post(url).content_type("application/x-ndjson").send(body).ok()?;
    response.body_mut().read_to_string().ok()
}

fn post(url: &str, body: &[u8]) -> String {
    try_post(url, body).unwrap()
}

/// The answer to a statement as CSV, without the line of names.
fn ask(serving: &Serving, query: &str) -> String {
    let answer = post(&format!("http://{}/api/v1/sql?format=csv", serving.http), query.as_bytes());
    answer.split_once('\n').map(|(_, rows)| rows.trim_end().to_string()).unwrap_or(answer)
}

fn wait_for(serving: &Serving, query: &str, expected: &str) {
    for _ in 0..20_000 {
        if ask(serving, query) == expected {
            return;
        }
    }
    panic!("{query}: {}", ask(serving, query));
}

/// A pipeline that counts orders, which come over HTTP; `n` has the type `of_n`.
fn orders(address: &str, of_n: &str) -> String {
    format!(
        "CREATE SOURCE orders (item TEXT NOT NULL, n {of_n})
         WITH (connector = 'http', listen = '{address}');
         CREATE MATERIALIZED VIEW sold AS SELECT item, count(*) AS n FROM orders GROUP BY item;"
    )
}

/// Serves a pipeline whose source has changed, so that what the view has counted is lost.
fn serve_changed(folder: &Path, pipeline: &str) -> Serving {
    let mut command = thalweg(folder, &SERVE);
    command.args(["--allow-state-loss", "sold"]);
    serve_as(folder, pipeline, command)
}

/// The examples of the page about `REPLAY`: how to look, the pipeline after the fix, the statement.
fn examples() -> [String; 3] {
    let page = include_str!("../../../docs/sql/replay-dead-letters.md");
    let blocks = page.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap().to_string());
    blocks.collect::<Vec<_>>().try_into().unwrap()
}

const IN_AND_OUT: &str = "SELECT rows_in, rows_out, dead, replayed, rows_in - rows_out - dead FROM thalweg.sources";

#[test]
fn dead_letters_outlive_the_process_and_are_rows_after_a_fix() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let url = format!("http://{address}/orders");
    let serving = serve(folder.path(), &orders(&address, "BIGINT"));
    let body = "{\"item\":\"tea\",\"n\":1}\n{\"item\":\"tea\",\"n\":\"2 boxes\"}\nnonsense\n{\"item\":\"cake\",\"n\":\"3x\"}\n";
    assert_eq!(post(&url, body.as_bytes()), "{\"rows\":4}\n");
    let listed = "SELECT origin, text, attempts FROM thalweg.dead_letters ORDER BY text";
    let three = "orders,nonsense,1\norders,\"{\"\"item\"\":\"\"cake\"\",\"\"n\"\":\"\"3x\"\"}\",1\norders,\"{\"\"item\"\":\"\"tea\"\",\"\"n\"\":\"\"2 boxes\"\"}\",1";
    wait_for(&serving, listed, three);
    // The same pipeline finds them where they were, and can do no more with them than before.
    drop(serving);
    let serving = serve(folder.path(), &orders(&address, "BIGINT"));
    wait_for(&serving, "SELECT item, n FROM sold", "tea,1");
    assert_eq!(ask(&serving, listed), three);
    assert_eq!(ask(&serving, "REPLAY DEAD LETTERS FROM orders WHERE text LIKE '%cake%'"), "1,0,1,0");
    assert_eq!(
        ask(&serving, "SELECT attempts, count(*) FROM thalweg.dead_letters GROUP BY attempts ORDER BY 1"),
        "1,2\n2,1"
    );
    assert_eq!(ask(&serving, IN_AND_OUT), "5,1,4,1,0");
    assert_eq!(serving.terminate(), Some(0));
    // A changed source begins anew, and finds them by its name: the example of the manual.
    let [look, changed, replay] = examples();
    let changed = changed.replace("127.0.0.1:8088", &address);
    let serving = serve_changed(folder.path(), &changed);
    assert_eq!(ask(&serving, &format!("SELECT sum(\"count(*)\") FROM ({look})")), "3");
    assert_eq!(ask(&serving, &replay), "1,1,0,0");
    assert_eq!(ask(&serving, "REPLAY DEAD LETTERS FROM orders"), "2,1,1,0");
    assert_eq!(ask(&serving, "SELECT text, attempts FROM thalweg.dead_letters"), "nonsense,2");
    assert_eq!(ask(&serving, "SELECT item, n FROM sold ORDER BY item"), "cake,1\ntea,1");
    assert_eq!(ask(&serving, IN_AND_OUT), "3,2,1,3,0");
    drop(serving);
    let serving = serve(folder.path(), &changed);
    wait_for(&serving, "SELECT item, n FROM sold ORDER BY item", "cake,1\ntea,1");
    assert_eq!(ask(&serving, "SELECT text, attempts FROM thalweg.dead_letters"), "nonsense,2");
    assert_eq!(ask(&serving, IN_AND_OUT), "3,2,1,3,0");
    let sql = format!("http://{}/api/v1/sql?format=csv", serving.http);
    assert!(post(&sql, b"REPLAY DEAD LETTERS FROM ordres").contains("does not exist"));
    assert!(post(&sql, b"REPLAY DEAD LETTERS FROM orders WHERE txt = ''").contains("txt"));
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_replay_that_is_killed_loses_nothing_and_counts_nothing_twice() {
    const LETTERS: usize = 20_000;
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let serving = serve(folder.path(), &orders(&address, "BIGINT"));
    let padding = "x".repeat(300);
    let body = |n| format!("{{\"item\":\"tea\",\"n\":\"{n}{padding}\"}}\n");
    let bodies: String = (0..LETTERS).map(body).collect();
    post(&format!("http://{address}/orders"), bodies.as_bytes());
    wait_for(&serving, "SELECT count(*) FROM thalweg.dead_letters", &LETTERS.to_string());
    drop(serving);
    let changed = orders(&address, "TEXT");
    let mut kills = 0;
    loop {
        let serving = serve_changed(folder.path(), &changed);
        wait_for(&serving, SOLD_AND_LEFT, &LETTERS.to_string());
        let before = sold(&serving);
        if before == LETTERS || kills == 5 {
            ask(&serving, "REPLAY DEAD LETTERS FROM orders");
            assert_eq!((sold(&serving), left(&serving)), (LETTERS, 0), "after {kills} kills");
            break;
        }
        let url = format!("http://{}/api/v1/sql?format=csv", serving.http);
        let asking = std::thread::spawn(move || try_post(&url, b"REPLAY DEAD LETTERS FROM orders"));
        while sold(&serving) == before {}
        drop(serving);
        kills += 1;
        asking.join().unwrap();
    }
    assert!(kills > 0);
}

/// What the view counts, and what is still a dead letter.
const SOLD_AND_LEFT: &str =
    "SELECT (SELECT coalesce(sum(n), 0) FROM sold) + (SELECT count(*) FROM thalweg.dead_letters)";

fn sold(serving: &Serving) -> usize {
    ask(serving, "SELECT coalesce(sum(n), 0) FROM sold").parse().unwrap()
}

fn left(serving: &Serving) -> usize {
    ask(serving, "SELECT count(*) FROM thalweg.dead_letters").parse().unwrap()
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    entries.map(|e| if e.path().is_dir() { bytes_below(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

#[test]
fn there_is_a_limit_to_what_is_kept_and_what_goes_is_counted() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut command = thalweg(folder.path(), &SERVE);
    command.args(["--dead-letters-max", "1MB"]);
    let serving = serve_as(folder.path(), &orders(&address, "BIGINT"), command);
    let bad = format!("{}\n", "x".repeat(1_000)).repeat(200);
    for _ in 0..15 {
        post(&format!("http://{address}/orders"), bad.as_bytes());
    }
    wait_for(&serving, "SELECT dead FROM thalweg.sources", "3000");
    wait_for(&serving, "SELECT removed > 0 AND bytes <= bytes_max FROM thalweg.dead_letter_space", "true");
    wait_for(
        &serving,
        "SELECT (SELECT count(*) FROM thalweg.dead_letters) + (SELECT removed FROM thalweg.dead_letter_space)",
        "3000",
    );
    assert!(bytes_below(&folder.path().join("thalweg-data/dead-letters")) <= 1 << 20);
    assert_eq!(
        ask(&serving, "SELECT origin, sum(count) FROM thalweg.dead_letter_counts GROUP BY origin"),
        "orders,3000"
    );
    let metrics = ureq::get(format!("http://{}/metrics", serving.http)).call().unwrap();
    let metrics = metrics.into_body().read_to_string().unwrap();
    assert!(metrics.contains("thalweg_dead_letters_total{origin=\"orders\",reason="), "{metrics}");
    assert!(metrics.contains("thalweg_dead_letters_removed_total{origin=\"orders\"} "), "{metrics}");
    assert_eq!(serving.terminate(), Some(0));
}
