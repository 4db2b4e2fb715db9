//! The whole of Thalweg, as its users meet it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, with a message")]

mod alerts;
mod all_time;
mod backtest;
mod bad_input;
mod binary;
mod broker;
mod carbon;
mod cli;
mod damaged;
mod ddl;
mod dead_letters;
mod demo;
mod documents;
mod equivalence;
mod faults;
mod graceful;
mod http;
mod http_source;
mod idle_side;
mod in_process;
mod kafka;
mod killed;
mod lookups;
mod nexmark;
mod notifications;
mod outside_world;
mod pgwire;
mod process;
mod prometheus;
mod python;
mod receiver;
mod recovery;
mod recursion;
mod redeploy;
mod revise_until;
mod s3;
mod sessions;
mod slo;
mod slt;
mod state_ttl;
mod tables;
