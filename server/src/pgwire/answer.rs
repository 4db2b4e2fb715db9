//! Rows on their way out: columns as PostgreSQL's types, batches as its rows.

use super::errors;
use crate::session::Session;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use arrow_pg::row_encoder::RowEncoder;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, stream};
use pgwire::api::ClientInfo;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use pgwire::types::format::FormatOptions;
use std::sync::Arc;
use tokio::sync::watch;

/// The columns of `schema`, in the formats the client wants.
pub fn fields<C: ClientInfo + ?Sized>(
    client: &C,
    schema: &Schema,
    format: &Format,
) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
    Ok(Arc::new(arrow_schema_to_pg_fields(schema, format, Some(options))?))
}

/// All rows of a batch.
pub fn rows(fields: &Arc<Vec<FieldInfo>>, batch: RecordBatch) -> impl Iterator<Item = PgWireResult<DataRow>> + use<> {
    let mut encoder = RowEncoder::new(batch, fields.clone());
    std::iter::from_fn(move || encoder.next_row())
}

/// Rows that are known already.
pub fn of_batches(fields: &Arc<Vec<FieldInfo>>, batches: Vec<RecordBatch>) -> QueryResponse {
    let row_fields = fields.clone();
    let rows = stream::iter(batches.into_iter().flat_map(move |batch| rows(&row_fields, batch)));
    QueryResponse::new(fields.clone(), rows)
}

/// Rows as they are computed, until somebody asks for an end.
pub fn of_stream(
    fields: &Arc<Vec<FieldInfo>>,
    batches: SendableRecordBatchStream,
    asked: watch::Receiver<u64>,
    explain: impl Fn(datafusion::error::DataFusionError) -> PgWireError + Send + 'static,
) -> QueryResponse {
    let row_fields = fields.clone();
    let rows = until_asked(batches, asked).flat_map(move |batch| {
        let rows: Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send> = match batch {
            Some(Ok(batch)) => Box::new(rows(&row_fields, batch)),
            Some(Err(error)) => Box::new(std::iter::once(Err(explain(error)))),
            None => Box::new(std::iter::once(Err(PgWireError::QueryCanceled))),
        };
        stream::iter(rows)
    });
    QueryResponse::new(fields.clone(), rows)
}

type Batch = datafusion::error::Result<RecordBatch>;

/// The batches; `None` in their place, and no more, once somebody asks for an end.
fn until_asked(
    batches: SendableRecordBatchStream,
    asked: watch::Receiver<u64>,
) -> impl Stream<Item = Option<Batch>> + Send {
    stream::unfold(Some((batches, asked)), |state| async {
        let (mut batches, mut asked) = state?;
        tokio::select! {
            biased;
            _ = asked.changed() => Some((None, None)),
            batch = batches.next() => {
                let batch = batch?;
                let more = batch.is_ok().then_some((batches, asked));
                Some((Some(batch), more))
            }
        }
    })
}

/// An error of a running query, for the client that sent `text`.
pub fn explained(session: &Session, error: &datafusion::error::DataFusionError, text: &str) -> PgWireError {
    errors::at(session.explain(error, text), text, 0)
}
