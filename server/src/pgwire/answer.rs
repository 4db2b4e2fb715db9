//! Rows on their way out: columns as PostgreSQL's types, batches as its rows.

use super::text_rows::TextRows;
use super::{errors, maps};
use crate::session::Session;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, stream};
use pgwire::api::ClientInfo;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The columns of `schema`, in the formats the client wants.
pub fn fields<C: ClientInfo + ?Sized>(
    client: &C,
    schema: &Schema,
    format: &Format,
) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
    Ok(Arc::new(arrow_schema_to_pg_fields(&maps::schema(schema), format, Some(options))?))
}

/// All rows of a batch.
pub fn rows(fields: &[FieldInfo], batch: &RecordBatch) -> impl Iterator<Item = PgWireResult<DataRow>> + use<> {
    let (rows, failed) = match maps::rows(batch.clone()) {
        Ok(batch) => (Some(TextRows::new(&batch, fields)), None),
        Err(error) => (None, Some(Err(error))),
    };
    failed.into_iter().chain(rows.into_iter().flatten())
}

/// Rows that are known already.
pub fn of_batches(fields: &Arc<Vec<FieldInfo>>, batches: Vec<RecordBatch>) -> QueryResponse {
    let row_fields = fields.clone();
    let rows = stream::iter(batches.into_iter().flat_map(move |batch| rows(&row_fields, &batch)));
    QueryResponse::new(fields.clone(), rows)
}

/// When a running query is ended before it has said all.
pub struct Limits {
    /// Somebody asks for it.
    pub asked: watch::Receiver<u64>,
    /// So long it may still be computed; the time in which nobody takes its rows does not count.
    pub time: Option<Duration>,
}

/// Rows as they are computed, within limits.
pub fn of_stream(
    fields: &Arc<Vec<FieldInfo>>,
    batches: SendableRecordBatchStream,
    limits: Limits,
    explain: impl Fn(datafusion::error::DataFusionError) -> PgWireError + Send + 'static,
) -> QueryResponse {
    let row_fields = fields.clone();
    let rows = within(batches, limits).flat_map(move |batch| {
        let rows: Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send> = match batch {
            Ok(Ok(batch)) => Box::new(rows(&row_fields, &batch)),
            Ok(Err(error)) => Box::new(std::iter::once(Err(explain(error)))),
            Err(ended) => Box::new(std::iter::once(Err(ended))),
        };
        stream::iter(rows)
    });
    QueryResponse::new(fields.clone(), rows)
}

type Batch = datafusion::error::Result<RecordBatch>;

/// The batches; where a limit is met, what is said of that in their place, and no more.
fn within(batches: SendableRecordBatchStream, limits: Limits) -> impl Stream<Item = PgWireResult<Batch>> + Send {
    stream::unfold(Some((batches, limits)), |state| async {
        let (mut batches, Limits { mut asked, time }) = state?;
        let began = tokio::time::Instant::now();
        let timed_out = async {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = asked.changed() => Some((Err(PgWireError::QueryCanceled), None)),
            () = timed_out => Some((Err(errors::timed_out()), None)),
            batch = batches.next() => {
                let batch = batch?;
                let time = time.map(|time| time.saturating_sub(began.elapsed()));
                let more = batch.is_ok().then_some((batches, Limits { asked, time }));
                Some((Ok(batch), more))
            }
        }
    })
}

/// An error of a running query, for the client that sent `text`.
pub fn explained(session: &Session, error: &datafusion::error::DataFusionError, text: &str) -> PgWireError {
    errors::at(session.explain(error, text), text, 0)
}
