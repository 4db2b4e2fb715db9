//! `file`: rows from files, read once or followed as they grow; rows to one file of lines.

mod bounded;
mod lines;
mod listing;
mod options;
mod piece;
mod rows;
mod stream;

use crate::file::bounded::Bounded;
use options::{FileOptions, Mode, SOURCE};
use std::sync::Arc;
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Source, SourceRequest};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "file",
    doc: "Reads files, once or as they grow; writes rows as lines to one file.",
    source: Some(SourceSpec {
        options: SOURCE,
        formats: &["json", "csv", "parquet", "arrow"],
        columns: None,
        bounded: |options| options.get("mode") != Some("tail"),
        open,
    }),
    sink: None,
};

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let options = FileOptions::read(&request)?;
    match options.mode {
        Mode::Bounded => Ok(Arc::new(Bounded::open(options)?)),
        Mode::Tail => Err(thalweg_schemas::error::Error::bug("tail")),
    }
}

#[cfg(test)]
mod tests;
