//! The connectors: one folder per outside system, one list. Each describes itself as data; who opens one knows it only
//! by the contracts in `thalweg_schemas`.

mod asked;
mod blackhole;
mod file;
mod generator;
mod grid_intensity;
mod header;
mod host;
mod http;
mod kafka;
mod listener;
pub mod objects;
mod once;
mod parquet;
mod postgres;
mod schema_registry;
mod snapshot_changes;
mod snapshots;
mod stdout;
mod stretches;
mod table;
mod text;
pub mod webhook;

use thalweg_schemas::connector::ConnectorSpec;

/// All connectors.
pub const ALL: &[ConnectorSpec] = &[
    blackhole::SPEC,
    file::SPEC,
    generator::SPEC,
    grid_intensity::SPEC,
    host::SPEC,
    http::SPEC,
    kafka::SPEC,
    once::SPEC,
    parquet::SPEC,
    postgres::SPEC,
    stdout::SPEC,
    table::SPEC,
    webhook::SPEC,
];

/// The connector named `name`.
pub fn by_name(name: &str) -> Option<&'static ConnectorSpec> {
    ALL.iter().find(|c| c.name == name)
}

#[cfg(test)]
mod tests;
