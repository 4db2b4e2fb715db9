//! A source that hands over what the test scripts, to whichever worker asks first.

use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest};

/// What a test shares with its source, found by the `script` option.
#[derive(Default)]
pub struct Script {
    chunks: Mutex<(VecDeque<RecordBatch>, bool)>,
}

impl Script {
    pub fn push(&self, rows: RecordBatch) {
        self.chunks.lock().unwrap().0.push_back(rows);
    }

    pub fn close(&self) {
        self.chunks.lock().unwrap().1 = true;
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.lock().unwrap().0.is_empty()
    }
}

static SCRIPTS: Mutex<BTreeMap<String, Arc<Script>>> = Mutex::new(BTreeMap::new());

/// The script named `name`, made when first asked for.
pub fn script(name: &str) -> Arc<Script> {
    SCRIPTS.lock().unwrap().entry(name.to_string()).or_default().clone()
}

/// Which script.
pub const OPTION: OptionSpec =
    OptionSpec { name: "script", kind: OptionKind::Text, default: None, required: true, doc: "Which." };

pub const CONNECTORS: &[ConnectorSpec] = &[ConnectorSpec {
    name: "scripted",
    doc: "What a test says.",
    source: Some(SourceSpec { options: &[OPTION], formats: &[], columns: None, bounded: |_| true, check: None, open }),
    table: None,
    sink: None,
}];

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(Scripted(script(request.options.get("script").unwrap_or_default()))))
}

struct Scripted(Arc<Script>);

impl Source for Scripted {
    fn reader(&self, _worker: WorkerId) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Scripted(self.0.clone())))
    }

    fn bounded(&self) -> bool {
        true
    }
}

impl Reader for Scripted {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let mut chunks = self.0.chunks.lock().unwrap();
        match chunks.0.pop_front() {
            Some(rows) => Ok(Polled::Ready(Chunk {
                partition: Partition { index: 0, name: "script".into() },
                start: 0,
                end: rows.num_rows() as u64,
                header: None,
                payload: Payload::Rows(rows),
            })),
            None if chunks.1 => Ok(Polled::Ended),
            None => Ok(Polled::Pending),
        }
    }
}
