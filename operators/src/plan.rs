//! The plan: what the planner decided and the engine carries out. Closed, printable, with every decision taken.
//!
//! Nothing here is a name to be looked up in SQL any more: columns are positions, expressions are DataFusion's
//! physical ones, types are settled. Every `match` over [`Plan`] is exhaustive on purpose: a new operator is found by
//! the compiler in all places that must know of it.

use crate::alert::{AlertSpec, AlertTime};
use crate::assign_windows::AssignWindowsSpec;
use crate::envelope::EnvelopeSpec;
use crate::expand::ExpandSpec;
use crate::filter::FilterSpec;
use crate::horizon::{Horizon, WithinSpec};
use crate::join::{AsofJoinSpec, JoinSpec, LookupJoinSpec};
use crate::over::OverSpec;
use crate::project::ProjectSpec;
use crate::recursion::RecursionSpec;
use crate::reduce::ReduceSpec;
use crate::repeat::RepeatSpec;
use crate::series::SeriesSpec;
use crate::session_aggregate::SessionAggregateSpec;
use crate::top_n::TopNSpec;
use crate::unnest::UnnestSpec;
use crate::window_aggregate::WindowAggregateSpec;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_schemas::alert_event;
use thalweg_schemas::options::Options;
use thalweg_schemas::sink::{Envelope, SinkRequest};
use thalweg_schemas::source::SourceRequest;
use thalweg_schemas::table::{Column, Origin, schema_of};
use thalweg_schemas::wanted::Wanted;

/// All that one run does, each list in dependency order.
#[derive(Clone, Debug, Default)]
pub struct Dataflow {
    /// The sources that something reads.
    pub sources: Vec<SourcePlan>,
    /// The materialized views; a view reads only sources and views before it.
    pub views: Vec<ViewPlan>,
    /// The sinks.
    pub sinks: Vec<SinkPlan>,
}

/// How a source is read.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// The connector's name.
    pub connector: String,
    /// The connector's options.
    pub options: Options,
    /// The format's name; `None` where the connector's rows are typed by themselves.
    pub format: Option<String>,
    /// The format's options.
    pub format_options: Options,
    /// Its columns, in the order in which SQL sees them.
    pub columns: Vec<Column>,
    /// For each column, how much of its values any view or sink looks at. What is not wanted may be all NULL.
    pub wanted: Vec<Wanted>,
    /// The generated columns: position, and the expression over all columns that computes it.
    pub generated: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    /// The columns of the primary key, where the source is a changelog: its records say what becomes of the row with
    /// their key. Empty where every record is a row of its own.
    pub key: Vec<usize>,
    /// Whether it is a table outside, read whole again and again, with a [`key`](Self::key): its rows have no event time,
    /// and a run does not go on for its sake.
    pub is_table: bool,
    /// What is promised of event time; `None`: nothing, and no window over it ever closes before the end.
    pub watermark: Option<WatermarkPlan>,
    /// What happens to a record that is not a row.
    pub on_bad: OnBad,
}

impl SourcePlan {
    /// Whether nothing is promised of the event times of its rows.
    pub fn is_silent(&self) -> bool {
        self.watermark.is_none() && !self.is_table
    }

    /// What its connector is told.
    pub fn request(&self) -> SourceRequest {
        let fields = self.columns.iter().zip(&self.wanted).filter(|(column, _)| column.origin == Origin::Field);
        let (columns, wanted): (Vec<Column>, Vec<bool>) =
            fields.map(|(column, wanted)| (column.clone(), wanted.any())).unzip();
        let fields = schema_of(&columns);
        let metadata = self.columns.iter().filter_map(|column| match column.origin {
            Origin::Metadata(metadata) => Some(metadata),
            _ => None,
        });
        SourceRequest {
            name: self.name.clone(),
            options: self.options.clone(),
            format: self.format.clone(),
            format_options: self.format_options.clone(),
            key: self.key.iter().filter_map(|at| fields.index_of(&self.columns[*at].name).ok()).collect(),
            fields,
            wanted,
            metadata: metadata.collect(),
        }
    }

    /// The columns by whose values the rows of a changelog are placed on workers; none: all are on the first.
    pub fn placed_by(&self) -> Vec<usize> {
        if self.is_table { Vec::new() } else { self.key.clone() }
    }
}

/// `WATERMARK FOR column AS column - lateness`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkPlan {
    /// The event time column, a timestamp.
    pub column: usize,
    /// How far behind the latest event time the promise stays, in nanoseconds.
    pub lateness_ns: i64,
    /// After how long without a row a partition no longer holds the watermark back, in nanoseconds.
    pub idle_timeout_ns: i64,
    /// How far ahead of the clock an event time may be, in nanoseconds; beyond it the row is a dead letter.
    pub future_max_ns: i64,
}

/// What happens to a record that is not a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// It is kept with the dead letters and counted.
    DeadLetter,
    /// It ends the run.
    Fail,
}

/// A materialized view.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// Its name.
    pub name: String,
    /// How it is computed.
    pub plan: Plan,
    /// What readers of the view see.
    pub emit: Emit,
    /// Columns that are unique together, if such are known: the view's key.
    pub key: Option<Vec<usize>>,
    /// For how long after a time among its columns a row is shown. Who reads the view is not told when one goes.
    pub retain: Option<Horizon>,
}

/// When a windowed view shows a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// From its first row on, corrected with every change.
    Changes,
    /// Once, when its window has closed.
    OnWindowClose,
}

/// Which of a relation's two streams is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Every change, from the first row on.
    Changes,
    /// Only what is final: an append stream (of windows once they are closed).
    Finals,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// What it writes: usually [`Plan::View`] or [`Plan::Source`].
    pub plan: Plan,
    /// Which of that plan's streams it takes.
    pub read: Read,
    /// Whether that stream is a changelog.
    pub changelog: bool,
    /// The connector's name.
    pub connector: String,
    /// The connector's options, its format among them.
    pub options: Options,
}

/// How a relation is computed.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The rows of a source.
    Source {
        /// Its name in [`Dataflow::sources`].
        name: String,
        /// Its schema.
        schema: SchemaRef,
    },
    /// The rows of another materialized view.
    View {
        /// Its name in [`Dataflow::views`].
        name: String,
        /// Its schema.
        schema: SchemaRef,
    },
    /// Some of the rows.
    Filter(FilterSpec),
    /// Other columns.
    Project(ProjectSpec),
    /// The rows that are not behind a horizon.
    Within(WithinSpec),
    /// The rows of all inputs.
    Union {
        /// The inputs, of one schema.
        inputs: Vec<Plan>,
    },
    /// Each row once for every window that it falls into.
    AssignWindows(AssignWindowsSpec),
    /// One row for each window and group.
    WindowAggregate(Box<WindowAggregateSpec>),
    /// One row for each session and group.
    SessionAggregate(Box<SessionAggregateSpec>),
    /// One row for each group, kept up to date.
    Reduce(Box<ReduceSpec>),
    /// Pairs of rows, or rows by whether they have a partner.
    Join(Box<JoinSpec>),
    /// Each row with the row of another relation that is nearest to it in an order.
    AsofJoin(Box<AsofJoinSpec>),
    /// Each row with the rows of another relation that have its key when it comes.
    LookupJoin(Box<LookupJoinSpec>),
    /// The first rows of each partition.
    TopN(Box<TopNSpec>),
    /// Each row with what functions say of its partition.
    Over(Box<OverSpec>),
    /// Each row of a series with what is said of it.
    Series(Box<SeriesSpec>),
    /// Each row once for every grouping set.
    Expand(ExpandSpec),
    /// Each row as often as it says.
    Repeat(RepeatSpec),
    /// What changes come to, as rows that only ever come.
    Envelope(EnvelopeSpec),
    /// Each row once for every element of one of its lists.
    Unnest(UnnestSpec),
    /// Rows that are made from rows, for as long as new ones come.
    Recursion(Box<RecursionSpec>),
    /// In the step of a recursion: the rows of the iteration before.
    Recursive {
        /// What the step calls them.
        name: String,
        /// Their schema.
        schema: SchemaRef,
    },
    /// What an alert says of the rows of each key.
    Alert(Box<AlertSpec>),
}

/// From which sources' watermarks the event time of a relation follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeOrigin {
    /// For each source, by name, by how much the promise is weaker here than there, in nanoseconds.
    pub sources: Vec<(String, i64)>,
}

impl TimeOrigin {
    /// The same origin with every promise made weaker by `delay_ns`.
    pub fn delayed(&self, delay_ns: i64) -> TimeOrigin {
        TimeOrigin { sources: self.sources.iter().map(|(s, d)| (s.clone(), d.saturating_add(delay_ns))).collect() }
    }

    /// The origin of a relation made from both: a source in both keeps its weaker promise.
    pub fn union(&self, other: &TimeOrigin) -> TimeOrigin {
        let mut sources = self.sources.clone();
        for (name, delay) in &other.sources {
            match sources.iter_mut().find(|(s, _)| s == name) {
                Some((_, d)) => *d = (*d).max(*delay),
                None => sources.push((name.clone(), *delay)),
            }
        }
        TimeOrigin { sources }
    }
}

impl SinkPlan {
    /// What its connector is told, in a run that goes on from the state that `lineage` names.
    pub fn request(&self, lineage: &str) -> SinkRequest {
        SinkRequest {
            name: self.name.clone(),
            options: self.options.clone(),
            schema: self.plan.schema(),
            changelog: self.changelog,
            envelope: self.envelope().cloned(),
            lineage: lineage.to_string(),
        }
    }

    /// How changes are written, where they are written as rows that only ever come.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.plan {
            Plan::Envelope(spec) => Some(&spec.envelope),
            _ => None,
        }
    }
}

impl Plan {
    /// The schema of its rows, without the difference of a changelog.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Plan::Source { schema, .. } | Plan::View { schema, .. } | Plan::Recursive { schema, .. } => schema.clone(),
            Plan::Filter(spec) => spec.input.schema(),
            Plan::Within(spec) => spec.input.schema(),
            Plan::Project(spec) => spec.schema.clone(),
            Plan::Union { inputs } => inputs[0].schema(),
            Plan::AssignWindows(spec) => spec.schema.clone(),
            Plan::WindowAggregate(spec) => spec.schema.clone(),
            Plan::SessionAggregate(spec) => spec.schema.clone(),
            Plan::Reduce(spec) => spec.schema.clone(),
            Plan::Join(spec) => spec.schema.clone(),
            Plan::AsofJoin(spec) => spec.schema.clone(),
            Plan::LookupJoin(spec) => spec.schema.clone(),
            Plan::TopN(spec) => spec.schema.clone(),
            Plan::Over(spec) => spec.schema.clone(),
            Plan::Series(spec) => spec.schema.clone(),
            Plan::Expand(spec) => spec.schema.clone(),
            Plan::Repeat(spec) => spec.schema.clone(),
            Plan::Envelope(spec) => spec.schema.clone(),
            Plan::Unnest(spec) => spec.schema.clone(),
            Plan::Recursion(spec) => spec.schema.clone(),
            Plan::Alert(_) => alert_event::schema(),
        }
    }

    /// The source whose rows it projects, if that is all that it does.
    pub fn projected_source(&self) -> Option<&str> {
        match self {
            Plan::Source { name, .. } => Some(name),
            Plan::Project(spec) => spec.input.projected_source(),
            _ => None,
        }
    }

    /// The plans that it reads from.
    pub fn inputs(&self) -> Vec<&Plan> {
        match self {
            Plan::Source { .. } | Plan::View { .. } | Plan::Recursive { .. } => vec![],
            Plan::Filter(spec) => vec![&spec.input],
            Plan::Within(spec) => vec![&spec.input],
            Plan::Project(spec) => vec![&spec.input],
            Plan::Union { inputs } => inputs.iter().collect(),
            Plan::AssignWindows(spec) => vec![&spec.input],
            Plan::WindowAggregate(spec) => vec![&spec.input],
            Plan::SessionAggregate(spec) => vec![&spec.input],
            Plan::Reduce(spec) => vec![&spec.input],
            Plan::Join(spec) => vec![&spec.left, &spec.right],
            Plan::AsofJoin(spec) => vec![&spec.left, &spec.right],
            Plan::LookupJoin(spec) => vec![&spec.left, &spec.right],
            Plan::TopN(spec) => vec![&spec.input],
            Plan::Over(spec) => vec![&spec.input],
            Plan::Series(spec) => vec![&spec.input],
            Plan::Expand(spec) => vec![&spec.input],
            Plan::Repeat(spec) => vec![&spec.input],
            Plan::Envelope(spec) => vec![&spec.input],
            Plan::Unnest(spec) => vec![&spec.input],
            Plan::Recursion(spec) => vec![&spec.base, &spec.step],
            Plan::Alert(spec) => std::iter::once(&spec.input).chain(&spec.expected).map(|plan| &**plan).collect(),
        }
    }

    /// The plans that it reads from, to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut Plan> {
        match self {
            Plan::Source { .. } | Plan::View { .. } | Plan::Recursive { .. } => vec![],
            Plan::Filter(spec) => vec![&mut spec.input],
            Plan::Within(spec) => vec![&mut spec.input],
            Plan::Project(spec) => vec![&mut spec.input],
            Plan::Union { inputs } => inputs.iter_mut().collect(),
            Plan::AssignWindows(spec) => vec![&mut spec.input],
            Plan::WindowAggregate(spec) => vec![&mut spec.input],
            Plan::SessionAggregate(spec) => vec![&mut spec.input],
            Plan::Reduce(spec) => vec![&mut spec.input],
            Plan::Join(spec) => vec![&mut spec.left, &mut spec.right],
            Plan::AsofJoin(spec) => vec![&mut spec.left, &mut spec.right],
            Plan::LookupJoin(spec) => vec![&mut spec.left, &mut spec.right],
            Plan::TopN(spec) => vec![&mut spec.input],
            Plan::Over(spec) => vec![&mut spec.input],
            Plan::Series(spec) => vec![&mut spec.input],
            Plan::Expand(spec) => vec![&mut spec.input],
            Plan::Repeat(spec) => vec![&mut spec.input],
            Plan::Envelope(spec) => vec![&mut spec.input],
            Plan::Unnest(spec) => vec![&mut spec.input],
            Plan::Recursion(spec) => vec![&mut spec.base, &mut spec.step],
            Plan::Alert(spec) => {
                std::iter::once(&mut spec.input).chain(&mut spec.expected).map(|plan| &mut **plan).collect()
            }
        }
    }

    /// Where it stands after how long without a row the state of a key goes, in nanoseconds, to be changed; `None` where
    /// its own operator has no state by key, or something else bounds it.
    pub fn state_ttl_ns_mut(&mut self) -> Option<&mut Option<i64>> {
        match self {
            Plan::Reduce(spec) if !spec.keys.is_empty() && spec.horizon.is_none() => Some(&mut spec.state_ttl_ns),
            Plan::TopN(spec) if spec.goes_by().is_none() && !spec.partition.is_empty() => Some(&mut spec.state_ttl_ns),
            Plan::Over(spec) if spec.goes_by().is_none() && !spec.partition.is_empty() => Some(&mut spec.state_ttl_ns),
            Plan::Join(spec) if !spec.lets_go() && !spec.has_horizon() && spec.forgets_keys() => {
                Some(&mut spec.state_ttl_ns)
            }
            Plan::AsofJoin(spec) if spec.keys > 0 && spec.horizon.is_none() => Some(&mut spec.state_ttl_ns),
            Plan::Reduce(_)
            | Plan::TopN(_)
            | Plan::Over(_)
            | Plan::Join(_)
            | Plan::AsofJoin(_)
            | Plan::LookupJoin(_)
            | Plan::Source { .. }
            | Plan::View { .. }
            | Plan::Filter(_)
            | Plan::Within(_)
            | Plan::Project(_)
            | Plan::Union { .. }
            | Plan::AssignWindows(_)
            | Plan::WindowAggregate(_)
            | Plan::SessionAggregate(_)
            | Plan::Series(_)
            | Plan::Expand(_)
            | Plan::Repeat(_)
            | Plan::Envelope(_)
            | Plan::Unnest(_)
            | Plan::Recursion(_)
            | Plan::Recursive { .. }
            | Plan::Alert(_) => None,
        }
    }

    /// By which sources' watermarks its own operator goes, to be changed; nothing where it asks for no time.
    pub fn time_origins_mut(&mut self) -> Vec<&mut TimeOrigin> {
        match self {
            Plan::WindowAggregate(spec) => vec![&mut spec.time_origin],
            Plan::SessionAggregate(spec) => vec![&mut spec.time_origin],
            Plan::TopN(spec) => spec.origin_mut().into_iter().collect(),
            Plan::Over(spec) => spec.origin_mut().into_iter().collect(),
            Plan::Series(spec) => vec![&mut spec.origin],
            Plan::Join(spec) => {
                let within = spec.within.as_mut().map(|within| &mut within.origin);
                within.into_iter().chain(spec.horizons.iter_mut().flatten().map(|h| &mut h.origin)).collect()
            }
            Plan::LookupJoin(spec) => {
                let asked = spec.asked.iter_mut().map(|asked| &mut asked.origin);
                asked.chain([&mut spec.waits_for]).collect()
            }
            Plan::Within(spec) => vec![&mut spec.horizon.origin],
            Plan::Reduce(spec) => spec.horizon.iter_mut().map(|horizon| &mut horizon.origin).collect(),
            Plan::AsofJoin(spec) => spec.horizon.iter_mut().map(|horizon| &mut horizon.origin).collect(),
            Plan::Alert(spec) => match &mut spec.time {
                AlertTime::Event { origin, .. } => vec![origin],
                AlertTime::Clock => Vec::new(),
            },
            Plan::Source { .. }
            | Plan::View { .. }
            | Plan::Filter(_)
            | Plan::Project(_)
            | Plan::Union { .. }
            | Plan::AssignWindows(_)
            | Plan::Expand(_)
            | Plan::Repeat(_)
            | Plan::Envelope(_)
            | Plan::Unnest(_)
            | Plan::Recursion(_)
            | Plan::Recursive { .. } => Vec::new(),
        }
    }
}
