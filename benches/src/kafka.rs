//! Kafka in, Kafka out, against a real broker on this machine: how many messages a second are read, decoded and windowed;
//! how long a message takes from topic to topic, exactly once; what the epoch log and checkpoints cost.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use crate::w1;
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is measured, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many messages the topics hold that are read whole.
    pub messages: u64,
    /// How often they are read, in each way.
    pub rounds: usize,
    /// Messages a second from topic to topic.
    pub rate: u64,
    /// How long.
    pub seconds: u64,
    /// Worker threads.
    pub workers: usize,
}

const PARTITIONS: i32 = 10;
const MESSAGE_BYTES: usize = 200;
/// How long one call to the broker may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures everything and prints it as tables.
pub fn measure(binary: &Path, script: &Path, plan: Plan) -> Outcome {
    let broker = Broker::start(script)?;
    println!("| topic of {} messages, {} workers | s | messages/s | of the one without |", plan.messages, plan.workers);
    println!("|---|--:|--:|--:|");
    broker.fill("padded", plan.messages, |row| padded(&row))?;
    let mut windowed = Vec::new();
    for _ in 0..plan.rounds {
        windowed.push(read_whole(binary, &broker, plan, "padded", COUNTED, "off")?);
    }
    report("200 bytes, counted in windows", plan, median(windowed), None);
    broker.fill("w1", plan.messages, |row| row.to_json())?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        without.push(read_whole(binary, &broker, plan, "w1", W1, "off")?);
        with.push(read_whole(binary, &broker, plan, "w1", W1, "state")?);
    }
    let (without, with) = (median(without), median(with));
    report("W1, no state kept", plan, without, None);
    report("W1, epoch log and checkpoints each 10 s", plan, with, Some(without));
    println!("\ntopic to topic, exactly once, {} messages/s for {} s:", plan.rate, plan.seconds);
    for epoch in ["50ms", "20ms"] {
        let delays = topic_to_topic(binary, &broker, plan, epoch)?;
        println!("epochs of {epoch}: {}", delays.line());
    }
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

const COPY: &str = "
CREATE SOURCE numbers (n BIGINT NOT NULL, pad TEXT)
WITH (connector = 'kafka', brokers = '{brokers}', topic = '{in}', format = 'json');
CREATE SINK copied FROM numbers WITH (connector = 'kafka', brokers = '{brokers}', topic = '{out}');
";
/// Messages are handed in so often; what is seen first warms things up.
const EVERY: Duration = Duration::from_millis(1);
const WARM_UP_SECONDS: u64 = 3;

/// From when it was a message's turn until a reader of committed messages has it from the other topic.
fn topic_to_topic(binary: &Path, broker: &Broker, plan: Plan, epoch: &str) -> Outcome<Delays> {
    let (input, output) = (format!("in-{epoch}"), format!("out-{epoch}"));
    broker.create(&input)?;
    broker.create(&output)?;
    let folder = tempfile::tempdir()?;
    let pipeline = COPY.replace("{brokers}", &broker.address).replace("{in}", &input).replace("{out}", &output);
    let _serving = Serving::start_with(binary, folder.path(), &pipeline, plan.workers, &["--epoch", epoch])?;
    let consumer = broker.reader(&output)?;
    let at_a_time = (plan.rate / 1_000).max(1);
    let turns = (plan.seconds + WARM_UP_SECONDS) * 1_000;
    let pad = "x".repeat(MESSAGE_BYTES - 30);
    let producer = broker.producer()?;
    let schedule = Schedule::from_now(EVERY);
    let writer = std::thread::spawn(move || {
        for turn in 0..turns {
            schedule.wait_for(turn);
            for at in 0..at_a_time {
                let n = turn * at_a_time + at;
                let value = format!("{{\"n\":{n},\"pad\":\"{pad}\"}}");
                let partition = (n % PARTITIONS as u64) as i32;
                producer
                    .send(BaseRecord::<(), _>::to(&input).partition(partition).payload(&value))
                    .map_err(|(e, _)| e)?;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE)
    });
    let (mut delays, mut seen) = (Delays::default(), 0);
    while seen < turns * at_a_time {
        let message = consumer.poll(PATIENCE).ok_or("nothing comes out any more")??;
        let text = std::str::from_utf8(message.payload().unwrap_or_default())?;
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let turn = digits.parse::<u64>()? / at_a_time;
        if turn >= WARM_UP_SECONDS * 1_000 {
            delays.record(schedule.since(turn));
        }
        seen += 1;
    }
    writer.join().map_err(|_| "the writer has panicked")??;
    Ok(delays)
}

/// A broker, started by `deploy/dev/kafka run`, which stops it when its input ends.
struct Broker {
    script: Child,
    address: String,
}

impl Broker {
    fn start(script: &Path) -> Outcome<Broker> {
        let mut command = Command::new(script);
        let mut script = command.arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(script.stdout.take().ok_or("no output")?).lines();
        let said = lines.next().ok_or("the broker did not start")??;
        // It says more, which nobody reads: the pipe is kept open for it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = said.strip_prefix("address ").ok_or("the broker says no address")?.to_string();
        Ok(Broker { script, address })
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn create(&self, topic: &str) -> Outcome {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let made = block_on(admin.create_topics(&[new], &AdminOptions::new()))?;
        made.into_iter()
            .try_for_each(|made| made.map(drop).map_err(|(topic, error)| format!("{topic}: {error}").into()))
    }

    fn producer(&self) -> Outcome<BaseProducer> {
        let mut config = self.config();
        config.set("queue.buffering.max.messages", "1000000").set("linger.ms", "1");
        Ok(config.create()?)
    }

    /// Makes a topic of so many rows of W1.
    fn fill(&self, topic: &str, messages: u64, value: impl Fn(w1::Row) -> String) -> Outcome {
        self.create(topic)?;
        let mut config = self.config();
        config.set("queue.buffering.max.messages", "1000000").set("linger.ms", "50").set("compression.type", "lz4");
        let producer: BaseProducer = config.create()?;
        for (n, row) in w1::Rows::new(1, 100).take(messages as usize).enumerate() {
            let value = value(row);
            let mut record = BaseRecord::<(), _>::to(topic).partition((n % PARTITIONS as usize) as i32).payload(&value);
            while let Err((error, back)) = producer.send(record) {
                match error {
                    KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                        producer.poll(Duration::from_millis(10));
                        record = back;
                    }
                    error => return Err(error.into()),
                }
            }
        }
        Ok(producer.flush(PATIENCE)?)
    }

    /// Reads what is committed of a topic.
    fn reader(&self, topic: &str) -> Outcome<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", "bench").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "5");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
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
