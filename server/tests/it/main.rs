//! The whole of Thalweg, as its users meet it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, with a message")]

mod equivalence;
