//! `WITH RECURSIVE` before it is planned: what the standard or DataFusion's planner would not notice, or would say of
//! another place, and the table that stands for the rows of the iteration before.

use crate::parse::Words;
use crate::parse::syntax::fold;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::TableSource;
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, ObjectNamePart, Query, SetExpr, SetOperator, Visit, Visitor,
};
use std::ops::ControlFlow;
use thalweg_schemas::error::{Error, Result};

/// The rows of the iteration before, as DataFusion's planner sees them.
#[derive(Debug)]
pub(crate) struct RecursiveSource {
    pub name: String,
    pub schema: SchemaRef,
}

impl TableSource for RecursiveSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Refuses recursions that could not be meant as they would be planned.
pub(crate) fn check(query: &impl Visit, words: &Words) -> Result<()> {
    match query.visit(&mut Checker { words }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Checker<'a> {
    words: &'a Words,
}

impl Visitor for Checker<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let Some(with) = query.with.as_ref().filter(|with| with.recursive) else { return ControlFlow::Continue(()) };
        for (at, table) in with.cte_tables.iter().enumerate() {
            if let Err(error) = self.table(table, &with.cte_tables[at + 1..]) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Checker<'_> {
    fn table(&self, table: &Cte, later: &[Cte]) -> Result<()> {
        let name = fold(&table.alias.name);
        for other in later.iter().map(|other| fold(&other.alias.name)) {
            if let Some(read) = reads(&*table.query, &other) {
                let error = Error::user(format!("\"{name}\" reads \"{other}\", which is declared after it"))
                    .with_detail("Queries of one WITH RECURSIVE that read each other are not supported.")
                    .with_hint(
                        "Declare what is read first; make of two that read each other one, with a column that says of \
                         which a row is.",
                    );
                return Err(self.located(error, &read));
            }
        }
        let Some(own) = reads(&*table.query, &name) else { return Ok(()) };
        let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = table.query.body.as_ref() else {
            let error = Error::user(format!("\"{name}\" reads itself and is no UNION"))
                .with_hint("Write: first rows UNION [ALL] rows made from them.");
            return Err(self.located(error, &own));
        };
        if let Some(read) = reads(left.as_ref(), &name) {
            let error = Error::user(format!("\"{name}\" reads itself before its last UNION"))
                .with_detail("What stands before it is where the recursion begins, and there is nothing yet to read.")
                .with_hint(
                    "Put several recursive parts into parentheses: first rows UNION ALL (one UNION ALL another).",
                );
            return Err(self.located(error, &read));
        }
        let query = &table.query;
        if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
            let error = Error::user(format!("ORDER BY and LIMIT are not supported in the recursive query \"{name}\""))
                .with_hint("Order and limit what you read from it.");
            return Err(self.located(error, &table.alias.name));
        }
        Ok(())
    }

    fn located(&self, error: Error, ident: &Ident) -> Error {
        self.words.at(ident.span).into_iter().fold(error, Error::at)
    }
}

/// Where `part` reads the relation `name`.
fn reads(part: &impl Visit, name: &str) -> Option<Ident> {
    struct Reads<'a>(&'a str);
    impl Visitor for Reads<'_> {
        type Break = Ident;

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Ident> {
            match relation.0.as_slice() {
                [ObjectNamePart::Identifier(ident)] if fold(ident) == self.0 => ControlFlow::Break(ident.clone()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match part.visit(&mut Reads(name)) {
        ControlFlow::Break(ident) => Some(ident),
        ControlFlow::Continue(()) => None,
    }
}
