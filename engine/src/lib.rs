//! How a plan runs: workers, the epoch driver, published views, delivery to sinks, metrics.
//!
//! Knows no operator by name, no SQL and no outside system; is handed its clock, connectors and settings.

pub mod baton;
pub mod clock;
pub mod deployment;
pub mod durability;
pub mod engine;
mod seeds;
pub mod settings;
pub mod status;
pub mod turns;
pub mod view;

mod archive;
mod delivery;
mod driver;
mod ending;
mod epochs;
mod holdings;
mod ingest;
mod ledger;
mod memory;
mod opening;
mod rejects;
mod watcher;
mod worker;
mod writes;
