//! The vocabulary of Thalweg: what the crates hand to each other, and the contracts they hold each other to.
//!
//! Nothing here runs by itself, and nothing here knows timely, DataFusion or tokio.
#![forbid(missing_docs)]

pub mod alert_event;
pub mod batch;
pub mod connector;
pub mod epoch;
pub mod error;
pub mod format;
pub mod labels;
pub mod messages;
pub mod notification;
pub mod options;
pub mod questions;
pub mod sink;
pub mod source;
pub mod suggest;
pub mod table;
pub mod wanted;
