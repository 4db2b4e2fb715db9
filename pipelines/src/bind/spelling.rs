//! What PostgreSQL's and standard SQL's users write and DataFusion's planner reads otherwise, said in words that it knows:
//! texts in dollars, `'\\x00'::bytea`, `IN (VALUES ..)` and `FETCH FIRST n ROWS ONLY`.

use crate::bytea;
use crate::parse::Words;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, LimitClause, Query, SetExpr, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use std::fmt::Write;
use std::ops::ControlFlow;
use thalweg_schemas::error::{Error, Result};

/// Puts all of it right, wherever it stands.
pub(super) fn put_right(query: &mut impl VisitMut, words: &Words) -> Result<()> {
    match query.visit(&mut Spelling { words }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Spelling<'a> {
    words: &'a Words,
}

impl Spelling<'_> {
    /// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
    fn fetch(&self, query: &mut Query) -> Result<()> {
        let Some(fetch) = query.fetch.take() else { return Ok(()) };
        let wrong = |message: &str, hint: &str| {
            let error = Error::user(message).with_hint(hint);
            Err(self.words.find("FETCH").into_iter().fold(error, Error::at))
        };
        if fetch.with_ties {
            return wrong(
                "FETCH FIRST .. WITH TIES is not supported",
                "Write RANK() OVER (ORDER BY ..) in a query around it, and WHERE its place <= n.",
            );
        }
        if fetch.percent {
            return wrong("FETCH FIRST .. PERCENT is not supported", "Say how many rows there are to be.");
        }
        let one = || Expr::value(Value::Number("1".into(), false));
        let rows = Some(fetch.quantity.unwrap_or_else(one));
        query.limit_clause = Some(match query.limit_clause.take() {
            None => LimitClause::LimitOffset { limit: rows, offset: None, limit_by: Vec::new() },
            Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) => {
                LimitClause::LimitOffset { limit: rows, offset, limit_by }
            }
            Some(_) => return wrong("LIMIT and FETCH FIRST say the same", "Leave one of them out."),
        });
        Ok(())
    }
}

impl VisitorMut for Spelling<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match self.fetch(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    /// `IN (VALUES ..)` asks a query of them.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::InSubquery { subquery, .. } = expr else { return ControlFlow::Continue(()) };
        if matches!(subquery.body.as_ref(), SetExpr::Values(_)) {
            match super::query::select_of(subquery) {
                Ok(select) => **subquery = select,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }

    /// The bytes of a constant are those that PostgreSQL reads in it.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type: DataType::Bytea, ..
        } = expr
        else {
            return ControlFlow::Continue(());
        };
        let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = inner.as_ref() else {
            return ControlFlow::Continue(());
        };
        match bytea::read(text) {
            Ok(bytes) => {
                let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                    // Writing to a string does not fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                *expr = Expr::Value(ValueWithSpan { value: Value::HexStringLiteral(hex), span: *span });
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(self.words.at(*span).into_iter().fold(error, Error::at)),
        }
    }

    /// A text in dollars is one in quotes.
    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Error> {
        if let Value::DollarQuotedString(text) = &value.value {
            value.value = Value::SingleQuotedString(text.value.clone());
        }
        ControlFlow::Continue(())
    }
}
