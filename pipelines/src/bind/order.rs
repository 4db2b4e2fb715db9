//! The order in which statements are planned: what is read comes before what reads it.

use crate::parse::Parsed;
use crate::parse::ddl::{CreateSink, Ddl, SinkInput};
use crate::parse::syntax::fold;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, Query, TableFactor, Visit, Visitor,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use thalweg_schemas::error::Error;

/// The positions of `statements` in dependency order, and an error for each cycle.
/// Statements in a cycle are left out, and so is nothing else.
pub(crate) fn sort(statements: &[Parsed]) -> (Vec<usize>, Vec<usize>, Vec<Error>) {
    let by_name: BTreeMap<&str, usize> =
        statements.iter().enumerate().rev().map(|(i, s)| (s.ddl.name().value.as_str(), i)).collect();
    let reads: Vec<Vec<usize>> = statements
        .iter()
        .map(|s| references(&s.ddl).iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect())
        .collect();
    let mut search = Search { statements, reads: &reads, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    let (mut cyclic, mut errors) = (Vec::new(), Vec::new());
    for statement in 0..statements.len() {
        if let Err(cycle) = search.visit(statement) {
            let Cycle { members, error } = *cycle;
            search.path.clear();
            search.done.extend(members.iter().copied());
            search.order.retain(|i| !members.contains(i));
            cyclic.extend(members);
            errors.push(error);
        }
    }
    (search.order, cyclic, errors)
}

/// Statements that read each other, and what to say of it.
struct Cycle {
    members: Vec<usize>,
    error: Error,
}

struct Search<'a> {
    statements: &'a [Parsed],
    reads: &'a [Vec<usize>],
    done: BTreeSet<usize>,
    path: Vec<usize>,
    order: Vec<usize>,
}

impl Search<'_> {
    fn visit(&mut self, statement: usize) -> Result<(), Box<Cycle>> {
        if self.done.contains(&statement) {
            return Ok(());
        }
        if let Some(at) = self.path.iter().position(|s| *s == statement) {
            let members = self.path[at..].to_vec();
            let name = |s: usize| self.statements[s].ddl.name().value.as_str();
            let around: Vec<&str> = members.iter().chain([&statement]).map(|s| name(*s)).collect();
            let error = Error::user(format!("view \"{}\" reads itself", name(statement)))
                .with_detail(format!("The cycle is {}.", around.join(" -> ")))
                .with_hint("A view can only read sources and views that do not read it.")
                .at(self.statements[statement].ddl.name().position.clone());
            return Err(Box::new(Cycle { members, error }));
        }
        self.path.push(statement);
        for read in &self.reads[statement] {
            self.visit(*read)?;
        }
        self.path.pop();
        self.done.insert(statement);
        self.order.push(statement);
        Ok(())
    }
}

/// The names of the relations that a statement reads, WITH tables left out.
pub(crate) fn references(ddl: &Ddl) -> BTreeSet<String> {
    let mut found = References::default();
    if let Some(query) = ddl.query() {
        let _ = query.visit(&mut found);
    }
    if let Ddl::Sink(CreateSink { input: SinkInput::Relation(name), .. }) = ddl {
        found.names.insert(name.value.clone());
    }
    if let Ddl::Alert(alert) = ddl {
        found.names.insert(alert.over.value.clone());
        found.names.extend(alert.expected.iter().map(|name| name.value.clone()));
        let _ = alert.filter.visit(&mut found);
    }
    found.names.retain(|name| !found.with.contains(name));
    found.names
}

#[derive(Default)]
struct References {
    names: BTreeSet<String>,
    with: BTreeSet<String>,
}

impl Visitor for References {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.with.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| fold(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    /// What is called may be a function of the pipeline.
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr {
            self.names.extend(call.name.0.last().and_then(ObjectNamePart::as_ident).map(fold));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args, .. } = factor {
            let ident = match args.as_ref().and_then(|args| args.args.first()) {
                None => name.0.last().and_then(ObjectNamePart::as_ident),
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))) => Some(ident),
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(parts)))) => parts.last(),
                Some(_) => None,
            };
            self.names.extend(ident.map(fold));
        }
        ControlFlow::Continue(())
    }
}
