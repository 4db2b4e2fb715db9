//! `UPDATE` and `DELETE`: the rows of a table that a condition picks are read, and written anew or taken away by their keys.
//!
//! Between the reading and the writing no other statement writes, so that what one adds another does not undo.

use crate::insert::Target;
use crate::prepared::{Answer, Prepared, Write};
use crate::session::Session;
use crate::sql_error::{NOT_SUPPORTED, SqlError, SqlResult};
use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_pipelines::{Rewrite, Set};
use thalweg_schemas::error::Error;

impl Session {
    /// Plans the query for the rows that are to be written.
    pub async fn prepare_rewrite(&self, text: &str, rewrite: Rewrite) -> SqlResult<Arc<Prepared>> {
        let write = if rewrite.set.is_none() { Write::Delete } else { Write::Update };
        let target = self.target(&rewrite.table, None)?;
        let key = self.key_of(&target)?;
        if key.is_empty() {
            let word = write.word();
            let message = format!("{word} takes a table with a PRIMARY KEY, which \"{}\" does not have", rewrite.table);
            return Err(SqlError::user(NOT_SUPPORTED, message)
                .with_hint("Its rows only come. With a PRIMARY KEY, a row can be replaced and can go."));
        }
        let mut set: BTreeMap<&str, &Set> =
            rewrite.set.iter().flatten().map(|set| (set.column.as_str(), set)).collect();
        let (mut values, mut placeholders) = (Vec::new(), Vec::new());
        for column in target.columns() {
            let name = &column.name;
            values.push(match set.remove(name.as_str()) {
                None => quoted(name),
                Some(_) if key.contains(name) => {
                    let message = format!("column \"{name}\" is of the PRIMARY KEY, which does not change");
                    return Err(
                        SqlError::user(NOT_SUPPORTED, message).with_hint("INSERT the row anew, and DELETE this one.")
                    );
                }
                Some(Set { value: None, .. }) => target.default_of(name).unwrap_or("NULL").to_string(),
                Some(Set { value: Some(value), placeholder, .. }) => {
                    placeholders.extend(placeholder.map(|number| (number, column.data_type.clone())));
                    format!("({value})")
                }
            });
        }
        if let Some(unknown) = set.keys().next() {
            return Err(target.no_column(unknown));
        }
        let query = self.prepare(&rewrite.query(&values)).await.map_err(|mut found| {
            // The query stands elsewhere than the statement.
            found.error.position = None;
            found
        })?;
        let mut parameters = query.parameters.clone();
        for (number, data_type) in placeholders {
            if let Some(known) = parameters.get_mut(number) {
                *known = Some(data_type);
            }
        }
        Ok(Prepared::writing(text, (write, target), query, parameters))
    }

    /// The columns of a table's key.
    fn key_of(&self, target: &Target) -> SqlResult<Vec<String>> {
        let plans = &self.relations().program.dataflow.sources;
        let plan = plans.iter().find(|plan| plan.name == target.source());
        let plan = plan.ok_or_else(|| Error::bug(format!("there is no source \"{}\"", target.source())))?;
        Ok(plan.key.iter().map(|at| plan.columns[*at].name.clone()).collect())
    }

    /// Runs the query, and writes its rows or takes them away; the answer is how many they were, when that is durable and can
    /// be seen.
    pub(crate) async fn rewrite(
        &self,
        (write, target): (Write, &Target),
        query: &Prepared,
        values: Vec<ScalarValue>,
    ) -> SqlResult<Answer> {
        let _alone = self.writing().write().await;
        let found = Box::pin(self.execute(query, values)).await?;
        let schema = found.rows.schema();
        let rows: Vec<RecordBatch> = found.rows.try_collect().await.map_err(|e| self.explain(&e, &query.text))?;
        let rows = concat_batches(&schema, &rows).map_err(Error::from)?;
        let rows = RecordBatch::try_from_iter(target.fit(rows.columns())?).map_err(Error::from)?;
        let diffs = (write == Write::Delete).then(|| Int64Array::from(vec![-1; rows.num_rows()]));
        let (epoch, count) = self.write(target, rows, diffs).await?;
        Answer::of_count(epoch, write, count)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
