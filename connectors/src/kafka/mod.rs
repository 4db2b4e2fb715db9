//! `kafka`: Apache Kafka, and what speaks its protocol.

mod client;
mod feed;
mod live;
mod options;
mod partitions;
mod queue;
mod replay;
mod scout;
mod slots;
mod source;

use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};

/// The connector's description.
pub const SPEC: ConnectorSpec = ConnectorSpec {
    name: "kafka",
    doc: "Topics of Apache Kafka: partitions side by side, offsets kept with the state.",
    source: Some(SourceSpec {
        options: options::SOURCE,
        formats: &["json", "csv"],
        columns: None,
        bounded: |options| options.get("mode") == Some("bounded"),
        open: source::open,
    }),
    sink: None,
};

#[cfg(test)]
mod tests;
