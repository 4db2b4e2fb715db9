//! A broker of the bench's own, and its clients.

use super::{PARTITIONS, PATIENCE};
use crate::serving::Outcome;
use crate::w1;
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A broker, started by `deploy/dev/kafka run`, which stops it when its input ends.
pub(super) struct Broker {
    script: Child,
    /// `HOST:PORT`.
    pub address: String,
}

impl Broker {
    /// Starts one with nothing in it.
    pub fn start(script: &Path) -> Outcome<Broker> {
        let mut command = Command::new(script);
        let mut script = command.arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(script.stdout.take().ok_or("no output")?).lines();
        let said = lines.next().ok_or("the broker did not start")??;
        // It says more, which nobody reads: the pipe is kept open for it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = said.strip_prefix("address ").ok_or("the broker says no address")?.to_string();
        Ok(Broker { script, address })
    }

    /// What every client is told.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str) -> Outcome {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let made = block_on(admin.create_topics(&[new], &AdminOptions::new()))?;
        made.into_iter()
            .try_for_each(|made| made.map(drop).map_err(|(topic, error)| format!("{topic}: {error}").into()))
    }

    /// Makes a topic of so many rows of W1.
    pub fn fill(&self, topic: &str, messages: u64, value: impl Fn(w1::Row) -> String) -> Outcome {
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
    pub fn reader(&self, topic: &str) -> Outcome<BaseConsumer> {
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
