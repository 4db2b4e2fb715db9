//! Functions that a pipeline declares: a call is replaced by the body, with the arguments in place of the parameters.
//!
//! So nothing is slower for having a name, and a body may hold aggregate functions: then the function is one.

use crate::bind::{Scope, query};
use crate::parse::ddl::{CreateFunction, Ddl};
use crate::parse::syntax::fold;
use crate::parse::{Parsed, Words};
use crate::types::arrow_type;
use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ExprSchemable;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, SelectItem,
    SetExpr, Spanned, Statement, VisitMut, VisitorMut, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use thalweg_schemas::error::{Error, Result};

/// The functions of a pipeline, by name.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    by_name: BTreeMap<String, Body>,
    /// Those that call themselves, which are in no place.
    pub(crate) without_end: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Body {
    parameters: Vec<(String, DataType)>,
    returns: DataType,
    expr: Expr,
}

impl Functions {
    /// The functions that `statements` declare, and an error for each that cannot be.
    pub(crate) fn of(statements: &[Parsed]) -> (Functions, Vec<Error>) {
        let declared = statements.iter().filter_map(|statement| match &statement.ddl {
            Ddl::Function(function) => Some((function, &statement.words)),
            _ => None,
        });
        let declared: Vec<(&CreateFunction, &Words)> = declared.map(|(function, words)| (&**function, words)).collect();
        let body = |function: &CreateFunction| Body {
            parameters: function.parameters.iter().map(|(name, kind)| (name.value.clone(), kind.clone())).collect(),
            returns: function.returns.clone(),
            expr: without_places(function.body.clone()),
        };
        let all = declared.iter().map(|(function, _)| (function.name.value.clone(), body(function))).collect();
        let all = Functions { by_name: all, without_end: BTreeSet::new() };
        let endless: BTreeSet<String> = all.by_name.keys().filter(|name| all.calls_itself(name)).cloned().collect();
        let by_name = all.by_name.into_iter().filter(|(name, _)| !endless.contains(name)).collect();
        let functions = Functions { by_name, without_end: endless };
        let check = |(function, words): &(&CreateFunction, &Words)| {
            let name = &function.name;
            if functions.without_end.contains(&name.value) {
                let error =
                    Error::user(format!("function \"{}\" calls itself, directly or through others", name.value));
                let hint = "A function is replaced by its body, which has to come to an end.";
                return Some(error.with_hint(hint).at(name.position.clone()));
            }
            functions.check(function, words).err()
        };
        let errors = declared.iter().filter_map(check).collect();
        (functions, errors)
    }

    /// Whether the body of `name` comes back to it.
    fn calls_itself(&self, name: &str) -> bool {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            let Some((_, body)) = self.by_name.get_key_value(next) else { continue };
            let mut called = BTreeSet::new();
            let _ = visit_expressions(&body.expr, |expr| -> ControlFlow<()> {
                called.extend(self.called(expr).map(|(name, _, _)| name.to_string()));
                ControlFlow::Continue(())
            });
            let known = self.by_name.keys().filter(|name| called.contains(*name));
            open.extend(known.map(String::as_str).filter(|name| reached.insert(name)));
        }
        reached.contains(name)
    }

    /// Whether a body means something, and is of the type that the function returns.
    fn check(&self, function: &CreateFunction, words: &Words) -> Result<()> {
        let name = &function.name.value;
        let here =
            |error: Error| if error.position.is_some() { error } else { error.at(function.name.position.clone()) };
        let built_in = crate::registry::base();
        if built_in.udf(name).is_ok() || built_in.udaf(name).is_ok() || built_in.udwf(name).is_ok() {
            return Err(here(Error::user(format!("function \"{name}\" is built in")).with_hint("Take another name.")));
        }
        let mut body = Expr::Nested(Box::new(function.body.clone()));
        self.put_in(&mut body, words).map_err(here)?;
        let field = |(name, kind): &(crate::parse::ddl::Name, DataType)| {
            Ok(Field::new(&name.value, arrow_type(kind).map_err(|error| error.at(name.position.clone()))?, true))
        };
        let fields = function.parameters.iter().map(field).collect::<Result<Vec<_>>>()?;
        let schema =
            DFSchema::try_from(Schema::new(fields)).map_err(|error| here(Error::user(error.strip_backtrace())))?;
        let planned = query::expression(body, &schema, &Scope::default(), words).map_err(here)?;
        let given = planned.get_type(&schema).map_err(|error| here(Error::user(error.strip_backtrace())))?;
        let wanted = arrow_type(&function.returns).map_err(|error| error.at(function.returns_position.clone()))?;
        if !arrow::compute::can_cast_types(&given, &wanted) {
            let error =
                Error::user(format!("function \"{name}\" returns {}, and its body is {given}", function.returns));
            return Err(error.at(function.returns_position.clone()));
        }
        Ok(())
    }

    /// Puts bodies in place of the calls in a statement.
    pub(crate) fn put_in_statement(&self, ddl: &mut Ddl, words: &Words) -> Result<()> {
        match ddl {
            Ddl::Source(source) | Ddl::Table(source) => {
                let generated = source.columns.iter_mut().filter_map(|column| column.generated.as_mut());
                generated.into_iter().try_for_each(|expr| self.put_in(expr, words))
            }
            Ddl::View(view) => self.put_in(view.query.as_mut(), words),
            Ddl::Sink(sink) => match &mut sink.input {
                crate::parse::ddl::SinkInput::Query(query) => self.put_in(query.as_mut(), words),
                crate::parse::ddl::SinkInput::Relation(_) => Ok(()),
            },
            Ddl::Alert(alert) => {
                let conditions = alert
                    .severities
                    .iter_mut()
                    .flat_map(|severity| [Some(&mut severity.when), severity.clear.as_mut().map(|(expr, _)| expr)]);
                let mut exprs = conditions.flatten().chain(alert.filter.as_mut());
                exprs.try_for_each(|expr| self.put_in(expr, words))
            }
            Ddl::Function(_) | Ddl::Notification(_) => Ok(()),
        }
    }

    /// Puts bodies in place of the calls in `tree`.
    pub(crate) fn put_in(&self, tree: &mut impl VisitMut, words: &Words) -> Result<()> {
        if self.by_name.is_empty() {
            return Ok(());
        }
        // A column is called as the function is.
        let _ = tree.visit(&mut Naming(self));
        // Bodies call other functions: as often as calls are found, which ends because none comes back to itself.
        loop {
            let mut found = false;
            let outcome = visit_expressions_mut(tree, |expr| match self.called(expr) {
                None => ControlFlow::Continue(()),
                Some((name, body, call)) => match in_place(name, body, call) {
                    Ok(replaced) => {
                        found = true;
                        *expr = replaced;
                        ControlFlow::Continue(())
                    }
                    Err(error) => ControlFlow::Break(words.at(call.name.span()).into_iter().fold(error, Error::at)),
                },
            });
            if let ControlFlow::Break(error) = outcome {
                return Err(error);
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// The text of a query with bodies in place of calls; as it is where none is called.
    pub fn put_in_text<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        if self.by_name.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let lower = text.to_ascii_lowercase();
        if !self.by_name.keys().any(|name| lower.contains(&name.to_ascii_lowercase())) {
            return Ok(Cow::Borrowed(text));
        }
        // What cannot be parsed so is told by whoever plans it.
        let Ok(statements) = Parser::parse_sql(&GenericDialect {}, text) else { return Ok(Cow::Borrowed(text)) };
        let Ok([mut statement]) = <[Statement; 1]>::try_from(statements) else { return Ok(Cow::Borrowed(text)) };
        let before = statement.clone();
        self.put_in(&mut statement, &Words::of_text(text))?;
        Ok(if statement == before { Cow::Borrowed(text) } else { Cow::Owned(statement.to_string()) })
    }

    fn called<'a>(&'a self, expr: &'a Expr) -> Option<(&'a str, &'a Body, &'a Function)> {
        let Expr::Function(call) = expr else { return None };
        let [part] = &call.name.0[..] else { return None };
        let (name, body) = self.by_name.get_key_value(&fold(part.as_ident()?))?;
        Some((name, body, call))
    }
}

/// Gives columns that are calls the name of the function.
struct Naming<'a>(&'a Functions);

impl VisitorMut for Naming<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.name(&mut query.body);
        ControlFlow::Continue(())
    }
}

impl Naming<'_> {
    fn name(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &mut select.projection {
                    if let SelectItem::UnnamedExpr(expr) = item
                        && let Some((name, _, _)) = self.0.called(expr)
                    {
                        let alias = Ident::with_quote('"', name);
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.name(left);
                self.name(right);
            }
            _ => {}
        }
    }
}

/// The body of a call, with the arguments in place of the parameters.
fn in_place(name: &str, body: &Body, call: &Function) -> Result<Expr> {
    let form = || {
        let parameters: Vec<String> = body.parameters.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        format!("It is {name}({}).", parameters.join(", "))
    };
    let plain = call.filter.is_none() && call.over.is_none() && call.within_group.is_empty();
    let list = match &call.args {
        FunctionArguments::List(list) if plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            list.args.as_slice()
        }
        FunctionArguments::None if plain => &[],
        _ => {
            let error = Error::user(format!("function \"{name}\" takes values and nothing else"));
            return Err(error.with_hint("Write DISTINCT, FILTER, ORDER BY and OVER in its body."));
        }
    };
    let mut given: BTreeMap<&str, Expr> = BTreeMap::new();
    for (at, argument) in list.iter().enumerate() {
        let (parameter, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (body.parameters.get(at), value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let named = fold(name);
                (body.parameters.iter().find(|(parameter, _)| *parameter == named), value)
            }
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                let named = fold(name);
                (body.parameters.iter().find(|(parameter, _)| *parameter == named), value)
            }
            _ => return Err(Error::user(format!("function \"{name}\" takes no *")).with_hint(form())),
        };
        let Some((parameter, kind)) = parameter else {
            return Err(Error::user(format!("function \"{name}\" has no parameter for {argument}")).with_hint(form()));
        };
        let value = cast(value.clone(), kind);
        if given.insert(parameter, value).is_some() {
            return Err(Error::user(format!("function \"{name}\" gets \"{parameter}\" twice")).with_hint(form()));
        }
    }
    if let Some((missing, _)) = body.parameters.iter().find(|(parameter, _)| !given.contains_key(parameter.as_str())) {
        return Err(Error::user(format!("function \"{name}\" gets no value for \"{missing}\"")).with_hint(form()));
    }
    Ok(cast(substituted(body.expr.clone(), &given), &body.returns))
}

/// `expr` with values in place of names and of `$1`, `$2` ..
fn substituted(expr: Expr, given: &BTreeMap<&str, Expr>) -> Expr {
    let mut substitution = Substitution { given };
    let mut expr = Expr::Nested(Box::new(expr));
    let _ = expr.visit(&mut substitution);
    expr
}

struct Substitution<'a> {
    given: &'a BTreeMap<&'a str, Expr>,
}

impl VisitorMut for Substitution<'_> {
    type Break = ();

    // After its parts: what is put in place is not looked at again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(value) = self.given.get(fold(ident).as_str())
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

fn cast(expr: Expr, kind: &DataType) -> Expr {
    let expr = Box::new(Expr::Nested(Box::new(expr)));
    Expr::Cast { kind: CastKind::Cast, expr, data_type: kind.clone(), array: false, format: None }
}

/// The places in a body are not places in the statement that calls it, nor are those in quotes places in the text.
pub(crate) fn without_places(mut expr: Expr) -> Expr {
    let _ = visit_expressions_mut(&mut expr, |expr| -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => ident.span = Span::empty(),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| part.span = Span::empty()),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    expr
}
