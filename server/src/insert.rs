//! `INSERT`: the rows of a query, made to fit a table's columns and put into its source, all of them or none.

use crate::prepared::{Answer, Prepared, Write};
use crate::session::Session;
use crate::sql_error::{NO_COLUMN, NO_TABLE, SYNTAX, SqlError, SqlResult};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use thalweg_pipelines::{DeclarationKind, Insert, bytea};
use thalweg_schemas::epoch::Epoch;
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
    /// The other columns that have a default, each with it as SQL.
    others: Vec<(Column, String)>,
    /// The defaults of the columns that have one.
    defaults: BTreeMap<String, String>,
    /// The rows and places that say `DEFAULT`.
    said: Vec<(usize, usize)>,
}

impl Target {
    /// The columns that are given, in their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The source that takes the table's rows in.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What the column `name` has by default, as SQL.
    pub(crate) fn default_of(&self, name: &str) -> Option<&str> {
        self.defaults.get(name).map(String::as_str)
    }

    /// There is no column `name`.
    pub(crate) fn no_column(&self, name: &str) -> SqlError {
        no_column(&self.table, name, &self.columns)
    }

    /// The target where only the first columns are given; an error if one of the others needs a value.
    fn first(mut self, given: usize) -> SqlResult<Target> {
        for column in self.columns.split_off(given.min(self.columns.len())) {
            match self.defaults.get(&column.name) {
                Some(default) => self.others.push((column.clone(), default.clone())),
                None if column.nullable => {}
                None => return Err(no_value(&column, &self.table)),
            }
        }
        Ok(self)
    }
}

impl Session {
    /// Plans the query whose rows are to be inserted.
    pub async fn prepare_insert(&self, text: &str, insert: Insert) -> SqlResult<Arc<Prepared>> {
        let target = Target { said: insert.defaults, ..self.target(&insert.table, insert.columns.as_deref())? };
        let query = self.prepare(&insert.query).await?;
        let (given, wanted) = (query.schema.fields().len(), target.columns.len());
        if given > wanted || insert.columns.is_some() && given < wanted {
            let what = if given > wanted { "more values than columns" } else { "more columns than values" };
            let message = format!("INSERT has {what}: {given} for {wanted}");
            let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(SqlError::user(SYNTAX, message).with_hint(format!("The columns are {}.", names.join(", "))));
        }
        let target = target.first(given)?;
        let mut parameters = query.parameters.clone();
        for (number, at) in insert.placeholders {
            if let (Some(known), Some(column)) = (parameters.get_mut(number), target.columns.get(at)) {
                *known = Some(column.data_type.clone());
            }
        }
        Ok(Prepared::writing(text, (Write::Insert, target), query, parameters))
    }

    /// The table `name`, and of its columns those that a statement names, in its order.
    pub(crate) fn target(&self, name: &str, columns: Option<&[String]>) -> SqlResult<Target> {
        let program = &self.relations().program;
        let is_table = |kind: &DeclarationKind| matches!(kind, DeclarationKind::Table { .. });
        let Some(declaration) = program.declaration(name) else {
            let error = SqlError::user(NO_TABLE, format!("table \"{name}\" does not exist"));
            let tables = program.declarations.iter().filter(|d| is_table(&d.kind)).map(|d| d.name.as_str());
            return Err(match closest(name, tables) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Make one: CREATE TABLE name (columns)."),
            });
        };
        let DeclarationKind::Table { source, defaults } = &declaration.kind else {
            return Err(SqlError::user(WRONG_KIND, format!("\"{name}\" is no table"))
                .with_hint("Rows are inserted into tables: CREATE TABLE name (columns)."));
        };
        let plan = program.dataflow.sources.iter().find(|plan| plan.name == *source);
        let plan = plan.ok_or_else(|| Error::bug(format!("table \"{name}\" has no source")))?;
        let fields: Vec<Column> =
            plan.columns.iter().filter(|column| column.origin == Origin::Field).cloned().collect();
        let columns = match columns {
            None => fields.clone(),
            Some(names) => names.iter().map(|column| column_of(name, column, &fields)).collect::<SqlResult<_>>()?,
        };
        if let Some(twice) = columns.iter().enumerate().find(|(at, c)| columns[..*at].iter().any(|d| d.name == c.name))
        {
            return Err(SqlError::user("42701", format!("column \"{}\" is named twice", twice.1.name)));
        }
        let named = columns.len();
        let others: Vec<Column> =
            fields.into_iter().filter(|column| columns.iter().all(|named| named.name != column.name)).collect();
        let all = columns.into_iter().chain(others).collect();
        let (table, source, defaults) = (name.to_string(), source.clone(), defaults.clone());
        Target { table, source, columns: all, others: Vec::new(), defaults, said: Vec::new() }.first(named)
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
        let (epoch, count) = self.insert_rows(target, &concat_batches(&schema, &found).map_err(Error::from)?).await?;
        Answer::of_count(epoch, Write::Insert, count)
    }

    /// Inserts rows; the epoch in which they can be seen, and how many they are.
    pub(crate) async fn insert_rows(&self, target: &Target, rows: &RecordBatch) -> SqlResult<(Epoch, usize)> {
        let mut given = rows.columns().to_vec();
        for (at, column) in target.columns.iter().enumerate() {
            let said: Vec<usize> = target.said.iter().filter(|(_, place)| *place == at).map(|(row, _)| *row).collect();
            if let Some(default) = target.defaults.get(&column.name).filter(|_| !said.is_empty()) {
                let value = self.default_values(column, default, rows.num_rows()).await?;
                let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(said.contains(&row))).collect();
                let own = cast(&given[at], &column.data_type).map_err(Error::from)?;
                given[at] = zip(&mask, &value, &own).map_err(Error::from)?;
            }
        }
        let mut fitted = target.fit(&given)?;
        for (column, default) in &target.others {
            fitted.push((column.name.clone(), self.default_values(column, default, rows.num_rows()).await?));
        }
        let _beside_others = self.writing().read().await;
        self.write(target, RecordBatch::try_from_iter(fitted).map_err(Error::from)?, None).await
    }

    /// Writes rows, or changes where `diffs` says so; the epoch in which they can be seen, and how many they are.
    pub(crate) async fn write(
        &self,
        target: &Target,
        rows: RecordBatch,
        diffs: Option<Int64Array>,
    ) -> SqlResult<(Epoch, usize)> {
        let count = rows.num_rows();
        let (engine, source) = (self.relations().engine.clone(), target.source.clone());
        let epoch = tokio::task::spawn_blocking(move || engine.write(&source, rows, diffs)).await;
        Ok((epoch.map_err(|error| Error::bug(format!("writing rows: {error}")))??, count))
    }

    /// What a column has by default in each of `rows` rows.
    async fn default_values(&self, column: &Column, default: &str, rows: usize) -> SqlResult<ArrayRef> {
        // A query, since now() is the time of one, and random() is another for each row.
        let query = format!("SELECT ({default}) AS value FROM generate_series(1, {rows})");
        let found = Box::pin(self.execute(&*self.prepare(&query).await?, Vec::new())).await?;
        let schema = found.rows.schema();
        let found: Vec<RecordBatch> = found.rows.try_collect().await.map_err(|e| self.explain(&e, &query))?;
        let values = concat_batches(&schema, &found).map_err(Error::from)?;
        let cast = cast_with_options(values.column(0), &column.data_type, &STRICT);
        let cast = cast.map_err(|error| bad_value(&column.name, "DEFAULT", &column.data_type, &error))?;
        match cast.null_count() > 0 && !column.nullable {
            true => {
                Err(SqlError::user(NOT_NULL, format!("column \"{}\" is NOT NULL, and its DEFAULT is", column.name)))
            }
            false => Ok(cast),
        }
    }
}

/// No value becomes NULL because it does not fit.
const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

fn bad_value(column: &str, table: &str, wanted: &DataType, error: &dyn Display) -> SqlError {
    SqlError::user(BAD_VALUE, format!("column \"{column}\" of {table} is {wanted}: {error}"))
}

fn no_value(column: &Column, table: &str) -> SqlError {
    let message = format!("column \"{}\" of table \"{table}\" is NOT NULL and gets no value", column.name);
    SqlError::user(NOT_NULL, message).with_hint("Name it, and give it one.")
}

/// How many rows the answer says were written.
pub async fn count(answer: Answer) -> SqlResult<usize> {
    let rows: Vec<RecordBatch> =
        answer.rows.try_collect().await.map_err(|error| Error::bug(format!("how many rows were written: {error}")))?;
    let counts = rows.iter().filter_map(|batch| batch.columns().first()?.as_primitive_opt::<Int64Type>());
    Ok(counts.flat_map(|column| column.values().iter()).map(|count| usize::try_from(*count).unwrap_or_default()).sum())
}

fn column_of(table: &str, name: &str, fields: &[Column]) -> SqlResult<Column> {
    fields.iter().find(|column| column.name == name).cloned().ok_or_else(|| no_column(table, name, fields))
}

fn no_column(table: &str, name: &str, fields: &[Column]) -> SqlError {
    let error = SqlError::user(NO_COLUMN, format!("column \"{name}\" of table \"{table}\" does not exist"));
    match closest(name, fields.iter().map(|column| column.name.as_str())) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error,
    }
}

impl Target {
    /// The given columns with the table's names and types; a value that does not fit refuses all of them.
    pub(crate) fn fit(&self, given: &[ArrayRef]) -> SqlResult<Vec<(String, ArrayRef)>> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let table = format!("table \"{}\"", self.table);
        for (column, given) in self.columns.iter().zip(given) {
            let (name, wanted) = (&column.name, &column.data_type);
            if !arrow::compute::can_cast_types(given.data_type(), wanted) {
                let message = format!("column \"{name}\" of {table} is {wanted}, and {} is not", given.data_type());
                return Err(SqlError::user(MISMATCH, message));
            }
            let cast = match (given.data_type(), wanted) {
                (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::Binary) => {
                    bytes(given).map_err(|error| bad_value(name, &table, wanted, &error.message))
                }
                _ => cast_with_options(given, wanted, &STRICT).map_err(|error| bad_value(name, &table, wanted, &error)),
            }?;
            if let Some(row) = (0..cast.len()).find(|row| !column.nullable && cast.is_null(*row)) {
                let message = format!("column \"{name}\" of {table} is NOT NULL, and row {} has no value", row + 1);
                return Err(SqlError::user(NOT_NULL, message));
            }
            columns.push((name.clone(), cast));
        }
        Ok(columns)
    }
}

/// Texts as PostgreSQL reads bytes in them.
fn bytes(texts: &ArrayRef) -> thalweg_schemas::error::Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let read = texts.as_string::<i32>().iter().map(|text| text.map(bytea::read).transpose());
    Ok(Arc::new(read.collect::<thalweg_schemas::error::Result<BinaryArray>>()?))
}
