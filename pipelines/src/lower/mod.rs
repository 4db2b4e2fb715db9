//! Logical plans to ours: one file a construct. Whatever has no arm here is an error that names it.

mod aggregate;
pub(crate) mod checked;
mod computed;
pub(crate) mod constant;
mod filter;
mod grouping_sets;
mod join;
mod over;
mod project;
mod recursion;
mod scan;
mod series;
mod sessions;
mod set_operation;
mod top_n;
mod union;
mod unnest;

pub(crate) use join::{length_ns, tables_of};
pub(crate) use project::position;
pub(crate) use set_operation::is_one as is_set_operation;

use crate::bind::asof::AsofNode;
use crate::bind::cut::Cut;
use crate::bind::lookup::LookupNode;
use crate::bind::{Mode, Scope};
use crate::parse::Words;
use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;
use thalweg_operators::assign_windows::AssignWindowsSpec;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::error::{Error, Result};

/// What the view says of late rows.
#[derive(Clone, Debug)]
pub(crate) struct LateRows {
    pub lateness_ns: i64,
    pub on_late: OnLate,
}

impl LateRows {
    /// When windows are final that close by `closes`: later by as long as late rows may still revise them.
    fn final_at(&self, closes: &TimeOrigin) -> TimeOrigin {
        match self.on_late {
            OnLate::Drop => closes.clone(),
            OnLate::Revise { until_ns } => closes.delayed(until_ns),
        }
    }
}

/// A plan, and what is known of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub plan: Plan,
    pub mode: Mode,
    /// For each column of `plan`, whether it is an event time, and by which watermarks.
    pub times: Vec<Option<TimeOrigin>>,
    /// Which columns of `plan` are bounds of windows: what has such a value is complete when the watermark reaches it.
    pub bounds: Vec<usize>,
    /// Columns of `plan` that are unique together.
    pub key: Option<Key>,
    /// Windows that no operator has made yet: a grouping by them may follow, which does it better.
    window: Option<OpenWindow>,
    /// Where each column of the logical plan is.
    columns: Vec<Place>,
}

/// Columns that are unique together. Of each part any of its columns will do: both bounds of a window name it.
pub(crate) type Key = Vec<Vec<usize>>;

#[derive(Clone, Debug)]
struct OpenWindow {
    /// How the rows are cut, by positions of the plan's columns.
    cut: Cut<usize>,
    /// The event time among the plan's columns.
    time: usize,
    /// Predicates over `window_start` (column 0) and `window_end` (column 1) alone.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The fields of `window_start` and `window_end`.
    bounds: [FieldRef; 2],
    /// What the view says of late rows.
    late: LateRows,
    /// Of sessions, predicates over the plan's columns: which of a session's rows are looked at.
    row_filters: Vec<Arc<dyn PhysicalExpr>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A column of the plan.
    Base(usize),
    /// `window_start` (0) or `window_end` (1).
    Bound(usize),
}

/// Lowers the query of a materialized view or a sink.
pub(crate) fn lower(plan: &LogicalPlan, late: &LateRows, scope: &Scope, words: &Words) -> Result<Lowered> {
    let lowering = Lowering { late, scope, words, props: ExecutionProps::new() };
    let lowered = lowering.lower(plan)?.with_windows_assigned()?;
    lowering.within_a_recursion(&lowered.plan)?;
    lowering.only_looked_up(&lowered.plan)?;
    lowering.named(lowered, plan.schema())
}

struct Lowering<'a> {
    late: &'a LateRows,
    scope: &'a Scope,
    words: &'a Words,
    props: ExecutionProps,
}

impl Lowering<'_> {
    fn lower(&self, plan: &LogicalPlan) -> Result<Lowered> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::RecursiveQuery(query) => self.recursion(query),
            LogicalPlan::EmptyRelation(relation) => self.empty(relation),
            LogicalPlan::Values(values) => self.values(values),
            // A view is a set: in what order its rows were asked for, nobody who reads it sees.
            LogicalPlan::Sort(sort) => self.lower(&sort.input),
            LogicalPlan::Join(join) if set_operation::is_one(join) => self.set_operation(join),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Extension(node) => {
                let node = node.node.as_any();
                match (node.downcast_ref::<AsofNode>(), node.downcast_ref::<LookupNode>()) {
                    (Some(asof), _) => self.asof_join(asof),
                    (_, Some(lookup)) => self.lookup_join(lookup),
                    (None, None) => Err(self.unsupported(plan)),
                }
            }
            other => Err(self.unsupported(other)),
        }
    }

    fn unsupported(&self, plan: &LogicalPlan) -> Error {
        let (what, keyword) = match plan {
            LogicalPlan::Unnest(_) => ("this UNNEST", "UNNEST"),
            LogicalPlan::Subquery(_) => ("a subquery in an expression", "SELECT"),
            _ => ("this statement", "SELECT"),
        };
        let error = Error::user(format!("{what} is not supported in a materialized view yet")).with_hint(
            "A query that reads the view can do it; what a view keeps up to date is filters, projections, joins, set \
             operations, DISTINCT, GROUP BY, window functions and LIMIT.",
        );
        self.words.find(keyword).into_iter().fold(error, Error::at)
    }

    /// The expression over the columns of the plan; an error where it needs what no plan has.
    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        self.supported(expr)?;
        create_physical_expr(expr, schema, &self.props, &PhysicalPlanningContext::default())
            .map_err(|error| crate::bind::messages::translate(error, self.scope, self.words))
            .and_then(checked::checked)
    }

    fn supported(&self, expr: &Expr) -> Result<()> {
        use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
        let mut found = None;
        let _ = expr.apply(|e| {
            found = match e {
                Expr::Exists(_) => Some(("this EXISTS", "EXISTS")),
                Expr::InSubquery(_) => Some(("this IN (SELECT ..)", "IN")),
                Expr::ScalarSubquery(_) | Expr::SetComparison(_) => Some(("this subquery", "SELECT")),
                _ => None,
            };
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        if let Some((what, keyword)) = found.filter(|(what, _)| what.starts_with("this ")) {
            let error = Error::user(format!("{what} cannot be turned into a join, so a view cannot be kept by it"))
                .with_hint(
                    "Use it in WHERE or SELECT with columns of the outer query compared by =, or write the join.",
                );
            return Err(self.words.find(keyword).into_iter().fold(error, Error::at));
        }
        if let Some((what, keyword)) = found {
            let error = Error::user(format!("{what} is not supported in a materialized view yet"))
                .with_hint("A query that reads the view can do it.");
            return Err(self.words.find(keyword).into_iter().fold(error, Error::at));
        }
        self.deterministic(expr)
    }

    /// A view must come to the same rows whenever it is computed.
    fn deterministic(&self, expr: &Expr) -> Result<()> {
        use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
        use datafusion::logical_expr::Volatility;
        const CLOCKS: [&str; 5] = ["now", "current_timestamp", "current_date", "current_time", "today"];
        let mut found = None;
        let _ = expr.apply(|e| {
            if let Expr::ScalarFunction(call) = e
                && (call.func.signature().volatility == Volatility::Volatile || CLOCKS.contains(&call.func.name()))
            {
                found = Some(call.func.name().to_string());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let Some(name) = found else { return Ok(()) };
        let clock = CLOCKS.contains(&name.as_str());
        let error = Error::user(format!("{name}() gives another answer every time, so a view cannot be kept by it"));
        let error = if clock {
            error.with_hint("Use the event time, or the metadata column _ingest_time of the source.")
        } else {
            error.with_hint("Use it in a query that reads the view.")
        };
        Err(self.words.find(&name).into_iter().fold(error, Error::at))
    }

    /// The same rows under the names and in the order that the query gave them.
    fn named(&self, lowered: Lowered, schema: &DFSchema) -> Result<Lowered> {
        let target = schema.as_arrow();
        let positions: Vec<usize> = lowered.columns.iter().map(|place| place.base()).collect::<Result<_>>()?;
        Ok(project::pick(lowered, &positions, target.fields().iter().cloned()))
    }
}

impl Place {
    fn base(self) -> Result<usize> {
        match self {
            Place::Base(at) => Ok(at),
            Place::Bound(_) => Err(Error::bug("a window bound is read before its windows are assigned")),
        }
    }
}

impl Lowered {
    /// A key of one column a part.
    pub(crate) fn simple_key(&self) -> Option<Vec<usize>> {
        Some(self.key.as_ref()?.iter().map(|part| part[0]).collect())
    }

    /// Rows whose columns are those of the logical plan.
    fn straight(plan: Plan, mode: Mode, times: Vec<Option<TimeOrigin>>, key: Option<Key>) -> Lowered {
        let columns = (0..plan.schema().fields().len()).map(Place::Base).collect();
        Lowered { plan, mode, times, bounds: Vec::new(), key, window: None, columns }
    }

    /// The columns of the plan under the names that the logical plan has for them. A column that it has no name for
    /// (the time of open windows) gets one that cannot be written.
    fn schema(&self, logical: &DFSchema) -> Result<DFSchema> {
        let schema = self.plan.schema();
        let fields = schema.fields().iter().enumerate().map(|(at, field)| {
            match self.columns.iter().position(|place| *place == Place::Base(at)) {
                Some(column) => {
                    let (qualifier, named) = logical.qualified_field(column);
                    let field = Field::new(named.name(), field.data_type().clone(), field.is_nullable());
                    (qualifier.cloned(), Arc::new(field))
                }
                None => {
                    let hidden = Field::new(field.name(), field.data_type().clone(), field.is_nullable());
                    (Some(TableReference::bare(format!("\u{0}{at}"))), Arc::new(hidden))
                }
            }
        });
        DFSchema::new_with_metadata(fields.collect(), Default::default()).map_err(|e| Error::bug(e.to_string()))
    }

    /// Which columns of open windows `expr` reads.
    fn bounds_in(&self, expr: &Expr, logical: &DFSchema) -> Bounds {
        if self.window.is_none() {
            return Bounds::None;
        }
        let places: Vec<Place> = expr.column_refs().into_iter().filter_map(|c| self.place_of(c, logical)).collect();
        let bounds = places.iter().filter(|place| matches!(place, Place::Bound(_))).count();
        match bounds {
            0 => Bounds::None,
            n if n == places.len() => Bounds::Only,
            _ => Bounds::Mixed,
        }
    }

    fn place_of(&self, column: &Column, logical: &DFSchema) -> Option<Place> {
        self.columns.get(logical.maybe_index_of_column(column)?).copied()
    }

    /// The schema of `window_start` and `window_end` alone, under the names that the logical plan has for them.
    fn bounds_schema(&self, logical: &DFSchema) -> Result<DFSchema> {
        let Some(open) = &self.window else { return Ok(DFSchema::empty()) };
        let field = |bound: usize| match self.columns.iter().position(|place| *place == Place::Bound(bound)) {
            Some(column) => {
                let (qualifier, named) = logical.qualified_field(column);
                (qualifier.cloned(), Arc::new(open.bounds[bound].as_ref().clone().with_name(named.name())))
            }
            None => (Some(TableReference::bare(format!("\u{0}{bound}"))), open.bounds[bound].clone()),
        };
        DFSchema::new_with_metadata(vec![field(0), field(1)], Default::default()).map_err(|e| Error::bug(e.to_string()))
    }

    /// The same rows with their windows as columns: what is left when no grouping by them follows.
    fn with_windows_assigned(mut self) -> Result<Lowered> {
        let Some(open) = self.window.take() else { return Ok(self) };
        let window = match open.cut {
            Cut::Windows(window) => window,
            Cut::Sessions { .. } => return self.with_sessions_assigned(open),
        };
        let input = self.plan;
        let width = input.schema().fields().len();
        let fields = input.schema().fields().iter().cloned().chain(open.bounds.iter().cloned()).collect::<Vec<_>>();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let closed = self.times[open.time].as_ref();
        let closed = closed.map(|origin| open.late.final_at(&origin.delayed(open.late.lateness_ns)));
        let spec = AssignWindowsSpec { input: Box::new(input), time: open.time, window, schema };
        self.plan = Plan::AssignWindows(spec);
        for predicate in open.filters {
            let name = |at: usize| self.plan.schema().field(width + at).name().clone();
            let predicate = project::relocated(&predicate, &|at| (name(at), width + at))?;
            self.plan = Plan::Filter(FilterSpec { input: Box::new(self.plan), predicate });
        }
        // A row of an open window: its bounds are as late as its time can make them.
        self.times.push(closed.as_ref().map(|closed| closed.delayed(window.size_ns())));
        self.times.push(closed);
        self.bounds.extend([width, width + 1]);
        self.key = None;
        for place in &mut self.columns {
            if let Place::Bound(bound) = *place {
                *place = Place::Base(width + bound);
            }
        }
        Ok(self)
    }
}

impl OpenWindow {
    /// Which of the bounds (0 and 1) each name the window.
    fn names(&self) -> &'static [usize] {
        match &self.cut {
            Cut::Windows(window) if !window.start_names_window() => &[1],
            Cut::Windows(_) | Cut::Sessions { .. } => &[0, 1],
        }
    }

    /// The plan's columns that cutting needs.
    fn needed(&self) -> Vec<usize> {
        let mut needed = vec![self.time];
        if let Cut::Sessions { by, start, end, .. } = &self.cut {
            needed.extend(by.iter().chain(start).chain(end));
        }
        needed.extend(self.row_filters.iter().flat_map(project::columns_of));
        needed
    }

    /// The same over other columns: `moved` says where each of those that it needs is, and under what name.
    fn moved(&mut self, moved: impl Fn(usize) -> (String, usize)) -> Result<()> {
        self.time = moved(self.time).1;
        if let Cut::Sessions { by, start, end, .. } = &mut self.cut {
            by.iter_mut().chain(start).chain(end).for_each(|column| *column = moved(*column).1);
        }
        for predicate in &mut self.row_filters {
            *predicate = project::relocated(predicate, &moved)?;
        }
        Ok(())
    }

    /// Whether rows for which `predicate` is false can be left out before the rest is cut: rows of sessions hang together.
    fn commutes(&self, predicate: &Arc<dyn PhysicalExpr>) -> bool {
        match &self.cut {
            Cut::Windows(_) => true,
            Cut::Sessions { by, .. } => project::columns_of(predicate).iter().all(|column| by.contains(column)),
        }
    }
}

/// Which columns of open windows an expression reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bounds {
    None,
    Only,
    Mixed,
}
