//! What a view computes in several places is built once: a query that joins an aggregation with the greatest of its own
//! values aggregates once, holds its groups once and tells of a late row once.
//!
//! Only within a view: what views have in common can be a view of its own, and state goes with the view that it is of.

use super::{Demand, Rendered};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};

/// What was built for the view that is being rendered, by what it computes and for whom.
#[derive(Default)]
pub struct Built<'scope> {
    view: String,
    parts: BTreeMap<String, Rendered<'scope>>,
}

/// What is to be built for a view: what it computes, and what is asked of it.
pub(super) struct Part<'a> {
    view: &'a str,
    what: String,
}

impl Part<'_> {
    pub fn of<'a>(view: &'a str, plan: &Plan, demand: Demand) -> Part<'a> {
        Part { view, what: format!("{demand:?} {plan:?}") }
    }
}

impl<'scope> Built<'scope> {
    /// What was built for the same before.
    pub(super) fn get(&self, part: &Part) -> Option<Rendered<'scope>> {
        if self.view == part.view { self.parts.get(&part.what).cloned() } else { None }
    }

    /// Takes note of what was built.
    pub(super) fn put(&mut self, part: Part, rendered: &Rendered<'scope>) {
        if self.view != part.view {
            *self = Built { view: part.view.to_string(), parts: BTreeMap::new() };
        }
        self.parts.insert(part.what, rendered.clone());
    }
}

/// Whether a part that can hold state occurs in `plan` more than once. There are fewer operators then than parts, and the
/// state is another than if each had its own.
pub fn repeats(plan: &Plan) -> bool {
    fn visit(plan: &Plan, seen: &mut BTreeSet<String>) -> bool {
        let stateless = matches!(
            plan,
            Plan::Source { .. } | Plan::View { .. } | Plan::Recursive { .. } | Plan::Filter(_) | Plan::Project(_)
        );
        !stateless && !seen.insert(format!("{plan:?}")) || plan.inputs().into_iter().any(|input| visit(input, seen))
    }
    visit(plan, &mut BTreeSet::new())
}
