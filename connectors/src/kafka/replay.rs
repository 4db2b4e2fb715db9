//! Reading once more what an earlier run has read. Spans come epoch by epoch and partition by partition, small ones, so
//! each partition keeps a queue of its own in which the next span is usually found.

use super::client::Client;
use super::feed::{config, put};
use super::options::SourceOptions;
use super::partitions::{Partitions, parse_name};
use super::queue::Queue;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::messages::{Message, Messages};
use thalweg_schemas::source::{Chunk, Fault, Partition, Payload, Polled, Span};

/// How many partitions the limits on what a consumer holds ready are made for.
const PARTITIONS: usize = 32;

/// Reads spans again.
pub(super) struct Replay {
    options: SourceOptions,
    partitions: Arc<Partitions>,
    // Queues go before the consumer that they belong to.
    tracks: BTreeMap<Arc<str>, Track>,
    client: Option<Client>,
    headers: bool,
}

/// One partition.
struct Track {
    queue: Queue,
    partition: Partition,
    /// The offset behind which everything is still to come.
    next: u64,
    /// Messages from `next` on, taken from the queue.
    ahead: Messages,
    /// How many of them were handed over.
    used: usize,
    /// The offset at which the partition was found to end.
    end: Option<u64>,
    gone: Option<String>,
    trouble: Option<(Code, String)>,
}

impl Replay {
    pub fn new(options: SourceOptions, partitions: Arc<Partitions>) -> Replay {
        let headers = options.headers;
        Replay { options, partitions, tracks: BTreeMap::new(), client: None, headers }
    }

    /// See [`thalweg_schemas::source::Reader::replay`].
    pub fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        let fits = |track: &Track| track.next <= span.start;
        if !self.tracks.get(&span.partition).is_some_and(fits) {
            self.assign(span)?;
        }
        if let Some(client) = self.client.as_ref().filter(|client| client.listen()) {
            let heard = client.listener().heard();
            return Err(self.options.cluster.call("reading again", Code::AllBrokersDown, heard.as_ref(), true));
        }
        let Some(track) = self.tracks.get_mut(&span.partition) else { return Ok(Polled::Pending) };
        track.read(span, budget, self.headers);
        if let Some((code, text)) = track.trouble.take() {
            let error = self.options.cluster.call(&format!("reading {} again", span.partition), code, None, true);
            return Err(error.with_detail(text));
        }
        track.answer(span, budget)
    }

    /// Begins to fetch the span's partition at the span's start.
    fn assign(&mut self, span: &Span) -> Result<()> {
        let (topic, number) = parse_name(&span.partition)
            .ok_or_else(|| Error::bug(format!("partition \"{}\" is none of Kafka's", span.partition)))?;
        if self.tracks.remove(&span.partition).is_some() {
            // Going back needs a new consumer; it happens only where spans are asked for out of order.
            self.tracks.clear();
            self.client = None;
        }
        let client = match &self.client {
            Some(client) => client,
            None => {
                let mut config = config(&self.options, PARTITIONS, true);
                // One partition is begun after the other, and a fetch that waits for news holds up the next.
                config.set("fetch.wait.max.ms", "10");
                self.client.insert(Client::new(&self.options.cluster, &config)?)
            }
        };
        let consumer = client.consumer();
        let queue = Queue::of_partition(consumer, topic, number)
            .ok_or_else(|| Error::bug(format!("librdkafka gives no queue for {}", span.partition)))?;
        let mut list = TopicPartitionList::new();
        put(&mut list, topic, number, span.start)?;
        consumer
            .incremental_assign(&list)
            .map_err(|error| Error::bug(format!("assigning {}: {error}", span.partition)))?;
        let partition = self.partitions.numbered(topic, number, self.options.several());
        let track = Track {
            queue,
            partition,
            next: span.start,
            ahead: Messages::default(),
            used: 0,
            end: None,
            gone: None,
            trouble: None,
        };
        self.tracks.insert(span.partition.clone(), track);
        Ok(())
    }
}

impl Track {
    /// Takes from the queue until the span is covered or `budget` bytes are there.
    fn read(&mut self, span: &Span, budget: usize, headers: bool) {
        if self.used == self.ahead.len() {
            (self.ahead, self.used) = (Messages::default(), 0);
        }
        while !self.covers(span.end) && self.ahead.byte_len() < budget {
            let Track { queue, ahead, end, gone, trouble, .. } = self;
            let taken = queue.take(|taken| {
                let offset = taken.offset().max(0) as u64;
                match taken.error() {
                    None => {
                        if offset < span.start || ahead.last_offset().is_some_and(|last| offset <= last) {
                            return;
                        }
                        ahead.push(Message { offset, key: taken.key(), value: taken.value() });
                        if headers {
                            taken.headers(|name, value| ahead.push_header(name, value));
                        }
                    }
                    Some((Code::PartitionEOF, _)) => *end = Some(offset),
                    Some((Code::AutoOffsetReset | Code::OffsetOutOfRange, text)) => *gone = Some(text),
                    Some(error) => *trouble = Some(error),
                }
            });
            if taken == 0 {
                return;
            }
        }
    }

    /// Whether nothing before `end` is still to come.
    fn covers(&self, end: u64) -> bool {
        self.ahead.last_offset().is_some_and(|last| last + 1 >= end) || self.end.is_some_and(|there| there >= end)
    }

    fn answer(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        if let Some(reason) = &self.gone {
            let reason = format!("offset {} of {} cannot be read again: {reason}", span.start, span.partition);
            return Ok(Polled::Fault(Fault { partition: span.partition.clone(), offset: span.start, reason }));
        }
        let covered = self.covers(span.end);
        let mut messages = Messages::default();
        let mut left = false;
        for (index, message) in self.ahead.iter().enumerate().skip(self.used) {
            if message.offset >= span.end {
                break;
            }
            if messages.byte_len() >= budget {
                left = true;
                break;
            }
            self.used += 1;
            if message.offset < span.start {
                continue;
            }
            messages.push(message);
            self.ahead.headers(index).for_each(|(name, value)| messages.push_header(name, value));
        }
        let end = match messages.last_offset() {
            _ if covered && !left => span.end,
            Some(last) => last + 1,
            None => return Ok(Polled::Pending),
        };
        self.next = end;
        Ok(Polled::Ready(Chunk {
            partition: self.partition.clone(),
            start: span.start,
            end,
            header: None,
            payload: Payload::Messages(messages),
        }))
    }
}
