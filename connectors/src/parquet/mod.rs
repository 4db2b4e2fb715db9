//! `parquet`: history in a folder of Parquet files, in Hive's layout, that any reader can open at any time.

mod bucket;
mod commit;
mod compact;
mod options;
mod partition;
mod sink;
mod store;

use options::{OPTIONS, ParquetOptions};
use sink::ParquetSink;
use std::sync::Arc;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::error::Result;
use thalweg_schemas::sink::{Sink, SinkRequest};
use thalweg_schemas::source::SourceRequest;

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "parquet",
    doc: "Writes rows to a folder of Parquet files, partitioned as Hive does it; the sink can be queried by its name. Reads \
          tables to look rows up in.",
    source: None,
    table: Some(SourceSpec {
        options: crate::file::TABLE,
        formats: &[],
        columns: None,
        bounded: |_| false,
        check: None,
        open: |request| crate::file::open_table(SourceRequest { format: Some("parquet".to_string()), ..request }),
    }),
    sink: Some(SinkSpec {
        options: OPTIONS,
        formats: &[],
        changelogs: Changelogs::Never,
        history: Some(|options| options.get("path").unwrap_or_default().to_string()),
        check: Some(|request| ParquetOptions::read(request).map(drop)),
        open,
    }),
};

fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(ParquetSink::open(ParquetOptions::read(&request)?)?))
}

#[cfg(test)]
mod tests;
