//! `WITH RECURSIVE`: rows that are made from rows, for as long as new ones come, kept up to date as the inputs change.
//!
//! Iteration 0 is the base; iteration `i + 1` is what the step makes of the rows of iteration `i`. With UNION a row is of
//! the first iteration that makes it, and of no other: rows that go round in a circle end there. With UNION ALL a row is
//! of each iteration that makes it. A change is carried through the iterations by itself (`levels.rs`): for each row
//! it is known how often each iteration makes it, so that a row whose first maker goes is handed on to the next one, or is
//! gone, and rows that only keep each other alive are found out. Iterations run in a loop of the dataflow, whose time is
//! the epoch and the iteration; an epoch is over when no iteration of it has anything to say, or at the limit.
//!
//! State: for each row which iterations make it how often, and both sides of each join of the step; all of it in
//! checkpoints, so that nothing is iterated again at a restart.

mod build;
mod iterate;
mod levels;
mod links;
#[cfg(test)]
mod tests;

use crate::join::{JoinKind, JoinSpec};
use crate::plan::Plan;
use arrow::datatypes::SchemaRef;
use std::fmt;

/// How many iterations there are at most, unless the view says otherwise.
pub const ITERATIONS_MAX: u32 = 1_000;

/// How often one row may be of one iteration of a UNION ALL: rows that several ways of a circle lead to double from
/// iteration to iteration, and would be more than can be counted long before the last one.
pub const COPIES_MAX: i64 = 1_000;

/// `base UNION [ALL] step`, the step reading what it makes.
#[derive(Clone, Debug)]
pub struct RecursionSpec {
    /// What the step calls its rows.
    pub name: String,
    /// The rows of iteration 0.
    pub base: Box<Plan>,
    /// The rows that an iteration makes of those of the one before, which it reads as [`Plan::Recursive`]. Each branch
    /// reads them once; nothing in it is [refused].
    pub step: Box<Plan>,
    /// Whether a row is there once however often it is made: UNION, not UNION ALL.
    pub distinct: bool,
    /// Whether it takes rows back.
    pub retracts: bool,
    /// After how many iterations it ends; a row that one more would make is dead.
    pub iterations_max: u32,
    /// Its columns, each of which may be NULL; those of `base` and of `step` have the same types.
    pub schema: SchemaRef,
}

impl fmt::Display for RecursionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let union = if self.distinct { "UNION" } else { "UNION ALL" };
        write!(f, "Recursion {union} at most {} {}", self.iterations_max, self.retracts)
    }
}

/// Whether `plan` reads the rows of the recursion that it is a part of.
pub fn is_recursive(plan: &Plan) -> bool {
    match plan {
        Plan::Recursive { .. } => true,
        // What it reads under this name is its own.
        Plan::Recursion(_) => false,
        other => other.inputs().into_iter().any(is_recursive),
    }
}

/// The first part of a step that the recursion cannot carry out, if there is one. What does not read its rows may be
/// anything; what does must make of a set of rows what it makes of each of them.
pub fn refused(step: &Plan) -> Option<&Plan> {
    let through = match step {
        Plan::Recursive { .. } => return None,
        Plan::Filter(_) | Plan::Project(_) => true,
        Plan::Union { inputs } => inputs.iter().all(is_recursive),
        Plan::Join(spec) => carries(spec),
        _ => false,
    };
    if !through {
        return Some(step);
    }
    step.inputs().into_iter().filter(|input| is_recursive(input)).find_map(refused)
}

/// Whether the join says of a row of the recursion the same whatever other rows there are.
fn carries(spec: &JoinSpec) -> bool {
    match (is_recursive(&spec.left), is_recursive(&spec.right)) {
        (true, false) => {
            matches!(spec.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark)
        }
        (false, true) => matches!(spec.kind, JoinKind::Inner | JoinKind::Right),
        _ => false,
    }
}

/// Whether rows that are found by a step are never taken back while its inputs only append.
pub fn step_appends(step: &Plan) -> bool {
    match step {
        Plan::Join(spec) => {
            let (beside, retracts) = match is_recursive(&spec.left) {
                true => (&spec.left, spec.right_retracts),
                false => (&spec.right, spec.left_retracts),
            };
            !retracts && matches!(spec.kind, JoinKind::Inner | JoinKind::Semi) && step_appends(beside)
        }
        other => other.inputs().into_iter().filter(|input| is_recursive(input)).all(step_appends),
    }
}
