//! What one worker is fed by: a consumer whose partitions are assigned by us, and one queue for all their messages.

use super::client::Client;
use super::options::SourceOptions;
use super::partitions::Found;
use super::queue::{Queue, Taken};
use rdkafka::consumer::Consumer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use thalweg_schemas::error::{Error, Result};

/// A consumer and its queue.
pub(super) struct Feed {
    queue: Queue,
    client: Client,
}

/// How much one worker's consumer may hold ready, for all partitions together: messages, and their kilobytes.
const READY_MAX: (usize, usize) = (200_000, 65_536);

/// The configuration of a consumer that holds `partitions` ready.
pub(super) fn config(options: &SourceOptions, partitions: usize, end_events: bool) -> ClientConfig {
    let each = |of: usize, least: usize, most: usize| (of / partitions.max(1)).clamp(least, most).to_string();
    let defaults = [
        ("client.id", "thalweg"),
        ("queued.min.messages", &each(READY_MAX.0, 1_000, 50_000)),
        ("queued.max.messages.kbytes", &each(READY_MAX.1, 1_024, 16_384)),
        // A partition that had enough ready is asked for more soon after.
        ("fetch.queue.backoff.ms", "20"),
        ("fetch.error.backoff.ms", "200"),
    ];
    let fixed = [
        ("group.id", options.group.as_str()),
        ("isolation.level", &options.isolation),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // An offset that is gone is an error, which we judge ourselves.
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", if end_events { "true" } else { "false" }),
        ("allow.auto.create.topics", "false"),
    ];
    options.cluster.config(&defaults, &fixed)
}

impl Feed {
    /// A feed that has yet no partitions but is to get about as many.
    pub fn open(options: &SourceOptions, partitions: usize) -> Result<Feed> {
        let client = Client::new(&options.cluster, &config(options, partitions, true))?;
        let queue = Queue::new(client.consumer()).ok_or_else(|| Error::bug("librdkafka gives no queue"))?;
        Ok(Feed { queue, client })
    }

    /// Begins to fetch a partition.
    pub fn add<'a>(&mut self, partitions: impl Iterator<Item = (&'a Found, u64)>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (found, offset) in partitions {
            let joined = self.queue.join(&found.topic, found.number);
            joined.ok_or_else(|| Error::bug(format!("librdkafka gives no queue for {}", found.partition.name)))?;
            put(&mut list, &found.topic, found.number, offset)?;
        }
        self.client
            .consumer()
            .incremental_assign(&list)
            .map_err(|error| Error::bug(format!("assigning partitions: {error}")))
    }

    /// Hands what is there to `each`, at most one batch; how many it were.
    pub fn take(&mut self, each: impl FnMut(Taken<'_>)) -> usize {
        self.queue.take(each)
    }

    /// Lets the client say what it has to say; whether it has lost all brokers.
    pub fn listen(&self) -> bool {
        self.client.listen()
    }
}

/// Adds a partition at an offset to a list.
pub(super) fn put(list: &mut TopicPartitionList, topic: &str, number: i32, offset: u64) -> Result<()> {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    list.add_partition_offset(topic, number, Offset::Offset(offset))
        .map_err(|error| Error::bug(format!("offset {offset} of {topic}/{number}: {error}")))
}
