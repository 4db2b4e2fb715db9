//! `SET` and `SHOW`: settings are kept with the connection; few of them change anything here.

use crate::pg_catalog::SERVER_VERSION;
use crate::sql_error::{SqlError, SqlResult};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pgwire::api::ClientInfo;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::ParameterStatus;
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::error::Error;
use thalweg_schemas::options::parse_duration;

/// The settings that a connection has before it sets any. PostgreSQL's clients ask for all of them.
const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150008"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
];

/// What they are to those who list them.
const TIMEOUT: &str = "How long a query may be computed, 0 without end.";
const KEPT: &str = "Kept with the connection for PostgreSQL's clients.";

/// Those whose changes clients are told, as PostgreSQL spells them.
const REPORTED: &[(&str, &str)] = &[
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("timezone", "TimeZone"),
];

/// Keeps a setting; what is to be told to the client, if anything.
pub fn set<C: ClientInfo + ?Sized>(client: &mut C, name: &str, value: Option<&str>) -> Option<PgWireBackendMessage> {
    let name = canonical(name);
    let default = DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, default)| *default);
    let value = value.filter(|value| !value.eq_ignore_ascii_case("default")).or(default).unwrap_or_default();
    client.metadata_mut().insert(name.clone(), value.to_string());
    let (_, spelled) = REPORTED.iter().find(|(reported, _)| *reported == name)?;
    Some(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(spelled.to_string(), value.to_string())))
}

/// What a setting is before anybody sets it.
pub fn default_setting(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, default)| *default)
}

/// The value of a setting.
pub fn show<C: ClientInfo + ?Sized>(client: &C, name: &str) -> SqlResult<String> {
    let name = canonical(name);
    if let Some(value) = client.metadata().get(&name) {
        return Ok(value.clone());
    }
    match DEFAULTS.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(value.to_string()),
        None => Err(SqlError::user("42704", format!("setting \"{name}\" does not exist"))
            .with_hint("SHOW also lists SOURCES, VIEWS, SINKS and ALERTS.")),
    }
}

/// The columns of `SHOW ALL`.
pub fn schema_of_all() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("name"), text("setting"), text("description")]))
}

/// All settings, and what they are.
pub fn show_all<C: ClientInfo + ?Sized>(client: &C) -> SqlResult<RecordBatch> {
    let value = |(name, default): &(&str, &str)| client.metadata().get(*name).cloned().unwrap_or(default.to_string());
    let names: ArrayRef = Arc::new(DEFAULTS.iter().map(|(name, _)| Some(*name)).collect::<StringArray>());
    let values: ArrayRef = Arc::new(DEFAULTS.iter().map(|setting| Some(value(setting))).collect::<StringArray>());
    let said = DEFAULTS.iter().map(|(name, _)| Some(if *name == "statement_timeout" { TIMEOUT } else { KEPT }));
    let described: ArrayRef = Arc::new(said.collect::<StringArray>());
    Ok(RecordBatch::try_new(schema_of_all(), vec![names, values, described]).map_err(Error::from)?)
}

/// How long a statement may take, if that is limited.
pub fn statement_timeout<C: ClientInfo + ?Sized>(client: &C) -> Option<Duration> {
    let value = client.metadata().get("statement_timeout")?;
    let timeout = value.parse().map(Duration::from_millis).ok().or_else(|| parse_duration(value))?;
    (!timeout.is_zero()).then_some(timeout)
}

fn canonical(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_string(),
        "transaction isolation level" => "transaction_isolation".to_string(),
        other => other.to_string(),
    }
}
