//! From a row handed in to the webhook about it: rows are appended to a file that a running binary follows, at times fixed
//! beforehand; now and then one makes an alert fire, or resolves it, and a receiver on this machine says when it heard so.
//! And the memory of alerts that fire.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// `FOR` is absent: a row is judged in the epoch in which a later one has come.
const PIPELINE: &str = "
CREATE SOURCE readings (ts TIMESTAMP NOT NULL, key BIGINT, value DOUBLE, turn BIGINT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'rows.ndjson', format = 'json', mode = 'tail');
CREATE NOTIFIER receiver WITH (type = 'webhook', url = 'http://{receiver}/', format = 'template',
                               template = '{{annotations.turn}}', concurrency = '16');
CREATE ALERT high FROM readings BY key CRITICAL WHEN value > 500
ANNOTATIONS (turn = '{{turn}}') NOTIFY receiver;
";

/// All alerts fire, and are known to a notifier that waits to tell of them.
const FIRING: &str = "
CREATE SOURCE readings (ts TIMESTAMP NOT NULL, key BIGINT, value DOUBLE, turn BIGINT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'rows.ndjson', format = 'json', mode = 'tail');
CREATE NOTIFIER receiver WITH (type = 'webhook', url = 'http://127.0.0.1:9/', group_by = 'alertname', group_wait = '1h');
CREATE ALERT high FROM readings BY key CRITICAL WHEN value > 500 NOTIFY receiver;
";

/// Between two appends.
const EVERY: Duration = Duration::from_millis(1);
/// Between two rows that change something, in appends.
const CHANGE_EVERY: u64 = 5;
/// When the notifier has heard of all alerts, and nothing is kept of what was there before (`--retention`, a minute).
const REST: Duration = Duration::from_secs(75);
/// For how long a webhook is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is asked.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Rows a second.
    pub rate: u64,
    /// How many keys they are of.
    pub keys: u64,
    /// For how long.
    pub seconds: u64,
    /// Worker threads.
    pub workers: usize,
    /// How many alerts fire when memory is measured.
    pub firing: u64,
}

/// Measures both.
pub fn measure(binary: &Path, plan: Plan) -> Outcome {
    let Plan { rate, keys, seconds, workers, firing } = plan;
    let delays = delays(binary, plan)?;
    println!(
        "{rate} rows/s of {keys} keys for {seconds} s, {workers} workers: handed in to webhook, {} of them: {}",
        delays.len(),
        delays.line()
    );
    let Memory { without, at_rest, peak } = memory(binary, firing, workers)?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{firing} alerts that fire: {:.0} MB more than the {:.0} MB without any, at most {:.0} MB more",
        megabytes(at_rest.saturating_sub(without)),
        megabytes(without),
        megabytes(peak.saturating_sub(without))
    );
    Ok(())
}

/// The rows of a turn. One of them changes something every so often: half of the keys fire one after the other, and are
/// resolved in the same order then.
fn rows(turn: u64, at_a_time: u64, keys: u64) -> String {
    let mut text = String::new();
    let half = (keys / 2).max(1);
    for n in 0..at_a_time {
        let row = turn * at_a_time + n;
        let change = turn / CHANGE_EVERY;
        let (key, value) = match (turn % CHANGE_EVERY, n) {
            (0, 0) => (change % half, if (change / half).is_multiple_of(2) { 900.0 } else { 1.0 }),
            _ => (half + row % half, 1.0),
        };
        let _written = writeln!(text, "{}", record(row * 1_000 / at_a_time, key, value, turn));
    }
    text
}

/// A row, so many microseconds after the first.
fn record(micros: u64, key: u64, value: f64, turn: u64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let time = format!("2026-01-01T{hour:02}:{minute:02}:{second:02}.{fraction:06}");
    format!(r#"{{"ts":"{time}","key":{key},"value":{value},"turn":{turn}}}"#)
}

/// How long each webhook took from its row's turn on.
fn delays(binary: &Path, plan: Plan) -> Outcome<Delays> {
    let folder = tempfile::tempdir()?;
    let (address, heard) = receive()?;
    let file = File::create(folder.path().join("rows.ndjson"))?;
    let at_a_time = (plan.rate / 1_000).max(1);
    let turns = plan.seconds * 1_000;
    // The last is judged when a later row has come.
    let texts: Vec<String> = (0..=turns).map(|turn| rows(turn, at_a_time, plan.keys)).collect();
    let pipeline = PIPELINE.replace("{receiver}", &address.to_string());
    let _serving = Serving::start(binary, folder.path(), &pipeline, plan.workers)?;
    let schedule = Schedule::from_now(EVERY);
    let writer = schedule.write(texts, file);
    let mut delays = Delays::default();
    while delays.len() < turns.div_ceil(CHANGE_EVERY) {
        let (turn, at) = heard.recv_timeout(PATIENCE).map_err(|_| "a webhook did not come")?;
        delays.record(at.saturating_duration_since(schedule.turn(turn)));
    }
    writer.join().map_err(|_| "the writer has panicked")??;
    Ok(delays)
}

/// Receives webhooks whose bodies are the numbers of turns; each with when it came.
fn receive() -> Outcome<(SocketAddr, Receiver<(u64, Instant)>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (say, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let say = say.clone();
            std::thread::spawn(move || take(stream, &say));
        }
    });
    Ok((address, heard))
}

/// Answers the requests of a connection until it breaks.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn take(stream: TcpStream, say: &Sender<(u64, Instant)>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while stream.read_line(&mut line).ok()? > 0 && !line.trim_end().is_empty() {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let turn = std::str::from_utf8(&body).ok()?.parse().ok()?;
        say.send((turn, Instant::now())).ok()?;
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

/// What a process takes, in bytes.
struct Memory {
    without: u64,
    at_rest: u64,
    peak: u64,
}

/// What the process takes without alerts, and with so many that fire.
fn memory(binary: &Path, firing: u64, workers: usize) -> Outcome<Memory> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("rows.ndjson"))?;
    let serving = Serving::start(binary, folder.path(), FIRING, workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = serving.connect().await?;
        let known = "SELECT count(*) FROM high WHERE state = 'firing'";
        client.simple_query(known).await?;
        let without = serving.resident_memory()?;
        let mut text = String::new();
        for key in 0..=firing {
            // The last row is of a later time: the others are judged.
            let (micros, value) = if key == firing { (1_000, 1.0) } else { (0, 900.0) };
            let _written = writeln!(text, "{}", record(micros, key, value, 0));
        }
        file.write_all(text.as_bytes())?;
        let mut shown = 0;
        while shown < firing {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let rows = client.query(known, &[]).await?;
            shown = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?.unsigned_abs();
        }
        tokio::time::sleep(REST).await;
        Ok(Memory { without, at_rest: serving.resident_memory()?, peak: serving.peak_memory()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_of_a_key_that_nothing_else_touches() {
        let text: String = (0..40).map(|turn| rows(turn, 3, 4)).collect();
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 120);
        let of_key =
            |key: u64| rows.iter().filter(move |row| row["key"] == key).map(|row| row["value"].as_f64().unwrap());
        assert_eq!(of_key(0).collect::<Vec<_>>(), [900.0, 1.0, 900.0, 1.0]);
        assert_eq!(of_key(1).collect::<Vec<_>>(), [900.0, 1.0, 900.0, 1.0]);
        let times: Vec<&str> = rows.iter().map(|row| row["ts"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn a_webhook_is_heard_with_its_turn() {
        let (address, heard) = receive().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for turn in ["7", "12"] {
            write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{turn}", turn.len()).unwrap();
        }
        let turns = [0, 1].map(|_| heard.recv_timeout(Duration::from_secs(10)).unwrap().0);
        assert_eq!(turns, [7, 12]);
    }
}
