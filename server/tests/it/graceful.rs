//! SIGTERM: what was taken in is finished, a checkpoint is written, and the process ends with 0, whatever sinks do.

use crate::binary::{SERVE, Serving, serve_as, thalweg};
use crate::process::wait;
use crate::receiver::Receiver;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

fn start(folder: &Path, pipeline: &str) -> Serving {
    let mut command = thalweg(folder, &SERVE);
    command.args(["--checkpoint-interval", "1h"]);
    serve_as(folder, pipeline, command)
}

/// Ends it with SIGTERM: it must end within ten seconds, with 0. What it said.
#[allow(clippy::disallowed_methods, reason = "how long the end takes is what is tested")]
fn end(serving: Serving) -> String {
    let began = Instant::now();
    let (code, told) = serving.terminate_and_tell();
    assert_eq!(code, Some(0), "{told}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    told
}

fn count(serving: &Serving, query: &str) -> u64 {
    let url = format!("http://{}/api/v1/sql?format=csv", serving.http);
    let mut response = ureq::post(url).send(query).unwrap();
    let answer = response.body_mut().read_to_string().unwrap();
    answer.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{query}: {answer}"))
}

fn wait_until(mut done: impl FnMut() -> bool) {
    assert!((0..20_000).any(|_| done()), "it did not come to that");
}

const LOAD: &str = "
CREATE SOURCE g WITH (connector = 'generator', rate = '20000', seed = '7');
CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM g;
";

#[test]
fn under_load_the_end_is_checkpointed_and_the_next_start_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let serving = start(folder.path(), LOAD);
    wait_until(|| count(&serving, "SELECT coalesce(sum(n), 0) FROM n") > 20_000);
    let told = end(serving);
    assert!(!told.contains("going on from"), "{told}");
    let serving = start(folder.path(), LOAD);
    wait_until(|| count(&serving, "SELECT coalesce(sum(n), 0) FROM n") > 20_000);
    let told = end(serving);
    let line = told.lines().find(|line| line.contains("going on from the checkpoint of epoch")).unwrap_or_default();
    assert!(line.contains(" and 0 epochs of the log after it") && line.contains("source \"g\": last row"), "{told}");
}

#[test]
fn sinks_that_are_dead_stuck_or_slow_do_not_hold_the_end_up_and_get_their_rows_from_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let (dead, stuck) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (dead_at, stuck_at) = (dead.local_addr().unwrap(), stuck.local_addr().unwrap());
    drop(dead);
    // It takes all that comes, and is minutes behind.
    let slow = Receiver::start(0);
    slow.take_time(Duration::from_millis(200));
    let slow_at = slow.address;
    let pipeline = format!(
        "CREATE SOURCE g WITH (connector = 'generator', rate = '2000', rows = '4000', seed = '7');
         CREATE SOURCE forever WITH (connector = 'generator', rate = '10', seed = '8');
         CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM g;
         CREATE MATERIALIZED VIEW f AS SELECT count(*) AS n FROM forever;
         CREATE SINK dead AS SELECT ts, host FROM g WITH (connector = 'webhook', url = 'http://{dead_at}/');
         CREATE SINK stuck AS SELECT ts, host FROM g
         WITH (connector = 'webhook', url = 'http://{stuck_at}/', timeout = '1m');
         CREATE SINK slow AS SELECT ts, host FROM g
         WITH (connector = 'webhook', url = 'http://{slow_at}/', body = 'ndjson', batch_rows = 10);"
    );
    let serving = start(folder.path(), &pipeline);
    wait_until(|| count(&serving, "SELECT coalesce(sum(n), 0) FROM n") == 4_000);
    let told = end(serving);
    for sink in ["dead", "stuck", "slow"] {
        assert!(told.contains(&format!("sink \"{sink}\" has not taken ")), "{told}");
    }
    drop(stuck);
    let before = slow.count();
    assert!(0 < before && before < 300, "{before} requests");
    slow.take_time(Duration::ZERO);
    // The receiver is there again: it gets every row. The slow one gets those that it lacks, and others again as they were.
    let receiver = TcpListener::bind(dead_at).unwrap();
    let received = std::thread::spawn(move || receive(&receiver, 4_000));
    let serving = start(folder.path(), &pipeline);
    assert_eq!(received.join().unwrap(), 4_000);
    wait("the slow receiver lacks rows", || slow.lines().len() >= 4_000);
    drop(serving);
    let mut lines = slow.lines();
    assert_eq!(lines.len(), 4_000);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!((lines.len(), slow.changed()), (4_000, Vec::new()));
}

/// Takes requests until `rows` rows have come; how many there were.
fn receive(listener: &TcpListener, rows: usize) -> usize {
    let mut found = 0;
    while found < rows {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) {
                    found += body.matches("\"ts\"").count();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                    break;
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => request.extend_from_slice(&buffer[..read]),
            }
        }
    }
    found
}

#[test]
fn keys_without_end_hold_the_sources_and_not_the_process() {
    const BUDGET: u64 = 400 << 20;
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "
        CREATE SOURCE g WITH (connector = 'generator', seed = '7', start_time = '2026-01-01T00:00:00Z', interval = '1us');
        CREATE MATERIALIZED VIEW keys AS SELECT ts, host, count(*) AS n FROM g GROUP BY ts, host;";
    let mut command = thalweg(folder.path(), &SERVE);
    command.args(["--memory", "400MB", "--checkpoint-interval", "2s"]);
    let serving = serve_as(folder.path(), pipeline, command);
    wait_until(|| count(&serving, "SELECT count(*) FROM thalweg.memory WHERE held IS NOT NULL") == 1);
    let groups = count(&serving, "SELECT count(*) FROM keys");
    assert!(groups > 10_000, "{groups}");
    assert_eq!(count(&serving, "SELECT count(*) FROM thalweg.pipelines WHERE state = 'held back'"), 1);
    let named = "SELECT count(*) FROM thalweg.sources WHERE last_error LIKE '%most is in view \"keys\"%'";
    assert_eq!(count(&serving, named), 1);
    let rows = "SELECT sum(rows_in) FROM thalweg.sources";
    let (mut before, mut now) = (0, count(&serving, rows));
    wait_until(|| {
        before = std::mem::replace(&mut now, count(&serving, rows));
        before == now
    });
    assert!(serving.peak_memory() < BUDGET, "{} MB", serving.peak_memory() >> 20);
    assert!(end(serving).contains("Nothing is lost: run again with more --memory"));
    // With more room it goes on where it was.
    let mut command = thalweg(folder.path(), &SERVE);
    command.args(["--memory", "4GB"]);
    let serving = serve_as(folder.path(), pipeline, command);
    wait_until(|| count(&serving, rows) > now);
    assert_eq!(count(&serving, "SELECT count(*) FROM thalweg.memory WHERE held IS NOT NULL"), 0);
    end(serving);
}

/// Rows come in ten times as fast as they go out, and more: what is on its way stays within bounds, however long that goes on.
#[test]
fn a_source_that_is_too_fast_waits_for_the_sink() {
    const BUDGET: u64 = 400 << 20;
    let folder = tempfile::tempdir().unwrap();
    let slow = Receiver::start(0);
    slow.take_time(Duration::from_millis(50));
    let pipeline = format!(
        "CREATE SOURCE g WITH (connector = 'generator', seed = '7');
         CREATE SINK slow FROM g WITH (connector = 'webhook', url = 'http://{}/', batch_rows = 100);",
        slow.address
    );
    let mut command = thalweg(folder.path(), &SERVE);
    command.args(["--memory", "400MB"]);
    let serving = serve_as(folder.path(), &pipeline, command);
    let rows = || count(&serving, "SELECT sum(rows_in) FROM thalweg.sources");
    wait_until(|| count(&serving, "SELECT sum(queued_bytes) FROM thalweg.sinks") > 60 << 20);
    // What the writers have taken makes room for as many rows, and no more come in.
    let (taken, before) = (slow.count(), rows());
    wait("the sink takes nothing", || slow.count() > taken + 40);
    let came = rows() - before;
    let queued = count(&serving, "SELECT sum(queued_bytes) FROM thalweg.sinks");
    assert!(queued < 96 << 20 && came < before / 2, "{queued} bytes wait, of {before} rows and {came} more");
    assert!(serving.peak_memory() < BUDGET, "{} MB", serving.peak_memory() >> 20);
}
