//! `blackhole`: counts rows and drops them. For measuring everything before the sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec};
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::Result;
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "blackhole",
    doc: "Takes rows and drops them, counted: for measuring what comes before the sink.",
    source: None,
    table: None,
    sink: Some(SinkSpec {
        options: &[],
        formats: &[],
        changelogs: Changelogs::Always,
        history: None,
        check: None,
        open,
    }),
};

fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(Blackhole { name: request.name, rows: Arc::default() }))
}

struct Blackhole {
    name: String,
    rows: Arc<AtomicU64>,
}

impl Sink for Blackhole {
    fn writer(&self, _worker: WorkerId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Drain { name: self.name.clone(), rows: self.rows.clone(), own: 0 }))
    }
}

struct Drain {
    name: String,
    rows: Arc<AtomicU64>,
    own: u64,
}

impl Writer for Drain {
    fn write(&mut self, _epoch: Epoch, batch: &Batch) -> Result<()> {
        self.own += batch.num_rows() as u64;
        Ok(())
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let all = self.rows.fetch_add(self.own, Ordering::Relaxed) + self.own;
        tracing::info!(sink = self.name, rows = self.own, all_workers = all, "dropped");
        Ok(())
    }
}
