//! The engine as a whole: real workers over scripted sources and sinks, with a clock that is moved by hand.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, with a message")]

mod delivery;
mod fixture;
mod intake;
mod interleavings;
mod views;
