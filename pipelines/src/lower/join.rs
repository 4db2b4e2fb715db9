//! JOIN, and the joins that subqueries become: IN, EXISTS, a single value.
//!
//! Both inputs are projected so that their key comes first and nothing is held that nobody reads. Where the condition
//! bounds how far apart the event times of a pair are, the operator is told, and the result has event times too.

mod asof;
mod lookup;
mod within;

pub(crate) use lookup::tables_of;
pub(crate) use within::length_ns;

use super::{Key, Lowered, Lowering, Place, project};
use crate::bind::Mode;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Join as LogicalJoin, LogicalPlan, Operator, binary_expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::join::{JoinKind, JoinSpec, NullKeys, Within};
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_schemas::error::{Error, Result};

/// One input while the join is put together.
struct Side<'a> {
    lowered: Lowered,
    logical: &'a DFSchema,
}

impl Side<'_> {
    fn time_of(&self, expr: &Expr) -> Option<TimeOrigin> {
        let Expr::Column(column) = project::bare(expr) else { return None };
        let Place::Base(at) = self.lowered.place_of(column, self.logical)? else { return None };
        self.lowered.times[at].clone()
    }

    /// A comparison of this side with `right`, as `left op right`.
    fn comparison<'e>(&self, expr: &'e Expr, right: &Side) -> Option<(&'e Expr, Operator, &'e Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }) = project::bare(expr) else { return None };
        if self.has(l) && right.has(r) {
            return Some((l, *op, r));
        }
        let op = op.swap().filter(|_| self.has(r) && right.has(l))?;
        Some((r, op, l))
    }

    fn has(&self, expr: &Expr) -> bool {
        expr.column_refs().into_iter().all(|column| self.logical.maybe_index_of_column(column).is_some())
    }
}

/// A join with what DataFusion calls it taken apart: `kind` speaks of the left side.
struct Parts<'a> {
    left: &'a LogicalPlan,
    right: &'a LogicalPlan,
    kind: JoinKind,
    on: Vec<(Expr, Expr)>,
    conditions: Vec<Expr>,
    nulls: NullKeys,
}

impl<'a> Parts<'a> {
    fn of(join: &'a LogicalJoin) -> Parts<'a> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Right, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::Semi, false),
            JoinType::RightSemi => (JoinKind::Semi, true),
            JoinType::LeftAnti => (JoinKind::Anti, false),
            JoinType::RightAnti => (JoinKind::Anti, true),
            JoinType::LeftMark => (JoinKind::Mark, false),
            JoinType::RightMark => (JoinKind::Mark, true),
        };
        let (mut left, mut right) = (join.left.as_ref(), join.right.as_ref());
        let mut on = join.on.clone();
        if swapped {
            (left, right) = (right, left);
            on = on.into_iter().map(|(l, r)| (r, l)).collect();
        }
        let conditions = join.filter.iter().flat_map(split_conjunction).filter(|condition| !is_true(condition));
        let nulls = match join.null_equality {
            NullEquality::NullEqualsNothing => NullKeys::MatchNothing,
            NullEquality::NullEqualsNull => NullKeys::MatchEachOther,
        };
        let mut parts = Parts { left, right, kind, on, conditions: conditions.cloned().collect(), nulls };
        if join.null_aware {
            parts.not_in();
        }
        parts
    }

    /// `NOT IN` is true only where nothing of the set equals the value *or might*. With one key and no other condition
    /// the operator sees to it; a correlated one compares with each row of its set.
    fn not_in(&mut self) {
        if self.on.len() == 1 && self.conditions.is_empty() {
            self.nulls = NullKeys::NotIn;
            return;
        }
        // DataFusion puts the comparison with the set's column behind those of the correlation.
        if let Some((value, member)) = self.on.pop() {
            let unknown = value.clone().is_null().or(member.clone().is_null());
            self.conditions.push(binary_expr(value, Operator::Eq, member).or(unknown));
        }
    }
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _))
}

impl Lowering<'_> {
    pub(super) fn join(&self, join: &LogicalJoin) -> Result<Lowered> {
        let parts = Parts::of(join);
        parts.on.iter().flat_map(|(l, r)| [l, r]).chain(&parts.conditions).try_for_each(|expr| self.supported(expr))?;
        let side = |plan: &LogicalPlan| self.lower(plan)?.with_windows_assigned();
        let left = Side { lowered: side(parts.left)?, logical: parts.left.schema() };
        let right = Side { lowered: side(parts.right)?, logical: parts.right.schema() };
        let bound = within::bound(&parts.on, &parts.conditions, &left, &right).filter(|_| parts.kind != JoinKind::Mark);
        let conditions = parts.conditions.iter().enumerate();
        let conditions = conditions.filter(|(at, _)| !bound.as_ref().is_some_and(|bound| bound.said_by.contains(at)));
        let residual = conjunction(conditions.map(|(_, condition)| condition.clone()));

        let mut needed: BTreeSet<_> = residual.iter().flat_map(|r| r.column_refs()).cloned().collect();
        needed.extend(bound.iter().map(|bound| bound.right.clone()));
        let gives_right = matches!(parts.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full);
        let left_keys: Vec<&Expr> = parts.on.iter().map(|(l, _)| l).collect();
        let right_keys: Vec<&Expr> = parts.on.iter().map(|(_, r)| r).collect();
        let left = self.keyed(left, &left_keys, |_| true)?;
        let right = self.keyed(right, &right_keys, |column| gives_right || needed.contains(column))?;
        for key in 0..parts.on.len() {
            let types = [&left, &right].map(|side| side.lowered.plan.schema().field(key).data_type().clone());
            if types[0] != types[1] {
                return Err(Error::bug(format!("a join compares {} with {}", types[0], types[1])));
            }
        }
        let within = bound.map(|bound| bound.placed(&left, &right)).transpose()?;
        let filter = residual.map(|expr| self.condition(&expr, &left, &right)).transpose()?;
        self.put_together(join, &parts, [left, right], within, filter)
    }

    /// The input with `keys` as its first columns and the other columns that are `wanted` behind them.
    fn keyed<'a>(
        &self,
        side: Side<'a>,
        keys: &[&Expr],
        wanted: impl Fn(&datafusion::common::Column) -> bool,
    ) -> Result<Side<'a>> {
        let schema = side.lowered.schema(side.logical)?;
        let mut exprs = Vec::new();
        for key in keys {
            exprs.push(self.physical(project::bare(key), &schema)?);
        }
        let inner = side.lowered.plan.schema();
        let mut fields: Vec<FieldRef> =
            exprs.iter().zip(keys).map(|(expr, key)| field(expr, key, &inner)).collect::<Result<_>>()?;
        let mut places = Vec::new();
        for (at, place) in side.lowered.columns.iter().enumerate() {
            let base = place.base()?;
            let there = exprs.iter().position(|expr| project::position(expr) == Some(base));
            let column = side.logical.qualified_field(at);
            places.push(match there {
                Some(there) => there,
                // A column that nobody wants is nowhere.
                None if !wanted(&column.into()) => usize::MAX,
                None => {
                    exprs.push(Arc::new(Column::new(inner.field(base).name(), base)));
                    fields.push(Arc::new(inner.field(base).clone()));
                    exprs.len() - 1
                }
            });
        }
        let mut lowered = project::project(side.lowered, exprs, fields)?;
        lowered.columns = places.into_iter().map(Place::Base).collect();
        Ok(Side { lowered, logical: side.logical })
    }

    /// A condition over the columns of both sides.
    fn condition(&self, expr: &Expr, left: &Side, right: &Side) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = left.lowered.schema(left.logical)?;
        let width = left.lowered.plan.schema().fields().len();
        let right_schema = right.lowered.schema(right.logical)?;
        let (mut fields, mut places) = (Vec::new(), Vec::new());
        let both = (0..width).map(|at| (at, &schema, at));
        let both = both.chain((0..right_schema.fields().len()).map(|at| (at, &right_schema, at + width)));
        for (at, schema, place) in both {
            let (qualifier, field) = schema.qualified_field(at);
            // A key may be there twice, under a name that a filter does not use.
            let hidden = qualifier.is_some_and(|q| q.table().starts_with('\u{0}'));
            if !hidden {
                fields.push((qualifier.cloned(), field.clone()));
                places.push(place);
            }
        }
        let schema = DFSchema::new_with_metadata(fields, Default::default()).map_err(|e| Error::bug(e.to_string()))?;
        project::moved(&self.physical(expr, &schema)?, |at| places[at])
    }

    fn put_together(
        &self,
        join: &LogicalJoin,
        parts: &Parts,
        [left, right]: [Side; 2],
        within: Option<Within>,
        filter: Option<Arc<dyn PhysicalExpr>>,
    ) -> Result<Lowered> {
        let (kind, keys) = (parts.kind, parts.on.len());
        let unique = unique(kind, keys, &left.lowered, &right.lowered);
        let (left_schema, right_schema) = (left.lowered.plan.schema(), right.lowered.plan.schema());
        let mut fields = nullable(&left_schema, matches!(kind, JoinKind::Right | JoinKind::Full));
        let mut columns = left.lowered.columns;
        let width = fields.len();
        match kind {
            JoinKind::Semi | JoinKind::Anti => {}
            JoinKind::Mark => {
                let mark = join.schema.fields().last().ok_or_else(|| Error::bug("a mark join without a mark"))?;
                columns.push(Place::Base(width));
                fields.push(Arc::new(Field::new(mark.name(), DataType::Boolean, false)));
            }
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                fields.extend(nullable(&right_schema, matches!(kind, JoinKind::Left | JoinKind::Full)));
                for place in &right.lowered.columns {
                    columns.push(Place::Base(width + place.base()?));
                }
            }
        }
        let spec = JoinSpec {
            state_ttl_ns: None,
            horizons: [None, None],
            left_retracts: left.lowered.mode != Mode::Append,
            right_retracts: right.lowered.mode != Mode::Append,
            left: Box::new(left.lowered.plan),
            right: Box::new(right.lowered.plan),
            kind,
            keys,
            nulls: parts.nulls,
            filter,
            within,
            schema: Arc::new(Schema::new(fields)),
        };
        let (mode, times) =
            outcome(&spec, left.lowered.mode.or(right.lowered.mode), &left.lowered.times, &right.lowered.times);
        let lowered = Lowered::straight(Plan::Join(Box::new(spec)), mode, times, unique);
        Ok(Lowered { columns, ..lowered })
    }
}

/// The fields of both sides, of which the right one may miss, and where the columns of the logical plan are among them.
fn side_by_side(left: &Lowered, right: &Lowered, may_miss: bool) -> Result<(Vec<FieldRef>, Vec<Place>)> {
    let (mut fields, mut columns) = (nullable(&left.plan.schema(), false), left.columns.clone());
    let width = fields.len();
    fields.extend(nullable(&right.plan.schema(), may_miss));
    for place in &right.columns {
        columns.push(Place::Base(width + place.base()?));
    }
    Ok((fields, columns))
}

/// The fields of one side, all of which may be NULL where the side may be missing.
fn nullable(schema: &Schema, may_miss: bool) -> Vec<FieldRef> {
    let field = |f: &FieldRef| Arc::new(Field::new(f.name(), f.data_type().clone(), f.is_nullable() || may_miss));
    schema.fields().iter().map(field).collect()
}

/// What a key is called: the column that it is, or what the query says.
fn field(expr: &Arc<dyn PhysicalExpr>, key: &Expr, input: &Schema) -> Result<FieldRef> {
    Ok(match project::position(expr) {
        Some(at) => Arc::new(input.field(at).clone()),
        None => {
            let data_type = expr.data_type(input).map_err(|e| Error::bug(e.to_string()))?;
            Arc::new(Field::new(project::bare(key).schema_name().to_string(), data_type, true))
        }
    })
}

/// What the rows of a join do over time, and which of its columns are event times.
fn outcome(
    spec: &JoinSpec,
    inputs: Mode,
    left: &[Option<TimeOrigin>],
    right: &[Option<TimeOrigin>],
) -> (Mode, Vec<Option<TimeOrigin>>) {
    let mode = match inputs {
        Mode::Changelog => Mode::Changelog,
        _ if spec.appends() => Mode::Append,
        _ if spec.ends() => Mode::Windows,
        _ => Mode::Changelog,
    };
    let (width, kind) = (left.len(), spec.kind);
    let mut times = vec![None; width + right.len()];
    if let Some(within) = spec.within.as_ref().filter(|_| mode != Mode::Changelog) {
        // A row is given while it is held, or when it goes; a side that may be missing has no time then.
        if within.upper_ns < i64::MAX && !matches!(kind, JoinKind::Right | JoinKind::Full) {
            times[within.left] = Some(within.origin.delayed(within.upper_ns.max(0)));
        }
        if within.lower_ns > i64::MIN && matches!(kind, JoinKind::Inner | JoinKind::Right) {
            times[width + within.right] = Some(within.origin.delayed(within.lower_ns.saturating_neg().max(0)));
        }
        // Where both sides must be of one window, its other bound is a time as well.
        let same_window = within.left == within.right && within.left < spec.keys;
        for key in (0..spec.keys).filter(|_| same_window && matches!(kind, JoinKind::Inner | JoinKind::Semi)) {
            if let (Some(of_left), Some(of_right)) = (&left[key], &right[key]) {
                let both = of_left.union(of_right);
                times[width + key].get_or_insert_with(|| both.clone());
                times[key].get_or_insert(both);
            }
        }
    }
    times.resize(spec.schema.fields().len(), None);
    (mode, times)
}

/// Columns that are unique together: those of both sides, or of one where each of its rows has one partner at most.
fn unique(kind: JoinKind, keys: usize, left: &Lowered, right: &Lowered) -> Option<Key> {
    let width = left.times.len();
    if matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark) {
        return left.key.clone();
    }
    let one_partner = |side: &Lowered| {
        side.key.as_ref().is_some_and(|key| key.iter().all(|part| part.iter().any(|column| *column < keys)))
    };
    let moved = |key: &Key| key.iter().map(|part| part.iter().map(|at| at + width).collect()).collect::<Key>();
    match kind {
        JoinKind::Inner | JoinKind::Left if one_partner(right) && left.key.is_some() => left.key.clone(),
        JoinKind::Inner | JoinKind::Right if one_partner(left) => right.key.as_ref().map(moved),
        _ => Some(left.key.iter().flatten().cloned().chain(moved(right.key.as_ref()?)).collect())
            .filter(|_| left.key.is_some()),
    }
}
