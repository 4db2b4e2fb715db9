//! What bounds the state of a view, and the warning where nothing does.

use crate::parse::Parsed;
use crate::program::Program;
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::Error;

/// A warning for each view with state that nothing bounds.
pub(crate) fn warnings(program: &Program, statements: &[Parsed]) -> Vec<Error> {
    let views = program.dataflow.views.iter().filter(|view| !is_bounded(&view.plan));
    views
        .map(|view| {
            let error = Error::user(format!("nothing bounds the state of view \"{}\"", view.name))
                .with_detail("It keeps every group that it has ever seen.")
                .with_hint("Group by a window of TUMBLE(..) or HOP(..) where groups keep coming.");
            let name = statements.iter().map(|s| s.ddl.name()).find(|name| name.value == view.name);
            name.into_iter().fold(error, |error, name| error.at(name.position.clone()))
        })
        .collect()
}

/// Whether the plan keeps a bounded number of groups.
fn is_bounded(plan: &Plan) -> bool {
    let own = match plan {
        // Without keys there is one group.
        Plan::Reduce(spec) => spec.keys.is_empty() && !spec.retracts,
        Plan::Source { .. }
        | Plan::View { .. }
        | Plan::Filter(_)
        | Plan::Project(_)
        | Plan::Union { .. }
        | Plan::AssignWindows(_)
        | Plan::WindowAggregate(_) => true,
    };
    own && plan.inputs().into_iter().all(is_bounded)
}
