//! Lookup joins: each row with what another relation holds for its key when it comes.

use super::{Side, side_by_side, unique};
use crate::bind::lookup::LookupNode;
use crate::bind::{Mode, Scope};
use crate::lower::{Lowered, Lowering};
use crate::parse::lookup::EXAMPLE;
use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::join::{JoinKind, LookupJoinSpec};
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(in crate::lower) fn lookup_join(&self, node: &LookupNode) -> Result<Lowered> {
        node.conditions.iter().try_for_each(|expr| self.supported(expr))?;
        let side = |plan: &LogicalPlan| self.lower(plan)?.with_windows_assigned();
        let left = Side { lowered: side(&node.left)?, logical: node.left.schema() };
        let right = Side { lowered: side(&node.right)?, logical: node.right.schema() };
        let tables = tables_of(&right.lowered.plan, self.scope);
        self.may_look_up(node, &left, &tables)?;
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for condition in &node.conditions {
            match left.comparison(condition, &right) {
                Some((of_left, Operator::Eq, of_right)) => keys.push((of_left, of_right)),
                _ => others.push(condition.clone()),
            }
        }
        if keys.is_empty() {
            let error = Error::user("a lookup join finds rows by a key, and its condition compares none by =");
            return Err(self.of_lookup(error.with_hint(EXAMPLE)));
        }
        let (of_left, of_right): (Vec<&Expr>, Vec<&Expr>) = keys.into_iter().unzip();
        let left = self.keyed(left, &of_left, |_| true)?;
        let right = self.keyed(right, &of_right, |_| true)?;
        let filter = conjunction(others).map(|expr| self.condition(&expr, &left, &right)).transpose()?;
        let (left, right, keys) = (left.lowered, right.lowered, of_left.len());
        let kind = if node.outer { JoinKind::Left } else { JoinKind::Inner };
        let key = unique(kind, keys, &left, &right);
        let (left_schema, right_schema) = (left.plan.schema(), right.plan.schema());
        for key in 0..keys {
            let types = [&left_schema, &right_schema].map(|schema| schema.field(key).data_type().clone());
            if types[0] != types[1] {
                return Err(Error::bug(format!("a lookup join compares {} with {}", types[0], types[1])));
            }
        }
        let (fields, columns) = side_by_side(&left, &right, node.outer)?;
        let waits_for = TimeOrigin { sources: tables.into_iter().map(|table| (table, 0)).collect() };
        // Rows may wait for the tables, so no time has passed before those have been read.
        let mut times: Vec<_> =
            left.times.into_iter().map(|time| time.map(|origin| origin.union(&waits_for))).collect();
        times.resize(fields.len(), None);
        let spec = LookupJoinSpec {
            right_retracts: right.mode != Mode::Append,
            left: Box::new(left.plan),
            right: Box::new(right.plan),
            keys,
            outer: node.outer,
            filter,
            waits_for,
            schema: Arc::new(Schema::new(fields)),
        };
        let lowered = Lowered::straight(Plan::LookupJoin(Box::new(spec)), Mode::Append, times, key);
        Ok(Lowered { columns, bounds: left.bounds, ..lowered })
    }

    /// Whether the left side only ever brings rows, and the time is one that can be meant.
    fn may_look_up(&self, node: &LookupNode, left: &Side, tables: &BTreeSet<String>) -> Result<()> {
        if left.lowered.mode == Mode::Changelog {
            let error = Error::user(
                "the left side of a lookup join takes rows back, and what was looked up is never corrected",
            )
            .with_hint(
                "Look up before rows are grouped, or leave FOR SYSTEM_TIME out: a plain JOIN corrects its results.",
            );
            return Err(self.of_lookup(error));
        }
        let Some(time) = &node.as_of else { return Ok(()) };
        let is_time = |time: &Expr| {
            let column = matches!(time, Expr::Column(_)) && left.has(time);
            column && matches!(time.get_type(left.logical), Ok(DataType::Timestamp(..)))
        };
        if !is_time(time) {
            let error = Error::user(format!("FOR SYSTEM_TIME AS OF takes a time of the left side, not \"{time}\""));
            return Err(self.of_lookup(error.with_hint(EXAMPLE)));
        }
        if tables.is_empty() {
            let error = Error::user(format!("FOR SYSTEM_TIME AS OF {time} looks up in no table of another system"))
                .with_detail("What is looked up here changes in event time, and a lookup goes by when its row comes.")
                .with_hint(
                    "Write ASOF JOIN for the version of that time, or FOR SYSTEM_TIME AS OF PROCTIME() for what is there \
                     when the row comes.",
                );
            return Err(self.of_lookup(error));
        }
        Ok(())
    }

    fn of_lookup(&self, error: Error) -> Error {
        self.words.find("SYSTEM_TIME").into_iter().fold(error, Error::at)
    }
}

/// The tables of other systems that `plan` reads, by the names of their sources.
pub(crate) fn tables_of(plan: &Plan, scope: &Scope) -> BTreeSet<String> {
    match plan {
        Plan::Source { name, .. } | Plan::View { name, .. } => {
            scope.relations.get(name).map(|relation| relation.tables.clone()).unwrap_or_default()
        }
        _ => plan.inputs().into_iter().flat_map(|input| tables_of(input, scope)).collect(),
    }
}
