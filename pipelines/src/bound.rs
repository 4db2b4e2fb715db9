//! What bounds the state of a view, and the warning where nothing does.

use crate::parse::Parsed;
use crate::program::Program;
use thalweg_operators::plan::Plan;
use thalweg_operators::reduce::ReduceSpec;
use thalweg_schemas::error::Error;

/// A warning for each view with state that nothing bounds.
pub(crate) fn warnings(program: &Program, statements: &[Parsed]) -> Vec<Error> {
    let views = program.dataflow.views.iter().filter_map(|view| Some((view, unbounded(&view.plan)?)));
    views
        .map(|(view, reduce)| {
            let kept = match reduce.retracts {
                true => "It keeps the rows that it reads, since each may be taken back.",
                false => "It keeps every group that it has ever seen.",
            };
            let error = Error::user(format!("nothing bounds the state of view \"{}\"", view.name))
                .with_detail(kept)
                .with_hint("Group by a window of TUMBLE(..) or HOP(..) where groups keep coming.");
            let name = statements.iter().map(|s| s.ddl.name()).find(|name| name.value == view.name);
            name.into_iter().fold(error, |error, name| error.at(name.position.clone()))
        })
        .collect()
}

/// The operator of the plan whose state nothing bounds, if there is one.
fn unbounded(plan: &Plan) -> Option<&ReduceSpec> {
    let own = match plan {
        // Without keys there is one group.
        Plan::Reduce(spec) if !spec.keys.is_empty() || spec.retracts => Some(spec.as_ref()),
        Plan::Reduce(_)
        | Plan::Source { .. }
        | Plan::View { .. }
        | Plan::Filter(_)
        | Plan::Project(_)
        | Plan::Union { .. }
        | Plan::AssignWindows(_)
        | Plan::WindowAggregate(_) => None,
    };
    own.or_else(|| plan.inputs().into_iter().find_map(unbounded))
}

/// Whether the plan closes windows.
pub(crate) fn has_windows(plan: &Plan) -> bool {
    matches!(plan, Plan::WindowAggregate(_)) || plan.inputs().into_iter().any(has_windows)
}
