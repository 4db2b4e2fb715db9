//! `INSERT`: the rows of a query, made to fit a table's columns and put into its source, all of them or none.

use crate::prepared::{Answer, Prepared, Work};
use crate::session::Session;
use crate::sql_error::{NO_COLUMN, NO_TABLE, SYNTAX, SqlError, SqlResult};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::sync::Arc;
use thalweg_pipelines::{DeclarationKind, Insert};
use thalweg_schemas::error::Error;
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::{Column, Origin};

/// `not_null_violation`
const NOT_NULL: &str = "23502";
/// `wrong_object_type`
const WRONG_KIND: &str = "42809";
/// `datatype_mismatch`
const MISMATCH: &str = "42804";
/// `invalid_text_representation`
const BAD_VALUE: &str = "22P02";

/// Where the columns of a query go.
#[derive(Clone, Debug)]
pub struct Target {
    table: String,
    /// The source that takes the table's rows in.
    source: String,
    columns: Vec<Column>,
}

impl Session {
    /// Plans the query whose rows are to be inserted.
    pub async fn prepare_insert(&self, text: &str, insert: Insert) -> SqlResult<Arc<Prepared>> {
        let target = self.target(&insert)?;
        let query = self.prepare(&insert.query).await?;
        let (given, wanted) = (query.schema.fields().len(), target.columns.len());
        if given > wanted || insert.columns.is_some() && given < wanted {
            let what = if given > wanted { "more values than columns" } else { "more columns than values" };
            let message = format!("INSERT has {what}: {given} for {wanted}");
            let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(SqlError::user(SYNTAX, message).with_hint(format!("The columns are {}.", names.join(", "))));
        }
        if let Some(missing) = target.columns[given..].iter().find(|column| !column.nullable) {
            return Err(no_value(missing, &target.table));
        }
        let target = Target { columns: target.columns[..given].to_vec(), ..target };
        let mut parameters = query.parameters.clone();
        for (number, at) in insert.placeholders {
            if let (Some(known), Some(column)) = (parameters.get_mut(number), target.columns.get(at)) {
                *known = Some(column.data_type.clone());
            }
        }
        Ok(Arc::new(Prepared {
            text: text.to_string(),
            views: query.views.clone(),
            parameters,
            schema: Arc::new(Schema::new(vec![Field::new("inserted", DataType::Int64, false)])),
            work: Work::Insert(target, query),
            reads_history: false,
            as_of: None,
            generation: None,
        }))
    }

    /// The table, and of its columns those that the statement names, in its order.
    fn target(&self, insert: &Insert) -> SqlResult<Target> {
        let program = &self.relations().program;
        let name = &insert.table;
        let is_table = |kind: &DeclarationKind| matches!(kind, DeclarationKind::Table { .. });
        let Some(declaration) = program.declaration(name) else {
            let error = SqlError::user(NO_TABLE, format!("table \"{name}\" does not exist"));
            let tables = program.declarations.iter().filter(|d| is_table(&d.kind)).map(|d| d.name.as_str());
            return Err(match closest(name, tables) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Make one: CREATE TABLE name (columns)."),
            });
        };
        let DeclarationKind::Table { source } = &declaration.kind else {
            return Err(SqlError::user(WRONG_KIND, format!("\"{name}\" is no table"))
                .with_hint("Rows are inserted into tables: CREATE TABLE name (columns)."));
        };
        let plan = program.dataflow.sources.iter().find(|plan| plan.name == *source);
        let plan = plan.ok_or_else(|| Error::bug(format!("table \"{name}\" has no source")))?;
        let fields: Vec<Column> =
            plan.columns.iter().filter(|column| column.origin == Origin::Field).cloned().collect();
        let columns = match &insert.columns {
            None => fields.clone(),
            Some(names) => names.iter().map(|column| column_of(name, column, &fields)).collect::<SqlResult<_>>()?,
        };
        if let Some(twice) = columns.iter().enumerate().find(|(at, c)| columns[..*at].iter().any(|d| d.name == c.name))
        {
            return Err(SqlError::user("42701", format!("column \"{}\" is named twice", twice.1.name)));
        }
        let named = |column: &&Column| columns.iter().any(|c| c.name == column.name);
        if let Some(missing) = fields.iter().find(|column| !column.nullable && !named(column)) {
            return Err(no_value(missing, name));
        }
        Ok(Target { table: name.clone(), source: source.clone(), columns })
    }

    /// Runs the query, and inserts its rows; the answer is how many they were, when they are durable and can be seen.
    pub(crate) async fn insert(
        &self,
        target: &Target,
        query: &Prepared,
        values: Vec<ScalarValue>,
    ) -> SqlResult<Answer> {
        let found = Box::pin(self.execute(query, values)).await?;
        let schema = found.rows.schema();
        let found: Vec<RecordBatch> = found.rows.try_collect().await.map_err(|e| self.explain(&e, &query.text))?;
        let rows = target.fit(&concat_batches(&schema, &found).map_err(Error::from)?)?;
        let count = rows.num_rows() as i64;
        let (engine, source) = (self.relations().engine.clone(), target.source.clone());
        let epoch = tokio::task::spawn_blocking(move || engine.insert(&source, rows)).await;
        let epoch = epoch.map_err(|error| Error::bug(format!("inserting rows: {error}")))??;
        let counted: ArrayRef = Arc::new(Int64Array::from(vec![count]));
        let row = RecordBatch::try_from_iter_with_nullable([("inserted", counted, false)]).map_err(Error::from)?;
        Answer::of_row(epoch, row)
    }
}

fn no_value(column: &Column, table: &str) -> SqlError {
    let message = format!("column \"{}\" of table \"{table}\" is NOT NULL and gets no value", column.name);
    SqlError::user(NOT_NULL, message).with_hint("Name it, and give it one.")
}

/// How many rows the answer says were inserted.
pub async fn count(answer: Answer) -> SqlResult<usize> {
    let rows: Vec<RecordBatch> =
        answer.rows.try_collect().await.map_err(|error| Error::bug(format!("the answer to INSERT: {error}")))?;
    let counts = rows.iter().filter_map(|batch| batch.columns().first()?.as_primitive_opt::<Int64Type>());
    Ok(counts.flat_map(|column| column.values().iter()).map(|count| usize::try_from(*count).unwrap_or_default()).sum())
}

fn column_of(table: &str, name: &str, fields: &[Column]) -> SqlResult<Column> {
    fields.iter().find(|column| column.name == name).cloned().ok_or_else(|| {
        let error = SqlError::user(NO_COLUMN, format!("column \"{name}\" of table \"{table}\" does not exist"));
        match closest(name, fields.iter().map(|column| column.name.as_str())) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        }
    })
}

impl Target {
    /// The rows with the table's names and types; a value that does not fit refuses all of them.
    fn fit(&self, rows: &RecordBatch) -> SqlResult<RecordBatch> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let mut columns = Vec::with_capacity(self.columns.len());
        for (column, given) in self.columns.iter().zip(rows.columns()) {
            let (name, table) = (&column.name, &self.table);
            let wanted = &column.data_type;
            if !arrow::compute::can_cast_types(given.data_type(), wanted) {
                let message =
                    format!("column \"{name}\" of table \"{table}\" is {wanted}, and {} is not", given.data_type());
                return Err(SqlError::user(MISMATCH, message));
            }
            let cast = cast_with_options(given, wanted, &strict).map_err(|error| {
                SqlError::user(BAD_VALUE, format!("column \"{name}\" of table \"{table}\" is {wanted}: {error}"))
            })?;
            if let Some(row) = (0..cast.len()).find(|row| !column.nullable && cast.is_null(*row)) {
                let message =
                    format!("column \"{name}\" of table \"{table}\" is NOT NULL, and row {} has no value", row + 1);
                return Err(SqlError::user(NOT_NULL, message));
            }
            columns.push((name.clone(), cast));
        }
        Ok(RecordBatch::try_from_iter(columns).map_err(Error::from)?)
    }
}
