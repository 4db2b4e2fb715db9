//! Alerts: for each key of a relation a state machine over its rows and over the time that passes.
//!
//! [`Alert`] looks at the rows of each key in the order of their time, once no earlier one is expected, and says what
//! changes as events (`thalweg_schemas::alert_event`). Its time is the rows' event time where the relation has one, and
//! the engine's clock where it has none. Keys of which nothing is wrong cost nothing, unless their silence matters.

mod behind;
mod expected;
pub mod format;
mod held;
pub mod machine;
mod pending;
mod process;
pub mod rule;
mod sample;
mod snapshot;
mod turn;
mod voice;

#[cfg(test)]
mod tests;

pub use process::Alert;

use crate::plan::{Plan, Read, TimeOrigin};
use crate::window::Nanos;
use datafusion_physical_expr::PhysicalExpr;
use format::Format;
use rule::{AbsentPolicy, Rule};
use std::fmt;
use std::sync::Arc;

/// `CREATE ALERT`
#[derive(Clone, Debug)]
pub struct AlertSpec {
    /// Its name: part of the identity of its incidents.
    pub name: String,
    /// Where the rows come from: the columns of the relation, then one boolean for each condition.
    pub input: Box<Plan>,
    /// Which of its streams is read.
    pub read: Read,
    /// How many of the leading columns of `input` are the relation's.
    pub width: usize,
    /// The columns of the key; none means that there is one.
    pub keys: Vec<usize>,
    /// What its time is.
    pub time: AlertTime,
    /// The severities, mildest first.
    pub severities: Vec<Severity>,
    /// The columns that the conditions look at, besides those of the key.
    pub values: Vec<usize>,
    /// How they are judged over time.
    pub rule: Rule,
    /// `LABELS`
    pub labels: Vec<(String, Template)>,
    /// `ANNOTATIONS`
    pub annotations: Vec<(String, Template)>,
    /// Events older than this, in nanoseconds, are not for receivers; `None`: all are.
    pub mute_older_than_ns: Option<i64>,
    /// Whether receivers are told of corrections.
    pub notify_revisions: bool,
    /// `EXPECT KEYS FROM`: a relation whose columns are those of the key. Its keys are known before they say anything.
    pub expected: Option<Box<Plan>>,
    /// How many of the rows behind a row an event shows; none, and nothing is kept of them.
    pub sample_rows: usize,
    /// Where those rows are to be had; `None`: the relation's own rows are meant.
    pub exemplars: Option<Box<Exemplars>>,
}

/// Rows behind those of a relation that groups others.
#[derive(Clone, Debug)]
pub struct Exemplars {
    /// The aggregation nearest below the relation, with other aggregates in place of its own: rows of each group as JSON
    /// ([`crate::aggregate::exemplars`]), and how many there are. It reads what that one reads, and is no input: an alert
    /// that is new begins with what comes.
    pub plan: Plan,
    /// By what rows are chosen, the greatest first; `None`: any are as good.
    pub weight: Option<Arc<dyn PhysicalExpr>>,
    /// The columns that tell groups apart: in `plan`, and in the relation.
    pub group: Vec<(usize, usize)>,
    /// The columns of `plan` that are the alert's key.
    pub keys: Vec<usize>,
    /// The column of `plan` that is the alert's time; `None` where that is the clock.
    pub time: Option<usize>,
}

/// What the time of an alert is.
#[derive(Clone, Debug)]
pub enum AlertTime {
    /// That of the rows.
    Event {
        /// A timestamp column of the input.
        column: usize,
        /// By which watermarks rows are complete.
        origin: TimeOrigin,
        /// Whether a row with this time is complete when the watermark reaches it (the bound of a window) and not only
        /// when the watermark passes it (the time of a row).
        closed: bool,
    },
    /// That of the engine's clock, when the rows come.
    Clock,
}

/// One severity of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Severity {
    /// What it is called.
    pub name: String,
    /// The column of the input that says whether `WHEN` holds.
    pub when: usize,
    /// The column of the input that says whether `CLEAR WHEN` holds; `None`: it is clear when `WHEN` is false.
    pub clear: Option<usize>,
    /// `WHEN` as it was written.
    pub condition: String,
    /// `CLEAR WHEN` as it was written.
    pub clear_condition: Option<String>,
}

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The value of a column of the relation, through some formats; nothing where it is NULL.
    Column(usize, Vec<Format>),
    /// The name of the alert.
    Alert,
    /// The severity.
    Severity,
}

impl AlertSpec {
    /// What it demands, as people read it.
    pub fn clauses(&self) -> Vec<String> {
        let mut clauses = Vec::new();
        for (severity, for_ns) in self.severities.iter().zip(&self.rule.for_ns) {
            let for_ = if *for_ns > 0 { format!(", for {}", Nanos(*for_ns)) } else { String::new() };
            clauses.push(format!("{severity}{for_}"));
        }
        if self.rule.keep_ns > 0 {
            clauses.push(format!("kept firing for {}", Nanos(self.rule.keep_ns)));
        }
        clauses.extend(self.rule.absent.map(|absent| {
            let then = match absent.policy {
                AbsentPolicy::Keep => "stays as it is",
                AbsentPolicy::Resolve => "is resolved",
                AbsentPolicy::Fire(level) => self.severities[level - 1].name.as_str(),
            };
            format!("absent for {}: {then}", Nanos(absent.after_ns))
        }));
        clauses.extend(self.rule.ttl_ns.map(|ttl| format!("forgotten when absent for {}", Nanos(ttl))));
        clauses
            .extend(self.rule.flap.map(|flap| format!("flaps at {} times in {}", flap.times, Nanos(flap.within_ns))));
        clauses
    }

    /// The time origin by which the alert's time passes.
    pub(crate) fn origin(&self) -> TimeOrigin {
        match &self.time {
            AlertTime::Event { origin, .. } => origin.clone(),
            AlertTime::Clock => TimeOrigin::default(),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} when {}", self.name, self.condition)?;
        match &self.clear_condition {
            Some(clear) => write!(f, ", clear when {clear}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AlertSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let names = self.keys.iter().map(|at| schema.field(*at).name().as_str());
        write!(f, "Alert of each ({}): {}", names.collect::<Vec<_>>().join(", "), self.clauses().join("; "))
    }
}
