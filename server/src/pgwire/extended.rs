//! The extended protocol: statements prepared once, bound to parameters, described, and run.

use super::cancel::cancellable;
use super::simple::run;
use super::statement::Statement;
use super::{Queries, answer, connection, cursor, errors};
use arrow::datatypes::DataType;
use arrow_pg::datatypes::df::deserialize_parameters;
use arrow_pg::datatypes::into_pg_type;
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;
use futures::Sink;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, send_describe_response};
use pgwire::api::results::{DescribePortalResponse, DescribeStatementResponse, FieldInfo, Response};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{Describe, TARGET_TYPE_BYTE_PORTAL};
use std::fmt::Debug;
use std::sync::Arc;

/// Plans statements when they are prepared.
pub struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Statement;

    async fn parse_sql<C>(&self, client: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let connection = connection::of(client)?;
        let Some(piece) = crate::statements::split(sql).first().copied() else { return Ok(None) };
        let before = sql[..piece.start].chars().count();
        let statement = Statement::read(connection.session()?.as_ref(), piece.text).await;
        statement.map(Some).map_err(|error| errors::at(error, piece.text, before))
    }

    fn get_parameter_types(&self, statement: &Statement) -> PgWireResult<Vec<Type>> {
        let Some(prepared) = statement.query() else { return Ok(vec![]) };
        prepared.parameters.iter().map(|known| known.as_ref().map_or(Ok(Type::TEXT), into_pg_type)).collect()
    }

    fn get_result_schema(&self, _statement: &Statement, _format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Err(errors::internal("columns are described by the handler, which knows the connection"))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Queries {
    type Statement = Statement;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Statement>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = connection::of(client)?;
        let mut asked = connection.cancel.listen();
        let statement = &portal.statement.statement;
        let parameters = parameters(portal)?;
        let work = run(client, &connection, statement, parameters, &portal.result_column_format);
        cancellable(&mut asked, work).await
    }

    /// Cursors are portals to clients, and are described as such.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or_default();
        if message.target_type == TARGET_TYPE_BYTE_PORTAL && client.portal_store().get_portal(name).is_none() {
            let connection = connection::of(client)?;
            let schema = connection.cursors.lock().await.get(name).map(|cursor| cursor.schema.clone());
            if let Some(schema) = schema {
                let fields = answer::fields(client, &schema, &Format::UnifiedText)?.as_ref().clone();
                return send_describe_response(client, &DescribePortalResponse::new(fields)).await;
            }
        }
        self._on_describe(client, message).await
    }

    async fn do_describe_statement<C>(
        &self,
        client: &mut C,
        target: &StoredStatement<Statement>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let ours = Parser.get_parameter_types(&target.statement)?;
        let given = |at: usize| target.parameter_types.get(at).cloned().flatten().filter(|t| *t != Type::UNKNOWN);
        let count = ours.len().max(target.parameter_types.len());
        let types = (0..count).map(|at| given(at).or_else(|| ours.get(at).cloned()).unwrap_or(Type::TEXT)).collect();
        let fields = columns(client, &target.statement, &Format::UnifiedText).await?;
        Ok(DescribeStatementResponse::new(types, fields))
    }

    async fn do_describe_portal<C>(
        &self,
        client: &mut C,
        target: &Portal<Statement>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let fields = columns(client, &target.statement.statement, &target.result_column_format).await?;
        Ok(DescribePortalResponse::new(fields))
    }
}

/// The columns of a statement; those of a `FETCH` are its cursor's.
async fn columns<C: ClientInfo>(client: &C, statement: &Statement, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    let schema = match statement {
        Statement::Fetch(name, ..) => {
            let connection = connection::of(client)?;
            let cursors = connection.cursors.lock().await;
            cursors.get(name).ok_or_else(|| cursor::missing(name))?.schema.clone()
        }
        statement => statement.schema().unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty())),
    };
    Ok(answer::fields(client, &schema, format)?.as_ref().clone())
}

/// The values that were bound, as the query's types.
fn parameters(portal: &Portal<Statement>) -> PgWireResult<Vec<ScalarValue>> {
    let Some(prepared) = portal.statement.statement.query() else { return Ok(vec![]) };
    let types: Vec<Option<&DataType>> = prepared.parameters.iter().map(Option::as_ref).collect();
    match deserialize_parameters(portal, &types)? {
        ParamValues::List(values) => Ok(values.into_iter().map(|value| value.value).collect()),
        ParamValues::Map(_) => Err(errors::internal("parameters are numbered")),
    }
}
