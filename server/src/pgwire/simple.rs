//! The simple protocol: texts of one or more statements, answered as text.

use super::answer::Limits;
use super::cancel::cancellable;
use super::copy::{self, Batches};
use super::copy_in::CopyIn;
use super::cursor::{self, Cursor};
use super::statement::Statement;
use super::{Queries, answer, connection, errors, settings};
use crate::insert;
use crate::pgwire::connection::Connection;
use crate::sql_error::{NOT_SUPPORTED, SqlError};
use crate::statements::split;
use crate::subscription::subscribe;
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use futures::{Sink, SinkExt};
use pgwire::api::portal::Format;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::{CopyResponse, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{FieldDescription, RowDescription};
use std::fmt::Debug;

#[async_trait]
impl SimpleQueryHandler for Queries {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = connection::of(client)?;
        let mut asked = connection.cancel.listen();
        let pieces = split(query);
        let mut responses = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let before = query[..piece.start].chars().count();
            let work = async {
                let statement = Statement::read(connection.session()?.as_ref(), piece.text).await;
                let statement = statement.map_err(|error| errors::at(error, piece.text, before))?;
                if pieces.len() > 1 && is_streamed(&statement) {
                    let error = SqlError::user(NOT_SUPPORTED, "COPY and SUBSCRIBE cannot be one statement of several");
                    return Err(errors::plain(error.with_hint("Send it alone.")));
                }
                if matches!(statement, Statement::Subscribe(..)) {
                    describe(client, &statement).await?;
                }
                run(client, &connection, &statement, vec![], &Format::UnifiedText).await
            };
            responses.push(cancellable(&mut asked, work).await?);
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

/// Whether its rows are sent as they come, past the answers of the statements before it.
fn is_streamed(statement: &Statement) -> bool {
    matches!(statement, Statement::Subscribe(..) | Statement::Copy(..) | Statement::CopyIn(..))
}

/// Sends the columns of a statement whose rows are sent as they come.
async fn describe<C>(client: &mut C, statement: &Statement) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let Some(schema) = statement.schema() else { return Ok(()) };
    let fields = answer::fields(client, &schema, &Format::UnifiedText)?;
    let fields: Vec<FieldDescription> = fields.iter().map(Into::into).collect();
    client.send(PgWireBackendMessage::RowDescription(RowDescription::new(fields))).await?;
    Ok(())
}

/// Runs a statement with its parameters; rows come in `format`.
pub async fn run<C>(
    client: &mut C,
    connection: &Connection,
    statement: &Statement,
    parameters: Vec<ScalarValue>,
    format: &Format,
) -> PgWireResult<Response>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let session = &connection.session()?;
    match statement {
        Statement::Query(_) | Statement::Execute(..) => {
            let (prepared, parameters) = match statement {
                Statement::Query(prepared) => (prepared, parameters),
                Statement::Execute(prepared, values) => (prepared, values.clone()),
                other => return Err(errors::internal(format!("rows of {other:?}"))),
            };
            let asked = connection.cancel.listen();
            let work = session.execute(prepared, parameters);
            let (limit, began) = (settings::statement_timeout(client), tokio::time::Instant::now());
            let outcome = match limit {
                None => work.await,
                Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| errors::timed_out())?,
            };
            let answer = outcome.map_err(|error| errors::at(error, &prepared.text, 0))?;
            if let Some(word) = prepared.writes() {
                let tag = Tag::new(word).with_rows(insert::count(answer).await.map_err(errors::plain)?);
                return Ok(Response::Execution(if word == "INSERT" { tag.with_oid(0) } else { tag }));
            }
            let fields = answer::fields(client, &answer.rows.schema(), format)?;
            let text = prepared.text.clone();
            let names = session.names();
            let explain = move |error| errors::at(crate::sql_error::explain(&error, &text, &names), &text, 0);
            let limits = Limits { asked, time: limit.map(|limit| limit.saturating_sub(began.elapsed())) };
            Ok(Response::Query(answer::of_stream(&fields, answer.rows, limits, explain)))
        }
        Statement::Subscribe(request, schema) => {
            let fields = answer::fields(client, schema, format)?;
            let changes = subscribe(session, request).map_err(errors::plain)?;
            Ok(Response::Execution(copy::rows_out(client, fields, changes).await?))
        }
        Statement::Copy(body, copy_format) => {
            let batches = match &**body {
                Statement::Query(prepared) => {
                    let answer = session.execute(prepared, parameters).await;
                    Batches::Query(answer.map_err(|error| errors::at(error, &prepared.text, 0))?.rows)
                }
                Statement::Subscribe(request, _) => {
                    Batches::Changes(subscribe(session, request).map_err(errors::plain)?)
                }
                other => return Err(errors::internal(format!("COPY of {other:?}"))),
            };
            let schema = match &batches {
                Batches::Query(rows) => rows.schema(),
                Batches::Changes(changes) => changes.schema.clone(),
            };
            let fields = answer::fields(client, &schema, &copy_format.columns())?;
            Ok(Response::Execution(copy::copy_out(client, fields, *copy_format, batches).await?))
        }
        Statement::Declare(name, body) => declare(connection, name, body, parameters).await,
        Statement::Fetch(name, rows, timeout) => {
            let mut cursors = connection.cursors.lock().await;
            let cursor = cursors.get_mut(name).ok_or_else(|| cursor::missing(name))?;
            let batches = cursor.fetch(connection, *rows, *timeout).await?;
            let fields = answer::fields(client, &cursor.schema, format)?;
            let mut response = answer::of_batches(&fields, batches);
            response.set_command_tag("FETCH");
            Ok(Response::Query(response))
        }
        Statement::Close(name) => {
            let mut cursors = connection.cursors.lock().await;
            match name {
                None => cursors.clear(),
                Some(name) => drop(cursors.remove(name).ok_or_else(|| cursor::missing(name))?),
            }
            Ok(Response::Execution(Tag::new("CLOSE CURSOR")))
        }
        Statement::Prepare(name, prepared) => {
            session.keep_named(name, prepared.clone()).map_err(errors::plain)?;
            Ok(Response::Execution(Tag::new("PREPARE")))
        }
        Statement::Deallocate(name) => {
            session.forget_named(name.as_deref());
            Ok(Response::Execution(Tag::new(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })))
        }
        Statement::Set(name, value) => {
            if let Some(told) = settings::set(client, name, value.as_deref()) {
                client.feed(told).await?;
            }
            Ok(Response::Execution(Tag::new(if value.is_some() { "SET" } else { "RESET" })))
        }
        Statement::ShowSetting(name) => {
            let value = settings::show(client, name).map_err(errors::plain)?;
            show(client, statement, value, format).map(Response::Query)
        }
        Statement::ShowAll => {
            let all = settings::show_all(client).map_err(errors::plain)?;
            let mut response = answer::of_batches(&answer::fields(client, &all.schema(), format)?, vec![all]);
            response.set_command_tag("SHOW");
            Ok(Response::Query(response))
        }
        Statement::CopyIn(target, format) => {
            let columns = target.columns().len();
            connection.copy_in.lock().await.replace(CopyIn::new(target.clone(), *format));
            Ok(Response::CopyIn(CopyResponse::new(0, columns, futures::stream::empty())))
        }
        Statement::Begin => Ok(Response::TransactionStart(Tag::new("BEGIN"))),
        Statement::End(tag) => {
            // Cursors end with their transaction, as in PostgreSQL.
            connection.cursors.lock().await.clear();
            Ok(Response::TransactionEnd(Tag::new(tag)))
        }
        Statement::Change(change, text) => {
            let Some(live) = session.sessions().live() else {
                return Err(errors::plain(SqlError::user(NOT_SUPPORTED, "this run cannot be changed")));
            };
            let change = change.clone();
            let changed = tokio::task::spawn_blocking(move || live.change(&change)).await;
            let changed = changed.map_err(|error| errors::internal(format!("a change: {error}")))?;
            let done = changed.map_err(|error| errors::at(error, text, 0))?;
            for notice in done.notices {
                client.feed(PgWireBackendMessage::NoticeResponse(errors::notice(notice).into())).await?;
            }
            Ok(Response::Execution(Tag::new(done.tag)))
        }
        Statement::Accepted(tag) => Ok(Response::Execution(Tag::new(tag))),
    }
}

async fn declare(
    connection: &Connection,
    name: &str,
    body: &Statement,
    parameters: Vec<ScalarValue>,
) -> PgWireResult<Response> {
    let session = &connection.session()?;
    let cursor = match body {
        Statement::Query(prepared) => {
            let answer = session.execute(prepared, parameters).await;
            let rows = answer.map_err(|error| errors::at(error, &prepared.text, 0))?.rows;
            Cursor::over_query(rows, prepared.text.clone())
        }
        Statement::Subscribe(request, _) => Cursor::over_changes(subscribe(session, request).map_err(errors::plain)?),
        other => return Err(errors::internal(format!("a cursor for {other:?}"))),
    };
    connection.cursors.lock().await.insert(name.to_string(), cursor);
    Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
}

fn show<C: ClientInfo>(
    client: &C,
    statement: &Statement,
    value: String,
    format: &Format,
) -> PgWireResult<QueryResponse> {
    let schema = statement.schema().ok_or_else(|| errors::internal("SHOW has a column"))?;
    let column = std::sync::Arc::new(arrow::array::StringArray::from(vec![value]));
    let batch = arrow::array::RecordBatch::try_new(schema.clone(), vec![column]).map_err(errors::internal)?;
    let mut response = answer::of_batches(&answer::fields(client, &schema, format)?, vec![batch]);
    response.set_command_tag("SHOW");
    Ok(response)
}
