//! How much of the columns of a source anybody looks at, so that decoders need not keep the rest: of a record that may be a few
//! of its fields.

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::filter::field_of;
use thalweg_operators::join::JoinSpec;
use thalweg_operators::plan::{Dataflow, Plan};
use thalweg_schemas::wanted::Wanted;

/// How much is wanted of columns, by their places.
#[derive(Clone, Default)]
struct Columns(BTreeMap<usize, Wanted>);

/// Marks the wanted columns of all sources, and takes out the sources that nothing reads.
pub(crate) fn mark(dataflow: &mut Dataflow) {
    let mut wanted = BTreeMap::new();
    let plans = dataflow.views.iter().map(|v| &v.plan).chain(dataflow.sinks.iter().map(|s| &s.plan));
    for plan in plans {
        need(plan, Columns::all(plan), &mut wanted);
    }
    dataflow.sources.retain(|source| wanted.contains_key(&source.name));
    for source in &mut dataflow.sources {
        let mut columns = wanted.remove(&source.name).unwrap_or_default();
        // The watermark is made from its column, and generated columns from theirs.
        columns = columns.and(source.watermark.iter().map(|w| w.column)).and(source.key.iter().copied());
        let computed = source.generated.iter().filter(|(at, _)| columns.0.contains_key(at)).map(|(_, expr)| expr);
        let inputs = Columns::default().read_by(computed);
        columns.add(inputs);
        source.wanted = (0..source.columns.len()).map(|at| columns.0.remove(&at).unwrap_or_default()).collect();
    }
}

impl Columns {
    /// All of `plan`, whole.
    fn all(plan: &Plan) -> Columns {
        Columns::default().and(0..plan.schema().fields().len())
    }

    /// These and the whole ones at `places`.
    fn and(mut self, places: impl IntoIterator<Item = usize>) -> Columns {
        self.0.extend(places.into_iter().map(|at| (at, Wanted::Whole)));
        self
    }

    fn add(&mut self, others: Columns) {
        for (at, wanted) in others.0 {
            self.0.entry(at).or_default().add(wanted);
        }
    }

    /// These and what expressions read whose values are wanted whole.
    fn read_by<'a>(mut self, exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Columns {
        exprs.into_iter().for_each(|expr| self.read(expr, Wanted::Whole));
        self
    }

    /// Adds what `expr` reads of which so much is wanted.
    fn read(&mut self, expr: &Arc<dyn PhysicalExpr>, wanted: Wanted) {
        let any = expr.as_ref() as &dyn Any;
        let judged = any.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
        let judged = judged.or_else(|| any.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg));
        match (any.downcast_ref::<Column>(), field_of(expr), judged) {
            (Some(column), ..) => self.0.entry(column.index()).or_default().add(wanted),
            (_, Some((record, path)), _) => self.read(record, Wanted::at(path.into_iter(), wanted)),
            (.., Some(judged)) => self.read(judged, Wanted::Fields(BTreeMap::new())),
            _ => expr.children().into_iter().for_each(|child| self.read(child, Wanted::Whole)),
        }
    }

    /// Those among the first `width`, and the others with their places counted from there.
    fn split(mut self, width: usize) -> (Columns, Columns) {
        let right = self.0.split_off(&width);
        (self, Columns(right.into_iter().map(|(at, wanted)| (at - width, wanted)).collect()))
    }
}

/// Notes that `columns` of `plan` are needed.
fn need(plan: &Plan, columns: Columns, wanted: &mut BTreeMap<String, Columns>) {
    match plan {
        Plan::Source { name, .. } => wanted.entry(name.clone()).or_default().add(columns),
        // A view's own columns are all wanted: whoever queries it may look at any.
        Plan::View { .. } => {}
        // Its rows are told apart by all of their columns.
        Plan::Recursion(_) => plan.inputs().into_iter().for_each(|input| need(input, Columns::all(input), wanted)),
        Plan::Recursive { .. } => {}
        Plan::Filter(spec) => need(&spec.input, columns.read_by([&spec.predicate]), wanted),
        Plan::Project(spec) => {
            let mut read = Columns::default();
            columns.0.into_iter().for_each(|(at, wanted)| read.read(&spec.exprs[at], wanted));
            need(&spec.input, read, wanted);
        }
        Plan::Union { inputs } => inputs.iter().for_each(|input| need(input, columns.clone(), wanted)),
        Plan::AssignWindows(spec) => {
            let (columns, _) = columns.split(spec.input.schema().fields().len());
            need(&spec.input, columns.and([spec.time]), wanted);
        }
        Plan::WindowAggregate(spec) => {
            let read = Columns::default().read_by(spec.keys.iter().chain([&spec.time]));
            need(&spec.input, read.read_by(&spec.aggregates.iter().flat_map(read_by).collect::<Vec<_>>()), wanted);
        }
        // A late row is kept as it came.
        Plan::SessionAggregate(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        // What is kept is kept whole.
        Plan::TopN(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Over(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Series(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Expand(spec) => {
            let (columns, _) = columns.split(spec.input.schema().fields().len());
            need(&spec.input, columns.read_by(&spec.keys), wanted);
        }
        // A late row is kept as it came.
        Plan::Within(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Unnest(spec) => need(&spec.input, columns.and([spec.column]), wanted),
        Plan::Envelope(spec) => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Repeat(spec) => need(&spec.input, Columns::default().and(0..=spec.schema.fields().len()), wanted),
        // A changelog's retractions must be whole: a row is looked up as it was inserted.
        Plan::Reduce(spec) if spec.retracts => need(&spec.input, Columns::all(&spec.input), wanted),
        Plan::Reduce(spec) => {
            let read = Columns::default().read_by(&spec.keys);
            need(&spec.input, read.read_by(&spec.aggregates.iter().flat_map(read_by).collect::<Vec<_>>()), wanted);
        }
        Plan::Join(spec) => need_of_join(spec, columns, wanted),
        // An event shows the whole row, and rows behind it.
        Plan::Alert(spec) => {
            let beside = spec.exemplars.as_ref().map(|exemplars| &exemplars.plan);
            plan.inputs().into_iter().chain(beside).for_each(|input| need(input, Columns::all(input), wanted));
        }
        Plan::LookupJoin(spec) => {
            let (left, right) = columns.read_by(&spec.filter).split(spec.left.schema().fields().len());
            let keys = 0..spec.keys;
            need(
                &spec.left,
                if spec.left_retracts { Columns::all(&spec.left) } else { left.and(keys.clone()) },
                wanted,
            );
            need(&spec.right, if spec.right_retracts { Columns::all(&spec.right) } else { right.and(keys) }, wanted);
        }
        // What a version says must be whole: of several at one place one is chosen by all of its columns.
        Plan::AsofJoin(spec) => {
            [&spec.left, &spec.right].into_iter().for_each(|input| need(input, Columns::all(input), wanted));
        }
    }
}

fn need_of_join(spec: &JoinSpec, columns: Columns, wanted: &mut BTreeMap<String, Columns>) {
    let (left, right) = columns.read_by(&spec.filter).split(spec.left.schema().fields().len());
    // A mark whether there is a partner comes from neither side.
    let (right, _) = right.split(spec.right.schema().fields().len());
    let left = left.and(0..spec.keys).and(spec.within.iter().map(|w| w.left));
    let right = right.and(0..spec.keys).and(spec.within.iter().map(|w| w.right));
    need(&spec.left, if spec.left_retracts { Columns::all(&spec.left) } else { left }, wanted);
    need(&spec.right, if spec.right_retracts { Columns::all(&spec.right) } else { right }, wanted);
}

fn read_by(aggregate: &Aggregate) -> Vec<Arc<dyn PhysicalExpr>> {
    let arguments = aggregate.function.expressions();
    let order = aggregate.function.order_bys().iter().map(|sort| sort.expr.clone());
    arguments.into_iter().chain(order).chain(aggregate.filter.clone()).collect()
}
