//! A PromQL expression as a query: one row for each element of an instant vector and each moment of evaluation.
//!
//! A row has `at` (the moment), the labels as columns, and `value`; a `value` that is NULL is no element. So what a filter
//! leaves out is still heard of, and an alert over it is cleared and does not fall silent. The moments are the ends of
//! hopping windows: a slide is the interval of evaluation, a size the range, or the lookback of an instant selector.

use super::Metrics;
use super::binary::arithmetic;
use super::sql::{indented, interval, number, quoted, text};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AggregateExpr, Call, Expr, LabelModifier, MatrixSelector, VectorSelector, token};
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};

/// A series that a rule records.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// The view, as it is written in SQL.
    pub view: String,
    pub labels: Vec<String>,
    pub step_ms: i64,
}

/// What the expressions of one rule are translated with.
pub(super) struct Translator<'a> {
    pub metrics: &'a Metrics,
    /// The series that rules before it record, by name.
    pub recorded: &'a BTreeMap<String, Recorded>,
    /// The labels by which this rule tells series apart.
    pub labels: Vec<String>,
    /// How far apart the moments of evaluation are.
    pub step_ms: i64,
}

/// A query whose rows are the elements of a vector.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    pub from: String,
    /// The moment, over `from`.
    pub at: String,
    /// Labels and what they are over `from`.
    pub labels: Vec<(String, String)>,
    pub value: String,
    pub group_by: Option<String>,
    /// Whether the values of a sum over some labels are those of the same query grouped by these.
    pub sums: bool,
    pub step_ms: i64,
}

impl Vector {
    /// The query.
    pub fn select(&self) -> String {
        let label = |(name, expr): &(String, String)| match column(name) == *expr {
            true => expr.clone(),
            false => format!("{expr} AS {}", column(name)),
        };
        let at = if self.at == "at" { "at".to_string() } else { format!("{} AS at", self.at) };
        let value = if self.value == "value" { "value".to_string() } else { format!("{} AS value", self.value) };
        let columns: Vec<String> =
            std::iter::once(at).chain(self.labels.iter().map(label)).chain(std::iter::once(value)).collect();
        let group_by = self.group_by.as_ref().map(|keys| format!("\nGROUP BY {keys}")).unwrap_or_default();
        format!("SELECT {}\nFROM {}{group_by}", columns.join(", "), self.from)
    }

    /// The names of the labels.
    pub fn labels(&self) -> Vec<String> {
        self.labels.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The same with a label that has one value.
    pub fn with_label(mut self, name: &str, value: &str) -> Vector {
        self.labels.retain(|(label, _)| label != name);
        self.labels.push((name.to_string(), text(value)));
        self.sums = false;
        self
    }

    pub fn with_value(self, value: String) -> Vector {
        Vector { value, sums: false, ..self }
    }
}

/// The column of a label: names that the relation has for something else get a prefix, as Prometheus gives one to labels
/// that collide.
pub(super) fn column(label: &str) -> String {
    match label {
        "at" | "ts" | "name" | "labels" | "value" | "window_start" | "window_end" => format!("exported_{label}"),
        label => quoted(label),
    }
}

/// An expression without its parentheses.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => bare(&paren.expr),
        expr => expr,
    }
}

pub(super) fn refused(what: impl Into<String>, hint: &str) -> Error {
    Error::user(what).with_hint(hint)
}

fn no_subquery() -> Error {
    refused("a subquery is not translated", "Record its inner expression, and read that.")
}

impl Translator<'_> {
    /// The query of an expression that is a vector.
    pub fn vector(&self, expr: &Expr) -> Result<Vector> {
        match bare(expr) {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => {
                let vector = self.vector(&unary.expr)?;
                let value = format!("-({})", vector.value);
                Ok(vector.with_value(value))
            }
            Expr::Subquery(_) => Err(no_subquery()),
            Expr::MatrixSelector(_) => Err(Error::user("a range of samples is no value for a rule")),
            _ => Err(Error::user("the expression selects no series")),
        }
    }

    /// A scalar over the moment `at`; `None` where the expression is a vector.
    pub fn scalar(&self, expr: &Expr, at: &str) -> Option<String> {
        match bare(expr) {
            Expr::NumberLiteral(literal) => Some(number(literal.val)),
            Expr::Unary(unary) => self.scalar(&unary.expr, at).map(|value| format!("-({value})")),
            Expr::Call(call) if call.func.name == "time" => Some(format!("extract(epoch FROM {at})")),
            Expr::Binary(binary) if !binary.op.is_comparison_operator() => {
                let (left, right) = (self.scalar(&binary.lhs, at)?, self.scalar(&binary.rhs, at)?);
                arithmetic(binary.op.id(), &left, &right)
            }
            _ => None,
        }
    }

    /// The conditions by which a selector chooses rows of the metrics.
    pub fn conditions(&self, selector: &VectorSelector) -> Result<String> {
        let (name, matchers) = named(selector)?;
        let mut conditions = vec![format!("{} = {}", self.metrics.name, text(name))];
        conditions.extend(matchers.iter().map(|matcher| matching(matcher)));
        Ok(conditions.join(" AND "))
    }

    /// The series that a rule before this one records, if the selector means one.
    pub fn recorded(&self, selector: &VectorSelector) -> Result<Option<(&Recorded, Vec<String>)>> {
        let (name, matchers) = named(selector)?;
        let Some(recorded) = self.recorded.get(name) else { return Ok(None) };
        if let Some(other) = matchers.iter().find(|matcher| !recorded.labels.contains(&matcher.name)) {
            return Err(Error::user(format!("recorded series \"{name}\" has no label \"{}\"", other.name)));
        }
        Ok(Some((recorded, matchers.iter().map(|matcher| matching(matcher)).collect())))
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Vector> {
        if let Some((recorded, conditions)) = self.recorded(selector)? {
            let labels = recorded.labels.iter().map(|label| (label.clone(), column(label)));
            let chosen = if conditions.is_empty() {
                recorded.view.clone()
            } else {
                format!("(SELECT * FROM {} WHERE {}) AS recorded", recorded.view, conditions.join(" AND "))
            };
            return Ok(Vector {
                from: chosen,
                at: "at".to_string(),
                labels: labels.collect(),
                value: "value".to_string(),
                group_by: None,
                sums: false,
                step_ms: recorded.step_ms,
            });
        }
        let (time, value) = (&self.metrics.time, &self.metrics.value);
        let rows = format!("SELECT * FROM {} WHERE {}", self.metrics.relation, self.conditions(selector)?);
        let last = format!("last_value({value} ORDER BY {time})");
        Ok(self.over_windows(&rows, self.metrics.lookback_ms, last, false))
    }

    /// What an aggregate says of each series in windows of `size_ms` that end at the moments of evaluation.
    fn over_windows(&self, rows: &str, size_ms: i64, value: String, sums: bool) -> Vector {
        let time = &self.metrics.time;
        let (step, size) = (interval(self.step_ms), interval(size_ms));
        // Windows begin at multiples of their slide; these are to end there.
        let offset = match size_ms % self.step_ms {
            0 => String::new(),
            rest => format!(", {}", interval(self.step_ms - rest)),
        };
        let from = format!("HOP((\n{}\n), {time}, {step}, {size}{offset})", indented(rows));
        let mut vector = Vector {
            from,
            at: "window_end".to_string(),
            labels: self.labels.iter().map(|label| (label.clone(), column(label))).collect(),
            value,
            group_by: None,
            sums,
            step_ms: self.step_ms,
        };
        let keys = self.identity();
        vector.group_by = Some(format!("window_start, window_end{}", listed(&keys)));
        vector
    }

    /// The columns that tell series apart.
    fn identity(&self) -> Vec<String> {
        self.labels.iter().map(|label| column(label)).chain(self.metrics.labels.clone()).collect()
    }

    fn call(&self, call: &Call) -> Result<Vector> {
        let name = call.func.name;
        let argument = |at: usize| call.args.args.get(at).map(|expr| bare(expr));
        if call.args.args.iter().any(|expr| matches!(bare(expr), Expr::Subquery(_))) {
            return Err(no_subquery());
        }
        if let Some(Expr::MatrixSelector(range)) = argument(0) {
            return self.over_range(name, range, argument(1));
        }
        if let ("quantile_over_time", Some(Expr::MatrixSelector(range))) = (name, argument(1)) {
            return self.over_range(name, range, argument(0));
        }
        let vector = match (name, argument(0)) {
            ("abs" | "ceil" | "floor" | "exp" | "ln" | "log2" | "log10" | "sqrt", Some(expr)) => {
                let vector = self.vector(expr)?;
                let value = format!("{name}({})", vector.value);
                vector.with_value(value)
            }
            ("sgn", Some(expr)) => {
                let vector = self.vector(expr)?;
                let value = format!("signum({})", vector.value);
                vector.with_value(value)
            }
            ("round", Some(expr)) if call.args.args.len() == 1 => {
                let vector = self.vector(expr)?;
                let value = format!("floor({} + 0.5)", vector.value);
                vector.with_value(value)
            }
            ("clamp_min" | "clamp_max", Some(expr)) => {
                let vector = self.vector(expr)?;
                let limit = argument(1).and_then(|expr| self.scalar(expr, &vector.at));
                let limit = limit.ok_or_else(|| Error::user(format!("{name} has a limit that is no number")))?;
                let (value, outside) = (&vector.value, if name == "clamp_min" { "<" } else { ">" });
                let value = format!("CASE WHEN {value} {outside} {limit} THEN {limit} ELSE {value} END");
                vector.with_value(value)
            }
            ("absent" | "absent_over_time", _) => {
                return Err(refused(
                    format!("{name} is translated only where it is the whole expression of an alert"),
                    "Make an alert of its own of it.",
                ));
            }
            ("histogram_quantile", _) => {
                return Err(refused(
                    "histogram_quantile is not translated",
                    "Read what the histogram was made of: approx_percentile_cont(latency, 0.99) of a window.",
                ));
            }
            _ => {
                return Err(refused(
                    format!("function {name} is not translated"),
                    "Write the view by hand; docs/prometheus.md lists what is translated.",
                ));
            }
        };
        Ok(vector)
    }

    /// A function of the samples of the last while.
    fn over_range(&self, function: &str, range: &MatrixSelector, parameter: Option<&Expr>) -> Result<Vector> {
        let Metrics { relation, time, value, .. } = self.metrics;
        if self.recorded(&range.vs)?.is_some() {
            return Err(refused(
                "a range of a recorded series is not translated",
                "Give the range to the expression that is recorded.",
            ));
        }
        let conditions = self.conditions(&range.vs)?;
        let size_ms = millis(range.range);
        let seconds = number(size_ms as f64 / 1e3);
        let parameter = |what: &str| {
            let scalar = parameter.and_then(|expr| self.scalar(expr, "window_end"));
            scalar.ok_or_else(|| Error::user(format!("{function} has {what} that is no number")))
        };
        let increment = format!("CASE WHEN {value} < before THEN {value} ELSE {value} - before END");
        let counted = |comparison: &str, opposite: &str| {
            format!("CASE WHEN {value} {comparison} before THEN 1.0 WHEN {value} {opposite} before THEN 0.0 END")
        };
        let stepwise = match function {
            "rate" => Some((increment, format!("sum(step) / {seconds}"))),
            "increase" => Some((increment, "sum(step)".to_string())),
            "changes" => Some((counted("<>", "="), "sum(step)".to_string())),
            "resets" => Some((counted("<", ">="), "sum(step)".to_string())),
            _ => None,
        };
        if let Some((step, aggregate)) = stepwise {
            let keys = self.identity();
            let before = format!(
                "SELECT {time}{0}, {value}, lag({value}) OVER (PARTITION BY {1} ORDER BY {time}) AS before\nFROM {relation} WHERE {conditions}",
                listed(&keys),
                self.metrics.labels.clone().unwrap_or_else(|| keys.join(", "))
            );
            let rows = format!("SELECT {time}{}, {step} AS step\nFROM (\n{}\n)", listed(&keys), indented(&before));
            return Ok(self.over_windows(&rows, size_ms, aggregate, true));
        }
        let moment = format!("extract(epoch FROM {time})");
        let slope = format!("regr_slope({value}, {moment})");
        let (aggregate, sums) = match function {
            "avg_over_time" => (format!("avg({value})"), false),
            "min_over_time" => (format!("min({value})"), false),
            "max_over_time" => (format!("max({value})"), false),
            "sum_over_time" => (format!("sum({value})"), true),
            "count_over_time" => (format!("CAST(count({value}) AS DOUBLE)"), true),
            "stddev_over_time" => (format!("stddev_pop({value})"), false),
            "stdvar_over_time" => (format!("var_pop({value})"), false),
            "last_over_time" => (format!("last_value({value} ORDER BY {time})"), false),
            "present_over_time" => (format!("CASE WHEN count({value}) > 0 THEN 1.0 END"), false),
            "quantile_over_time" => (format!("percentile_cont({value}, {})", parameter("a quantile")?), false),
            "deriv" => (slope, false),
            // The line through the samples, at the moment of evaluation and a while later.
            "predict_linear" => {
                let later = parameter("a time")?;
                let ahead = format!("extract(epoch FROM window_end) + {later} - avg({moment})");
                (format!("avg({value}) + {slope} * ({ahead})"), false)
            }
            _ => {
                return Err(refused(
                    format!("function {function} is not translated"),
                    "Write the view by hand; docs/prometheus.md lists what is translated.",
                ));
            }
        };
        let rows = format!("SELECT * FROM {relation} WHERE {conditions}");
        Ok(self.over_windows(&rows, size_ms, aggregate, sums))
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Vector> {
        let vector = self.vector(&aggregate.expr)?;
        let by = match &aggregate.modifier {
            None => Vec::new(),
            Some(LabelModifier::Include(labels)) => labels.labels.clone(),
            Some(LabelModifier::Exclude(labels)) => {
                vector.labels().into_iter().filter(|label| !labels.labels.contains(label)).collect()
            }
        };
        let known = |label: &String| vector.labels.iter().any(|(name, _)| name == label);
        let by: Vec<String> = by.into_iter().filter(known).collect();
        let value = match aggregate.op.id() {
            token::T_SUM if vector.sums => return Ok(regrouped(vector, &by)),
            token::T_SUM => "sum(value)".to_string(),
            token::T_AVG => "avg(value)".to_string(),
            token::T_MIN => "min(value)".to_string(),
            token::T_MAX => "max(value)".to_string(),
            token::T_COUNT => "CAST(nullif(count(value), 0) AS DOUBLE)".to_string(),
            token::T_GROUP => "CASE WHEN count(value) > 0 THEN 1.0 END".to_string(),
            token::T_STDDEV => "stddev_pop(value)".to_string(),
            token::T_STDVAR => "var_pop(value)".to_string(),
            token::T_QUANTILE => {
                let quantile = aggregate.param.as_ref().and_then(|expr| self.scalar(expr, "window_start"));
                let quantile = quantile.ok_or_else(|| Error::user("quantile has a quantile that is no number"))?;
                format!("percentile_cont(value, {quantile})")
            }
            _ => {
                return Err(refused(
                    format!("{} is not translated", aggregate.op),
                    "Write the view by hand: row_number() OVER (..) <= n keeps the first of each group.",
                ));
            }
        };
        Ok(over_moments(&vector, &by, value))
    }
}

/// An aggregate over the elements of each moment.
pub(super) fn over_moments(vector: &Vector, by: &[String], value: String) -> Vector {
    let columns: Vec<String> = by.iter().map(|label| column(label)).collect();
    Vector {
        // Rows of one moment are those of a window that is as long as Prometheus' unit of time.
        from: format!("TUMBLE((\n{}\n), at, INTERVAL '1 millisecond')", indented(&vector.select())),
        at: "window_start".to_string(),
        labels: by.iter().cloned().zip(columns.clone()).collect(),
        value,
        group_by: Some(format!("window_start, window_end{}", listed(&columns))),
        sums: false,
        step_ms: vector.step_ms,
    }
}

/// A sum over series whose values are sums: of fewer labels.
fn regrouped(vector: Vector, by: &[String]) -> Vector {
    let columns: Vec<String> = by.iter().map(|label| column(label)).collect();
    let group_by = Some(format!("window_start, window_end{}", listed(&columns)));
    Vector { labels: by.iter().cloned().zip(columns).collect(), group_by, ..vector }
}

/// The name of the series and the other matchers.
fn named(selector: &VectorSelector) -> Result<(&str, Vec<&Matcher>)> {
    if selector.offset.is_some() || selector.at.is_some() {
        return Err(refused("\"offset\" and \"@\" are not translated", "Join with lag(value) OVER (..) by hand."));
    }
    if !selector.matchers.or_matchers.is_empty() {
        return Err(Error::user("matchers joined by \"or\" are not translated"));
    }
    let by_label = selector.matchers.matchers.iter().find(|m| m.name == "__name__" && m.op == MatchOp::Equal);
    let Some(name) = selector.name.as_deref().or(by_label.map(|matcher| matcher.value.as_str())) else {
        return Err(refused("a selector without the name of a series is not translated", "Name the series."));
    };
    let matchers = selector.matchers.matchers.iter().filter(|matcher| matcher.name != "__name__").collect();
    Ok((name, matchers))
}

fn matching(matcher: &Matcher) -> String {
    let column = column(&matcher.name);
    match &matcher.op {
        MatchOp::Equal => format!("{column} = {}", text(&matcher.value)),
        MatchOp::NotEqual => format!("{column} <> {}", text(&matcher.value)),
        MatchOp::Re(_) => format!("{column} ~ {}", text(&format!("^(?:{})$", matcher.value))),
        MatchOp::NotRe(_) => format!("{column} !~ {}", text(&format!("^(?:{})$", matcher.value))),
    }
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| format!(", {column}")).collect()
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
