//! DataFusion's errors in our words, at their place in the statement.

use super::Scope;
use super::windows::{WINDOW_END, WINDOW_START};
use crate::parse::{Words, lower_first};
use crate::registry;
use crate::types::sql_names;
use datafusion::common::{DataFusionError, SchemaError};
use thalweg_schemas::error::{Error, Position};
use thalweg_schemas::suggest::closest;

/// How the planner's errors about relations begin; the name follows.
pub(crate) const NO_RELATION: &str = "no relation ";

/// What `error` means for the statement made of `words`.
pub(crate) fn translate(error: DataFusionError, scope: &Scope, words: &Words) -> Error {
    let span =
        error.diagnostic().and_then(|d| d.span).map(|span| words.at_location(span.start.line, span.start.column));
    let root = first(&error);
    match root {
        DataFusionError::SchemaError(schema, _) => schema_error(schema, scope, words, span),
        DataFusionError::Plan(message) if message.starts_with(NO_RELATION) => {
            no_relation(message[NO_RELATION.len()..].trim(), scope, words)
        }
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => plan_error(message, words, span),
        DataFusionError::SQL(error, _) => crate::parse::syntax::syntax_error(error, words),
        other => {
            let message = other.strip_backtrace();
            let known = wrong_arguments(&message, words).or_else(|| wrong_literal(&message, words));
            known.unwrap_or_else(|| located(Error::user(one_line(&message)), span, words))
        }
    }
}

fn first(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => first(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, first),
        DataFusionError::Shared(inner) => first(inner),
        other => other,
    }
}

fn located(error: Error, span: Option<Position>, words: &Words) -> Error {
    error.at(span.unwrap_or_else(|| words.start()))
}

/// The error of a name that no relation has, at the place where `words` say it.
pub(crate) fn no_relation(name: &str, scope: &Scope, words: &Words) -> Error {
    let error = Error::user(format!("relation \"{name}\" does not exist"));
    let error = match closest(name, scope.relations.keys().map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None if scope.relations.is_empty() => error.with_hint("Declare it with CREATE SOURCE or CREATE VIEW."),
        None => {
            let names: Vec<&str> = scope.relations.keys().take(8).map(String::as_str).collect();
            error.with_hint(format!("There are: {}.", names.join(", ")))
        }
    };
    let place = words.find(name.rsplit('.').next().unwrap_or(name));
    located(error, place, words)
}

fn schema_error(error: &SchemaError, scope: &Scope, words: &Words, span: Option<Position>) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let relation = field.relation.as_ref().map(|r| r.table().to_string()).or_else(|| {
                let mut owners: Vec<&str> =
                    valid_fields.iter().filter_map(|f| Some(f.relation.as_ref()?.table())).collect();
                owners.dedup();
                (owners.len() == 1).then(|| owners[0].to_string())
            });
            let owner = relation.map(|name| match scope.relations.get(&name) {
                Some(relation) => format!(" in {} \"{name}\"", relation.noun()),
                None => format!(" in \"{name}\""),
            });
            let owner = owner.unwrap_or_default();
            let error = Error::user(format!("column \"{}\" does not exist{owner}", field.name));
            let is_bound = matches!(field.name.as_str(), WINDOW_START | WINDOW_END);
            let error = match closest(&field.name, valid_fields.iter().map(|f| f.name.as_str())) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None if is_bound => error.with_hint("A window adds it: FROM TUMBLE(t, time, INTERVAL '1 minute')."),
                None if valid_fields.is_empty() => error,
                None => {
                    let mut names: Vec<&str> = Vec::new();
                    for field in valid_fields {
                        if !names.contains(&field.name.as_str()) {
                            names.push(&field.name);
                        }
                    }
                    error.with_hint(format!("There are: {}.", names.join(", ")))
                }
            };
            located(error, words.find_from(&field.name, span.as_ref()).or(span), words)
        }
        SchemaError::AmbiguousReference { field } => {
            let error = Error::user(format!("column \"{}\" is in more than one of the relations", field.name))
                .with_hint("Write the relation's name before it.");
            located(error, span.or_else(|| words.find(&field.name)), words)
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            two_columns(name, words)
        }
    }
}

fn two_columns(name: &str, words: &Words) -> Error {
    let error = Error::user(format!("two columns of the result are named \"{name}\""))
        .with_hint("Give one of them another name with AS.");
    located(error, words.find(name), words)
}

/// `Function 'sum' failed to match any signature, errors: .. but received String (DataType: Utf8)`
fn wrong_arguments(message: &str, words: &Words) -> Option<Error> {
    let name = quoted_after(message, "Function '").or_else(|| quoted_after(message, "for function '"))?;
    let received = message.split("(DataType: ").nth(1).and_then(|rest| rest.split(')').next());
    let error = match received {
        Some(received) => {
            Error::user(format!("function \"{name}\" does not take an argument of type {}", sql_names(received)))
        }
        None => Error::user(format!("function \"{name}\" does not take these arguments")),
    };
    Some(located(error.with_hint("Cast the argument, or take another column."), words.find(name), words))
}

/// `Invalid input syntax for type interval: "soon"`, or `Cannot cast string 'x' to value of Float64 type`
fn wrong_literal(message: &str, words: &Words) -> Option<Error> {
    let (literal, error) = if let Some(literal) = quoted_after(message, "Invalid input syntax for type interval: \"") {
        let error = Error::user(format!("'{literal}' is not an interval"));
        (literal, error.with_hint("Write a number and a unit: INTERVAL '10 seconds'."))
    } else {
        let literal = quoted_after(message, "Cannot cast string '")?;
        let wanted = message.split("' to value of ").nth(1)?.split(" type").next()?;
        (literal, Error::user(format!("'{literal}' is no value of type {}", sql_names(wanted))))
    };
    Some(located(error, words.find_text(literal), words))
}

/// `Cannot create filter with non-boolean predicate 'latency_ms' returning Float64`
fn wrong_condition(message: &str, words: &Words) -> Option<Error> {
    let condition = quoted_after(message, "non-boolean predicate '")?;
    let returned = message.split("' returning ").nth(1)?.split_whitespace().next()?;
    let name = condition.rsplit('.').next().unwrap_or(condition);
    let error = Error::user(format!("condition \"{name}\" is no truth value"))
        .with_detail(format!("It is of type {}.", sql_names(returned)))
        .with_hint(format!("Compare it with something: {name} > 0."));
    Some(located(error, words.find(name), words))
}

fn plan_error(message: &str, words: &Words, span: Option<Position>) -> Error {
    if let Some(name) = quoted_after(message, "Invalid function '") {
        let functions = registry::base();
        let names = functions
            .scalar_functions()
            .keys()
            .chain(functions.aggregate_functions().keys())
            .chain(functions.window_functions().keys());
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        if let Some(error) = window_as_function(name) {
            return located(error, words.find(name).or(span), words);
        }
        let error = Error::user(format!("function \"{name}\" does not exist"));
        let error = match closest(name, names) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint("Functions are DataFusion's."),
        };
        return located(error, words.find(name).or(span), words);
    }
    if message.contains("must appear in the GROUP BY clause") || message.contains("must be part of GROUP BY") {
        let error = match quoted_after(
            message,
            "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"",
        ) {
            Some(name) => Error::user(format!("column \"{name}\" is neither grouped by nor in an aggregate")),
            None => Error::user(one_line(message)),
        };
        return located(error, span, words).with_hint("Add it to GROUP BY, or put it into an aggregate such as max().");
    }
    if let Some(name) = quoted_after(message, "Projections require unique expression names but the expression \"") {
        return two_columns(name.rsplit('.').next().unwrap_or(name), words);
    }
    if let Some(counts) = message.strip_prefix("Source table contains ") {
        let counts: Vec<&str> = counts.split(' ').filter(|word| word.parse::<usize>().is_ok()).collect();
        if let [columns, names] = counts.as_slice() {
            let error = Error::user(format!("{names} columns are named, and the query has {columns}"));
            return located(error.with_hint("Name each of them, in their order."), span, words);
        }
    }
    if let Some(error) = wrong_condition(message, words) {
        return error;
    }
    if message.contains("failed to match any signature") || message.contains("No function matches") {
        let error = wrong_arguments(message, words);
        return error.unwrap_or_else(|| located(Error::user(one_line(message)), span, words));
    }
    let function = message.split(|c: char| !(c.is_alphanumeric() || c == '_')).find(|word| {
        registry::base().scalar_functions().contains_key(&word.to_lowercase()) && words.find(word).is_some()
    });
    let place = span.or_else(|| function.and_then(|name| words.find(name)));
    located(Error::user(one_line(message)), place, words)
}

/// Windows are written as functions of an expression in older SQL: `GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)`.
fn window_as_function(name: &str) -> Option<Error> {
    const KINDS: [&str; 4] = ["tumble", "hop", "session", "cumulate"];
    let (kind, part) = name.split_once('_').map_or((name, ""), |(kind, part)| (kind, part));
    if !KINDS.contains(&kind) || !["", "start", "end", "rowtime", "proctime"].contains(&part) {
        return None;
    }
    let error = Error::user(format!("\"{name}\" is not a function: windows stand in FROM"));
    Some(error.with_hint(
        "Write FROM TUMBLE(t, time, INTERVAL '1 minute') GROUP BY window_start, window_end; both can be selected.",
    ))
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = &message[message.find(prefix)? + prefix.len()..];
    rest.split(['\'', '"']).next()
}

/// The first line of DataFusion's message, begun as ours are, without its own prefixes and full stop.
fn one_line(message: &str) -> String {
    let mut line = message.lines().next().unwrap_or_default().trim();
    for prefix in ["Error during planning: ", "This feature is not implemented: ", "type_coercion", "caused by"] {
        line = line.strip_prefix(prefix).unwrap_or(line).trim();
    }
    lower_first(&sql_names(line.trim_end_matches('.')))
}
