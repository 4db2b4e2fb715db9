//! The crate's tests over files: plans, errors, documents.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failure with a message")]

mod breadth;
mod carbon;
mod carbon_factors;
mod documents;
mod errors;
mod plans;
mod queries;
mod redeploys;
mod surroundings;
