//! Functions that know each series of a relation from its first row on: `DETECT_ANOMALIES`, `FORECAST`.
//!
//! The rows of a series are taken in order of event time, once the watermark says that no earlier one is expected, so that
//! what is said of a row is said once and does not depend on the order in which rows came. A model for each series is all
//! that is kept; a series that is silent for long is forgotten.

mod detect;
mod forecast;
mod groups;
mod held;
mod pending;
mod process;
mod zone;

#[cfg(test)]
mod tests;

pub use detect::added as detect_columns;
pub use forecast::added as forecast_columns;
pub use process::Series;
pub use zone::Zone;

use crate::anomaly::{DetectSettings, ForecastSettings, Group, Moment};
use crate::plan::{Plan, TimeOrigin};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use std::fmt;
use thalweg_schemas::error::Result;

/// What is asked of each row of each series.
#[derive(Clone, Debug)]
pub struct SeriesSpec {
    /// Where the rows come from; its stream of finals is read.
    pub input: Box<Plan>,
    /// The event time among the columns of `input`.
    pub time: usize,
    /// The value, a number.
    pub value: usize,
    /// Further values, judged together with it.
    pub others: Vec<usize>,
    /// The columns that tell the series apart; none means that there is one.
    pub by: Vec<usize>,
    /// How many of the first of them tell groups apart: a series that begins takes after its group. 0 means that there
    /// are none.
    pub grouped_by: usize,
    /// The column that says what is deployed, if one does.
    pub deploy: Option<usize>,
    /// How many series are kept, each worker having its share; of more, those go that have been silent for longest.
    pub series_max: Option<usize>,
    /// Where the clocks are that its season goes by; universal time if none is given.
    pub zone: Option<Zone>,
    /// What is asked.
    pub task: Task,
    /// From which watermarks it follows that no earlier row is expected.
    pub origin: TimeOrigin,
    /// The columns of `input`, then those that are added.
    pub schema: SchemaRef,
}

/// What is asked of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Whether it is out of the ordinary.
    Detect(DetectSettings),
    /// What its series will be some time later.
    Forecast(ForecastSettings),
}

impl SeriesSpec {
    /// The columns by which rows come to workers: whoever knows a group knows all of its series.
    pub fn exchanged_by(&self) -> &[usize] {
        if self.grouped_by > 0 { &self.by[..self.grouped_by] } else { &self.by }
    }

    /// After how long without a row a series is forgotten, in nanoseconds.
    pub fn ttl_ns(&self) -> i64 {
        match &self.task {
            Task::Detect(settings) => settings.ttl_ns,
            Task::Forecast(settings) => settings.ttl_ns,
        }
    }
}

impl fmt::Display for SeriesSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let name = |at: &usize| schema.field(*at).name().as_str();
        let (operator, settings): (_, &dyn fmt::Display) = match &self.task {
            Task::Detect(settings) => ("DetectAnomalies", settings),
            Task::Forecast(settings) => ("Forecast", settings),
        };
        let values: Vec<_> = [&self.value].into_iter().chain(&self.others).map(name).collect();
        write!(f, "{operator} {}", values.join(" and "))?;
        if !self.by.is_empty() {
            write!(f, " of each ({})", self.by.iter().map(name).collect::<Vec<_>>().join(", "))?;
        }
        write!(f, " by {}: {settings}", name(&self.time))?;
        if self.grouped_by > 0 {
            let groups: Vec<_> = self.by[..self.grouped_by].iter().map(name).collect();
            write!(f, ", grouped by ({})", groups.join(", "))?;
        }
        if let Some(deploy) = &self.deploy {
            write!(f, ", deployments by {}", name(deploy))?;
        }
        if let Some(most) = self.series_max {
            write!(f, ", at most {most} series")?;
        }
        match &self.zone {
            Some(zone) => write!(f, ", in {zone}"),
            None => Ok(()),
        }
    }
}

/// A row, as a series sees it.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// When it is.
    pub at: Moment,
    /// Its value; none where one of several is missing, and one that is not finite where one of them is not.
    pub value: Option<f64>,
    /// The values that are judged together with it.
    pub others: &'a [f64],
    /// What is deployed, if a column says so.
    pub version: Option<u32>,
}

/// What is known of one series, and how it is asked.
pub trait Watched: Clone + Send + Sync + 'static {
    /// What a user can ask for.
    type Settings: Clone + Send + Sync;
    /// What is said of a row.
    type Said;

    /// A series of which nothing is known, but perhaps its group.
    fn new(settings: &Self::Settings, group: Option<&Group>) -> Self;
    /// Takes in the next row of the series, in order of time; its group may learn from it.
    fn observe(&mut self, settings: &Self::Settings, point: Point<'_>, group: Option<&mut Group>) -> Self::Said;
    /// After how long without a row it is forgotten, in nanoseconds.
    fn ttl_ns(settings: &Self::Settings) -> i64;
    /// The time of its last row, in nanoseconds since 1970.
    fn last_ns(&self) -> i64;
    /// The bytes that it takes.
    fn bytes(&self) -> usize;
    /// Its state as bytes.
    fn encode(&self) -> Vec<u8>;
    /// The series of these bytes; `None` where they are not of one with these settings.
    fn decode(settings: &Self::Settings, bytes: &[u8]) -> Option<Self>;
    /// The columns that are added for what is said of each row; `time` is the type of the event time.
    fn columns(settings: &Self::Settings, said: &[Self::Said], time: &DataType) -> Result<Vec<ArrayRef>>;
}
