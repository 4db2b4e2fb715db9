//! `window_time`, the third column that Flink's windows have: the last moment within a window, a millisecond before its
//! end. It is said by `window_end` where it stands, and no column of a window, which has two.

use super::cut::Kind;
use super::windows::WINDOW_END;
use crate::parse::syntax::fold;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Interval, ObjectNamePart, Select, SelectItem, TableFactor, Value,
    VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

const WINDOW_TIME: &str = "window_time";

/// Says `window_time` by `window_end` in every SELECT from a window.
pub(super) fn put_in(query: &mut impl VisitMut) {
    let _ = query.visit(&mut Selects);
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if reads_windows(select) {
            group(select);
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) = item
                    && is_window_time(expr).is_some()
                {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(WINDOW_TIME) };
                }
                let _ = item.visit(&mut Within);
            }
            let others = [&mut select.selection, &mut select.having, &mut select.qualify];
            for expr in others.into_iter().flatten() {
                let _ = expr.visit(&mut Within);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether a window function stands in the FROM.
fn reads_windows(select: &Select) -> bool {
    let is_window = |factor: &TableFactor| {
        let TableFactor::Table { name, args: Some(_), .. } = factor else { return false };
        let name = name.0.last().and_then(ObjectNamePart::as_ident);
        name.is_some_and(|name| Kind::of(&name.value.to_uppercase()).is_some())
    };
    let joined = select.from.iter().flat_map(|from| from.joins.iter().map(|join| &join.relation));
    select.from.iter().map(|from| &from.relation).chain(joined).any(is_window)
}

/// Windows that end together are those of one `window_time`.
fn group(select: &mut Select) {
    let GroupByExpr::Expressions(exprs, _) = &mut select.group_by else { return };
    let said = exprs.clone();
    for expr in exprs.iter_mut() {
        if let Some(end) = is_window_time(expr) {
            *expr = end;
        }
    }
    // Not twice: the first stays.
    let mut kept: Vec<Expr> = Vec::new();
    for (expr, said) in std::mem::take(exprs).into_iter().zip(said) {
        if is_window_time(&said).is_none() || !kept.contains(&expr) {
            kept.push(expr);
        }
    }
    *exprs = kept;
}

/// The end of the window whose time `expr` is.
fn is_window_time(expr: &Expr) -> Option<Expr> {
    let end = |ident: &Ident| Ident { value: WINDOW_END.to_string(), quote_style: None, span: ident.span };
    match expr {
        Expr::Identifier(ident) if fold(ident) == WINDOW_TIME => Some(Expr::Identifier(end(ident))),
        Expr::CompoundIdentifier(parts) => {
            let (last, before) = parts.split_last()?;
            let parts = before.iter().cloned().chain([end(last)]).collect();
            (fold(last) == WINDOW_TIME).then_some(Expr::CompoundIdentifier(parts))
        }
        _ => None,
    }
}

/// The expressions of a SELECT.
struct Within;

impl VisitorMut for Within {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(end) = is_window_time(expr) {
            let millisecond = Expr::Interval(Interval {
                value: Box::new(Expr::value(Value::SingleQuotedString("1 millisecond".to_string()))),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            });
            let before =
                Expr::BinaryOp { left: Box::new(end), op: BinaryOperator::Minus, right: Box::new(millisecond) };
            *expr = Expr::Nested(Box::new(before));
        }
        ControlFlow::Continue(())
    }
}
