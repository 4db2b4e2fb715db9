//! Lookup joins: each row with what another relation holds for its key when it comes, or what a table says when it is asked
//! for its row.

use super::{Side, side_by_side, unique};
use crate::bind::lookup::LookupNode;
use crate::bind::{Cache, Mode, Scope};
use crate::lower::{Lowered, Lowering, project};
use crate::parse::lookup::EXAMPLE;
use crate::types::sql_type;
use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::join::{AskedSpec, JoinKind, LookupJoinSpec};
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
        let asked = asked_table(&right.lowered.plan, self.scope);
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for condition in &node.conditions {
            match left.comparison(condition, &right) {
                Some((of_left, Operator::Eq, of_right)) => keys.push((of_left, of_right, condition)),
                _ => others.push(condition.clone()),
            }
        }
        if let Some((table, _)) = asked {
            keys = self.by_primary_key(table, &right, keys, &mut others)?;
        }
        if keys.is_empty() {
            let error = Error::user("a lookup join finds rows by a key, and its condition compares none by =");
            return Err(self.of_lookup(error.with_hint(EXAMPLE)));
        }
        let (of_left, of_right): (Vec<&Expr>, Vec<&Expr>) = keys.into_iter().map(|(l, r, _)| (l, r)).unzip();
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
        // Of a table that is asked nobody waits for all.
        let read_whole = tables.into_iter().filter(|_| asked.is_none());
        let waits_for = TimeOrigin { sources: read_whole.map(|table| (table, 0)).collect() };
        let asked = asked.map(|(_, cache)| {
            let told = left.times.iter().flatten().fold(TimeOrigin::default(), |all, time| all.union(time));
            let sources = told.sources.into_iter().map(|(source, _)| (source, 0)).collect();
            AskedSpec { rows: cache.rows, ttl_ns: cache.ttl_ns, origin: TimeOrigin { sources } }
        });
        // Rows may wait for the tables, so no time has passed before those have been read.
        let mut times: Vec<_> =
            left.times.into_iter().map(|time| time.map(|origin| origin.union(&waits_for))).collect();
        times.resize(fields.len(), None);
        let spec = LookupJoinSpec {
            left_retracts: left.mode == Mode::Changelog,
            right_retracts: right.mode != Mode::Append,
            left: Box::new(left.plan),
            right: Box::new(right.plan),
            keys,
            outer: node.outer,
            filter,
            waits_for,
            asked,
            schema: Arc::new(Schema::new(fields)),
        };
        let mode = if spec.left_retracts { Mode::Changelog } else { Mode::Append };
        let lowered = Lowered::straight(Plan::LookupJoin(Box::new(spec)), mode, times, key);
        Ok(Lowered { columns, bounds: left.bounds, ..lowered })
    }

    /// The comparisons with the columns of the primary key of a table that is asked, in its order; the others go to `others`.
    fn by_primary_key<'e>(
        &self,
        table: &str,
        right: &Side,
        comparisons: Vec<(&'e Expr, &'e Expr, &'e Expr)>,
        others: &mut Vec<Expr>,
    ) -> Result<Vec<(&'e Expr, &'e Expr, &'e Expr)>> {
        let relation = self.scope.relations.get(table).ok_or_else(|| Error::bug("a table that nobody declared"))?;
        let primary_key = relation.key.clone().unwrap_or_default();
        let mut keys = vec![None; primary_key.len()];
        for comparison in comparisons {
            let of_key = match comparison.1 {
                Expr::Column(column) => right.lowered.place_of(column, right.logical),
                _ => None,
            };
            let column = of_key.and_then(|place| source_column(&right.lowered.plan, place.base().ok()?));
            match column.and_then(|column| primary_key.iter().position(|key| *key == column)) {
                Some(at) if keys[at].is_none() => keys[at] = Some(comparison),
                _ => others.push(comparison.2.clone()),
            }
        }
        let missing = keys.iter().zip(&primary_key).find(|(key, _)| key.is_none());
        if let Some((_, column)) = missing {
            let (column, data_type) =
                (relation.schema.field(*column).name(), relation.schema.field(*column).data_type());
            let error = Error::user(format!(
                "table \"{table}\" is asked for the row of a key, and the condition does not say by = which {column} it has"
            ))
            .with_detail("It is declared with cache = 'lru', so no other rows of it are known.")
            .with_hint(format!(
                "Compare each column of its primary key with a value of its own type, {column} with one of type {}; or let \
                 the table be read whole, cache = 'full'.",
                sql_type(data_type)
            ));
            return Err(self.of_lookup(error));
        }
        Ok(keys.into_iter().flatten().collect())
    }

    /// An error where a table that is asked for the rows of keys is read by anything but a lookup join.
    pub(in crate::lower) fn only_looked_up(&self, plan: &Plan) -> Result<()> {
        match plan {
            Plan::LookupJoin(spec) if spec.asked.is_some() => self.only_looked_up(&spec.left),
            Plan::Source { name, .. } if asked_table(plan, self.scope).is_some() => {
                let error = Error::user(format!("table \"{name}\" is asked for the rows of keys, and is not read"))
                    .with_detail("It is declared with cache = 'lru': which rows it has, nobody knows.")
                    .with_hint(format!(
                        "Look rows up in it, JOIN {name} FOR SYSTEM_TIME AS OF PROCTIME() AS s ON s.key = t.key, or let it be \
                         read whole, cache = 'full'."
                    ));
                Err(self.words.find(name).into_iter().fold(error, Error::at))
            }
            _ => plan.inputs().into_iter().try_for_each(|input| self.only_looked_up(input)),
        }
    }

    /// Whether the time is one that can be meant.
    fn may_look_up(&self, node: &LookupNode, left: &Side, tables: &BTreeSet<String>) -> Result<()> {
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

/// The table whose columns `plan` picks, if it is one that is asked for the rows of keys.
fn asked_table<'a>(plan: &Plan, scope: &'a Scope) -> Option<(&'a str, Cache)> {
    let relation = scope.relations.get(plan.projected_source()?)?;
    Some((relation.name.as_str(), relation.asked?))
}

/// Which column of its source column `at` of `plan` is.
fn source_column(plan: &Plan, at: usize) -> Option<usize> {
    match plan {
        Plan::Source { .. } => Some(at),
        Plan::Project(spec) => source_column(&spec.input, project::position(&spec.exprs[at])?),
        _ => None,
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
