//! What names mean: the relations declared so far, and the queries over them as logical plans.

pub(crate) mod alert;
pub(crate) mod asof;
mod connector;
pub(crate) mod cut;
mod envelope;
mod exemplars;
mod horizon;
mod key;
pub(crate) mod lookup;
pub(crate) mod messages;
pub(crate) mod notification;
pub(crate) mod order;
pub(crate) mod query;
pub(crate) mod recursion;
pub(crate) mod series;
pub(crate) mod sink;
pub(crate) mod source;
mod spelling;
pub(crate) mod table;
pub(crate) mod view;
mod window_time;
pub(crate) mod windows;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_operators::plan::TimeOrigin;
use thalweg_operators::series::{Task, Zone};
use thalweg_schemas::error::Error;

/// A relation that queries can read.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub name: String,
    pub kind: RelationKind,
    pub schema: SchemaRef,
    pub mode: Mode,
    /// For each column, whether it is an event time, and by which watermarks.
    pub times: Vec<Option<TimeOrigin>>,
    /// Which columns are bounds of windows: what has such a value is complete when the watermark reaches it.
    pub bounds: Vec<usize>,
    /// Columns that are unique together.
    pub key: Option<Vec<usize>>,
    /// The tables of other systems whose rows it has, by the names of their sources.
    pub tables: BTreeSet<String>,
    /// The watermarks of all that it is made of, as far as anything promises any.
    pub clock: TimeOrigin,
    /// Of a table of another system that is asked for the rows of keys: which answers are kept.
    pub asked: Option<Cache>,
}

/// Which answers of a table are kept that is asked for the rows of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// How many, for each join.
    pub rows: u64,
    /// For how long, in nanoseconds.
    pub ttl_ns: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum RelationKind {
    Source(Closes),
    /// A name for a query, planned.
    View(Box<LogicalPlan>),
    MaterializedView,
}

/// When the windows over a source's event time close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    /// As its watermark moves.
    ByWatermark,
    /// It has no watermark: when it ends.
    AtEnd,
    /// It has neither watermark nor end.
    Never,
}

/// What the rows of a relation do over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Rows only come.
    Append,
    /// Rows of open windows are corrected; those of closed ones are final, and can be read as an append stream.
    Windows,
    /// Rows are corrected for ever.
    Changelog,
}

impl Mode {
    /// The mode of rows from both.
    pub(crate) fn or(self, other: Mode) -> Mode {
        match (self, other) {
            (Mode::Changelog, _) | (_, Mode::Changelog) => Mode::Changelog,
            (Mode::Windows, _) | (_, Mode::Windows) => Mode::Windows,
            (Mode::Append, Mode::Append) => Mode::Append,
        }
    }
}

impl Relation {
    /// The word for its kind in messages.
    pub(crate) fn noun(&self) -> &'static str {
        match self.kind {
            RelationKind::Source(_) => "source",
            RelationKind::View(_) | RelationKind::MaterializedView => "view",
        }
    }
}

/// The relations that are known, and the names of those that had errors of their own.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub relations: BTreeMap<String, Arc<Relation>>,
    pub failed: BTreeSet<String>,
}

/// Both results, or the errors of both.
pub(crate) fn both<A, B>(a: Result<A, Vec<Error>>, b: Result<B, Vec<Error>>) -> Result<(A, B), Vec<Error>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

/// A relation as DataFusion's planner sees it.
#[derive(Debug)]
pub(crate) struct RelationSource(pub Arc<Relation>);

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        match &self.0.kind {
            RelationKind::View(plan) => Some(Cow::Borrowed(plan.as_ref())),
            RelationKind::Source(_) | RelationKind::MaterializedView => None,
        }
    }
}

/// A windowed relation (`TUMBLE(..)`) as DataFusion's planner sees it: the input's columns, then the window's.
#[derive(Debug)]
pub(crate) struct WindowSource {
    pub input: LogicalPlan,
    /// What the input is called in messages.
    pub input_name: String,
    /// The positions of the input's columns that are kept: its own `window_start` and `window_end` give way.
    pub kept: Vec<usize>,
    /// The event time among the input's columns.
    pub time: usize,
    pub cut: cut::Cut<usize>,
    pub schema: SchemaRef,
}

impl TableSource for WindowSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A relation with what is said of its series (`DETECT_ANOMALIES(..)`) as DataFusion's planner sees it: the input's
/// columns, then those that are added.
#[derive(Debug)]
pub(crate) struct SeriesSource {
    pub input: LogicalPlan,
    /// What the input is called in messages.
    pub input_name: String,
    /// The event time among the input's columns.
    pub time: usize,
    /// The value.
    pub value: usize,
    /// Values that are judged together with it.
    pub others: Vec<usize>,
    /// What tells series apart.
    pub by: Vec<usize>,
    /// How many of them, the first, tell groups apart.
    pub grouped_by: usize,
    /// What is deployed.
    pub deploy: Option<usize>,
    /// How many series are kept.
    pub series_max: Option<usize>,
    /// Where its season is at home.
    pub zone: Option<Zone>,
    pub task: Task,
    pub schema: SchemaRef,
}

impl TableSource for SeriesSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
