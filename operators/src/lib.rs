//! The plan and the operators that carry it out: state machines over Arrow batches, hosted in a timely dataflow.
//!
//! Nothing here knows SQL text, files, networks or threads.
#![forbid(missing_docs)]

pub mod aggregate;
pub mod alert;
pub mod anomaly;
pub mod arrangement;
pub mod assign_windows;
mod blocks;
pub mod carbon;
pub mod closing;
mod counted;
mod demand;
pub mod deployed;
pub mod envelope;
pub mod evaluate;
mod event_time;
pub mod exchange;
pub mod expand;
pub mod filter;
pub mod horizon;
pub mod host;
pub mod hot_keys;
pub mod join;
pub mod json_text;
pub mod observer;
pub mod operator;
pub mod ordered;
pub mod over;
pub mod placement;
pub mod plan;
mod ports;
pub mod project;
pub mod recursion;
pub mod reduce;
pub mod render;
pub mod repeat;
pub mod rows;
pub mod series;
pub mod session_aggregate;
pub mod state;
pub mod state_ttl;
pub mod top_n;
pub mod unnest;
pub mod upsert;
pub mod watermark;
pub mod window;
pub mod window_aggregate;
