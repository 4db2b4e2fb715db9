//! The scout of a source: a thread that asks the cluster what may take its time, so that no worker ever waits. It finds
//! topics and partitions, where reading of each begins, and whether brokers answer; it tells offsets to the group.

use super::client::{Client, Consumer};
use super::feed::put;
use super::options::{OnLost, SourceOptions, Start, TopicName};
use super::partitions::{Errand, Found, Partitions, parse_name};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::source::Partition;
use thalweg_schemas::suggest::closest;

/// How long one question to the cluster may take; after the first of them it is given up if no broker is there at all.
const ANSWER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How often a cluster in trouble is asked again; also how long a topic that is not there is waited for, a look each.
const TROUBLED: Duration = Duration::from_secs(1);
const LOOKS_FOR_A_TOPIC: u32 = 3;

/// Asks the cluster on a thread of its own.
pub(super) struct Scout {
    options: SourceOptions,
    partitions: Arc<Partitions>,
    client: Client,
    /// Where an earlier run stopped, by the partition's name; `None` in a first run.
    resumed: Option<BTreeMap<Arc<str>, u64>>,
    /// Whether the cluster has ever answered.
    known: bool,
    /// Whether the last look failed, and whether that has been told.
    troubled: bool,
    /// How often a topic was not there.
    missed: u32,
    complete: bool,
    commit_failed: bool,
}

impl Scout {
    /// Starts the thread; the receiver hears when it has ended.
    pub fn start(
        options: SourceOptions,
        client: Client,
        partitions: Arc<Partitions>,
        resumed: Option<BTreeMap<Arc<str>, u64>>,
    ) -> Result<mpsc::Receiver<()>> {
        let mut scout = Scout {
            options,
            partitions,
            client,
            resumed,
            known: false,
            troubled: false,
            missed: 0,
            complete: false,
            commit_failed: false,
        };
        let (ended, hear_end) = mpsc::channel();
        let thread = std::thread::Builder::new().name("kafka scout".to_string()).spawn(move || {
            scout.run();
            drop(ended);
        });
        thread.map(|_| hear_end).map_err(|error| Error::io("starting a thread for a Kafka source", &error))
    }

    fn run(&mut self) {
        let mut since_look = Duration::MAX;
        loop {
            let due = if self.troubled || !self.complete { TROUBLED } else { self.options.discovery_interval };
            if since_look >= due {
                self.look();
                since_look = Duration::ZERO;
            }
            let errand = self.partitions.wait_for_errand(TROUBLED.min(due));
            since_look = if errand.look { Duration::MAX } else { since_look.saturating_add(TROUBLED) };
            self.client.listen();
            let close = errand.close;
            self.run_errand(errand);
            if close {
                return;
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        if !errand.commit.is_empty() {
            self.commit(&errand.commit);
        }
        for (name, offset, read_before) in errand.lost {
            if let Err(error) = self.find_again(&name, offset, read_before) {
                self.trouble(error);
            }
        }
    }

    /// Looks for partitions, and so whether brokers answer.
    fn look(&mut self) {
        match self.discover() {
            Ok(()) => {
                if self.troubled {
                    tracing::info!("{}: Kafka answers again", self.options.cluster.owner);
                    self.partitions.untell();
                }
                self.troubled = false;
                self.partitions.set_away(false);
                self.client.listener().forget();
            }
            Err(error) => self.trouble(error),
        }
    }

    /// Tells of trouble, once until it is over.
    fn trouble(&mut self, error: Error) {
        self.partitions.set_away(true);
        if error.kind != ErrorKind::Retry || !self.troubled {
            self.partitions.tell(error);
        }
        self.troubled = true;
    }

    fn discover(&mut self) -> Result<()> {
        let mut found = Vec::new();
        for (topic, number) in self.all_partitions()? {
            let partition = self.partitions.numbered(&topic, number, self.options.several());
            if !self.partitions.knows(&partition) {
                found.push(self.begin(topic, number, partition)?);
            }
        }
        self.pin(&found);
        let more = !found.is_empty();
        for found in found {
            if self.complete {
                tracing::info!("{}: new partition {}", self.options.cluster.owner, found.partition.name);
            }
            self.partitions.put(found);
        }
        if !self.complete {
            self.complete = true;
            self.partitions.set_complete();
        } else if more && self.options.bounded {
            tracing::debug!("{}: a bounded source grew", self.options.cluster.owner);
        }
        Ok(())
    }

    /// Every partition of the topics that the statement names.
    fn all_partitions(&mut self) -> Result<BTreeSet<(String, i32)>> {
        let mut partitions = BTreeSet::new();
        let patterns = self.options.topics.iter().any(|topic| matches!(topic, TopicName::Pattern(_)));
        if patterns {
            let metadata = self.ask("listing topics", |c, wait| c.fetch_metadata(None, wait))?;
            for topic in metadata.topics() {
                let named = self.options.topics.iter().any(|name| match name {
                    TopicName::Pattern(pattern) => pattern.matches(topic.name()),
                    TopicName::Exact(name) => name == topic.name(),
                });
                if named {
                    partitions.extend(topic.partitions().iter().map(|p| (topic.name().to_string(), p.id())));
                }
            }
            if partitions.is_empty() {
                return Err(Error::retry(format!("no topic of {} is there yet", self.options.cluster.owner)));
            }
        }
        for name in self.options.topics.clone() {
            let TopicName::Exact(name) = name else { continue };
            let metadata = self.ask(&format!("topic \"{name}\""), |c, wait| c.fetch_metadata(Some(&name), wait))?;
            for topic in metadata.topics() {
                if let Some(error) = topic.error() {
                    return Err(self.topic_error(topic.name(), error));
                }
                partitions.extend(topic.partitions().iter().map(|p| (topic.name().to_string(), p.id())));
            }
        }
        self.missed = 0;
        Ok(partitions)
    }

    fn topic_error(&mut self, topic: &str, error: RDKafkaRespErr) -> Error {
        let (owner, brokers) = (&self.options.cluster.owner, &self.options.cluster.brokers);
        let code = Code::from(error);
        if !matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic) {
            return self.options.cluster.call(&format!("topic \"{topic}\""), code, None, self.complete);
        }
        self.missed += 1;
        let message = format!("topic \"{topic}\" of {owner} does not exist at '{brokers}'");
        if self.complete || self.missed < LOOKS_FOR_A_TOPIC {
            return Error::retry(message);
        }
        let all = self.client.consumer().fetch_metadata(None, ANSWER[1]);
        let names: Vec<String> = match &all {
            Ok(all) => all.topics().iter().map(|t| t.name().to_string()).filter(|n| !n.starts_with("__")).collect(),
            Err(_) => Vec::new(),
        };
        let hint = match closest(topic, names.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None if names.is_empty() => "There is no topic yet; create it first.".to_string(),
            None => format!("There are: {}.", names.iter().take(10).cloned().collect::<Vec<_>>().join(", ")),
        };
        Error::user(message).with_hint(hint)
    }

    /// Where reading of a partition begins.
    fn begin(&mut self, topic: String, number: i32, partition: Partition) -> Result<Found> {
        let what = format!("offsets of {}", partition.name);
        let (low, high) = self.ask(&what, |c, wait| c.fetch_watermarks(&topic, number, wait))?;
        let (low, high) = (low.max(0) as u64, high.max(0) as u64);
        let mut found = Found {
            topic,
            number,
            partition,
            start: low,
            end: self.options.bounded.then_some(high),
            lost_from: None,
            round: 0,
        };
        match (&self.resumed, self.options.start) {
            (Some(resumed), start) => match (resumed.get(&found.partition.name), start) {
                (Some(next), _) => self.continue_at(&mut found, *next, low, high)?,
                // There was nothing to read of it, or it is new; told apart by what the first run told the group.
                (None, Start::Latest) => found.start = self.pinned(&found)?.unwrap_or(low).clamp(low, high),
                (None, Start::At(at)) => found.start = self.offset_at(&found, at)?.unwrap_or(high),
                (None, Start::Earliest) => {}
            },
            (None, Start::At(at)) => found.start = self.offset_at(&found, at)?.unwrap_or(high),
            (None, Start::Latest) if !self.complete => found.start = high,
            (None, _) => {}
        }
        Ok(found)
    }

    /// Goes on at `next`, or where the statement says if that is gone.
    fn continue_at(&self, found: &mut Found, next: u64, low: u64, high: u64) -> Result<()> {
        found.start = next;
        if (low..=high).contains(&next) {
            return Ok(());
        }
        let (name, owner) = (&found.partition.name, &self.options.cluster.owner);
        found.start = match self.options.on_lost {
            OnLost::Earliest => low,
            OnLost::Latest => high,
            OnLost::Fail => {
                let detail = if next < low {
                    format!(
                        "{} records were deleted before they were read; the first there is has offset {low}.",
                        low - next
                    )
                } else {
                    format!("The partition ends at offset {high}: was its topic deleted and made anew?")
                };
                return Err(Error::outside(format!("offset {next} of {name} is gone, where {owner} goes on"))
                    .with_detail(detail)
                    .with_hint(
                        "Set \"on_lost_offsets\" = 'earliest' or 'latest' to go on without them; a dead letter will \
                         name the gap.",
                    ));
            }
        };
        found.lost_from = Some(next.min(found.start));
        Ok(())
    }

    /// A partition whose records were deleted while it was read.
    fn find_again(&mut self, name: &Arc<str>, offset: u64, read_before: bool) -> Result<()> {
        let Some((topic, number)) = parse_name(name) else { return Ok(()) };
        let what = format!("offsets of {name}");
        let (low, high) = self.ask(&what, |c, wait| c.fetch_watermarks(topic, number, wait))?;
        let (low, high) = (low.max(0) as u64, high.max(0) as u64);
        let partition = self.partitions.numbered(topic, number, self.options.several());
        let end = self.options.bounded.then_some(high);
        let mut found =
            Found { topic: topic.to_string(), number, partition, start: low, end, lost_from: None, round: 0 };
        if read_before {
            self.continue_at(&mut found, offset, low, high)?;
        }
        self.partitions.put(found);
        Ok(())
    }

    fn offset_at(&mut self, found: &Found, at_ms: i64) -> Result<Option<u64>> {
        let mut list = TopicPartitionList::new();
        put(&mut list, &found.topic, found.number, at_ms.max(0) as u64)?;
        let what = format!("offsets of {}", found.partition.name);
        let list = self.ask(&what, |c, wait| c.offsets_for_times(list.clone(), wait))?;
        Ok(first_offset(&list))
    }

    /// What a first run told the group of where it begins.
    fn pinned(&mut self, found: &Found) -> Result<Option<u64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&found.topic, found.number);
        let what = format!("offsets of group \"{}\"", self.options.group);
        let list = self.ask(&what, |c, wait| c.committed_offsets(list.clone(), wait))?;
        Ok(first_offset(&list))
    }

    /// Tells the group where a first run begins, if a later one could not find that out by itself.
    fn pin(&mut self, found: &[Found]) {
        if self.options.start == Start::Latest && self.resumed.is_none() && !self.complete {
            self.commit(&found.iter().map(|found| (found.partition.name.clone(), found.start)).collect());
        }
    }

    /// Tells offsets to the group.
    fn commit(&mut self, offsets: &BTreeMap<Arc<str>, u64>) {
        let mut list = TopicPartitionList::new();
        for (name, offset) in offsets {
            let Some((topic, number)) = parse_name(name) else { continue };
            if put(&mut list, topic, number, *offset).is_err() {
                return;
            }
        }
        match self.client.consumer().commit(&list, CommitMode::Sync) {
            Ok(()) => self.commit_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.commit_failed, true) {
                    tracing::warn!(
                        "{}: offsets cannot be told to group \"{}\", so Kafka's own tools do not see how far reading is: {error}",
                        self.options.cluster.owner,
                        self.options.group,
                    );
                }
            }
        }
    }

    /// Asks the cluster something.
    fn ask<T>(&mut self, what: &str, question: impl Fn(&Consumer, Duration) -> Result<T, KafkaError>) -> Result<T> {
        let mut code = Code::NoError;
        for wait in ANSWER {
            match question(self.client.consumer(), wait) {
                Ok(answer) => {
                    self.known = true;
                    return Ok(answer);
                }
                Err(error) => code = error.rdkafka_error_code().unwrap_or(Code::Fail),
            }
            if self.client.listen() || !matches!(code, Code::BrokerTransportFailure | Code::OperationTimedOut) {
                break;
            }
        }
        let heard = self.client.listener().heard();
        Err(self.options.cluster.call(what, code, heard.as_ref(), self.known))
    }
}

/// The offset of the only partition in a list, if it has one.
fn first_offset(list: &TopicPartitionList) -> Option<u64> {
    match list.elements().first()?.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    }
}
