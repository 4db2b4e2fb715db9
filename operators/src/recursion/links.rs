//! A step as chains of operators that carry along, in one more column, of which iteration a row is.
//!
//! Operators that look at rows one by one do not care; a join holds it with the rows of the recursion. So when a row comes
//! to the other side of a join, its partners of all iterations are found at once, and each says which iteration comes next.

use super::is_recursive;
use crate::evaluate::fault;
use crate::filter::FilterSpec;
use crate::join::JoinSpec;
use crate::plan::Plan;
use crate::project::ProjectSpec;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// What the column is called that says of which iteration a row is; dead rows show it.
const ITERATION: &str = "_iteration";

/// What one branch of a step does with the rows of the recursion, in this order.
pub(super) struct Chain {
    pub links: Vec<Link>,
    /// What comes out of it: last the iteration.
    pub schema: SchemaRef,
}

/// One operator of a step; its own input stands for the one before.
pub(super) enum Link {
    Filter(FilterSpec),
    Project(ProjectSpec),
    Join {
        spec: JoinSpec,
        /// Whether the rows of the recursion are its left side.
        left: bool,
        /// Where the iteration is among its columns.
        iteration: usize,
    },
}

/// The columns of `schema`, then the iteration.
pub(super) fn with_iteration(schema: &SchemaRef) -> SchemaRef {
    with(schema, schema.fields().len())
}

/// The columns of `schema`, the iteration at `at` among them.
fn with(schema: &SchemaRef, at: usize) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.insert(at, Arc::new(Field::new(ITERATION, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// The branches of `step`.
pub(super) fn chains(step: &Plan) -> Result<Vec<Chain>> {
    match step {
        Plan::Recursive { schema, .. } => Ok(vec![Chain { links: Vec::new(), schema: with_iteration(schema) }]),
        Plan::Filter(spec) => each(&spec.input, |chain| {
            let spec = FilterSpec { input: stand_in(&chain.schema), predicate: spec.predicate.clone() };
            chain.links.push(Link::Filter(spec));
            Ok(())
        }),
        Plan::Project(spec) => each(&spec.input, |chain| {
            let iteration = Arc::new(Column::new(ITERATION, chain.schema.fields().len() - 1)) as Arc<dyn PhysicalExpr>;
            let exprs = spec.exprs.iter().cloned().chain([iteration]).collect();
            let schema = with_iteration(&spec.schema);
            let input = stand_in(&chain.schema);
            chain.links.push(Link::Project(ProjectSpec { input, exprs, schema: schema.clone() }));
            chain.schema = schema;
            Ok(())
        }),
        Plan::Union { inputs } => {
            Ok(inputs.iter().map(chains).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Plan::Join(spec) if is_recursive(&spec.left) => each(&spec.left, |chain| join(spec, true, chain)),
        Plan::Join(spec) => each(&spec.right, |chain| join(spec, false, chain)),
        _ => Err(Error::bug("the step of a recursion has an operator that it cannot carry out")),
    }
}

fn each(input: &Plan, extend: impl Fn(&mut Chain) -> Result<()>) -> Result<Vec<Chain>> {
    let mut chains = chains(input)?;
    chains.iter_mut().try_for_each(extend)?;
    Ok(chains)
}

/// What an operator of a chain reads, as a plan: only its schema matters.
fn stand_in(schema: &SchemaRef) -> Box<Plan> {
    Box::new(Plan::Recursive { name: String::new(), schema: schema.clone() })
}

fn join(spec: &JoinSpec, left: bool, chain: &mut Chain) -> Result<()> {
    let mut join = spec.clone();
    join.state_ttl_ns = None;
    join.horizons = [None, None];
    let width = spec.left.schema().fields().len();
    let iteration = if left { width } else { spec.schema.fields().len() };
    join.schema = with(&spec.schema, iteration);
    if left {
        (join.left, join.left_retracts) = (stand_in(&chain.schema), true);
        let moved = |at: usize| at + usize::from(at >= width);
        join.filter = spec.filter.as_ref().map(|filter| relocated(filter, moved)).transpose()?;
    } else {
        (join.right, join.right_retracts) = (stand_in(&chain.schema), true);
    }
    chain.schema = join.schema.clone();
    chain.links.push(Link::Join { spec: join, left, iteration });
    let last = chain.schema.fields().len() - 1;
    if iteration < last {
        let places: Vec<usize> = (0..=last).filter(|at| *at != iteration).chain([iteration]).collect();
        let column = |at: &usize| Arc::new(Column::new(chain.schema.field(*at).name(), *at)) as Arc<dyn PhysicalExpr>;
        let exprs = places.iter().map(column).collect();
        let schema = Arc::new(Schema::new(places.iter().map(|at| chain.schema.field(*at).clone()).collect::<Vec<_>>()));
        let input = stand_in(&chain.schema);
        chain.links.push(Link::Project(ProjectSpec { input, exprs, schema: schema.clone() }));
        chain.schema = schema;
    }
    Ok(())
}

/// `expr` over columns that stand elsewhere.
fn relocated(expr: &Arc<dyn PhysicalExpr>, moved: impl Fn(usize) -> usize) -> Result<Arc<dyn PhysicalExpr>> {
    let relocate = |e: Arc<dyn PhysicalExpr>| match (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>() {
        Some(column) => {
            let column = Column::new(column.name(), moved(column.index()));
            Ok(Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>))
        }
        None => Ok(Transformed::no(e)),
    };
    expr.clone().transform_up(relocate).data().map_err(fault)
}
