//! Which columns of a source anybody looks at, so that decoders need not keep the others.

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::join::JoinSpec;
use thalweg_operators::plan::{Dataflow, Plan};

/// Marks the wanted columns of all sources, and takes out the sources that nothing reads.
pub(crate) fn mark(dataflow: &mut Dataflow) {
    let mut wanted: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let plans = dataflow.views.iter().map(|v| &v.plan).chain(dataflow.sinks.iter().map(|s| &s.plan));
    for plan in plans {
        need(plan, (0..plan.schema().fields().len()).collect(), &mut wanted);
    }
    dataflow.sources.retain(|source| wanted.contains_key(&source.name));
    for source in &mut dataflow.sources {
        let mut columns = wanted.remove(&source.name).unwrap_or_default();
        // The watermark is made from its column, and generated columns from theirs.
        columns.extend(source.watermark.iter().map(|w| w.column));
        columns.extend(&source.key);
        let inputs: Vec<usize> = source
            .generated
            .iter()
            .filter(|(at, _)| columns.contains(at))
            .flat_map(|(_, expr)| columns_of(expr))
            .collect();
        columns.extend(inputs);
        source.wanted = (0..source.columns.len()).map(|at| columns.contains(&at)).collect();
    }
}

/// Notes that `columns` of `plan` are needed.
fn need(plan: &Plan, columns: BTreeSet<usize>, wanted: &mut BTreeMap<String, BTreeSet<usize>>) {
    match plan {
        Plan::Source { name, .. } => wanted.entry(name.clone()).or_default().extend(columns),
        // A view's own columns are all wanted: whoever queries it may look at any.
        Plan::View { .. } => {}
        // Its rows are told apart by all of their columns.
        Plan::Recursion(_) => plan.inputs().into_iter().for_each(|input| {
            need(input, (0..input.schema().fields().len()).collect(), wanted);
        }),
        Plan::Recursive { .. } => {}
        Plan::Filter(spec) => {
            let columns = columns.into_iter().chain(columns_of(&spec.predicate)).collect();
            need(&spec.input, columns, wanted);
        }
        Plan::Project(spec) => {
            let columns = columns.into_iter().flat_map(|at| columns_of(&spec.exprs[at])).collect();
            need(&spec.input, columns, wanted);
        }
        Plan::Union { inputs } => inputs.iter().for_each(|input| need(input, columns.clone(), wanted)),
        Plan::AssignWindows(spec) => {
            let width = spec.input.schema().fields().len();
            let columns = columns.into_iter().filter(|at| *at < width).chain([spec.time]).collect();
            need(&spec.input, columns, wanted);
        }
        Plan::WindowAggregate(spec) => {
            let read = spec.keys.iter().chain([&spec.time]).flat_map(columns_of);
            need(&spec.input, read.chain(spec.aggregates.iter().flat_map(read_by)).collect(), wanted);
        }
        // A late row is kept as it came.
        Plan::SessionAggregate(spec) => {
            need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted);
        }
        // What is kept is kept whole.
        Plan::TopN(spec) => need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted),
        Plan::Over(spec) => need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted),
        Plan::Series(spec) => need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted),
        Plan::Expand(spec) => {
            let width = spec.input.schema().fields().len();
            let columns = columns.into_iter().filter(|at| *at < width);
            need(&spec.input, columns.chain(spec.keys.iter().flat_map(columns_of)).collect(), wanted);
        }
        // A late row is kept as it came.
        Plan::Within(spec) => need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted),
        Plan::Unnest(spec) => need(&spec.input, columns.into_iter().chain([spec.column]).collect(), wanted),
        Plan::Envelope(spec) => need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted),
        Plan::Repeat(spec) => need(&spec.input, (0..=spec.schema.fields().len()).collect(), wanted),
        // A changelog's retractions must be whole: a row is looked up as it was inserted.
        Plan::Reduce(spec) if spec.retracts => {
            need(&spec.input, (0..spec.input.schema().fields().len()).collect(), wanted);
        }
        Plan::Reduce(spec) => {
            let read = spec.keys.iter().flat_map(columns_of);
            need(&spec.input, read.chain(spec.aggregates.iter().flat_map(read_by)).collect(), wanted);
        }
        Plan::Join(spec) => need_of_join(spec, columns, wanted),
        // An event shows the whole row, and rows behind it.
        Plan::Alert(spec) => {
            let beside = spec.exemplars.as_ref().map(|exemplars| &exemplars.plan);
            plan.inputs().into_iter().chain(beside).for_each(|input| {
                need(input, (0..input.schema().fields().len()).collect(), wanted);
            });
        }
        Plan::LookupJoin(spec) => {
            let read: BTreeSet<usize> = columns.into_iter().chain(spec.filter.iter().flat_map(columns_of)).collect();
            let width = spec.left.schema().fields().len();
            let left = read.iter().copied().filter(|at| *at < width).chain(0..spec.keys);
            need(&spec.left, if spec.left_retracts { (0..width).collect() } else { left.collect() }, wanted);
            let of_right = 0..spec.right.schema().fields().len();
            let right = read.iter().filter_map(|at| at.checked_sub(width)).chain(0..spec.keys);
            need(&spec.right, if spec.right_retracts { of_right.collect() } else { right.collect() }, wanted);
        }
        // What a version says must be whole: of several at one place one is chosen by all of its columns.
        Plan::AsofJoin(spec) => [&spec.left, &spec.right].into_iter().for_each(|input| {
            need(input, (0..input.schema().fields().len()).collect(), wanted);
        }),
    }
}

fn need_of_join(spec: &JoinSpec, columns: BTreeSet<usize>, wanted: &mut BTreeMap<String, BTreeSet<usize>>) {
    let width = |plan: &Plan| plan.schema().fields().len();
    let left_width = width(&spec.left);
    let read: BTreeSet<usize> = columns.into_iter().chain(spec.filter.iter().flat_map(columns_of)).collect();
    let left = read.iter().copied().filter(|at| *at < left_width);
    let right = read.iter().filter_map(|at| at.checked_sub(left_width)).filter(|at| *at < width(&spec.right));
    let all = |plan: &Plan| (0..width(plan)).collect::<BTreeSet<_>>();
    let left = left.chain(0..spec.keys).chain(spec.within.iter().map(|w| w.left)).collect();
    let right = right.chain(0..spec.keys).chain(spec.within.iter().map(|w| w.right)).collect();
    need(&spec.left, if spec.left_retracts { all(&spec.left) } else { left }, wanted);
    need(&spec.right, if spec.right_retracts { all(&spec.right) } else { right }, wanted);
}

fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns: Vec<usize> = collect_columns(expr).into_iter().map(|column| column.index()).collect();
    columns.sort_unstable();
    columns
}

fn read_by(aggregate: &Aggregate) -> Vec<usize> {
    let arguments = aggregate.function.expressions();
    let order = aggregate.function.order_bys().iter().map(|sort| sort.expr.clone());
    arguments.into_iter().chain(order).chain(aggregate.filter.clone()).flat_map(|expr| columns_of(&expr)).collect()
}
