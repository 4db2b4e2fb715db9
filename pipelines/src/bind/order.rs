//! The order in which statements are planned: what is read comes before what reads it.

use super::view::REVISE_CLOCK;
use crate::parse::Parsed;
use crate::parse::ddl::{CreateSink, Ddl, SinkInput};
use crate::parse::syntax::fold;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, Query, TableFactor, TableFunctionArgs, Visit, Visitor,
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
        .map(|s| {
            let References { names, calls, .. } = references(&s.ddl);
            let known = |name: &String| by_name.get(name.as_str()).copied();
            let functions = calls.iter().filter_map(known).filter(|s| is_function(&statements[*s].ddl));
            names.iter().filter_map(known).chain(functions).collect()
        })
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

/// Whether it declares a function: a call is of such a one, or of one that is built in, and never of a relation of its name.
fn is_function(ddl: &Ddl) -> bool {
    matches!(ddl, Ddl::Function(_))
}

/// Whether a statement reads one of `names`, of which `functions` are functions.
pub(crate) fn reads(ddl: &Ddl, names: &BTreeSet<String>, functions: &BTreeSet<String>) -> bool {
    let References { names: read, calls, .. } = references(ddl);
    !read.is_disjoint(names) || calls.iter().any(|call| names.contains(call) && functions.contains(call))
}

/// The names of the functions that `statements` declare.
pub(crate) fn functions(statements: &[Parsed]) -> BTreeSet<String> {
    let declared = statements.iter().filter(|statement| is_function(&statement.ddl));
    declared.map(|statement| statement.ddl.name().value.clone()).collect()
}

/// The relations that a statement reads, WITH tables left out, and the functions that it calls.
fn references(ddl: &Ddl) -> References {
    let mut found = References::default();
    if let Some(query) = ddl.query() {
        let _ = query.visit(&mut found);
    }
    if let Ddl::Sink(CreateSink { input: SinkInput::Relation(name), .. }) = ddl {
        found.names.insert(name.value.clone());
    }
    if let Ddl::View(view) = ddl {
        // By whose watermark it goes.
        let clock = view.options.iter().filter(|option| option.name == REVISE_CLOCK);
        found.names.extend(clock.map(|option| option.value.clone()));
    }
    if let Ddl::Alert(alert) = ddl {
        found.names.insert(alert.over.value.clone());
        found.names.extend(alert.expected.iter().map(|name| name.value.clone()));
        let _ = alert.filter.visit(&mut found);
    }
    found.names.retain(|name| !found.with.contains(name));
    found
}

#[derive(Default)]
struct References {
    names: BTreeSet<String>,
    with: BTreeSet<String>,
    calls: BTreeSet<String>,
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
            self.calls.extend(call.name.0.last().and_then(ObjectNamePart::as_ident).map(fold));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args, .. } = factor {
            // What a function in FROM reads is its first argument, or the one of that name.
            let is_data = |arg: &&FunctionArg| matches!(arg, FunctionArg::Named { name, .. } if fold(name) == "data");
            let read = |args: &TableFunctionArgs| args.args.iter().find(is_data).or(args.args.first()).cloned();
            let ident = match args.as_ref().map(read) {
                None => name.0.last().and_then(ObjectNamePart::as_ident).cloned(),
                Some(Some(
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
                    | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. },
                )) => match expr {
                    Expr::Identifier(ident) => Some(ident),
                    Expr::CompoundIdentifier(parts) => parts.last().cloned(),
                    _ => None,
                },
                Some(_) => None,
            };
            self.names.extend(ident.as_ref().map(fold));
        }
        ControlFlow::Continue(())
    }
}
