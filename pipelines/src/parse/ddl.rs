//! What the statements say, before anything is looked up.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Query};
use thalweg_operators::plan::Emit;
use thalweg_schemas::error::Position;
use thalweg_schemas::notification::NotificationKind;
use thalweg_schemas::options::GivenOption;

/// A name where it was written; in lower case unless it was quoted.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub value: String,
    pub position: Position,
}

/// A statement of a pipeline.
#[derive(Clone, Debug)]
pub(crate) enum Ddl {
    Source(Box<CreateSource>),
    /// A source that `INSERT` feeds, and a view of its rows.
    Table(Box<CreateSource>),
    View(CreateView),
    Sink(CreateSink),
    Notification(CreateNotification),
    Function(Box<CreateFunction>),
}

#[derive(Clone, Debug)]
pub(crate) struct CreateSource {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<DeclaredColumn>,
    pub watermark: Option<DeclaredWatermark>,
    pub key: Option<DeclaredKey>,
    pub options: Vec<GivenOption>,
}

#[derive(Clone, Debug)]
pub(crate) struct DeclaredColumn {
    pub name: Name,
    pub data_type: DataType,
    pub type_position: Position,
    pub not_null: bool,
    pub generated: Option<Expr>,
}

/// `CREATE FUNCTION name(parameters) RETURNS type AS body`
#[derive(Clone, Debug)]
pub(crate) struct CreateFunction {
    pub name: Name,
    pub if_not_exists: bool,
    pub parameters: Vec<(Name, DataType)>,
    pub returns: DataType,
    pub returns_position: Position,
    pub body: Expr,
}

/// `PRIMARY KEY (columns)`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredKey {
    pub columns: Vec<Name>,
    pub position: Position,
}

/// `WATERMARK FOR column AS expr`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredWatermark {
    pub column: Name,
    pub promise: Expr,
    pub promise_position: Position,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub materialized: bool,
    pub options: Vec<GivenOption>,
    pub query: Box<Query>,
    pub emit: Option<(Emit, Position)>,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateSink {
    pub name: Name,
    pub if_not_exists: bool,
    pub input: SinkInput,
    pub options: Vec<GivenOption>,
}

#[derive(Clone, Debug)]
pub(crate) enum SinkInput {
    Relation(Name),
    Query(Box<Query>),
}

/// `CREATE NOTIFIER | SILENCE | INHIBITION`
#[derive(Clone, Debug)]
pub(crate) struct CreateNotification {
    pub kind: NotificationKind,
    pub name: Name,
    pub if_not_exists: bool,
    pub options: Vec<GivenOption>,
}

impl Ddl {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Ddl::Source(source) | Ddl::Table(source) => &source.name,
            Ddl::View(view) => &view.name,
            Ddl::Sink(sink) => &sink.name,
            Ddl::Notification(notification) => &notification.name,
            Ddl::Function(function) => &function.name,
        }
    }

    pub(crate) fn if_not_exists(&self) -> bool {
        match self {
            Ddl::Source(source) | Ddl::Table(source) => source.if_not_exists,
            Ddl::View(view) => view.if_not_exists,
            Ddl::Sink(sink) => sink.if_not_exists,
            Ddl::Notification(notification) => notification.if_not_exists,
            Ddl::Function(function) => function.if_not_exists,
        }
    }

    /// The query that it holds, if it holds one.
    pub(crate) fn query(&self) -> Option<&Query> {
        match self {
            Ddl::View(view) => Some(&view.query),
            Ddl::Sink(CreateSink { input: SinkInput::Query(query), .. }) => Some(query),
            Ddl::Source(_) | Ddl::Table(_) | Ddl::Sink(_) | Ddl::Notification(_) | Ddl::Function(_) => None,
        }
    }
}
