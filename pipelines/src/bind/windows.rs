//! Functions in FROM, windows (`TUMBLE(..)`, ..) and series (`DETECT_ANOMALIES(..)`): taken out of the query, planned by
//! themselves, put back as tables.

use super::cut::{Arguments, Cut, KNOWN, Kind, is_clause};
use super::{SeriesSource, WindowSource, query, series, spelling, window_time};
use crate::parse::Words;
use crate::parse::partition::{END_WHEN, START_WHEN};
use crate::parse::syntax::fold;
use crate::types::sql_names;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SelectItem,
    SetExpr, Spanned, TableAlias, TableFactor, VisitMut, VisitorMut, With,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Position, Result};

pub(crate) const WINDOW_START: &str = "window_start";
pub(crate) const WINDOW_END: &str = "window_end";
/// The columns that say which rows begin and end sessions: conditions, put into what is cut.
pub(crate) const SESSION_START: &str = "__start";
pub(crate) const SESSION_END: &str = "__end";
/// The catalog and the schema under which the tables stand that are put into queries; nobody else names it.
pub(crate) const WINDOWS: &str = "__windows";

/// The tables that stand for the functions in FROM of one query, by the names put into it.
pub(crate) type TableCalls = BTreeMap<String, Arc<dyn TableSource>>;

/// A function in FROM as a query says it.
pub(crate) struct TableCall {
    /// The name put into the query.
    pub name: String,
    /// What it reads, as a query of its own.
    pub input: Query,
    input_name: String,
    function: Function,
    position: Option<Position>,
}

enum Function {
    Window { time: Box<Expr>, cut: Box<Cut<Expr>> },
    Series(Box<series::Call>),
}

/// What a function in FROM stands for.
pub(crate) enum Called {
    Window(WindowSource),
    Series(SeriesSource),
}

/// Replaces the functions in FROM of `query` by tables that have the same columns. Whoever plans the query `knows`
/// some table functions by itself.
pub(crate) fn extract(
    query: &mut impl VisitMut,
    knows: &dyn Fn(&str) -> bool,
    words: &Words,
) -> Result<Vec<TableCall>> {
    spelling::put_right(query, words)?;
    window_time::put_in(query);
    let mut extractor = Extractor { knows, words, around: Vec::new(), calls: Vec::new() };
    match query.visit(&mut extractor) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(extractor.calls),
    }
}

struct Extractor<'a> {
    knows: &'a dyn Fn(&str) -> bool,
    words: &'a Words,
    /// The queries around the place that is visited, outermost first.
    around: Vec<Around>,
    calls: Vec<TableCall>,
}

/// A query that is being visited: first the tables of its WITH, then the rest of it.
struct Around {
    tables: Vec<Cte>,
    /// Whether they may read themselves.
    recursive: bool,
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
        let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.around.push(Around { tables, recursive, begun: 0, within: false });
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
        let mut marks = Vec::new();
        let (input, function) = if let Some(kind) = Kind::of(&word) {
            let arguments = in_order(kind, arguments).map_err(located)?;
            let shape = Arguments::of(kind, &arguments).map_err(located)?;
            let mut cut = shape.cut(self.words).map_err(located)?;
            if let Cut::Sessions { start, end, .. } = &mut cut {
                marks.extend(mark(start, SESSION_START).into_iter().chain(mark(end, SESSION_END)));
            }
            (shape.input.clone(), Function::Window { time: Box::new(shape.time.clone()), cut: Box::new(cut) })
        } else if let Some(kind) = series::Kind::of(&word) {
            let call = series::Call::of(kind, arguments, self.words);
            let call = call.map_err(|error| if error.position.is_some() { error } else { located(error) })?;
            (call.input.clone(), Function::Series(Box::new(call)))
        } else if (self.knows)(&function.value.to_lowercase()) {
            return Ok(());
        } else {
            return Err(located(no_such_function(&function.value)));
        };
        let recursive = self.around.iter().any(|around| around.recursive);
        let mut input = Input::of(&input, &self.visible(), recursive).map_err(located)?;
        if !marks.is_empty() {
            input = input.with_columns(marks)?;
        }
        let (table, shown) = (input.name.clone(), input.name.clone().unwrap_or_else(|| "the subquery".to_string()));
        let synthetic = format!("window_{}", self.calls.len());
        if alias.is_none() {
            let shown = Ident::with_quote('"', table.unwrap_or_else(|| word.to_lowercase()));
            *alias = Some(TableAlias { explicit: true, name: shown, columns: vec![], at: None });
        }
        let parts = [WINDOWS, WINDOWS, &synthetic];
        *name = ObjectName(parts.map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part))).to_vec());
        *args = None;
        self.calls.push(TableCall { name: synthetic, input: input.query, input_name: shown, function, position });
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

impl TableCall {
    /// What it stands for, over its input, which has been planned.
    pub(crate) fn over(&self, input: LogicalPlan, words: &Words) -> Result<Called> {
        let called = match &self.function {
            Function::Window { time, cut } => {
                window_source(input, self.input_name.clone(), time, cut, words).map(Called::Window)
            }
            Function::Series(call) => call.over(input, self.input_name.clone(), words).map(Called::Series),
        };
        called.map_err(|error| self.located(error))
    }

    /// `error` with the place of the call, where it has none of its own.
    pub(crate) fn located(&self, error: Error) -> Error {
        self.position.clone().into_iter().fold(error, Error::at)
    }
}

impl Called {
    /// As DataFusion's planner sees it.
    pub(crate) fn table(self) -> Arc<dyn TableSource> {
        match self {
            Called::Window(source) => Arc::new(source),
            Called::Series(source) => Arc::new(source),
        }
    }
}

fn no_such_function(written: &str) -> Error {
    let error = Error::user(format!("table function \"{written}\" does not exist"));
    let names = ["TUMBLE", "HOP", "CUMULATE", "SESSION"].into_iter().chain(series::NAMES.iter().copied());
    match thalweg_schemas::suggest::closest(written, names) {
        Some(near) => error.with_hint(format!("Did you mean {near}?")),
        None => error.with_hint(format!("{KNOWN} Series are watched by {}.", series::KNOWN)),
    }
}

/// The arguments in the order of the function, whether they are written so or by their names, as Flink has them.
fn in_order(kind: Kind, arguments: &[FunctionArg]) -> Result<Vec<&Expr>> {
    let (mut positional, mut named) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => positional.push(expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                let known = kind.names().iter().position(|known| name.value.eq_ignore_ascii_case(known));
                let place = known.ok_or_else(|| {
                    Error::user(format!("\"{}\" is no argument of {}", name.value, kind.word()))
                        .with_hint(format!("Its arguments are {}.", kind.names().join(", ")))
                })?;
                named.push((place, expr));
            }
            other => {
                return Err(Error::user(format!("argument \"{other}\" of a window is not understood")).with_hint(KNOWN));
            }
        }
    }
    if named.is_empty() {
        return Ok(positional);
    }
    named.sort_by_key(|(place, _)| *place);
    let names = kind.names();
    if let Some(twice) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::user(format!("{} of {} is given twice", names[twice[0].0], kind.word())));
    }
    // The clauses of sessions have no names, and stand behind the others.
    let (clauses, unnamed): (Vec<&Expr>, Vec<&Expr>) = positional.into_iter().partition(|expr| is_clause(expr));
    let missing = (0..names.len() - 1).find(|place| named.iter().all(|(named, _)| named != place));
    match (unnamed.first(), missing) {
        (Some(expr), _) => {
            Err(Error::user(format!("argument \"{expr}\" of {} has no name, and others have", kind.word()))
                .with_hint(format!("Name all of them: {}.", names.join(", "))))
        }
        (None, Some(place)) => Err(Error::user(format!("{} is given no {}", kind.word(), names[place]))
            .with_hint(format!("Its arguments are {}.", names.join(", ")))),
        (None, None) => Ok(named.into_iter().map(|(_, expr)| expr).chain(clauses).collect()),
    }
}

/// What is cut into windows, as a query of its own.
struct Input {
    name: Option<String>,
    query: Query,
}

impl Input {
    fn of(expr: &Expr, tables: &[Cte], recursive: bool) -> Result<Input> {
        let ident = match expr {
            Expr::Subquery(query) => {
                let mut query = (**query).clone();
                let own = query.with.take();
                let recursive = recursive || own.as_ref().is_some_and(|with| with.recursive);
                let own = own.map_or(Vec::new(), |with| with.cte_tables);
                let names: Vec<String> = own.iter().map(|table| fold(&table.alias.name)).collect();
                let outer = tables.iter().filter(|table| !names.contains(&fold(&table.alias.name))).cloned();
                query.with = with(outer.chain(own.iter().cloned()).collect(), recursive);
                return Ok(Input { name: None, query });
            }
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [schema, ident] if fold(schema) == crate::query::PUBLIC => ident,
                _ => return Err(Error::user(format!("relation \"{expr}\" does not exist"))),
            },
            other => {
                return Err(Error::user(format!("\"{other}\" is no relation"))
                    .with_hint("The first argument is a source, a view, or a subquery in parentheses."));
            }
        };
        let name = fold(ident);
        Ok(Input { query: query::select_all(&name, with(tables.to_vec(), recursive))?, name: Some(name) })
    }
}

impl Input {
    /// The same with more columns.
    fn with_columns(self, columns: Vec<SelectItem>) -> Result<Input> {
        let mut query = match self.name {
            Some(_) => self.query,
            None => query::select_of(&self.query)?,
        };
        let SetExpr::Select(select) = query.body.as_mut() else { return Err(no_select()) };
        select.projection.extend(columns);
        Ok(Input { query, name: self.name })
    }
}

fn no_select() -> Error {
    Error::bug("a query without a SELECT")
}

/// Puts a column called `name` in the place of a condition; gives what computes it.
fn mark(condition: &mut Option<Expr>, name: &str) -> Option<SelectItem> {
    let alias = Ident::with_quote('"', name);
    let expr = condition.take()?;
    *condition = Some(Expr::Identifier(alias.clone()));
    Some(SelectItem::ExprWithAlias { expr, alias })
}

/// A WITH clause of `tables`.
fn with(tables: Vec<Cte>, recursive: bool) -> Option<With> {
    let clause = || With { with_token: AttachedToken::empty(), recursive, cte_tables: tables.clone() };
    (!tables.is_empty()).then(clause)
}

fn window_source(
    input: LogicalPlan,
    input_name: String,
    time: &Expr,
    cut: &Cut<Expr>,
    words: &Words,
) -> Result<WindowSource> {
    let time_at = column(&input, &input_name, time, "the time of a window", words)?;
    let fields = input.schema().fields();
    let data_type = fields[time_at].data_type().clone();
    if !matches!(data_type, DataType::Timestamp(_, _)) {
        let error = Error::user(format!(
            "column \"{}\" is of type {}, and windows are over a TIMESTAMP",
            fields[time_at].name(),
            sql_names(&data_type.to_string())
        ));
        let error = error.with_hint("Declare it as TIMESTAMP in the source.");
        return Err(words.at(time.span()).into_iter().fold(error, Error::at));
    }
    let cut = match cut {
        Cut::Windows(window) => Cut::Windows(*window),
        Cut::Sessions { gap_ns, by, start, end } => {
            let by = by.iter().map(|expr| column(&input, &input_name, expr, "a partition of sessions", words));
            let marks = [(start, START_WHEN), (end, END_WHEN)].map(|(mark, clause)| match mark {
                Some(mark) => column(&input, &input_name, mark, clause, words)
                    .and_then(|at| is_condition(fields[at].data_type(), clause).map(|()| Some(at))),
                None => Ok(None),
            });
            let [start, end] = marks;
            Cut::Sessions { gap_ns: *gap_ns, by: by.collect::<Result<_>>()?, start: start?, end: end? }
        }
    };
    const OURS: [&str; 4] = [WINDOW_START, WINDOW_END, SESSION_START, SESSION_END];
    let kept: Vec<usize> = (0..fields.len()).filter(|i| !OURS.contains(&fields[*i].name().as_str())).collect();
    let bound = |name: &str| Arc::new(Field::new(name, data_type.clone(), false));
    let own = kept.iter().map(|i| fields[*i].clone());
    let schema = Arc::new(Schema::new(own.chain([bound(WINDOW_START), bound(WINDOW_END)]).collect::<Vec<_>>()));
    Ok(WindowSource { input, input_name, kept, time: time_at, cut, schema })
}

fn is_condition(data_type: &DataType, clause: &str) -> Result<()> {
    match data_type {
        DataType::Boolean => Ok(()),
        other => Err(Error::user(format!("what stands behind {clause} is no condition"))
            .with_detail(format!("It is of type {}.", crate::types::sql_type(other)))
            .with_hint(format!("Compare it with something: {clause} event = 'login'."))),
    }
}

/// The position of the column of `input` that `expr` names: `role` says what for.
pub(super) fn column(input: &LogicalPlan, input_name: &str, expr: &Expr, role: &str, words: &Words) -> Result<usize> {
    let ident = match expr {
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
            return Err(Error::user(format!("{role} is a column, not \"{other}\""))
                .with_hint("Compute it in a subquery or as a generated column of the source, and name it here."));
        }
    };
    let name = fold(ident);
    let fields = input.schema().fields();
    fields.iter().position(|f| *f.name() == name).ok_or_else(|| {
        let error = Error::user(format!("column \"{name}\" does not exist in \"{input_name}\""));
        let near = thalweg_schemas::suggest::closest(&name, fields.iter().map(|f| f.name().as_str()));
        let error = match near {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        };
        words.at(expr.span()).into_iter().fold(error, Error::at)
    })
}

fn descriptor(arguments: &FunctionArguments) -> Option<&Ident> {
    let FunctionArguments::List(list) = arguments else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))] => Some(ident),
        _ => None,
    }
}
