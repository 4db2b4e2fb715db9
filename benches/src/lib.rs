//! Workloads that figures are measured on: made by seed, the same on every machine.

pub mod w1;
