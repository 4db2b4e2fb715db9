//! How far apart in event time the rows of a pair are, as far as the condition of a join says it.

use super::{Place, Side, project};
use crate::bind::Mode;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::join::Within;
use thalweg_operators::plan::TimeOrigin;
use thalweg_schemas::error::{Error, Result};

/// A bound of `right - left` by its columns.
pub(super) struct Bound {
    pub left: Column,
    pub right: Column,
    lower_ns: i64,
    upper_ns: i64,
    origin: TimeOrigin,
    /// The conditions that say no more than it does.
    pub said_by: BTreeSet<usize>,
}

impl Bound {
    /// With the columns where they are now.
    pub(super) fn placed(self, left: &Side, right: &Side) -> Result<Within> {
        let place = |side: &Side, column: &Column| match side.lowered.place_of(column, side.logical) {
            Some(Place::Base(at)) => Ok(at),
            _ => Err(Error::bug(format!("the event time {column} of a join is not there any more"))),
        };
        Ok(Within {
            left: place(left, &self.left)?,
            right: place(right, &self.right)?,
            lower_ns: self.lower_ns,
            upper_ns: self.upper_ns,
            origin: self.origin,
        })
    }
}

/// The bound that equal keys or the other conditions say: equality first, then one with both ends, then any.
pub(super) fn bound(on: &[(Expr, Expr)], conditions: &[Expr], left: &Side, right: &Side) -> Option<Bound> {
    if [left, right].iter().any(|side| side.lowered.mode == Mode::Changelog) {
        return None;
    }
    let equal = on.iter().find_map(|(l, r)| {
        let (Expr::Column(l_column), Expr::Column(r_column)) = (project::bare(l), project::bare(r)) else {
            return None;
        };
        let origin = left.time_of(l)?.union(&right.time_of(r)?);
        let (left, right) = (l_column.clone(), r_column.clone());
        Some(Bound { left, right, lower_ns: 0, upper_ns: 0, origin, said_by: BTreeSet::new() })
    });
    if equal.is_some() {
        return equal;
    }
    let mut bounds: BTreeMap<(String, String), Bound> = BTreeMap::new();
    for (at, condition) in conditions.iter().enumerate() {
        for (l, r, end) in ends(condition, left, right) {
            let origin = left.time_of(&Expr::Column(l.clone()))?.union(&right.time_of(&Expr::Column(r.clone()))?);
            let bound = bounds.entry((l.flat_name(), r.flat_name())).or_insert_with(|| Bound {
                left: l,
                right: r,
                lower_ns: i64::MIN,
                upper_ns: i64::MAX,
                origin,
                said_by: BTreeSet::new(),
            });
            bound.said_by.insert(at);
            match end {
                End::AtLeast(ns) => bound.lower_ns = bound.lower_ns.max(ns),
                End::AtMost(ns) => bound.upper_ns = bound.upper_ns.min(ns),
            }
        }
    }
    let open = |bound: &Bound| usize::from(bound.lower_ns == i64::MIN) + usize::from(bound.upper_ns == i64::MAX);
    bounds.into_values().min_by_key(open)
}

/// One end of a bound, included.
enum End {
    AtLeast(i64),
    AtMost(i64),
}

/// What a condition says of the difference of two event times; nothing where it says anything else as well.
fn ends(condition: &Expr, left: &Side, right: &Side) -> Vec<(Column, Column, End)> {
    let compare = |l: &Expr, op: Operator, r: &Expr| difference(l, op, r, left, right);
    let found = match condition {
        Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }) => compare(l, *op, r),
        Expr::Between(between) if !between.negated => {
            let low = compare(&between.expr, Operator::GtEq, &between.low);
            let high = compare(&between.expr, Operator::LtEq, &between.high);
            low.zip(high).map(|(low, high)| low.into_iter().chain(high).collect())
        }
        _ => None,
    };
    found.unwrap_or_default()
}

/// `l op r` where both are event times of the two sides, moved by constant lengths of time.
fn difference(l: &Expr, op: Operator, r: &Expr, left: &Side, right: &Side) -> Option<Vec<(Column, Column, End)>> {
    let mut terms = Vec::new();
    let constant = linear(l, 1, &mut terms)?.checked_sub(linear(r, 1, &mut Vec::new())?)?;
    linear(r, -1, &mut terms)?;
    let [(one, sign), (other, opposite)] = terms.as_slice() else { return None };
    if *sign != -*opposite {
        return None;
    }
    let is = |side: &Side, column: &Column| side.time_of(&Expr::Column(column.clone())).is_some();
    // As `right - left op' apart`.
    let (l, r, sign) = if is(left, one) && is(right, other) && !is(right, one) {
        (one, other, *opposite)
    } else if is(left, other) && is(right, one) {
        (other, one, *sign)
    } else {
        return None;
    };
    let (op, apart) = if sign > 0 { (op, constant.checked_neg()?) } else { (op.swap()?, constant) };
    let end = |end: End| (l.clone(), r.clone(), end);
    Some(match op {
        Operator::GtEq => vec![end(End::AtLeast(apart))],
        Operator::Gt => vec![end(End::AtLeast(apart.checked_add(1)?))],
        Operator::LtEq => vec![end(End::AtMost(apart))],
        Operator::Lt => vec![end(End::AtMost(apart.checked_sub(1)?))],
        Operator::Eq => vec![end(End::AtLeast(apart)), end(End::AtMost(apart))],
        _ => return None,
    })
}

/// The columns that `expr` adds up, each with its sign, and the constant beside them in nanoseconds.
fn linear(expr: &Expr, sign: i64, terms: &mut Vec<(Column, i64)>) -> Option<i64> {
    match expr {
        Expr::Alias(alias) => linear(&alias.expr, sign, terms),
        Expr::Column(column) => {
            terms.push((column.clone(), sign));
            Some(0)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            linear(left, sign, terms)?.checked_add(linear(right, sign, terms)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            linear(left, sign, terms)?.checked_sub(linear(right, -sign, terms)?)
        }
        Expr::Literal(value, _) => length_ns(value),
        _ => None,
    }
}

/// A constant length of time; months have none.
pub(crate) fn length_ns(value: &ScalarValue) -> Option<i64> {
    const DAY_NS: i64 = 86_400_000_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(length)) if length.months == 0 => {
            i64::from(length.days).checked_mul(DAY_NS)?.checked_add(length.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(length)) => {
            i64::from(length.days).checked_mul(DAY_NS)?.checked_add(i64::from(length.milliseconds) * 1_000_000)
        }
        ScalarValue::DurationNanosecond(Some(ns)) => Some(*ns),
        ScalarValue::DurationMicrosecond(Some(us)) => us.checked_mul(1_000),
        ScalarValue::DurationMillisecond(Some(ms)) => ms.checked_mul(1_000_000),
        ScalarValue::DurationSecond(Some(s)) => s.checked_mul(1_000_000_000),
        _ => None,
    }
}
