//! What becomes of the state that is there when another program is to go on from it: a pure comparison.
//!
//! An object of which nothing has changed, all that it reads included, keeps its state. Any other view is built from the
//! beginning of what it reads. Where an unchanged view goes on reading a source, that source cannot begin anew: the
//! others get a second reading of it, an *instance* such as `telemetry#2`, and what they read in between is computed a
//! second time from there. A view whose rows are all there is to know of it hands those over instead.

mod build;
mod compare;
mod decision;
mod rename;
mod rewrite;

pub use compare::{Redeploy, compare};
pub use decision::{Action, Begin, Decision, Why};
pub use rename::renaming;
pub use rewrite::dataflow_of;
