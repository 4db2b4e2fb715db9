//! `REPLAY DEAD LETTERS`: a query for letters, and sending again those that it finds: records to their source, messages to
//! their notifier.

use crate::notifications;
use crate::prepared::{Answer, DeadOf, Prepared, Work};
use crate::session::Session;
use crate::sql_error::SqlResult;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::sync::Arc;
use thalweg_engine::status::Replayed;
use thalweg_pipelines::{DeclarationKind, Replay};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::NotificationKind;

impl DeadOf {
    /// What is said of what became of the letters.
    fn counts(&self) -> &'static [&'static str] {
        match self {
            DeadOf::Source(_) => &["replayed", "rows", "dead", "left"],
            DeadOf::Notifier => &["replayed", "left"],
        }
    }
}

impl Session {
    /// Plans the query for the letters that a `REPLAY` is about.
    pub(crate) async fn prepare_replay(&self, text: &str, replay: Replay) -> SqlResult<Arc<Prepared>> {
        let Replay { source, filter } = replay;
        let of = match self.relations().program.declaration(&source).map(|declaration| &declaration.kind) {
            Some(DeclarationKind::Table { source, .. }) => DeadOf::Source(source.clone()),
            Some(DeclarationKind::Notification(NotificationKind::Notifier)) => DeadOf::Notifier,
            _ => DeadOf::Source(source.clone()),
        };
        let filter = filter.map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        let quoted = |name: &str| name.replace('\'', "''");
        let letters = match &of {
            DeadOf::Source(origin) => {
                format!("SELECT id FROM thalweg.dead_letters WHERE origin = '{}'{filter}", quoted(origin))
            }
            DeadOf::Notifier => format!(
                "SELECT DISTINCT notification_id FROM thalweg.deliveries WHERE notifier = '{}' AND outcome = 'dead'{filter}",
                quoted(&source)
            ),
        };
        let letters = self.prepare(&letters).await?;
        let fields: Vec<Field> = of.counts().iter().map(|name| Field::new(*name, DataType::Int64, false)).collect();
        Ok(Arc::new(Prepared {
            text: text.to_string(),
            views: letters.views.clone(),
            parameters: letters.parameters.clone(),
            schema: Arc::new(Schema::new(fields)),
            work: Work::Replay(of, letters),
            reads_history: false,
            as_of: None,
            generation: None,
        }))
    }

    /// Sends the letters again whose ids `letters` gives; one row says what became of them.
    pub(crate) async fn replay(&self, of: &DeadOf, letters: &Prepared, values: Vec<ScalarValue>) -> SqlResult<Answer> {
        let found = Box::pin(self.execute(letters, values)).await?;
        let found: Vec<RecordBatch> =
            found.rows.try_collect().await.map_err(|error| self.explain(&error, &letters.text))?;
        let ids = found.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        let ids: Vec<String> = ids.map(str::to_string).collect();
        let engine = self.relations().engine.clone();
        let sending: Box<dyn FnOnce() -> Result<Vec<u64>> + Send> = match of {
            DeadOf::Source(source) => {
                let (engine, source) = (engine.clone(), source.clone());
                Box::new(move || {
                    let Replayed { replayed, dead, left } = engine.replay_dead_letters(&source, &ids)?;
                    Ok(vec![replayed, replayed - dead, dead, left])
                })
            }
            DeadOf::Notifier => {
                let notifications = self.relations().notifications.clone().ok_or_else(notifications::none)?;
                Box::new(move || {
                    let replayed = notifications.replay(&ids)?;
                    Ok(vec![replayed as u64, (ids.len() - replayed) as u64])
                })
            }
        };
        let counts = tokio::task::spawn_blocking(sending).await;
        let counts = counts.map_err(|error| Error::bug(format!("sending dead letters again: {error}")))??;
        let column = |count: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![count as i64])) };
        let columns = of.counts().iter().zip(counts).map(|(name, count)| (*name, column(count), false));
        let row = RecordBatch::try_from_iter_with_nullable(columns).map_err(Error::from)?;
        Answer::of_row(engine.epoch(), row)
    }
}
