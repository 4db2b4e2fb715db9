//! ASOF JOIN: each row with the nearest of another relation.

use super::{Side, side_by_side};
use crate::bind::Mode;
use crate::bind::asof::AsofNode;
use crate::lower::{Lowered, Lowering};
use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use std::sync::Arc;
use thalweg_operators::join::{AsofJoinSpec, Nearest};
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(in crate::lower) fn asof_join(&self, node: &AsofNode) -> Result<Lowered> {
        node.keys.iter().chain([&node.comparison]).try_for_each(|expr| self.supported(expr))?;
        let side = |plan: &LogicalPlan| self.lower(plan)?.with_windows_assigned();
        let left = Side { lowered: side(&node.left)?, logical: node.left.schema() };
        let right = Side { lowered: side(&node.right)?, logical: node.right.schema() };
        let mut pairs = node.keys.iter().map(|key| self.sides(key, &left, &right)).collect::<Result<Vec<_>>>()?;
        let (of_left, op, of_right) = self.sides(&node.comparison, &left, &right)?;
        pairs.push((of_left, op, of_right));
        let nearest = match op {
            Operator::Lt => Nearest::After,
            Operator::LtEq => Nearest::AtOrAfter,
            Operator::Gt => Nearest::Before,
            _ => Nearest::AtOrBefore,
        };
        let left = self.keyed(left, &pairs.iter().map(|(l, _, _)| *l).collect::<Vec<_>>(), |_| true)?;
        let right = self.keyed(right, &pairs.iter().map(|(_, _, r)| *r).collect::<Vec<_>>(), |_| true)?;
        let (left, right, keys) = (left.lowered, right.lowered, node.keys.len());
        let (left_schema, right_schema) = (left.plan.schema(), right.plan.schema());
        comparable(left_schema.field(keys).data_type(), right_schema.field(keys).data_type())?;
        let (fields, columns) = side_by_side(&left, &right, node.outer)?;
        let times = vec![None; fields.len()];
        let spec = AsofJoinSpec {
            state_ttl_ns: None,
            horizon: None,
            left_retracts: left.mode != Mode::Append,
            right_retracts: right.mode != Mode::Append,
            left: Box::new(left.plan),
            right: Box::new(right.plan),
            keys,
            left_at: keys,
            right_at: keys,
            nearest,
            outer: node.outer,
            schema: Arc::new(Schema::new(fields)),
        };
        let lowered = Lowered::straight(Plan::AsofJoin(Box::new(spec)), Mode::Changelog, times, left.key);
        Ok(Lowered { columns, ..lowered })
    }

    /// The two sides of a comparison, as `left op right`.
    fn sides<'a>(&self, expr: &'a Expr, left: &Side, right: &Side) -> Result<(&'a Expr, Operator, &'a Expr)> {
        if let Some(sides) = left.comparison(expr, right) {
            return Ok(sides);
        }
        let error = Error::user(format!("an ASOF JOIN compares a column of each side, and \"{expr}\" does not"))
            .with_hint(
                "Put other conditions into WHERE, or into a subquery in place of the relation that is looked up.",
            );
        Err(self.words.find("ASOF").into_iter().fold(error, Error::at))
    }
}

fn comparable(left: &DataType, right: &DataType) -> Result<()> {
    let is = |t: &DataType| {
        matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
            || t.is_signed_integer()
            || matches!(t, DataType::UInt8 | DataType::UInt16 | DataType::UInt32)
    };
    if left == right && is(left) {
        return Ok(());
    }
    Err(Error::user(format!("an ASOF JOIN compares times, dates or whole numbers, not {left} with {right}")))
}
