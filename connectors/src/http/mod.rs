//! `http`: records that others post. A request is answered when its records would survive a crash, and not before.

mod answer;
mod body;
mod inbox;
mod listener;
mod options;
mod receive;
mod records;
mod repeats;
mod source;
mod table;

use options::{HttpOptions, SOURCE};
use source::Http;
use std::sync::Arc;
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Source, SourceRequest};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "http",
    doc: "Takes records that are posted to it: JSON, NDJSON, CSV and Arrow IPC. Asks a service for a table to look rows up in.",
    source: Some(SourceSpec {
        options: SOURCE,
        formats: &["json", "csv", "arrow", "upsert", "debezium"],
        columns: None,
        bounded: |_| false,
        check: Some(|request| HttpOptions::read(request).map(drop)),
        open,
    }),
    table: Some(SourceSpec {
        options: table::OPTIONS,
        formats: &[],
        columns: None,
        bounded: |_| false,
        check: Some(table::check),
        open: table::open,
    }),
    sink: None,
};

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let options = HttpOptions::read(&request)?;
    Ok(Arc::new(Http::open(options)?))
}

#[cfg(test)]
mod tests;
