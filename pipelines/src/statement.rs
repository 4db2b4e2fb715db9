//! What a reader may say over the wire: queries, and the few statements about views that are ours.

use thalweg_schemas::error::Result;

/// A statement of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A query for DataFusion, or anything else that is not ours.
    Query(String),
    /// `SUBSCRIBE TO view ..`
    Subscribe(Subscribe),
    /// `SHOW SOURCES | VIEWS | SINKS | ALERTS`
    Show(Shown),
    /// `EXPLAIN name`, the dataflow of a view.
    ExplainView(String),
}

/// `SUBSCRIBE TO view [WHERE ..] [AS OF epoch] [WITH (snapshot = true)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The view's name.
    pub view: String,
    /// The text of the condition over the view's columns.
    pub filter: Option<String>,
    /// The epoch after which changes are wanted.
    pub as_of: Option<u64>,
    /// Whether the rows as they are come first.
    pub snapshot: bool,
}

/// What `SHOW` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `SHOW SOURCES`
    Sources,
    /// `SHOW VIEWS`
    Views,
    /// `SHOW SINKS`
    Sinks,
    /// `SHOW ALERTS`
    Alerts,
}

/// Reads one statement.
pub fn parse_statement(text: &str) -> Result<Statement> {
    Ok(Statement::Query(text.to_string()))
}
