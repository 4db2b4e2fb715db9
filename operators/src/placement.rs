//! On which worker the rows of a relation lie: known from the plan, so that state can be handed out to other workers.

use crate::join::{JoinKind, JoinSpec, NullKeys};
use crate::plan::Plan;
use datafusion_physical_expr::expressions::Column;
use std::collections::BTreeMap;

/// Where the rows of a relation are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere, and it does not matter: no row is ever retracted.
    Any,
    /// With the owner of these columns (see [`crate::exchange::by_key`]); a retraction comes there too.
    By(Vec<usize>),
    /// With the owner of columns that the relation does not have any more.
    Scattered,
}

/// Where the rows of `plan` are, given where those of the views before it are, and of the sources that have a key.
pub fn placement(plan: &Plan, known: &BTreeMap<String, Placement>) -> Placement {
    match plan {
        Plan::Source { name, .. } => known.get(name).cloned().unwrap_or(Placement::Any),
        Plan::View { name, .. } => known.get(name).cloned().unwrap_or(Placement::Scattered),
        Plan::Recursion(spec) => Placement::By((0..spec.schema.fields().len()).collect()),
        Plan::Recursive { .. } => Placement::Scattered,
        Plan::Filter(spec) => placement(&spec.input, known),
        Plan::Within(spec) => placement(&spec.input, known),
        Plan::AssignWindows(spec) => placement(&spec.input, known),
        Plan::Project(spec) => match placement(&spec.input, known) {
            Placement::By(keys) => {
                let column_of = |key: &usize| {
                    spec.exprs
                        .iter()
                        .position(|expr| expr.downcast_ref::<Column>().is_some_and(|column| column.index() == *key))
                };
                keys.iter().map(column_of).collect::<Option<_>>().map_or(Placement::Scattered, Placement::By)
            }
            other => other,
        },
        Plan::Union { inputs } => {
            let any = inputs.iter().all(|input| placement(input, known) == Placement::Any);
            if any { Placement::Any } else { Placement::Scattered }
        }
        Plan::Repeat(spec) => placement(&spec.input, known),
        // Only sinks read it, which ask for no place.
        Plan::Envelope(_) => Placement::Scattered,
        Plan::Unnest(spec) => match placement(&spec.input, known) {
            Placement::By(keys) if keys.contains(&spec.column) => Placement::Scattered,
            other => other,
        },
        Plan::Alert(_) => Placement::By(vec![thalweg_schemas::alert_event::KEY]),
        Plan::TopN(spec) => Placement::By(spec.partition.clone()),
        Plan::Over(spec) => Placement::By(spec.partition.clone()),
        Plan::Series(spec) => Placement::By(spec.exchanged_by().to_vec()),
        Plan::Expand(spec) => placement(&spec.input, known),
        Plan::SessionAggregate(spec) => Placement::By((2..2 + spec.partition).collect()),
        Plan::WindowAggregate(spec) => Placement::By((2..2 + spec.keys.len()).collect()),
        Plan::Reduce(spec) => Placement::By((0..spec.keys.len()).collect()),
        Plan::Join(spec) => of_join(spec),
        Plan::AsofJoin(spec) => Placement::By((0..spec.keys).collect()),
        Plan::LookupJoin(spec) => Placement::By((0..spec.keys).collect()),
    }
}

/// The rows of a join are where their key is, as long as they have it.
fn of_join(spec: &JoinSpec) -> Placement {
    let left = spec.left.schema().fields().len();
    match spec.kind {
        _ if spec.nulls == NullKeys::NotIn => Placement::By(Vec::new()),
        JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
            Placement::By((0..spec.keys).collect())
        }
        JoinKind::Right => Placement::By((left..left + spec.keys).collect()),
        JoinKind::Full if spec.keys == 0 => Placement::By(Vec::new()),
        JoinKind::Full => Placement::Scattered,
    }
}
