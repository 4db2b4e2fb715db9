//! `DETECT_ANOMALIES(view, time => .., value => .., by => (..), ..)` and `FORECAST(..)`: the arguments by their meaning.

use super::windows::column;
use super::{Scope, SeriesSource, query};
use crate::parse::Words;
use crate::parse::syntax::fold;
use crate::types::sql_names;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Spanned, UnaryOperator, Value, ValueWithSpan,
};
use std::ops::RangeInclusive;
use std::sync::Arc;
use thalweg_operators::anomaly::{DetectSettings, Direction, ForecastSettings, Method, VALUES_MAX};
use thalweg_operators::series::{Task, Zone, detect_columns, forecast_columns};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::suggest::closest;

/// The functions of this kind, as part of a hint.
pub(super) const KNOWN: &str = "DETECT_ANOMALIES(t, time => .., value => .. [, by => ..]) and \
                                FORECAST(t, time => .., value => .. [, by => ..], horizon => ..)";

/// Their names.
pub(super) const NAMES: &[&str] = &["DETECT_ANOMALIES", "FORECAST"];

/// Which function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Detect,
    Forecast,
}

/// A call, as it is written.
pub(crate) struct Call {
    pub input: Expr,
    time: Expr,
    /// The value, or those that are judged together.
    values: Vec<Expr>,
    by: Vec<Expr>,
    parent: Vec<Expr>,
    deploy: Option<Expr>,
    series_max: Option<usize>,
    zone: Option<Zone>,
    task: Task,
}

impl Kind {
    /// The function of this name, in capitals.
    pub(super) fn of(word: &str) -> Option<Kind> {
        match word {
            "DETECT_ANOMALIES" => Some(Kind::Detect),
            "FORECAST" => Some(Kind::Forecast),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Detect => "DETECT_ANOMALIES",
            Kind::Forecast => "FORECAST",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Kind::Detect => "Write DETECT_ANOMALIES(view, time => window_end, value => p99, by => (service, region)).",
            Kind::Forecast => {
                "Write FORECAST(view, time => window_end, value => used, by => host, horizon => INTERVAL '4 hours')."
            }
        }
    }

    /// The arguments that it has besides the relation.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Kind::Detect => &[
                "time",
                "value",
                "by",
                "method",
                "season",
                "time_zone",
                "sensitivity",
                "direction",
                "lower_bound",
                "upper_bound",
                "min_effect",
                "min_effect_ratio",
                "debounce",
                "warm_up",
                "parent",
                "deploy",
                "exclude",
                "max_series",
                "ttl",
            ],
            Kind::Forecast => &[
                "time",
                "value",
                "by",
                "horizon",
                "season",
                "time_zone",
                "threshold",
                "lower_bound",
                "upper_bound",
                "max_series",
                "ttl",
            ],
        }
    }
}

impl Call {
    pub(super) fn of(kind: Kind, given: &[FunctionArg], words: &Words) -> Result<Call> {
        let (name, mut named) = (kind.name(), Named { words, values: Vec::new() });
        let Some((FunctionArg::Unnamed(FunctionArgExpr::Expr(input)), rest)) = given.split_first() else {
            let error = Error::user(format!("{name} takes a source, a view or a subquery first"));
            return Err(error.with_hint(kind.example()));
        };
        for argument in rest {
            named.take(kind, argument)?;
        }
        let required = |argument: &str| {
            let missing = || Error::user(format!("{name} needs {argument} => ..")).with_hint(kind.example());
            named.get(argument).cloned().ok_or_else(missing)
        };
        let (by, parent) = (named.list("by"), named.list("parent"));
        let value = required("value")?;
        let values = named.list("value");
        if values.is_empty() {
            return Err(named.at(&value, Error::user("value is a column, or several")).with_hint(kind.example()));
        }
        let task = match kind {
            Kind::Detect => Task::Detect(detect(&named)?),
            Kind::Forecast => {
                required("horizon")?;
                Task::Forecast(forecast(&named)?)
            }
        };
        let task = together(task, &values, &named)?;
        Ok(Call {
            input: input.clone(),
            time: required("time")?,
            values,
            by,
            parent,
            deploy: named.get("deploy").cloned(),
            series_max: named
                .whole("max_series", "a number of series, from 8 on", 8.0..=1e9)?
                .map(|most| most as usize),
            zone: named.zone()?,
            task,
        })
    }

    /// The relation that it stands for, over its input, which has been planned.
    pub(super) fn over(&self, input: LogicalPlan, input_name: String, words: &Words) -> Result<SeriesSource> {
        let at = |expr: &Expr, role: &str| column(&input, &input_name, expr, role, words);
        let time = at(&self.time, "the time of a series")?;
        let values = self.values.iter().map(|expr| at(expr, "the value of a series")).collect::<Result<Vec<_>>>()?;
        let by = self.by.iter().map(|expr| at(expr, "what tells series apart")).collect::<Result<Vec<_>>>()?;
        let parent = self.parent.iter().map(|expr| at(expr, "what tells groups apart")).collect::<Result<Vec<_>>>()?;
        if let Some((_, expr)) = parent.iter().zip(&self.parent).find(|(column, _)| !by.contains(column)) {
            let error = Error::user(format!("parent {expr} is not among the columns of by"))
                .with_hint("A group is what series have in common: by => (region, host), parent => region.");
            return Err(words.at(expr.span()).into_iter().fold(error, Error::at));
        }
        let grouped_by = parent.len();
        let by = parent.iter().copied().chain(by.iter().copied().filter(|column| !parent.contains(column))).collect();
        let deploy = self.deploy.as_ref().map(|expr| at(expr, "what is deployed")).transpose()?;
        let fields = input.schema().fields();
        let of_type = |at: usize, expr: &Expr, wanted: &str, hint: &str| {
            let shown = sql_names(&fields[at].data_type().to_string());
            let error = Error::user(format!("column \"{}\" is of type {shown}, and {wanted}", fields[at].name()));
            words.at(expr.span()).into_iter().fold(error.with_hint(hint), Error::at)
        };
        if !matches!(fields[time].data_type(), DataType::Timestamp(_, _)) {
            let hint = "Name the event time of a source, or window_end of a view over windows.";
            return Err(of_type(time, &self.time, "the time of a series is a TIMESTAMP", hint));
        }
        let no_number = |(value, _): &(&usize, &Expr)| !fields[**value].data_type().is_numeric();
        if let Some((value, expr)) = values.iter().zip(&self.values).find(no_number) {
            let hint = "Compute a number in the view that it reads, such as count(*) or avg(..).";
            return Err(of_type(*value, expr, "the value of a series is a number", hint));
        }
        let twice = |(at, value): &(usize, &usize)| values[..*at].contains(value);
        if let Some((at, value)) = values.iter().enumerate().find(twice) {
            let error = Error::user(format!("column \"{}\" is judged twice", fields[*value].name()));
            return Err(words.at(self.values[at].span()).into_iter().fold(error, Error::at));
        }
        let added = match &self.task {
            Task::Detect(_) => detect_columns(),
            Task::Forecast(settings) => forecast_columns(settings, fields[time].data_type()),
        };
        if let Some(twice) = added.iter().find(|new| fields.iter().any(|field| field.name() == new.name())) {
            return Err(Error::user(format!("\"{input_name}\" has a column \"{}\" already", twice.name()))
                .with_detail("The function adds one of that name.")
                .with_hint("Rename it: (SELECT .. AS other_name FROM ..) can stand in place of the view."));
        }
        let schema = fields.iter().cloned().chain(added.into_iter().map(Arc::new)).collect::<Vec<Arc<Field>>>();
        let schema = Arc::new(Schema::new(schema));
        let (zone, mut task, series_max) = (self.zone.clone(), self.task.clone(), self.series_max);
        let (value, others) = (values[0], values[1..].to_vec());
        if let (Task::Detect(settings), false) = (&mut task, others.is_empty()) {
            settings.values = values.iter().map(|value| fields[*value].name().clone()).collect();
        }
        let source = SeriesSource {
            input,
            input_name,
            time,
            value,
            others,
            by,
            grouped_by,
            deploy,
            series_max,
            zone,
            task,
            schema,
        };
        Ok(source)
    }
}

/// The task, which takes as many values as there are.
fn together(task: Task, values: &[Expr], named: &Named<'_>) -> Result<Task> {
    let Some(second) = values.get(1) else { return Ok(task) };
    let error = match &task {
        Task::Forecast(_) => {
            Error::user("FORECAST forecasts one value").with_hint("Write one FORECAST for each value.")
        }
        Task::Detect(settings) if !settings.method.takes_several() => {
            let able: Vec<_> =
                Method::ALL.iter().filter(|(_, method)| method.takes_several()).map(|(name, _)| *name).collect();
            Error::user(format!("method {} judges one value", settings.method))
                .with_hint(format!("Several are judged together by {}.", able.join(" and ")))
        }
        Task::Detect(_) if values.len() > VALUES_MAX => {
            Error::user(format!("{} values are more than can be judged together, which is {VALUES_MAX}", values.len()))
        }
        Task::Detect(_) => {
            let of_one = ["direction", "min_effect", "min_effect_ratio", "lower_bound", "upper_bound"];
            let Some(given) = of_one.iter().find(|name| named.get(name).is_some()) else { return Ok(task) };
            let error = Error::user(format!("{given} says something of one value, and here are {}", values.len()));
            return Err(named.get(given).into_iter().fold(error, |error, expr| named.at(expr, error)));
        }
    };
    Err(named.at(second, error))
}

/// Arguments with names, in the order in which they are written.
struct Named<'a> {
    words: &'a Words,
    values: Vec<(String, Expr)>,
}

impl Named<'_> {
    fn take(&mut self, kind: Kind, argument: &FunctionArg) -> Result<()> {
        let (ident, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => (name, value),
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                (name, value)
            }
            other => {
                let error = Error::user(format!("argument \"{other}\" of {} has no name", kind.name()));
                return Err(self.at(other, error.with_hint(kind.example())));
            }
        };
        let name = fold(ident);
        if !kind.arguments().contains(&name.as_str()) {
            let error = Error::user(format!("{} has no argument \"{name}\"", kind.name()));
            let error = match closest(&name, kind.arguments().iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint(format!("There are {}.", kind.arguments().join(", "))),
            };
            return Err(self.words.at(ident.span).into_iter().fold(error, Error::at));
        }
        if self.get(&name).is_some() {
            let error = Error::user(format!("argument \"{name}\" is given twice"));
            return Err(self.words.at(ident.span).into_iter().fold(error, Error::at));
        }
        self.values.push((name, value.clone()));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Expr> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// One expression, or several in parentheses.
    fn list(&self, name: &str) -> Vec<Expr> {
        match self.get(name) {
            None => Vec::new(),
            Some(Expr::Tuple(items)) => items.clone(),
            Some(Expr::Nested(item)) => vec![item.as_ref().clone()],
            Some(item) => vec![item.clone()],
        }
    }

    /// A whole number in `range`; `what` says so.
    fn whole(&self, name: &str, what: &str, range: RangeInclusive<f64>) -> Result<Option<u32>> {
        let holds = |number: f64| range.contains(&number) && number.fract() == 0.0;
        Ok(self.number(name, what, holds)?.map(|number| number as u32))
    }

    /// Times such as '2026-12-24/2026-12-27', from the first to before the second, in nanoseconds since 1970.
    fn times(&self, name: &str) -> Result<Vec<(i64, i64)>> {
        let zone = match self.zone()? {
            Some(zone) => zone,
            None => Zone::new("UTC")?,
        };
        let range = |expr: &Expr| {
            let text = match expr {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.as_str(),
                _ => "",
            };
            let ends =
                text.split_once('/').map(|(from, to)| (zone.instant_ns(from.trim()), zone.instant_ns(to.trim())));
            match ends {
                Some((Some(from), Some(to))) if from < to => Ok((from, to)),
                _ => {
                    let error = Error::user(format!("{name} {expr} is not a time from .. to .."));
                    Err(self.at(
                        expr,
                        error.with_hint("Write '2026-12-24T18:00:00/2026-12-27', an earlier time and a later one."),
                    ))
                }
            }
        };
        self.list(name).iter().map(range).collect()
    }

    fn at(&self, place: &impl Spanned, error: Error) -> Error {
        self.words.at(place.span()).into_iter().fold(error, Error::at)
    }

    /// A text that is one of those that are known.
    fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>> {
        let Some(expr) = self.get(name) else { return Ok(None) };
        let written = match expr {
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
            Expr::Identifier(ident) => ident.value.clone(),
            other => other.to_string(),
        };
        let lower = written.to_lowercase();
        if let Some((_, value)) = known.iter().find(|(known, _)| *known == lower) {
            return Ok(Some(*value));
        }
        let error = Error::user(format!("{name} \"{written}\" is not known"));
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let error = match closest(&lower, names.iter().copied()) {
            Some(near) => error.with_hint(format!("Did you mean '{near}'? There are {}.", names.join(", "))),
            None => error.with_hint(format!("There are {}.", names.join(", "))),
        };
        Err(self.at(expr, error))
    }

    /// A number for which `holds`; `what` says so.
    fn number(&self, name: &str, what: &str, holds: impl Fn(f64) -> bool) -> Result<Option<f64>> {
        let Some(expr) = self.get(name) else { return Ok(None) };
        match number(expr).filter(|number| number.is_finite() && holds(*number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.at(expr, Error::user(format!("{name} is {what}, not {expr}")))),
        }
    }

    fn zone(&self) -> Result<Option<Zone>> {
        match self.get("time_zone") {
            None => Ok(None),
            Some(expr @ Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(name), .. })) => {
                Zone::new(name).map(Some).map_err(|error| self.at(expr, error))
            }
            Some(expr) => {
                Err(self.at(expr, Error::user(format!("time_zone is a text such as 'Europe/Zurich', not {expr}"))))
            }
        }
    }

    fn bounds_in_order(&self, lower: f64, upper: f64) -> Result<()> {
        match self.get("upper_bound").filter(|_| upper <= lower) {
            Some(expr) => Err(self.at(expr, Error::user("upper_bound is not above lower_bound"))),
            None => Ok(()),
        }
    }

    fn interval_ns(&self, name: &str) -> Result<Option<i64>> {
        let Some(expr) = self.get(name) else { return Ok(None) };
        let ns = query::interval_ns(expr, &Scope::default(), self.words).map_err(|error| self.at(expr, error))?;
        if ns <= 0 {
            return Err(self.at(expr, Error::user(format!("{name} is an interval above zero, not {expr}"))));
        }
        Ok(Some(ns))
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => text.parse().ok(),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => number(expr),
        _ => None,
    }
}

fn detect(named: &Named<'_>) -> Result<DetectSettings> {
    const DIRECTIONS: [(&str, Direction); 3] =
        [("both", Direction::Both), ("above", Direction::Above), ("below", Direction::Below)];
    let default = DetectSettings::default();
    let rows = |name: &str, default: u32| -> Result<u32> {
        Ok(named.whole(name, "a number of rows, from 1 to 1000000", 1.0..=1e6)?.unwrap_or(default))
    };
    let above_zero = |number: f64| number > 0.0;
    let any = |_: f64| true;
    let settings = DetectSettings {
        method: named.one_of("method", Method::ALL)?.unwrap_or(default.method),
        values: Vec::new(),
        season_ns: named.interval_ns("season")?.unwrap_or(default.season_ns),
        sensitivity: named
            .number("sensitivity", "a number of false alarms per series and day, above zero", above_zero)?
            .unwrap_or(default.sensitivity),
        direction: named.one_of("direction", &DIRECTIONS)?.unwrap_or(default.direction),
        lower_bound: named.number("lower_bound", "a number", any)?.unwrap_or(default.lower_bound),
        upper_bound: named.number("upper_bound", "a number", any)?.unwrap_or(default.upper_bound),
        min_effect: named.number("min_effect", "a number, 0 or above", |n| n >= 0.0)?.unwrap_or(default.min_effect),
        min_effect_ratio: named
            .number("min_effect_ratio", "a share such as 0.1, 0 or above", |n| n >= 0.0)?
            .unwrap_or(default.min_effect_ratio),
        debounce: rows("debounce", default.debounce)?,
        warm_up: rows("warm_up", default.warm_up)?,
        excluded: named.times("exclude")?,
        ttl_ns: named.interval_ns("ttl")?.unwrap_or(default.ttl_ns),
    };
    named.bounds_in_order(settings.lower_bound, settings.upper_bound)?;
    Ok(settings)
}

fn forecast(named: &Named<'_>) -> Result<ForecastSettings> {
    let any = |_: f64| true;
    let settings = ForecastSettings {
        horizon_ns: named.interval_ns("horizon")?.unwrap_or_default(),
        season_ns: named.interval_ns("season")?.unwrap_or(0),
        threshold: named.number("threshold", "a number", any)?,
        lower_bound: named.number("lower_bound", "a number", any)?.unwrap_or(f64::NEG_INFINITY),
        upper_bound: named.number("upper_bound", "a number", any)?.unwrap_or(f64::INFINITY),
        ttl_ns: named.interval_ns("ttl")?.unwrap_or(DetectSettings::default().ttl_ns),
    };
    named.bounds_in_order(settings.lower_bound, settings.upper_bound)?;
    Ok(settings)
}

/// What to say where a query asks for such a relation.
pub(crate) fn not_in_a_query() -> Error {
    Error::user("a function over series keeps what it knows of each series, which a query cannot")
        .with_hint("Put it into CREATE MATERIALIZED VIEW .. AS SELECT * FROM .., and query that view.")
}
