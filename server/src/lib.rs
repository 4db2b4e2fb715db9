//! The `thalweg` binary: command line, configuration, PostgreSQL wire protocol, HTTP; it wires the other crates.
//!
//! A library only so that its integration tests can reach it.

pub mod allocator;
pub mod backtest;
pub mod change;
pub mod checkpoint_place;
pub mod cli;
pub mod client_queries;
pub mod commands;
pub mod compile;
pub mod config;
pub mod demo_screen;
pub mod deploy;
pub mod explain_analyze;
pub mod failure;
pub mod hand;
pub mod http;
pub mod information_schema;
pub mod insert;
pub mod live;
pub mod logging;
pub mod markdown;
mod memory_budget;
pub mod notifications;
pub mod pg_catalog;
mod pg_class;
pub mod pg_sleep;
pub mod pgwire;
pub mod pipeline_files;
pub mod point_query;
pub mod prepared;
pub mod priority;
pub mod progress;
pub mod relations;
pub mod replay;
mod rewrite;
pub mod running;
pub mod serve;
pub mod session;
mod shown;
pub mod sql_error;
pub mod state_folder;
pub mod statements;
pub mod subscription;
pub mod system_tables;
pub mod test_run;
