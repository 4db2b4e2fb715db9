//! The partitions of one worker, and what is in hand of each: messages that make its next chunk.

use super::client::Cluster;
use super::feed::Feed;
use super::partitions::{Found, Partitions};
use super::queue::Taken;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;
use thalweg_schemas::messages::{Message, Messages};
use thalweg_schemas::source::{Chunk, Fault, Partition, Payload, Polled};

/// A partition of this worker's.
pub(super) struct Slot {
    found: Found,
    /// Where its next chunk begins.
    next: u64,
    /// Messages since `next`.
    filling: Messages,
    /// Whether anything was read of it.
    read: bool,
    /// Whether its trouble has been told.
    troubled: bool,
    /// Whether its end is reached.
    done: bool,
    /// The offset at which the partition was found to end last.
    end: Option<u64>,
}

impl Slot {
    fn new(found: Found) -> Slot {
        let mut slot = Slot {
            next: found.start,
            filling: Messages::default(),
            read: false,
            troubled: false,
            done: false,
            end: None,
            found,
        };
        slot.check_end(slot.next);
        slot
    }

    /// Whether all is read that was there.
    pub fn is_at_end(&self) -> bool {
        let next = self.filling.last_offset().map_or(self.next, |last| last + 1);
        self.end.is_some_and(|end| end >= next)
    }

    fn check_end(&mut self, next: u64) {
        self.done |= self.found.end.is_some_and(|end| next >= end);
    }

    /// Keeps a message, if it is to be read.
    fn take(&mut self, taken: &Taken<'_>, headers: bool) {
        let offset = taken.offset().max(0) as u64;
        if self.done || offset < self.next {
            return;
        }
        if self.found.end.is_some_and(|end| offset >= end) {
            self.done = true;
            return;
        }
        self.filling.push(Message { offset, key: taken.key(), value: taken.value() });
        if headers {
            taken.headers(|name, value| self.filling.push_header(name, value));
        }
        (self.read, self.troubled) = (true, false);
        self.check_end(offset + 1);
    }

    /// What was taken since the last chunk. Offsets that nobody gets to see (of markers, of compacted records) belong
    /// to the chunk whose first record comes after them.
    fn chunk(&mut self) -> Chunk {
        // As much is likely to come next time.
        let room = Messages::with_capacity(self.filling.len(), self.filling.byte_len());
        let messages = std::mem::replace(&mut self.filling, room);
        let start = self.next;
        self.next = messages.last_offset().map_or(start, |last| last + 1);
        Chunk {
            partition: self.found.partition.clone(),
            start,
            end: self.next,
            header: None,
            payload: Payload::Messages(messages),
        }
    }
}

/// The partitions of this worker, by how messages name them.
pub(super) struct Slots {
    slots: Vec<Slot>,
    by_topic: BTreeMap<(usize, i32), usize>,
    headers: bool,
    /// The slots that hold messages, in the order in which they got the first.
    touched: Vec<usize>,
    troubles: Vec<(usize, Trouble)>,
}

impl Slots {
    pub fn new(headers: bool) -> Slots {
        Slots { slots: Vec::new(), by_topic: BTreeMap::new(), headers, touched: Vec::new(), troubles: Vec::new() }
    }

    pub fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether all have reached their end.
    pub fn done(&self) -> bool {
        self.slots.iter().all(|slot| slot.done)
    }

    /// Whether the scout says something new of this partition.
    pub fn is_news(&self, found: &Found) -> bool {
        !self.slots.iter().any(|slot| slot.found == *found)
    }

    /// Takes up a partition; whether it is one that goes on elsewhere.
    pub fn put(&mut self, found: Found) -> bool {
        match self.slots.iter_mut().find(|slot| slot.found.partition == found.partition) {
            None => self.slots.push(Slot::new(found)),
            Some(slot) if slot.found == found => {}
            Some(slot) => {
                *slot = Slot::new(found);
                return true;
            }
        }
        false
    }

    /// Takes about `budget` bytes from the queue.
    pub fn fill(&mut self, feed: &mut Feed, budget: usize) {
        let (mut bytes, mut last) = (0, None);
        let Slots { slots, by_topic, headers, touched, troubles } = self;
        while bytes < budget {
            let taken = feed.take(|taken| {
                let place = (taken.topic_id(), taken.partition());
                let index = match last {
                    Some((same, index)) if same == place => index,
                    _ => {
                        let find = || slots.iter().position(|slot| slot.is(&taken));
                        let Some(index) = by_topic.get(&place).copied().or_else(find) else { return };
                        by_topic.insert(place, index);
                        last = Some((place, index));
                        index
                    }
                };
                if let Some((code, text)) = taken.error() {
                    troubles.push((index, Trouble { code, text, offset: taken.offset() }));
                    return;
                }
                let slot = &mut slots[index];
                let before = slot.filling.byte_len();
                if slot.filling.is_empty() {
                    slot.take(&taken, *headers);
                    if !slot.filling.is_empty() {
                        touched.push(index);
                    }
                } else {
                    slot.take(&taken, *headers);
                }
                bytes += slot.filling.byte_len() - before;
            });
            if taken == 0 {
                break;
            }
        }
    }

    /// What came instead of messages, and what it means.
    pub fn judge_troubles(&mut self, partitions: &Partitions, cluster: &Cluster) -> Vec<Result<Polled>> {
        let troubles = std::mem::take(&mut self.troubles);
        troubles
            .into_iter()
            .filter_map(|(index, trouble)| trouble.judge(&mut self.slots[index], partitions, cluster))
            .collect()
    }

    /// Messages taken since the last call, a chunk for each partition.
    pub fn chunks(&mut self) -> impl Iterator<Item = Chunk> {
        let Slots { slots, touched, .. } = self;
        touched.drain(..).map(|index| slots[index].chunk())
    }

    /// Another consumer has other numbers for its topics.
    pub fn forget_topics(&mut self) {
        self.by_topic.clear();
    }
}

impl Slot {
    pub fn partition(&self) -> &Partition {
        &self.found.partition
    }

    /// What is to be fetched, and from which offset on.
    pub fn wants(&self) -> Option<(&Found, u64)> {
        (!self.done).then_some((&self.found, self.next))
    }

    fn is(&self, taken: &Taken<'_>) -> bool {
        self.found.number == taken.partition() && self.found.topic == taken.topic()
    }
}

/// What came from a partition's queue instead of a message.
struct Trouble {
    code: Code,
    text: String,
    offset: i64,
}

impl Trouble {
    /// What it means for the run.
    fn judge(self, slot: &mut Slot, partitions: &Partitions, cluster: &Cluster) -> Option<Result<Polled>> {
        let name = slot.found.partition.name.clone();
        let offset = u64::try_from(self.offset).unwrap_or(slot.next);
        match self.code {
            Code::PartitionEOF => {
                slot.end = Some(offset);
                slot.check_end(offset);
                None
            }
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                // What was taken before it is not lost, and only what comes after it is asked for.
                let next = slot.filling.last_offset().map_or(slot.next, |last| last + 1);
                partitions.ask(|errand| errand.lost.push((name, next, slot.read)));
                None
            }
            Code::BadMessage | Code::BadCompression | Code::InvalidMessage | Code::MessageSizeTooLarge => {
                Some(Ok(Polled::Fault(Fault { partition: name, offset, reason: self.text })))
            }
            code => {
                if std::mem::replace(&mut slot.troubled, true) {
                    return None;
                }
                let error = cluster.call(&format!("reading {name}"), code, None, slot.read);
                Some(Err(error.with_detail(self.text)))
            }
        }
    }
}
