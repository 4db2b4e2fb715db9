//! How long a message takes from one topic to another, exactly once; and how much of that is not ours: how long the broker
//! takes to show a message that was merely written, and one that a producer writes in transactions which does nothing else.
//!
//! All delays count from when it was a message's turn, so that they have in them what the producer gathers for (`linger.ms`,
//! as librdkafka and Java have it unless told otherwise). A producer that gathers less asks the broker more often: with 1 ms
//! and ten partitions ten thousand times a second, which takes a broker of one core longer than all that is measured here.

use super::broker::Broker;
use super::{MESSAGE_BYTES, PARTITIONS, PATIENCE, Plan};
use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Messages have their turn so often; what is seen first warms things up.
const EVERY: Duration = Duration::from_millis(1);
const WARM_UP_SECONDS: u64 = 5;
/// What producers gather for, in milliseconds: the default of librdkafka and of Kafka's own.
const LINGER_MS: &str = "5";

/// Measures everything and prints it as a table.
pub(super) fn measure(binary: &Path, broker: &Broker, plan: Plan) -> Outcome {
    println!("\n{} messages/s for {} s, {} workers, delays in ms:\n", plan.rate, plan.seconds, plan.workers);
    println!("| from | to | p50 | p90 | p99 | max |");
    println!("|---|---|--:|--:|--:|--:|");
    let row = |from: &str, to: &str, delays: &Delays| {
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| delays.ms(quantile));
        println!("| {from} | {to} | {p50:.1} | {p90:.1} | {p99:.1} | {max:.1} |");
    };
    row("producer", "reader of its topic", &written(broker, plan)?);
    for epoch_ms in [50, 20] {
        let (delays, transactions) = in_transactions(broker, plan, epoch_ms)?;
        row(&format!("producer, a transaction each {epoch_ms} ms"), "reader of what is committed", &delays);
        row("begin", "commit of these transactions", &transactions);
        let delays = copied(binary, broker, plan, epoch_ms)?;
        row(&format!("producer, through thalweg, epochs of {epoch_ms} ms"), "reader of what is committed", &delays);
    }
    Ok(())
}

/// Which messages have their turn, and when.
#[derive(Clone, Copy)]
struct Load {
    schedule: Schedule,
    turns: u64,
    at_a_time: u64,
}

impl Load {
    fn from_now(plan: Plan) -> Load {
        let turns = (plan.seconds + WARM_UP_SECONDS) * 1_000;
        Load { schedule: Schedule::from_now(EVERY), turns, at_a_time: (plan.rate / 1_000).max(1) }
    }

    /// Hands the messages of a turn to a producer.
    fn send(&self, producer: &BaseProducer, topic: &str, turn: u64) -> KafkaResult<()> {
        let pad = "x".repeat(MESSAGE_BYTES - 30);
        for n in turn * self.at_a_time..(turn + 1) * self.at_a_time {
            let value = format!("{{\"n\":{n},\"pad\":\"{pad}\"}}");
            let partition = (n % PARTITIONS as u64) as i32;
            let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Writes each message at its turn.
    fn write(self, producer: BaseProducer, topic: String) -> JoinHandle<KafkaResult<()>> {
        std::thread::spawn(move || {
            for turn in 0..self.turns {
                self.schedule.wait_for(turn);
                self.send(&producer, &topic, turn)?;
                producer.poll(Duration::ZERO);
            }
            producer.flush(PATIENCE)
        })
    }

    /// Reads all of them.
    fn read(&self, consumer: &BaseConsumer) -> Outcome<Delays> {
        let mut delays = Delays::default();
        for _ in 0..self.turns * self.at_a_time {
            let message = consumer.poll(PATIENCE).ok_or("nothing comes out any more")??;
            let text = std::str::from_utf8(message.payload().unwrap_or_default())?;
            let digits: String =
                text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            let turn = digits.parse::<u64>()? / self.at_a_time;
            if turn >= WARM_UP_SECONDS * 1_000 {
                delays.record(self.schedule.since(turn));
            }
        }
        Ok(delays)
    }
}

fn producer(broker: &Broker, more: &[(&str, &str)]) -> Outcome<BaseProducer> {
    let mut config = broker.config();
    config.set("queue.buffering.max.messages", "1000000").set("linger.ms", LINGER_MS);
    for (name, value) in more {
        config.set(*name, *value);
    }
    Ok(config.create()?)
}

fn join<T>(writer: JoinHandle<KafkaResult<T>>) -> Outcome<T> {
    Ok(writer.join().map_err(|_| "the writer has panicked")??)
}

/// Until a reader has a message that was written, and no more.
fn written(broker: &Broker, plan: Plan) -> Outcome<Delays> {
    broker.create("written")?;
    let consumer = broker.reader("written")?;
    let load = Load::from_now(plan);
    let writer = load.write(producer(broker, &[])?, "written".to_string());
    let delays = load.read(&consumer)?;
    join(writer)?;
    Ok(delays)
}

/// Until a reader of what is committed has a message that a producer writes which does nothing but gather messages for
/// `epoch_ms` and write them as one transaction, with an offset; and how long these transactions take.
fn in_transactions(broker: &Broker, plan: Plan, epoch_ms: u64) -> Outcome<(Delays, Delays)> {
    let topic = format!("transactions-{epoch_ms}");
    broker.create(&topic)?;
    let producer = producer(broker, &[("transactional.id", &topic), ("linger.ms", "0"), ("compression.type", "lz4")])?;
    producer.init_transactions(PATIENCE)?;
    let member: BaseConsumer = broker.config().set("group.id", &topic).create()?;
    let group = member.group_metadata().ok_or("a consumer without a group")?;
    let consumer = broker.reader(&topic)?;
    let load = Load::from_now(plan);
    let writer = std::thread::spawn(move || {
        let (mut durations, mut next) = (Delays::default(), 0);
        while next < load.turns {
            // What has come meanwhile goes with it.
            load.schedule.wait_for(next + epoch_ms);
            let due = load.schedule.turns_until_now() / epoch_ms * epoch_ms;
            let begun = begin();
            producer.begin_transaction()?;
            for turn in next..due.min(load.turns) {
                load.send(&producer, &topic, turn)?;
            }
            next = due.min(load.turns);
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(1));
            }
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, 0, Offset::Offset(next as i64))?;
            producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
            producer.commit_transaction(PATIENCE)?;
            if next >= WARM_UP_SECONDS * 1_000 {
                durations.record(begun.elapsed());
            }
        }
        Ok(durations)
    });
    let delays = load.read(&consumer)?;
    Ok((delays, join(writer)?))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn begin() -> Instant {
    Instant::now()
}

const COPY: &str = "
CREATE SOURCE numbers (n BIGINT NOT NULL, pad TEXT)
WITH (connector = 'kafka', brokers = '{brokers}', topic = '{in}', format = 'json');
CREATE SINK copied FROM numbers WITH (connector = 'kafka', brokers = '{brokers}', topic = '{out}');
";

/// Until a reader of what is committed has a message of one topic from the other.
fn copied(binary: &Path, broker: &Broker, plan: Plan, epoch_ms: u64) -> Outcome<Delays> {
    let (input, output) = (format!("in-{epoch_ms}"), format!("out-{epoch_ms}"));
    broker.create(&input)?;
    broker.create(&output)?;
    let folder = tempfile::tempdir()?;
    let pipeline = COPY.replace("{brokers}", &broker.address).replace("{in}", &input).replace("{out}", &output);
    let epoch = format!("{epoch_ms}ms");
    let _serving = Serving::start_with(binary, folder.path(), &pipeline, plan.workers, &["--epoch", &epoch])?;
    let consumer = broker.reader(&output)?;
    let load = Load::from_now(plan);
    let writer = load.write(producer(broker, &[])?, input);
    let delays = load.read(&consumer)?;
    join(writer)?;
    Ok(delays)
}
