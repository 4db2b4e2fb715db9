//! `POST /api/v1/sql`: a query as text or as JSON with parameters; its rows in the format that was asked for.

use super::format::{Body as Rows, Format};
use super::problem::Problem;
use crate::live::Live;
use crate::prepared::Prepared;
use crate::session::{Request, Session};
use crate::sql_error::{self, BAD_PARAMETER, NOT_SUPPORTED, SYNTAX, SqlError};
use crate::statements::split;
use crate::subscription::{Heard, subscribe};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream};
use serde::Deserialize;
use std::sync::Arc;
use thalweg_pipelines::Subscribe;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;

/// What may stand behind the question mark.
#[derive(Deserialize)]
pub struct Wanted {
    format: Option<String>,
}

/// A query with parameters.
#[derive(Deserialize)]
struct Question {
    query: String,
    #[serde(default)]
    params: Vec<serde_json::Value>,
}

/// Answers a query.
pub async fn post(
    State(live): State<Arc<Live>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = match wanted.format.as_deref() {
        Some(name) => Format::by_name(name)
            .ok_or_else(|| Problem::request(format!("format takes json | ndjson | csv | arrow, not '{name}'")))?,
        None => Format::accepted(header(header::ACCEPT)),
    };
    let question = question(header(header::CONTENT_TYPE), &body)?;
    let sessions = live.sessions();
    let session = sessions.borrow()?;
    let response = answer(&live, &session, &question, format).await;
    sessions.give_back(session);
    Ok(response?)
}

fn question(content_type: &str, body: &[u8]) -> Result<Question, Problem> {
    if content_type.starts_with("application/json") {
        return serde_json::from_slice(body).map_err(|error| {
            let problem = SqlError::user(BAD_PARAMETER, format!("the body is no question: {error}"));
            Problem(
                problem.with_hint("Send {\"query\": \"SELECT ...\", \"params\": [...]}, or the query as text/plain."),
            )
        });
    }
    let query = std::str::from_utf8(body).map_err(|_| Problem::request("the query is not UTF-8"))?;
    Ok(Question { query: query.to_string(), params: Vec::new() })
}

async fn answer(
    live: &Arc<Live>,
    session: &Session,
    question: &Question,
    format: Format,
) -> Result<Response, SqlError> {
    let pieces = split(&question.query);
    let [piece] = pieces[..] else {
        let problem = SqlError::user(SYNTAX, format!("one statement is expected, not {}", pieces.len()));
        return Err(problem.with_hint("Send each statement in a request of its own."));
    };
    match session.request(piece.text).await? {
        Request::Query(prepared) => {
            let parameters = parameters(&prepared, &question.params)?;
            let answer = session.execute(&prepared, parameters).await?;
            let names = session.names();
            let text = prepared.text.clone();
            let explain = move |error: &DataFusionError| sql_error::explain(error, &text, &names);
            stream_rows(format, answer.epoch, answer.rows, explain).await
        }
        Request::Change(change) => {
            let engine = live.clone();
            let changed = tokio::task::spawn_blocking(move || engine.change(&change)).await;
            let done = changed.map_err(|error| Error::bug(format!("a change: {error}")))??;
            let epoch = live.engine().epoch();
            let done: ArrayRef = Arc::new(StringArray::from(vec![done.tag]));
            let batch = RecordBatch::try_from_iter([("done", done)]).map_err(Error::from)?;
            let rows = MemoryStream::try_new(vec![batch.clone()], batch.schema(), None);
            let rows = rows.map_err(|error| session.explain(&error, piece.text))?;
            let explain = |error: &DataFusionError| SqlError::from(Error::bug(error.to_string()));
            stream_rows(format, epoch, Box::pin(rows), explain).await
        }
        Request::Subscribe(request) => stream_changes(session, format, &request),
    }
}

/// The parameters as the query's types.
fn parameters(prepared: &Prepared, given: &[serde_json::Value]) -> Result<Vec<ScalarValue>, SqlError> {
    if given.len() != prepared.parameters.len() {
        return Err(SqlError::user(
            BAD_PARAMETER,
            format!("the query has {} parameters, and {} are given", prepared.parameters.len(), given.len()),
        ));
    }
    let convert = |(at, value): (usize, &serde_json::Value)| {
        let scalar = match value {
            serde_json::Value::Null => ScalarValue::Null,
            serde_json::Value::Bool(flag) => ScalarValue::from(*flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => ScalarValue::from(whole),
                (None, float) => ScalarValue::Float64(float),
            },
            serde_json::Value::String(text) => ScalarValue::from(text.as_str()),
            other => {
                let message =
                    format!("parameter ${} takes null, a truth value, a number or a text, not {other}", at + 1);
                return Err(SqlError::user(BAD_PARAMETER, message));
            }
        };
        match &prepared.parameters[at] {
            None => Ok(scalar),
            Some(known) => scalar.cast_to(known).map_err(|_| {
                SqlError::user(BAD_PARAMETER, format!("parameter ${} takes {known}, not {value}", at + 1))
            }),
        }
    };
    given.iter().enumerate().map(convert).collect()
}

/// A body of rows, sent while they are computed. An error before the first of them is an answer of its own.
async fn stream_rows(
    format: Format,
    epoch: Epoch,
    mut rows: SendableRecordBatchStream,
    explain: impl Fn(&DataFusionError) -> SqlError + Send + 'static,
) -> Result<Response, SqlError> {
    let schema = rows.schema();
    let mut body = Rows::new(format, &schema, epoch).map_err(Error::from)?;
    let first = match rows.next().await {
        None => None,
        Some(batch) => Some(body.piece(&batch.map_err(|error| explain(&error))?).map_err(Error::from)?),
    };
    let pieces = stream::iter(first.map(Ok)).chain(stream::unfold(Some((rows, body, schema)), |state| async {
        let (mut rows, mut body, schema) = state?;
        match rows.next().await {
            Some(Ok(batch)) => {
                let piece = body.piece(&batch).map_err(std::io::Error::other);
                Some((piece, Some((rows, body, schema))))
            }
            // The status has been sent: the body breaks off, which every client notices.
            Some(Err(error)) => {
                tracing::warn!(%error, "a query failed while its rows were being sent");
                Some((Err(std::io::Error::other(error)), None))
            }
            None => Some((body.end(&schema).map_err(std::io::Error::other), None)),
        }
    }));
    Ok(([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(pieces)).into_response())
}

/// A body of changes that does not end before the run does: one object a line.
fn stream_changes(session: &Session, format: Format, request: &Subscribe) -> Result<Response, SqlError> {
    if format != Format::Ndjson {
        let problem = SqlError::user(NOT_SUPPORTED, "a subscription is sent as ndjson only");
        return Err(problem.with_hint("Ask for ?format=ndjson, or for events: GET /api/v1/subscribe?view=.."));
    }
    let changes = subscribe(session, request)?;
    let mut body = Rows::new(format, &changes.schema, Epoch(0)).map_err(Error::from)?;
    let lines = stream::unfold(changes, |mut changes| async { Some((changes.next().await?, changes)) });
    let pieces = lines.map(move |heard| match heard {
        Ok(Heard::Changes(batch)) => body.piece(&batch).map_err(std::io::Error::other),
        Ok(Heard::Progress(_)) => Ok(Vec::new()),
        Err(error) => Err(std::io::Error::other(error)),
    });
    let pieces = pieces.filter(|piece| futures::future::ready(piece.as_ref().map_or(true, |piece| !piece.is_empty())));
    Ok(([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(pieces)).into_response())
}
