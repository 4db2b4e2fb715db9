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
    Alert(Box<CreateAlert>),
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
    /// `None` where it follows from what the column holds.
    pub data_type: Option<DataType>,
    pub type_position: Position,
    pub not_null: bool,
    pub generated: Option<Expr>,
    /// What a row has that is inserted without a value, and where that is said.
    pub default: Option<(Expr, Position)>,
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
    pub envelope: Option<GivenEnvelope>,
    pub options: Vec<GivenOption>,
}

/// `ENVELOPE upsert [(columns)] | debezium [(columns)]`
#[derive(Clone, Debug)]
pub(crate) struct GivenEnvelope {
    pub kind: Name,
    /// The columns by which a row is found, if they are written.
    pub key: Vec<Name>,
}

#[derive(Clone, Debug)]
pub(crate) enum SinkInput {
    Relation(Name),
    Query(Box<Query>),
}

/// `CREATE NOTIFIER | SILENCE | INHIBITION | CALENDAR`
#[derive(Clone, Debug)]
pub(crate) struct CreateNotification {
    pub kind: NotificationKind,
    pub name: Name,
    pub if_not_exists: bool,
    pub options: Vec<GivenOption>,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateAlert {
    pub name: Name,
    pub if_not_exists: bool,
    /// The relation whose rows it judges.
    pub over: Name,
    /// `BY`; `None`: the relation's own key.
    pub by: Option<Vec<Name>>,
    pub filter: Option<Expr>,
    pub severities: Vec<DeclaredSeverity>,
    /// `FOR` of all severities that say nothing else.
    pub for_: Option<Length>,
    pub keep: Option<Length>,
    pub absent: Option<DeclaredAbsence>,
    /// `EXPECT KEYS FROM`
    pub expected: Option<Name>,
    pub labels: Vec<DeclaredText>,
    pub annotations: Vec<DeclaredText>,
    /// The notifiers.
    pub notify: Vec<Name>,
    pub escalations: Vec<DeclaredEscalation>,
    pub options: Vec<GivenOption>,
}

/// `ESCALATE AFTER length TO name, ..`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredEscalation {
    pub after: Length,
    pub to: Vec<Name>,
}

/// `name WHEN condition [CLEAR WHEN condition] [FOR length]`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredSeverity {
    pub name: Name,
    pub when: Expr,
    pub when_position: Position,
    pub clear: Option<(Expr, Position)>,
    pub for_: Option<Length>,
}

/// `ABSENT FOR length [THEN severity | RESOLVE | KEEP]`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredAbsence {
    pub after: Length,
    pub then: Option<Name>,
}

/// A length of time where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Length {
    pub value: Expr,
    pub position: Position,
}

/// `name = 'text'`
#[derive(Clone, Debug)]
pub(crate) struct DeclaredText {
    pub name: Name,
    pub text: String,
    pub position: Position,
}

impl Ddl {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Ddl::Source(source) | Ddl::Table(source) => &source.name,
            Ddl::View(view) => &view.name,
            Ddl::Sink(sink) => &sink.name,
            Ddl::Notification(notification) => &notification.name,
            Ddl::Function(function) => &function.name,
            Ddl::Alert(alert) => &alert.name,
        }
    }

    pub(crate) fn if_not_exists(&self) -> bool {
        match self {
            Ddl::Source(source) | Ddl::Table(source) => source.if_not_exists,
            Ddl::View(view) => view.if_not_exists,
            Ddl::Sink(sink) => sink.if_not_exists,
            Ddl::Notification(notification) => notification.if_not_exists,
            Ddl::Function(function) => function.if_not_exists,
            Ddl::Alert(alert) => alert.if_not_exists,
        }
    }

    /// The query that it holds, if it holds one.
    pub(crate) fn query(&self) -> Option<&Query> {
        match self {
            Ddl::View(view) => Some(&view.query),
            Ddl::Sink(CreateSink { input: SinkInput::Query(query), .. }) => Some(query),
            Ddl::Source(_) | Ddl::Table(_) | Ddl::Sink(_) | Ddl::Alert(_) | Ddl::Notification(_) | Ddl::Function(_) => {
                None
            }
        }
    }
}
