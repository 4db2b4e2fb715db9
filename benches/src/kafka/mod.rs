//! Kafka in, Kafka out, against a real broker on this machine: how many messages a second are read, decoded and windowed;
//! how long a message takes from topic to topic, exactly once; what the epoch log and checkpoints cost.

mod broker;
mod topic_to_topic;

use crate::serving::Outcome;
use crate::w1;
use broker::Broker;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is measured, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many messages the topics hold that are read whole.
    pub messages: u64,
    /// How often they are read, in each way; not at all with 0.
    pub rounds: usize,
    /// Messages a second from topic to topic.
    pub rate: u64,
    /// How long.
    pub seconds: u64,
    /// Worker threads.
    pub workers: usize,
}

/// Partitions of each topic.
const PARTITIONS: i32 = 10;
const MESSAGE_BYTES: usize = 200;
/// How long one call to the broker may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures everything and prints it as tables.
pub fn measure(binary: &Path, script: &Path, plan: Plan) -> Outcome {
    let broker = Broker::start(script)?;
    if plan.rounds > 0 {
        throughput(binary, &broker, plan)?;
    }
    topic_to_topic::measure(binary, &broker, plan)
}

fn throughput(binary: &Path, broker: &Broker, plan: Plan) -> Outcome {
    println!("| topic of {} messages, {} workers | s | messages/s | of the one without |", plan.messages, plan.workers);
    println!("|---|--:|--:|--:|");
    broker.fill("padded", plan.messages, |row| padded(&row))?;
    let mut windowed = Vec::new();
    for _ in 0..plan.rounds {
        windowed.push(read_whole(binary, broker, plan, "padded", COUNTED, "off")?);
    }
    report("200 bytes, counted in windows", plan, median(windowed), None);
    broker.fill("w1", plan.messages, |row| row.to_json())?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        without.push(read_whole(binary, broker, plan, "w1", W1, "off")?);
        with.push(read_whole(binary, broker, plan, "w1", W1, "state")?);
    }
    let (without, with) = (median(without), median(with));
    report("W1, no state kept", plan, without, None);
    report("W1, epoch log and checkpoints each 10 s", plan, with, Some(without));
    Ok(())
}

fn report(what: &str, plan: Plan, seconds: f64, of: Option<f64>) {
    let ratio = of.map_or(String::new(), |without| format!("{:.1} %", 100.0 * without / seconds));
    println!("| {what} | {seconds:.2} | {:.0} | {ratio} |", plan.messages as f64 / seconds);
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// A row as a message of [`MESSAGE_BYTES`].
fn padded(row: &w1::Row) -> String {
    let json = row.to_json();
    let open = json.trim_end_matches('}');
    let room = MESSAGE_BYTES.saturating_sub(open.len() + ",\"pad\":\"\"}".len());
    format!("{open},\"pad\":\"{}\"}}", "x".repeat(room))
}

const SOURCE: &str = "
CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '1 second'
) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json', mode = 'bounded');
";
const COUNTED: &str = "
CREATE MATERIALIZED VIEW counts AS
SELECT window_start, service, region, count(*) AS requests, max(latency_ms) AS max_ms
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds') GROUP BY window_start, service, region EMIT ON WINDOW CLOSE;
CREATE SINK counted FROM counts WITH (connector = 'blackhole');
";
const W1: &str = "
CREATE MATERIALIZED VIEW answers AS
SELECT window_start, window_end, service, region, count(*) AS requests, avg(latency_ms) AS avg_ms,
       max(latency_ms) AS max_ms, approx_percentile_cont(latency_ms, 0.99) AS p99
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service, region EMIT ON WINDOW CLOSE;
CREATE SINK w1 FROM answers WITH (connector = 'blackhole');
";

/// The seconds of a whole run over a topic, from the start of the process to its end.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn read_whole(binary: &Path, broker: &Broker, plan: Plan, topic: &str, sink: &str, data: &str) -> Outcome<f64> {
    let folder = tempfile::tempdir()?;
    let source = SOURCE.replace("{brokers}", &broker.address).replace("{topic}", topic);
    std::fs::write(folder.path().join("pipeline.sql"), source + sink)?;
    let mut command = Command::new(binary);
    command.current_dir(folder.path()).args(["run", "pipeline.sql", "--pg", "off", "--http", "off", "--data", data]);
    command.args(["--workers", &plan.workers.to_string()]);
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("it failed:\n{said}").into());
    }
    // `done: 5,000,000 rows in`: all of them, none dead.
    let all = said.replace(',', "").contains(&format!("done: {} rows in", plan.messages));
    if all { Ok(seconds) } else { Err(format!("not all messages were read:\n{said}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_long_as_they_are_said_to_be() {
        for row in w1::Rows::new(1, 100).take(100) {
            let message = padded(&row);
            assert_eq!(message.len(), MESSAGE_BYTES, "{message}");
            assert!(message.ends_with("x\"}"));
        }
    }
}
