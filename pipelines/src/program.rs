//! What goes into the compiler and what comes out: texts and their surroundings, a program.

use crate::functions::Functions;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::plan::Dataflow;
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::error::Error;
use thalweg_schemas::notification::{NotificationKind, NotificationPlan, NotificationSpec};

/// One text of statements.
#[derive(Clone, Debug)]
pub struct SqlText {
    /// The file, as the user named it; empty for what came over the wire.
    pub file: Arc<str>,
    /// What it says.
    pub text: Arc<str>,
}

/// What the statements may refer to besides each other.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// All connectors.
    pub connectors: &'a [ConnectorSpec],
    /// The statements about notification.
    pub notification: &'a NotificationSpec,
    /// The values of `${NAME}` in string literals.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
}

/// What a pipeline came to: a dataflow, and what there is to show of it.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What the engine runs.
    pub dataflow: Dataflow,
    /// Everything that was declared, in dependency order.
    pub declarations: Vec<Declaration>,
    /// Who is told of alerts, and when not, in the order of the texts.
    pub notifications: Vec<NotificationPlan>,
    /// The functions that were declared.
    pub functions: Functions,
    /// What is allowed but worth a word, such as a view whose state nothing bounds.
    pub warnings: Vec<Error>,
}

impl Program {
    /// What was declared under `name`.
    pub fn declaration(&self, name: &str) -> Option<&Declaration> {
        self.declarations.iter().find(|d| d.name == name)
    }
}

impl DeclarationKind {
    /// Whether the engine keeps its rows.
    pub fn is_kept(&self) -> bool {
        matches!(
            self,
            DeclarationKind::MaterializedView | DeclarationKind::Table { .. } | DeclarationKind::Alert { .. }
        )
    }
}

/// A source, a view, a sink or another thing with a name as it was declared.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: DeclarationKind,
    /// Its columns.
    pub schema: SchemaRef,
    /// The statement, as it was written: variables are not put in, so no secret shows.
    pub ddl: String,
}

/// `ESCALATE AFTER .. TO ..` of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// For how long it must have fired.
    pub after_ns: i64,
    /// The notifiers that are told then.
    pub notifiers: Vec<String>,
}

/// What a declaration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclarationKind {
    /// `CREATE SOURCE`
    Source {
        /// The connector's name.
        connector: String,
        /// Whether it ends by itself.
        bounded: bool,
    },
    /// `CREATE TABLE`
    Table {
        /// The source that takes its rows in.
        source: String,
        /// What a row has in a column that it is inserted without, as SQL over no columns; NULL where nothing is said.
        defaults: BTreeMap<String, String>,
    },
    /// `CREATE FUNCTION`
    Function,
    /// `CREATE VIEW`: its query, to be planned over the relations that it reads.
    View {
        /// The query alone.
        query: String,
    },
    /// `CREATE MATERIALIZED VIEW`
    MaterializedView,
    /// `CREATE ALERT`
    Alert {
        /// The relation that it judges.
        over: String,
        /// The notifiers that are to be told.
        notify: Vec<String>,
        /// Who else is told when it goes on.
        escalations: Vec<Escalation>,
    },
    /// `CREATE SINK`
    Sink {
        /// The connector's name.
        connector: String,
        /// The Parquet folder in which its history can be queried, if it can.
        history: Option<String>,
    },
    /// `CREATE NOTIFIER | SILENCE | INHIBITION | CALENDAR`
    Notification(NotificationKind),
}
