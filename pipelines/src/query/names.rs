//! Names for columns of a query that have none of their own, so that no two are alike: DataFusion wants them apart,
//! PostgreSQL's users do not care.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, Statement};
use std::collections::BTreeSet;

/// Gives columns names where they would have the same ones: `count(*)`, and then `count(*)_1`.
pub(super) fn put_apart(statement: &mut Statement) {
    if let Statement::Query(query) = statement {
        of_query(query);
    }
}

fn of_query(query: &mut Query) {
    match query.body.as_mut() {
        SetExpr::Select(select) => of_items(&mut select.projection),
        SetExpr::Query(inner) => of_query(inner),
        _ => {}
    }
}

fn of_items(items: &mut [SelectItem]) {
    let mut seen = BTreeSet::new();
    for item in items {
        let SelectItem::UnnamedExpr(expr) = item else {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                seen.insert(alias.value.clone());
            }
            continue;
        };
        let (own, is_subquery) = match &*expr {
            // Columns are told apart by what they are columns of.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => continue,
            // As PostgreSQL calls it.
            Expr::Subquery(query) => (name_of(query).unwrap_or_else(|| "subquery".to_string()), true),
            other => (other.to_string(), false),
        };
        let mut name = own.clone();
        let mut number = 0;
        while !seen.insert(name.clone()) {
            number += 1;
            name = format!("{own}_{number}");
        }
        if is_subquery || number > 0 {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
        }
    }
}

/// What the column of a subquery is called.
fn name_of(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) | SelectItem::ExprWithAlias { alias: ident, .. } => {
            Some(ident.value.clone())
        }
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => Some(parts.last()?.value.clone()),
        SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn columns_have_names_of_their_own() {
        for (text, expected) in [
            ("SELECT 1, 1, 2", "SELECT 1, 1 AS \"1_1\", 2"),
            ("SELECT a, a, count(*) AS n FROM t", "SELECT a, a, count(*) AS n FROM t"),
            (
                "SELECT (SELECT count(*) FROM t), (SELECT max(x) AS m FROM t), (SELECT count(*) FROM u)",
                "SELECT (SELECT count(*) FROM t) AS \"count(*)\", (SELECT max(x) AS m FROM t) AS \"m\", \
                 (SELECT count(*) FROM u) AS \"count(*)_1\"",
            ),
        ] {
            let mut statement = Parser::parse_sql(&GenericDialect {}, text).unwrap().remove(0);
            put_apart(&mut statement);
            assert_eq!(statement.to_string(), expected);
        }
    }
}
