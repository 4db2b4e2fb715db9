//! A real Kafka: started once for all tests of this process, stopped when the process ends, however it ends.

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A broker.
pub(super) struct Broker {
    /// Its open address.
    pub address: String,
    /// The address that wants TLS and a password.
    pub secure: String,
    /// Where `ca.pem` lies.
    pub folder: String,
    /// Its standard input ends with this process, and so does the broker.
    _script: Child,
}

/// The broker; `None`, said in the test's output, where Kafka cannot be had.
pub(super) fn broker() -> Option<&'static Broker> {
    static BROKER: OnceLock<Result<Broker, String>> = OnceLock::new();
    match BROKER.get_or_init(start) {
        Ok(broker) => Some(broker),
        Err(reason) => {
            println!("skipped: no Kafka here: {reason}");
            None
        }
    }
}

fn start() -> Result<Broker, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/kafka");
    let mut script = Command::new(script)
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let lines = BufReader::new(script.stdout.take().ok_or("no output")?).lines();
    let mut said = std::collections::BTreeMap::new();
    for line in lines.map_while(Result::ok) {
        if let Some((name, value)) = line.split_once(' ') {
            said.insert(name.to_string(), value.to_string());
        }
        if said.contains_key("pid") {
            break;
        }
    }
    let mut take = |name: &str| said.remove(name).ok_or_else(|| format!("deploy/dev/kafka says no {name}"));
    Ok(Broker { address: take("address")?, secure: take("secure")?, folder: take("dir")?, _script: script })
}

impl Broker {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap()
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let made = block_on(self.admin().create_topics(&[new], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = block_on(self.admin().create_partitions(&[new], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes the records of partition 0 before `offset`.
    pub fn delete_before(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }
}
