//! The manifest of a checkpoint: everything that a restart needs to know, and where the rows of the state lie.

use super::record::EpochRecord;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::deployed::{Deployed, Renaming};
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Receipt, Span};

/// The version of the format that this code writes. It reads all versions down to 1. In 3 the rows of an alert's view are
/// those of its operator; before they were there once more, and are passed over.
pub(crate) const VERSION: u32 = 3;

/// One checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub version: u32,
    /// The state is as of the end of this epoch.
    pub epoch: u64,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The number of the log's record that comes next.
    pub next_sequence: u64,
    /// How many workers took it.
    pub workers: usize,
    /// What it is the state of.
    #[serde(default)]
    pub deployed: Deployed,
    /// For each object that has no state yet the views with whose rows it begins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seeds: BTreeMap<String, BTreeSet<String>>,
    /// The sources by name.
    pub sources: BTreeMap<String, SourceState>,
    /// The operators by id, one entry for each worker.
    pub operators: BTreeMap<String, Vec<OperatorState>>,
    /// The published rows of the views, one entry for each worker; none where an operator holds them.
    pub views: BTreeMap<String, Vec<Vec<SectionRef>>>,
    /// The counters of the views and sinks.
    pub counters: BTreeMap<String, u64>,
}

/// How far a source has been read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SourceState {
    /// Whether it gives the same records for the same offsets again.
    #[serde(default)]
    pub replayable: bool,
    pub done: Vec<StoredSpan>,
    /// The receipts for requests that were taken, of those who may repeat them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
    /// What each worker said of its watermark last.
    pub said: Vec<WatermarkUpdate>,
    /// The watermarks of its partitions by name.
    pub partitions: BTreeMap<String, PartitionTime>,
}

/// A [`Span`] as it is written: partition, start, end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSpan(pub String, pub u64, pub u64);

impl From<Span> for StoredSpan {
    fn from(span: Span) -> StoredSpan {
        StoredSpan(span.partition.to_string(), span.start, span.end)
    }
}

impl From<StoredSpan> for Span {
    fn from(StoredSpan(partition, start, end): StoredSpan) -> Span {
        Span { partition: partition.into(), start, end }
    }
}

/// The event time of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionTime {
    /// Nanoseconds since 1970.
    pub watermark_ns: i64,
    /// When its last row came.
    pub last_row_ns: i64,
}

/// The state of one operator on one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperatorState {
    /// Nanoseconds since 1970.
    pub watermark_ns: i64,
    pub sections: Vec<SectionRef>,
}

/// Where the rows of a section lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SectionRef {
    pub label: String,
    /// How many leading columns decide which worker owns a row.
    pub keys: usize,
    pub file: String,
    pub at: u64,
    pub length: u64,
    pub crc: u32,
}

impl Manifest {
    /// The name of the checkpoint of `epoch`.
    pub fn name(epoch: u64) -> String {
        format!("checkpoint-{epoch:020}.json")
    }

    /// The epoch of a checkpoint by its name; `None` for other names.
    pub fn epoch_of(name: &str) -> Option<u64> {
        name.strip_prefix("checkpoint-")?.strip_suffix(".json")?.parse().ok()
    }

    /// The checkpoint as bytes: a line with the CRC-32 of what follows, then JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|e| Error::bug(format!("a checkpoint cannot be written: {e}")))?;
        let mut bytes = format!("thalweg checkpoint {:08x}\n", crc32fast::hash(&json)).into_bytes();
        bytes.extend_from_slice(&json);
        Ok(bytes)
    }

    /// The version of the format that whole `bytes` are in, where it is a later one than this program reads.
    pub fn later_version(bytes: &[u8]) -> Option<u32> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let line = memchr::memchr(b'\n', bytes)?;
        let versioned: Versioned = serde_json::from_slice(&bytes[line + 1..]).ok()?;
        Some(versioned.version).filter(|version| *version > VERSION)
    }

    /// The checkpoint that `bytes` hold; what is wrong with them otherwise.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Manifest, String> {
        let line = memchr::memchr(b'\n', bytes).ok_or("its first line is not whole")?;
        let json = &bytes[line + 1..];
        let first = format!("thalweg checkpoint {:08x}", crc32fast::hash(json));
        if bytes[..line] != *first.as_bytes() {
            return Err("its checksum is wrong".to_string());
        }
        serde_json::from_slice(json).map_err(|e| e.to_string())
    }

    /// The same state in the hands of another program, which goes on from what `kept` names of it, as of `epoch`.
    ///
    /// One number of the log is left out: the log of the new program does not fit behind a checkpoint of the old one.
    pub fn handed_over(
        mut self,
        epoch: u64,
        deployed: Deployed,
        kept: &BTreeSet<String>,
        seeds: BTreeMap<String, BTreeSet<String>>,
    ) -> Manifest {
        let keeps = |object: &str| kept.contains(object);
        self.sources.retain(|source, _| keeps(source));
        self.views.retain(|view, _| keeps(view));
        self.operators.retain(|id, _| object_of_operator(id).is_some_and(keeps));
        self.counters.retain(|name, _| object_of_counter(name).is_some_and(keeps));
        Manifest { epoch, deployed, seeds, next_sequence: self.next_sequence + 1, ..self }
    }

    /// The same state with other names for some of its objects.
    pub fn renamed(mut self, renaming: &Renaming) -> Manifest {
        let operator = |id: String| match object_of_operator(&id) {
            Some(object) => format!("{}{}", renaming.of(object), &id[object.len()..]),
            None => id,
        };
        let counter = |name: String| match (object_of_counter(&name), name.split_once('/'), name.rsplit_once('/')) {
            (Some(object), Some((kind, _)), Some((_, what))) => format!("{kind}/{}/{what}", renaming.of(object)),
            _ => name,
        };
        self.sources = renaming.keys(self.sources);
        self.views = renaming.keys(self.views);
        self.operators = self.operators.into_iter().map(|(id, of)| (operator(id), of)).collect();
        self.counters = self.counters.into_iter().map(|(name, of)| (counter(name), of)).collect();
        let seeded = |views: BTreeSet<String>| views.iter().map(|view| renaming.of(view).to_string()).collect();
        self.seeds = renaming.keys(self.seeds).into_iter().map(|(name, views)| (name, seeded(views))).collect();
        self.deployed.objects = renaming.objects(self.deployed.objects);
        self
    }

    /// Whether an epoch is part of it. By the number of its record and not by the epoch: what the first process takes in
    /// before its clock's first tick is of epoch 0, as is the manifest that says whose the state is.
    pub fn holds(&self, record: &EpochRecord) -> bool {
        record.sequence < self.next_sequence
    }

    /// All sections.
    pub fn sections(&self) -> impl Iterator<Item = &SectionRef> {
        let operators = self.operators.values().flatten().flat_map(|operator| &operator.sections);
        operators.chain(self.views.values().flatten().flatten())
    }
}

/// The id of the operator that is the `number`th of its name in an object.
pub(crate) fn operator_id(object: &str, name: &str, number: usize) -> String {
    format!("{object}/{name}/{number}")
}

fn object_of_operator(id: &str) -> Option<&str> {
    Some(id.rsplit_once('/')?.0.rsplit_once('/')?.0)
}

/// `view/latency/late`
fn object_of_counter(name: &str) -> Option<&str> {
    Some(name.split_once('/')?.1.rsplit_once('/')?.0)
}
