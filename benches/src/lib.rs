//! Workloads that figures are measured on, made by seed, the same on every machine; and what is measured from outside.

pub mod alerts;
pub mod anomaly;
pub mod carbon;
pub mod checkpoints;
pub mod detectors;
pub mod first_row;
pub mod join_state;
pub mod kafka;
pub mod keyed;
pub mod latency;
pub mod point_queries;
pub mod recovery;
pub mod schedule;
pub mod serving;
pub mod w1;
