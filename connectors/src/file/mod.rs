//! `file`: rows from files, read once or followed as they grow; rows to one file of lines.

mod again;
mod arrow_ipc;
mod avro;
mod bounded;
mod committed;
mod cut;
mod far;
mod follow;
mod lines;
mod listing;
mod options;
mod parquet;
mod piece;
mod sink;
mod stream;
mod table;
mod tail;
mod unread;

pub(crate) use table::{OPTIONS as TABLE, open as open_table};

use bounded::Bounded;
use options::{FileOptions, Mode, SOURCE};
use sink::SINK;
use std::sync::Arc;
use tail::Tail;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Source, SourceRequest};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "file",
    doc: "Reads files, once or as they grow; writes rows as lines to one file.",
    source: Some(SourceSpec {
        options: SOURCE,
        formats: &["json", "csv", "parquet", "avro", "arrow", "upsert", "debezium"],
        columns: None,
        bounded: |options| options.get("mode") != Some("tail"),
        check: Some(|request| FileOptions::read(request).map(drop)),
        open,
    }),
    table: Some(SourceSpec {
        options: table::OPTIONS,
        formats: &["json", "csv", "parquet", "avro", "arrow"],
        columns: None,
        bounded: |_| false,
        check: Some(|request| FileOptions::read(request).map(drop)),
        open: table::open,
    }),
    sink: Some(SinkSpec {
        options: SINK,
        formats: crate::text::FORMATS,
        changelogs: Changelogs::WhenAsked,
        history: None,
        check: Some(|request| sink::where_to(request).map(drop)),
        open: sink::open,
    }),
};

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let options = FileOptions::read(&request)?;
    match options.mode {
        Mode::Bounded => Ok(Arc::new(Bounded::open(options)?)),
        Mode::Tail => Ok(Arc::new(Tail::open(options)?)),
    }
}

#[cfg(test)]
mod tests;
