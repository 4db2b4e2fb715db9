//! Topics as a source. Partitions are assigned by us and not by a group: the engine's own log says how far each was read,
//! and its workers share the partitions by their numbers. A first run asks the statement where to begin.

use super::client::{Client, lock};
use super::feed::config;
use super::live::Live;
use super::options::SourceOptions;
use super::partitions::Partitions;
use super::replay::Replay;
use super::scout::Scout;
use crate::schema_registry;
use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::format::SchemaRegistry;
use thalweg_schemas::source::{Outlook, Polled, Reader, Source, SourceRequest, Span, Standing};

/// How long the end of a run waits for the last offsets to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is wrong with the options, without a client.
pub(super) fn check(request: &SourceRequest) -> Result<()> {
    let options = SourceOptions::read(request)?;
    let made = config(&options, 1, false).create_native_config();
    made.map(drop).map_err(|error| options.cluster.configuration(&error))
}

pub(super) fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let options = SourceOptions::read(&request)?;
    let client = Mutex::new(Some(Client::new(&options.cluster, &config(&options, 1, false))?));
    let (partitions, resumed, scout) = (Arc::default(), Mutex::default(), Mutex::default());
    let registry = schema_registry::from_options(&request.options)?;
    Ok(Arc::new(Topics { options, registry, client, partitions, resumed, scout }))
}

struct Topics {
    options: SourceOptions,
    registry: Option<Arc<dyn SchemaRegistry>>,
    /// The scout's client until it starts; made when the source is opened, so that a wrong configuration is found then.
    client: Mutex<Option<Client>>,
    partitions: Arc<Partitions>,
    /// Where an earlier run stopped, by the partition's name.
    resumed: Mutex<Option<BTreeMap<Arc<str>, u64>>>,
    /// Hears the scout's end; there is none before the first reader.
    scout: Mutex<Option<Receiver<()>>>,
}

impl Source for Topics {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let mut scout = lock(&self.scout);
        if let Some(client) = lock(&self.client).take() {
            let resumed = lock(&self.resumed).take();
            *scout = Some(Scout::start(self.options.clone(), client, self.partitions.clone(), resumed)?);
        }
        Ok(Box::new(TopicsReader {
            live: Live::new(self.options.clone(), self.partitions.clone(), worker),
            replay: None,
        }))
    }

    fn bounded(&self) -> bool {
        self.options.bounded
    }

    fn replayable(&self) -> bool {
        true
    }

    fn schema_registry(&self) -> Option<Arc<dyn SchemaRegistry>> {
        self.registry.clone()
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        *lock(&self.resumed) = Some(ends(done));
        Ok(())
    }

    fn checkpointed(&self, done: &[Span]) {
        self.partitions.ask(|errand| errand.commit = ends(done));
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.partitions.ask(|errand| errand.close = true);
        if let Some(scout) = lock(&self.scout).take() {
            // Ended or not: the process may be about to.
            let _ = scout.recv_timeout(LAST_WORDS);
        }
    }
}

/// For each partition, where its last span ends.
fn ends(done: &[Span]) -> BTreeMap<Arc<str>, u64> {
    // Sorted by offset, so the last one stays.
    done.iter().map(|span| (span.partition.clone(), span.end)).collect()
}

struct TopicsReader {
    live: Live,
    replay: Option<Replay>,
}

impl Reader for TopicsReader {
    fn poll(&mut self, budget: usize) -> Result<Polled> {
        self.replay = None;
        self.live.poll(budget)
    }

    fn partitions(&self) -> Option<Vec<Standing>> {
        self.live.share()
    }

    fn outlook(&self) -> Outlook {
        // What an earlier run read is read once more before it is known which partitions there are.
        if self.live.is_complete() { Outlook::Open } else { Outlook::MoreToCome }
    }

    fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
        let new = || Replay::new(self.live.options().clone(), self.live.partitions().clone());
        let replay = self.replay.get_or_insert_with(new);
        replay.replay(span, budget)
    }
}
