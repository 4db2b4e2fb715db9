//! `REPLAY DEAD LETTERS`: a query for letters, and sending back those that it finds.

use crate::prepared::{Answer, Prepared, Work};
use crate::session::Session;
use crate::sql_error::SqlResult;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::sync::Arc;
use thalweg_engine::status::Replayed;
use thalweg_pipelines::{DeclarationKind, Replay};
use thalweg_schemas::error::Error;

impl Session {
    /// Plans the query for the letters that a `REPLAY` is about.
    pub(crate) async fn prepare_replay(&self, text: &str, replay: Replay) -> SqlResult<Arc<Prepared>> {
        let Replay { source, filter } = replay;
        let source = match self.relations().program.declaration(&source).map(|declaration| &declaration.kind) {
            Some(DeclarationKind::Table { source, .. }) => source.clone(),
            _ => source,
        };
        let filter = filter.map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        let quoted = source.replace('\'', "''");
        let letters = format!("SELECT id FROM thalweg.dead_letters WHERE origin = '{quoted}'{filter}");
        let letters = self.prepare(&letters).await?;
        let names = ["replayed", "rows", "dead", "left"].map(|name| Field::new(name, DataType::Int64, false));
        Ok(Arc::new(Prepared {
            text: text.to_string(),
            views: letters.views.clone(),
            parameters: letters.parameters.clone(),
            schema: Arc::new(Schema::new(names.to_vec())),
            work: Work::Replay(source, letters),
            reads_history: false,
            as_of: None,
            generation: None,
        }))
    }

    /// Sends the letters back whose ids `letters` gives; one row says what became of them.
    pub(crate) async fn replay(&self, source: &str, letters: &Prepared, values: Vec<ScalarValue>) -> SqlResult<Answer> {
        let found = Box::pin(self.execute(letters, values)).await?;
        let found: Vec<RecordBatch> =
            found.rows.try_collect().await.map_err(|error| self.explain(&error, &letters.text))?;
        let ids = found.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        let ids: Vec<String> = ids.map(str::to_string).collect();
        let engine = self.relations().engine.clone();
        let (replaying, source) = (engine.clone(), source.to_string());
        let replayed = tokio::task::spawn_blocking(move || replaying.replay_dead_letters(&source, &ids)).await;
        let replayed = replayed.map_err(|error| Error::bug(format!("sending dead letters back: {error}")))??;
        let Replayed { replayed, dead, left } = replayed;
        let column = |count: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![count as i64])) };
        let counts = [("replayed", replayed), ("rows", replayed - dead), ("dead", dead), ("left", left)];
        let columns = counts.map(|(name, count)| (name, column(count), false));
        let row = RecordBatch::try_from_iter_with_nullable(columns).map_err(Error::from)?;
        Answer::of_row(engine.epoch(), row)
    }
}
