//! A real Kafka, for tests of the built binary; and what an outsider writes into it and reads out of it.

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A broker, stopped when dropped, and when this process dies too: its script waits for the end of its input.
pub struct Broker {
    script: Child,
    pub address: String,
    folder: String,
}

/// The script that starts it.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/kafka")
}

/// How long one call to it may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Broker {
    /// One for all tests of this process that leave it alone.
    pub fn shared() -> Option<&'static Broker> {
        static SHARED: OnceLock<Option<Broker>> = OnceLock::new();
        SHARED.get_or_init(Broker::start).as_ref()
    }

    /// `None`, said in the test's output, where Kafka cannot be had.
    pub fn start() -> Option<Broker> {
        let mut script = Command::new(script());
        let mut script = script.arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = told(&mut script);
        let (Some(address), Some(folder)) = (said.get("address").cloned(), said.get("dir").cloned()) else {
            println!("skipped: no Kafka here");
            drop(script.wait());
            return None;
        };
        Some(Broker { script, address, folder })
    }

    /// Runs one of Kafka's own tools.
    pub fn tool(&self, arguments: &[&str], input: &str) {
        let mut command = Command::new(script());
        command.arg("tool").args(arguments).args(["--bootstrap-server", &self.address]);
        let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(tool.wait().unwrap().success(), "{arguments:?}");
    }

    /// Makes topics.
    pub fn create(&self, topics: &[(&str, i32)]) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        let new = topics.iter().map(|(name, n)| NewTopic::new(name, *n, TopicReplication::Fixed(1)));
        let new: Vec<_> = new.collect();
        let made = block_on(admin.create_topics(&new, &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Writes values into a topic, wherever.
    pub fn write(&self, topic: &str, values: impl IntoIterator<Item = String>) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        for value in values {
            producer.send(BaseRecord::<(), _>::to(topic).payload(&value)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Kills the broker with SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(Path::new(&self.folder).join("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
        while std::net::TcpStream::connect(&self.address).is_ok() {}
    }

    /// Starts it again, with the same data on the same ports.
    pub fn start_again(&self) {
        let mut script = Command::new(script());
        let mut script = script.args(["start", &self.folder]).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(told(&mut script).get("address"), Some(&self.address));
        script.wait().unwrap();
    }

    /// All that readers of committed records find in a topic: key and value, by partition, in order.
    pub fn committed(&self, topic: &str) -> Vec<(Option<String>, String)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", "outsider")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(PATIENCE).expect("an answer in time") {
                Ok(message) => {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    found.push((message.key().map(text), text(message.payload().unwrap())));
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{topic}: {error}"),
            }
        }
        found
    }
}

/// What the script says when the broker serves.
fn told(script: &mut Child) -> BTreeMap<String, String> {
    let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string()))).take(4).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}
