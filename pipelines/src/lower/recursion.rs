//! WITH RECURSIVE.

use super::{Lowered, Lowering};
use crate::bind::Mode;
use crate::bind::recursion::RecursiveSource;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, LogicalPlan, RecursiveQuery};
use std::sync::Arc;
use thalweg_operators::join::{JoinKind, JoinSpec};
use thalweg_operators::plan::Plan;
use thalweg_operators::recursion::{ITERATIONS_MAX, RecursionSpec, is_recursive, refused, step_appends};
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn recursion(&self, query: &RecursiveQuery) -> Result<Lowered> {
        self.of_itself_alone(query)?;
        let whole = |plan: &LogicalPlan| {
            let lowered = self.lower(plan)?.with_windows_assigned()?;
            self.named(lowered, query.static_term.schema())
        };
        let base = whole(&query.static_term)?;
        let step = whole(without_distinct(&query.recursive_term, query.is_distinct))?;
        if let Some(part) = refused(&step.plan) {
            return Err(self.not_in_a_step(&query.name, of_part(&query.name, part)));
        }
        let schema = nullable(&base.plan.schema());
        for (first, then) in schema.fields().iter().zip(step.plan.schema().fields()) {
            if first.data_type() != then.data_type() {
                return Err(Error::bug(format!(
                    "column \"{}\" of recursion \"{}\" begins as {} and goes on as {}",
                    first.name(),
                    query.name,
                    first.data_type(),
                    then.data_type()
                )));
            }
        }
        let mode = match base.mode {
            Mode::Append if step_appends(&step.plan) => Mode::Append,
            _ => Mode::Changelog,
        };
        let times = vec![None; schema.fields().len()];
        let spec = RecursionSpec {
            name: query.name.clone(),
            base: Box::new(base.plan),
            step: Box::new(step.plan),
            distinct: query.is_distinct,
            retracts: mode != Mode::Append,
            iterations_max: ITERATIONS_MAX,
            schema,
        };
        let key = query.is_distinct.then(|| (0..spec.schema.fields().len()).map(|column| vec![column]).collect());
        Ok(Lowered::straight(Plan::Recursion(Box::new(spec)), mode, times, key))
    }

    /// The rows of the iteration before.
    pub(super) fn recursive(&self, source: &RecursiveSource) -> Lowered {
        let schema = nullable(&source.schema);
        let times = vec![None; schema.fields().len()];
        let plan = Plan::Recursive { name: source.name.clone(), schema };
        Lowered::straight(plan, Mode::Changelog, times, None)
    }

    /// Refuses a recursion within another one that reads the rows of the outer one.
    fn of_itself_alone(&self, query: &RecursiveQuery) -> Result<()> {
        let mut outer = None;
        let mut look = |plan: &LogicalPlan| {
            plan.apply(|node| {
                if let LogicalPlan::TableScan(scan) = node
                    && let Some(source) = scan.source.downcast_ref::<RecursiveSource>()
                    && source.name != query.name
                {
                    outer = Some(source.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        };
        // Looking does not fail.
        let _ = look(&query.static_term).and_then(|_| look(&query.recursive_term));
        let Some(outer) = outer else { return Ok(()) };
        let error = Error::user(format!("recursion \"{}\" within \"{outer}\" reads rows of \"{outer}\"", query.name))
            .with_detail("It would have to begin anew in every iteration.")
            .with_hint("Make a materialized view of the one that can stand alone, and read it in the other.");
        Err(self.words.find(&query.name).into_iter().fold(error, Error::at))
    }

    /// Refuses a query that reads the rows of an iteration and is none: DataFusion takes no notice of a recursion that reads
    /// itself only in a subquery of an expression.
    pub(super) fn within_a_recursion(&self, plan: &Plan) -> Result<()> {
        if !is_recursive(plan) {
            return Ok(());
        }
        if let Plan::Recursive { name, .. } = plan {
            return Err(self.not_in_a_step(name, of_subquery(name)));
        }
        plan.inputs().into_iter().try_for_each(|input| self.within_a_recursion(input))
    }

    fn not_in_a_step(&self, name: &str, Refused { what, keyword, why, hint }: Refused) -> Error {
        let error = Error::user(format!("{what} is not supported in the recursive part of \"{name}\""));
        let error = error.with_detail(why).with_hint(hint);
        let place = self.words.find_from(keyword, self.words.find("RECURSIVE").as_ref());
        place.or_else(|| self.words.find(name)).into_iter().fold(error, Error::at)
    }
}

/// What a step cannot have: what it is called, by which word it is found, and what to do instead.
struct Refused {
    what: String,
    keyword: &'static str,
    why: &'static str,
    hint: &'static str,
}

const EACH_ALONE: &str = "Each of its rows must be made from one row of the iteration before, whatever the others are.";

/// What to say of a part of the step that looks at more than one of its rows at once.
fn of_part(name: &str, part: &Plan) -> Refused {
    const AFTER: &str = "Do it to the result of the recursion instead, or to what it reads.";
    let refused = |what: &str, keyword, hint| Refused { what: what.to_string(), keyword, why: EACH_ALONE, hint };
    match part {
        Plan::Join(spec) => of_join(name, spec),
        Plan::Reduce(spec) if spec.aggregates.is_empty() => {
            refused("DISTINCT", "DISTINCT", "Write UNION instead of UNION ALL: then each row is there once.")
        }
        Plan::Reduce(_) => refused("an aggregate", "GROUP", AFTER),
        Plan::TopN(_) => refused("a choice of the first rows", "LIMIT", AFTER),
        Plan::Over(_) => refused("a window function", "OVER", AFTER),
        Plan::AsofJoin(_) => refused("an ASOF join", "ASOF", AFTER),
        Plan::LookupJoin(_) => refused("a lookup join", "SYSTEM_TIME", AFTER),
        Plan::Unnest(_) => refused("unnest()", "UNNEST", AFTER),
        Plan::Union { .. } => Refused {
            what: format!("a part that does not read \"{name}\""),
            keyword: "UNION",
            why: "Its rows would come again in every iteration.",
            hint: "Write it before the first UNION.",
        },
        _ => refused("this operation", "UNION", AFTER),
    }
}

fn of_join(name: &str, spec: &JoinSpec) -> Refused {
    if is_recursive(&spec.left) && is_recursive(&spec.right) {
        return Refused {
            what: format!("a join of \"{name}\" with itself"),
            keyword: "JOIN",
            why: "Each of its rows must be made from one row of the iteration before.",
            hint: "Join it with the relation that it follows, one step an iteration: what is reached is the same.",
        };
    }
    match spec.kind {
        JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => of_subquery(name),
        _ => Refused {
            what: "an outer join that keeps rows which no row of the recursion meets".to_string(),
            keyword: "JOIN",
            why: EACH_ALONE,
            hint: "Write an inner join, or one that keeps the rows of the recursion: FROM t LEFT JOIN other.",
        },
    }
}

fn of_subquery(name: &str) -> Refused {
    Refused {
        what: format!("a subquery over \"{name}\", as of IN or EXISTS,"),
        keyword: "WHERE",
        why: EACH_ALONE,
        hint: "Write a join with it. UNION keeps a row once that several rows lead to.",
    }
}

/// The recursive term; of a row that is made twice UNION keeps one anyway.
fn without_distinct(plan: &LogicalPlan, distinct: bool) -> &LogicalPlan {
    match plan {
        LogicalPlan::Distinct(Distinct::All(input)) if distinct => without_distinct(input, distinct),
        other => other,
    }
}

/// The same columns, each of which may be NULL: what an iteration makes is not known to be otherwise.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let field = |f: &Arc<Field>| Field::new(f.name(), f.data_type().clone(), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}
