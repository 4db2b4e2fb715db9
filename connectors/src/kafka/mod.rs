//! `kafka`: Apache Kafka, and what speaks its protocol.

mod client;
mod enveloped;
mod feed;
mod live;
mod options;
mod outbox;
mod partitions;
mod queue;
mod replay;
mod scout;
mod sink;
mod slots;
mod source;
mod transactions;

use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec, SourceSpec};

/// The connector's description.
pub const SPEC: ConnectorSpec = ConnectorSpec {
    name: "kafka",
    doc: "Topics of Apache Kafka: read by offsets kept with the state, written in transactions.",
    source: Some(SourceSpec {
        options: options::SOURCE,
        formats: &["json", "csv", "avro", "protobuf", "upsert", "debezium"],
        columns: None,
        bounded: |options| options.get("mode") == Some("bounded"),
        check: Some(source::check),
        open: source::open,
    }),
    table: None,
    sink: Some(SinkSpec {
        options: sink::SINK,
        formats: thalweg_schemas::format::ENCODINGS,
        changelogs: Changelogs::Never,
        history: None,
        check: Some(|request| sink::open(request.clone()).map(drop)),
        open: sink::open,
    }),
};

#[cfg(test)]
mod tests;
