//! `TUMBLE(..)` and `HOP(..)` in FROM: taken out of the query, planned by themselves, put back as tables.

use super::{Scope, WindowSource, query};
use crate::parse::Words;
use crate::parse::syntax::fold;
use crate::types::sql_names;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Spanned,
    TableAlias, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut, With,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use thalweg_operators::window::Window;
use thalweg_schemas::error::{Error, Position, Result};

pub(crate) const WINDOW_START: &str = "window_start";
pub(crate) const WINDOW_END: &str = "window_end";
/// The catalog and the schema under which the tables stand that are put into queries; nobody else names it.
pub(crate) const WINDOWS: &str = "__windows";

/// The tables that stand for the windowed relations of one query, by the names put into it.
pub(crate) type WindowTables = BTreeMap<String, Arc<WindowSource>>;

/// A windowed relation as a query says it.
pub(crate) struct WindowCall {
    /// The name put into the query.
    pub name: String,
    /// What is cut into windows, as a query of its own.
    pub input: Query,
    input_name: String,
    time: Expr,
    window: Window,
    position: Option<Position>,
}

/// Replaces the windowed relations of `query` by tables that have the same columns. Whoever plans the query `knows`
/// some table functions by itself.
pub(crate) fn extract(
    query: &mut impl VisitMut,
    knows: &dyn Fn(&str) -> bool,
    words: &Words,
) -> Result<Vec<WindowCall>> {
    let _ = query.visit(&mut DollarQuotes);
    let mut extractor = Extractor { knows, words, around: Vec::new(), calls: Vec::new() };
    match query.visit(&mut extractor) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(extractor.calls),
    }
}

/// A text in dollars is one in quotes, wherever one can stand.
struct DollarQuotes;

impl VisitorMut for DollarQuotes {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::DollarQuotedString(text) = &value.value {
            value.value = Value::SingleQuotedString(text.value.clone());
        }
        ControlFlow::Continue(())
    }
}

struct Extractor<'a> {
    knows: &'a dyn Fn(&str) -> bool,
    words: &'a Words,
    /// The queries around the place that is visited, outermost first.
    around: Vec<Around>,
    calls: Vec<WindowCall>,
}

/// A query that is being visited: first the tables of its WITH, then the rest of it.
struct Around {
    tables: Vec<Cte>,
    /// How many of them have been visited, or are being visited.
    begun: usize,
    /// Whether one of them is being visited: it sees those before it.
    within: bool,
}

impl Around {
    fn visible(&self) -> &[Cte] {
        &self.tables[..if self.within { self.begun - 1 } else { self.tables.len() }]
    }
}

impl VisitorMut for Extractor<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Some(parent) = self.around.last_mut().filter(|parent| parent.begun < parent.tables.len()) {
            parent.begun += 1;
            parent.within = true;
        }
        let tables = query.with.as_ref().map_or(Vec::new(), |with| with.cte_tables.clone());
        self.around.push(Around { tables, begun: 0, within: false });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.around.pop();
        self.around.iter_mut().next_back().into_iter().for_each(|parent| parent.within = false);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Extractor<'_> {
    fn replace(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return Ok(()) };
        let Some(arguments) = args.as_ref().map(|a| &a.args) else { return Ok(()) };
        let [ObjectNamePart::Identifier(function)] = name.0.as_slice() else { return Ok(()) };
        let position = self.words.at(function.span);
        let located = |error: Error| position.clone().into_iter().fold(error, Error::at);
        let word = function.value.to_uppercase();
        if !matches!(word.as_str(), "TUMBLE" | "HOP") {
            if (self.knows)(&function.value.to_lowercase()) {
                return Ok(());
            }
            return Err(located(no_such_function(&word, &function.value)));
        }
        let arguments = arguments.iter().map(positional).collect::<Result<Vec<_>>>().map_err(located)?;
        let shape = Arguments::of(&word, &arguments).map_err(located)?;
        let input = Input::of(shape.input, &self.visible()).map_err(located)?;
        let (table, shown) = (input.name.clone(), input.name.clone().unwrap_or_else(|| "the subquery".to_string()));
        let window = shape.window(self.words).map_err(located)?;
        let time = shape.time.clone();
        let synthetic = format!("window_{}", self.calls.len());
        if alias.is_none() {
            let shown = Ident::with_quote('"', table.unwrap_or_else(|| word.to_lowercase()));
            *alias = Some(TableAlias { explicit: true, name: shown, columns: vec![], at: None });
        }
        let parts = [WINDOWS, WINDOWS, &synthetic];
        *name = ObjectName(parts.map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part))).to_vec());
        *args = None;
        self.calls.push(WindowCall { name: synthetic, input: input.query, input_name: shown, time, window, position });
        Ok(())
    }
}

impl Extractor<'_> {
    /// The tables of all WITH clauses that can be named where the visit is; an inner one hides an outer one.
    fn visible(&self) -> Vec<Cte> {
        let all = self.around.iter().flat_map(Around::visible);
        all.fold(Vec::new(), |mut seen, table| {
            seen.retain(|outer: &Cte| fold(&outer.alias.name) != fold(&table.alias.name));
            seen.push(table.clone());
            seen
        })
    }
}

impl WindowCall {
    /// The windowed relation over its input, which has been planned.
    pub(crate) fn over(&self, input: LogicalPlan, words: &Words) -> Result<WindowSource> {
        let source = window_source(input, self.input_name.clone(), &self.time, self.window, words);
        source.map_err(|error| self.position.clone().into_iter().fold(error, Error::at))
    }
}

fn no_such_function(word: &str, written: &str) -> Error {
    match word {
        "CUMULATE" | "SESSION" => Error::user(format!("{word} windows are not supported yet"))
            .with_hint("There are TUMBLE(t, time, size) and HOP(t, time, slide, size)."),
        _ => Error::user(format!("table function \"{written}\" does not exist"))
            .with_hint("There are TUMBLE(t, time, size) and HOP(t, time, slide, size)."),
    }
}

fn positional(argument: &FunctionArg) -> Result<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
        other => Err(Error::user(format!("argument \"{other}\" of a window is not understood"))
            .with_hint("Arguments go by position: TUMBLE(t, time, size), HOP(t, time, slide, size).")),
    }
}

/// The arguments of a window by their meaning.
struct Arguments<'a> {
    input: &'a Expr,
    time: &'a Expr,
    slide: Option<&'a Expr>,
    size: &'a Expr,
    offset: Option<&'a Expr>,
}

impl<'a> Arguments<'a> {
    fn of(word: &str, arguments: &[&'a Expr]) -> Result<Arguments<'a>> {
        match (word, arguments) {
            ("TUMBLE", [input, time, size]) => Ok(Arguments { input, time, slide: None, size, offset: None }),
            ("TUMBLE", [input, time, size, offset]) => {
                Ok(Arguments { input, time, slide: None, size, offset: Some(offset) })
            }
            ("HOP", [input, time, slide, size]) => {
                Ok(Arguments { input, time, slide: Some(slide), size, offset: None })
            }
            ("HOP", [input, time, slide, size, offset]) => {
                Ok(Arguments { input, time, slide: Some(slide), size, offset: Some(offset) })
            }
            ("TUMBLE", _) => Err(Error::user(format!("TUMBLE takes 3 or 4 arguments, not {}", arguments.len()))
                .with_hint("Write TUMBLE(t, time, INTERVAL '10 seconds' [, offset]).")),
            _ => Err(Error::user(format!("HOP takes 4 or 5 arguments, not {}", arguments.len())).with_hint(
                "Write HOP(t, time, INTERVAL '1 second', INTERVAL '1 minute' [, offset]): slide, then size.",
            )),
        }
    }

    fn window(&self, words: &Words) -> Result<Window> {
        let scope = &Scope::default();
        let length = |expr: &Expr| {
            let ns = query::interval_ns(expr, scope, words)?;
            if ns > 0 { Ok(ns) } else { Err(Error::user(format!("window length {expr} is not above zero"))) }
        };
        let size_ns = length(self.size)?;
        let offset_ns = self.offset.map_or(Ok(0), |expr| query::interval_ns(expr, scope, words))?;
        match self.slide.map(length).transpose()? {
            None => Ok(Window::Tumble { size_ns, offset_ns }),
            Some(slide_ns) if slide_ns > size_ns => Err(Error::user("the slide of HOP is longer than its windows")
                .with_detail("Rows in between would be in no window.")
                .with_hint("The order is HOP(t, time, slide, size).")),
            Some(slide_ns) => Ok(Window::Hop { slide_ns, size_ns, offset_ns }),
        }
    }
}

/// What is cut into windows, as a query of its own.
struct Input {
    name: Option<String>,
    query: Query,
}

impl Input {
    fn of(expr: &Expr, tables: &[Cte]) -> Result<Input> {
        let ident = match expr {
            Expr::Subquery(query) => {
                let mut query = (**query).clone();
                let own = query.with.take().map_or(Vec::new(), |with| with.cte_tables);
                let names: Vec<String> = own.iter().map(|table| fold(&table.alias.name)).collect();
                let outer = tables.iter().filter(|table| !names.contains(&fold(&table.alias.name))).cloned();
                query.with = with(outer.chain(own.iter().cloned()).collect());
                return Ok(Input { name: None, query });
            }
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [schema, ident] if fold(schema) == crate::query::PUBLIC => ident,
                _ => return Err(Error::user(format!("relation \"{expr}\" does not exist"))),
            },
            other => {
                return Err(Error::user(format!("\"{other}\" cannot be cut into windows"))
                    .with_hint("The first argument is a source, a view, or a subquery in parentheses."));
            }
        };
        let name = fold(ident);
        Ok(Input { query: query::select_all(&name, with(tables.to_vec()))?, name: Some(name) })
    }
}

/// A WITH clause of `tables`.
fn with(tables: Vec<Cte>) -> Option<With> {
    let clause = || With { with_token: AttachedToken::empty(), recursive: false, cte_tables: tables.clone() };
    (!tables.is_empty()).then(clause)
}

fn window_source(
    input: LogicalPlan,
    input_name: String,
    time: &Expr,
    window: Window,
    words: &Words,
) -> Result<WindowSource> {
    let ident = match time {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) if !parts.is_empty() => &parts[parts.len() - 1],
        // Flink's DESCRIPTOR(ts)
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("descriptor") => {
            match descriptor(&function.args) {
                Some(ident) => ident,
                None => return Err(Error::user("DESCRIPTOR takes the name of one column")),
            }
        }
        other => {
            return Err(Error::user(format!("the time of a window is a column, not \"{other}\""))
                .with_hint("Compute it in a subquery or as a generated column of the source, and name it here."));
        }
    };
    let located = |error: Error| words.at(time.span()).into_iter().fold(error, Error::at);
    let name = fold(ident);
    let fields = input.schema().fields();
    let Some(at) = fields.iter().position(|f| *f.name() == name) else {
        let error = Error::user(format!("column \"{name}\" does not exist in \"{input_name}\""));
        let near = thalweg_schemas::suggest::closest(&name, fields.iter().map(|f| f.name().as_str()));
        return Err(located(match near {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        }));
    };
    let data_type = fields[at].data_type().clone();
    if !matches!(data_type, DataType::Timestamp(_, _)) {
        return Err(located(
            Error::user(format!(
                "column \"{name}\" is of type {}, and windows are over a TIMESTAMP",
                sql_names(&data_type.to_string())
            ))
            .with_hint("Declare it as TIMESTAMP in the source."),
        ));
    }
    let kept: Vec<usize> =
        (0..fields.len()).filter(|i| !matches!(fields[*i].name().as_str(), WINDOW_START | WINDOW_END)).collect();
    let bound = |name: &str| Arc::new(Field::new(name, data_type.clone(), false));
    let own = kept.iter().map(|i| fields[*i].clone());
    let schema = Arc::new(Schema::new(own.chain([bound(WINDOW_START), bound(WINDOW_END)]).collect::<Vec<_>>()));
    Ok(WindowSource { input, input_name, kept, time: at, window, schema })
}

fn descriptor(arguments: &FunctionArguments) -> Option<&Ident> {
    let FunctionArguments::List(list) = arguments else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))] => Some(ident),
        _ => None,
    }
}
