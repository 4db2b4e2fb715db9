//! What is sent as it comes, flushed change by change: `COPY (..) TO STDOUT`, and subscriptions.

use super::statement::CopyFormat;
use super::{errors, maps};
use crate::subscription::{Changes, Heard};
use arrow::record_batch::RecordBatch;
use arrow_pg::encoder::encode_value;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::Format;
use pgwire::api::results::{CopyCsvOptions, CopyEncoder, CopyTextOptions, FieldInfo, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use pgwire::messages::startup::ParameterStatus;
use std::sync::Arc;
use std::time::Duration;

/// How long a subscription is silent before its client gets a sign of life, which also shows whether it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

impl CopyFormat {
    /// The format of the columns.
    pub fn columns(self) -> Format {
        match self {
            CopyFormat::Binary => Format::UnifiedBinary,
            CopyFormat::Text | CopyFormat::Csv { .. } => Format::UnifiedText,
        }
    }

    fn encoder(self, fields: &Arc<Vec<FieldInfo>>) -> CopyEncoder {
        match self {
            CopyFormat::Text => CopyEncoder::new_text(fields.clone(), CopyTextOptions::default()),
            CopyFormat::Csv { .. } => CopyEncoder::new_csv(fields.clone(), CopyCsvOptions::default()),
            CopyFormat::Binary => CopyEncoder::new_binary(fields.clone()),
        }
    }
}

/// Where batches come from.
pub enum Batches {
    /// A query's.
    Query(SendableRecordBatchStream),
    /// A subscription's.
    Changes(Changes),
}

/// What came from there.
enum Came {
    Batch(RecordBatch),
    /// Nothing more for now: what was sent must reach the client.
    Pause,
    End,
}

impl Batches {
    async fn next(&mut self) -> PgWireResult<Came> {
        match self {
            Batches::Query(rows) => match rows.next().await {
                Some(Ok(batch)) => Ok(Came::Batch(batch)),
                Some(Err(error)) => Err(errors::internal(error)),
                None => Ok(Came::End),
            },
            Batches::Changes(changes) => match changes.next().await {
                Some(Ok(Heard::Changes(batch))) => Ok(Came::Batch(batch)),
                Some(Ok(Heard::Progress(_))) => Ok(Came::Pause),
                Some(Err(error)) => Err(errors::plain(error.into())),
                None => Ok(Came::End),
            },
        }
    }
}

/// How batches are written.
enum Form {
    Copy(CopyEncoder),
    Rows,
}

/// Sends rows as `COPY` does; the tag that ends it.
pub async fn copy_out<C>(
    client: &mut C,
    fields: Arc<Vec<FieldInfo>>,
    format: CopyFormat,
    batches: Batches,
) -> PgWireResult<Tag>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let code = i8::from(format == CopyFormat::Binary);
    let formats = vec![i16::from(code); fields.len()];
    let begin = CopyOutResponse::new(code, fields.len() as i16, formats);
    client.send(PgWireBackendMessage::CopyOutResponse(begin)).await?;
    if format == (CopyFormat::Csv { header: true }) {
        let names = fields.iter().map(FieldInfo::name).collect::<Vec<_>>().join(",");
        client.feed(PgWireBackendMessage::CopyData(CopyData::new(format!("{names}\n").into()))).await?;
    }
    let form = Form::Copy(format.encoder(&fields));
    let sent = pass_on(client, batches, &fields, form).await?;
    if format == CopyFormat::Binary {
        client.feed(PgWireBackendMessage::CopyData(CopyEncoder::finish_copy_binary())).await?;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    Ok(Tag::new("COPY").with_rows(sent))
}

/// Sends a subscription as rows; the tag that ends it.
pub async fn rows_out<C>(client: &mut C, fields: Arc<Vec<FieldInfo>>, changes: Changes) -> PgWireResult<Tag>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let sent = pass_on(client, Batches::Changes(changes), &fields, Form::Rows).await?;
    Ok(Tag::new("SUBSCRIBE").with_rows(sent))
}

/// Sends every batch, and flushes whenever nothing more comes at once; how many rows there were.
async fn pass_on<C>(
    client: &mut C,
    mut batches: Batches,
    fields: &Arc<Vec<FieldInfo>>,
    mut form: Form,
) -> PgWireResult<usize>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let mut sent = 0;
    let mut unsent = false;
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE, batches.next()).await {
            Ok(Ok(Came::Batch(batch))) => {
                sent += batch.num_rows();
                unsent = true;
                match &mut form {
                    Form::Rows => {
                        for row in super::answer::rows(fields, &batch) {
                            client.feed(PgWireBackendMessage::DataRow(row?)).await?;
                        }
                    }
                    Form::Copy(encoder) => {
                        let batch = maps::rows(batch)?;
                        for row in 0..batch.num_rows() {
                            let data = copy_row(encoder, fields, &batch, row)?;
                            client.feed(PgWireBackendMessage::CopyData(data)).await?;
                        }
                    }
                }
            }
            Ok(Ok(Came::Pause)) if !unsent => {}
            Ok(Ok(Came::Pause)) => {
                client.flush().await?;
                unsent = false;
            }
            Ok(Ok(Came::End)) => return Ok(sent),
            Ok(Err(error)) => return Err(error),
            Err(_silent) => {
                let sign = ParameterStatus::new("in_hot_standby".to_string(), "off".to_string());
                client.send(PgWireBackendMessage::ParameterStatus(sign)).await?;
                unsent = false;
            }
        }
    }
}

fn copy_row(
    encoder: &mut CopyEncoder,
    fields: &[FieldInfo],
    batch: &RecordBatch,
    row: usize,
) -> PgWireResult<CopyData> {
    for (column, field) in fields.iter().enumerate() {
        encode_value(encoder, batch.column(column), row, batch.schema_ref().field(column), field)?;
    }
    Ok(encoder.take_copy())
}
