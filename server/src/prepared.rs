//! A planned query: what it reads and takes, how it is answered, and what is no query.

use crate::insert::Target;
use crate::notifications;
use crate::point_query::PointQuery;
use crate::sql_error::{NOT_SUPPORTED, SqlError, SqlResult};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::memory::MemoryStream;
use std::sync::Arc;
use thalweg_pipelines::query::PUBLIC;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;

/// A planned query.
#[derive(Debug)]
pub struct Prepared {
    /// Its text.
    pub text: String,
    /// How it is answered.
    pub work: Work,
    /// The views that it reads.
    pub views: Vec<String>,
    /// The types of `$1`, `$2` ..., where they follow from the query.
    pub parameters: Vec<Option<DataType>>,
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// Whether it reads files of a sink, which come to be while the plan is kept: it is planned anew for every run.
    pub reads_history: bool,
    /// The epoch that it is asked of, if not the last one.
    pub as_of: Option<Epoch>,
    /// The generation of what runs that it was planned for; `None`: it reads nothing of that.
    pub(crate) generation: Option<u64>,
}

impl Prepared {
    /// A statement that does as `write` says with the rows of `query` and a table; its answer is one row that counts them.
    pub(crate) fn writing(
        text: &str,
        (write, target): (Write, Target),
        query: Arc<Prepared>,
        parameters: Vec<Option<DataType>>,
    ) -> Arc<Prepared> {
        Arc::new(Prepared {
            text: text.to_string(),
            views: query.views.clone(),
            parameters,
            schema: write.counted(),
            work: Work::Write(write, target, query),
            reads_history: false,
            as_of: None,
            generation: None,
        })
    }

    /// The word that it begins with, if it writes rows of a table: its answer is one row that counts them.
    pub fn writes(&self) -> Option<&'static str> {
        match self.work {
            Work::Write(write, ..) => Some(write.word()),
            Work::Plan(_) | Work::Point(_) | Work::Notification(_) | Work::Replay(..) => None,
        }
    }
}

/// What becomes of rows and a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// They come into it.
    Insert,
    /// They take the place of those with their keys.
    Update,
    /// They go out of it.
    Delete,
}

impl Write {
    /// The word that such a statement begins with.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Write::Insert => "INSERT",
            Write::Update => "UPDATE",
            Write::Delete => "DELETE",
        }
    }

    /// The column of its answer.
    fn counted(self) -> SchemaRef {
        let name = match self {
            Write::Insert => "inserted",
            Write::Update => "updated",
            Write::Delete => "deleted",
        };
        Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, false)]))
    }
}

/// Whose dead letters are meant.
#[derive(Clone, Debug)]
pub enum DeadOf {
    /// Records of the source of this name, which takes them in again.
    Source(String),
    /// Messages to a notifier, which is told again.
    Notifier,
}

/// How a query is answered.
#[derive(Debug)]
pub enum Work {
    /// By DataFusion: its plan, with parameters still open.
    Plan(Box<LogicalPlan>),
    /// The short way.
    Point(PointQuery),
    /// By making a change; the answer is its name.
    Notification(notifications::Change),
    /// By putting the rows of a query into a table, or taking them out of it.
    Write(Write, Target, Arc<Prepared>),
    /// By sending dead letters again: those whose ids the query gives.
    Replay(DeadOf, Arc<Prepared>),
}

/// The answer to a query.
pub struct Answer {
    /// The epoch that it is as of.
    pub epoch: Epoch,
    /// The rows.
    pub rows: SendableRecordBatchStream,
}

impl Answer {
    /// An answer of one row.
    pub(crate) fn of_row(epoch: Epoch, row: RecordBatch) -> SqlResult<Answer> {
        let schema = row.schema();
        let rows = MemoryStream::try_new(vec![row], schema, None);
        let rows = rows.map_err(|error| Error::bug(format!("an answer of one row: {error}")))?;
        Ok(Answer { epoch, rows: Box::pin(rows) })
    }

    /// An answer that says how many rows were written.
    pub(crate) fn of_count(epoch: Epoch, write: Write, count: usize) -> SqlResult<Answer> {
        let count: ArrayRef = Arc::new(Int64Array::from(vec![count as i64]));
        Answer::of_row(epoch, RecordBatch::try_new(write.counted(), vec![count]).map_err(Error::from)?)
    }
}

/// Only reading is possible: views change with their sources.
pub(crate) fn refuse_writing(text: &str) -> SqlResult<()> {
    const WRITING: &[&str] =
        &["CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "MERGE", "GRANT", "REVOKE"];
    let word = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_ascii_uppercase();
    if WRITING.contains(&word.as_str()) {
        return Err(SqlError::user(NOT_SUPPORTED, format!("{word} is not supported on a running engine")).with_hint(
            "CREATE and DROP take sources, tables, views and sinks; INSERT, UPDATE and DELETE take tables.",
        ));
    }
    Ok(())
}

/// What is left besides queries once [`refuse_writing`] has looked at the text.
pub(crate) fn refuse_other_than_queries(plan: &LogicalPlan) -> SqlResult<()> {
    match plan {
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
            Err(SqlError::user(NOT_SUPPORTED, "this statement is not supported on a running engine"))
        }
        _ => Ok(()),
    }
}

/// The relations of the public schema that a plan reads.
pub(crate) fn views_of(plan: &LogicalPlan) -> Vec<String> {
    let mut views = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.schema().is_none_or(|schema| schema == PUBLIC)
        {
            let name = scan.table_name.table().to_string();
            if !views.contains(&name) {
                views.push(name);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself has no errors");
    views
}

/// The types of the parameters, in order.
pub(crate) fn parameters_of(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, DataFusionError> {
    let mut types = Vec::new();
    for (name, data_type) in plan.get_parameter_types()? {
        let Some(number @ 1..) = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()) else {
            return Err(DataFusionError::Plan(format!("parameter \"{name}\" is not one of $1, $2, ...")));
        };
        if number > types.len() {
            types.resize(number, None);
        }
        types[number - 1] = data_type;
    }
    Ok(types)
}
