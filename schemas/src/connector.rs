//! How a connector introduces itself: what it is, what it takes, how it is opened.

use crate::error::Result;
use crate::options::OptionSpec;
use crate::sink::{Sink, SinkRequest};
use crate::source::{Source, SourceRequest};
use crate::table::Column;
use std::sync::Arc;

/// A connector, described as data. The planner checks statements against it and never sees its code.
#[derive(Clone, Copy)]
pub struct ConnectorSpec {
    /// Its name in `connector = '...'`.
    pub name: &'static str,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// How it is a source, if it is one.
    pub source: Option<SourceSpec>,
    /// How it is a table outside that is read whole again and again, if it is one: what a statement with a primary key means
    /// unless its format says what becomes of rows.
    pub table: Option<SourceSpec>,
    /// How it is a sink, if it is one.
    pub sink: Option<SinkSpec>,
}

/// A connector's side that reads.
#[derive(Clone, Copy)]
pub struct SourceSpec {
    /// The options besides `connector` and `format` (and the engine's own, such as `on_bad`).
    pub options: &'static [OptionSpec],
    /// The formats it takes, the first being the default; empty where the rows are typed by the system itself.
    pub formats: &'static [&'static str],
    /// The columns it brings when the statement names none, by options (`kind`); `None`: they must be declared.
    pub columns: Option<fn(&crate::options::Options) -> Result<BuiltinColumns>>,
    /// Whether a source with these options ends by itself.
    pub bounded: fn(&crate::options::Options) -> bool,
    /// Says what of its options and columns can be known to be wrong before it is opened.
    pub check: Option<fn(&SourceRequest) -> Result<()>>,
    /// Opens it.
    pub open: fn(SourceRequest) -> Result<Arc<dyn Source>>,
}

/// The schema that a connector brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinColumns {
    /// Its columns.
    pub columns: Vec<Column>,
    /// The event time column, and how late its rows may be, in nanoseconds.
    pub watermark: Option<(String, i64)>,
}

/// Whether a sink takes changelogs as they are: rows that come and go, told apart by a column `_diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changelogs {
    /// It only ever appends rows.
    Never,
    /// Where the statement asks for it, by `ENVELOPE changelog`: whoever reads what it wrote has to know.
    WhenAsked,
    /// What it takes, nobody reads.
    Always,
}

/// A connector's side that writes.
#[derive(Clone, Copy)]
pub struct SinkSpec {
    /// The options besides `connector` and `format`.
    pub options: &'static [OptionSpec],
    /// The formats it takes, the first being the default; empty where it has a form of its own.
    pub formats: &'static [&'static str],
    /// Whether it can take a changelog as it is (with a `_diff` column).
    pub changelogs: Changelogs,
    /// Whether its history can be queried by the sink's name: then the Parquet folder it writes.
    pub history: Option<fn(&crate::options::Options) -> String>,
    /// Says what of its options and columns can be known to be wrong before it is opened; nothing is touched.
    pub check: Option<fn(&SinkRequest) -> Result<()>>,
    /// Opens it.
    pub open: fn(SinkRequest) -> Result<Arc<dyn Sink>>,
}
