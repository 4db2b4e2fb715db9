//! Reading a table: one connection and one read-only transaction each time, rows as JSON, which the engine's own decoder
//! brings into the declared types.

use super::tls::Tls;
use crate::snapshots::{self, Fetch, SIZE_MAX, Take};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Payload, Source, SourceRequest};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, SimpleQueryMessage};

/// About so many bytes of rows are decoded together.
const PIECE_BYTES: usize = 1 << 20;

/// Opens the table.
pub(super) fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let table = Postgres::read(&request)?;
    snapshots::open(&request, Some("json"), table)
}

pub(super) struct Postgres {
    pub config: Config,
    tls: Tls,
    pub statement: String,
    /// The rows of some keys: what stands before their values.
    finding: String,
    place: String,
    timeout: Duration,
    size_max: u64,
}

impl Postgres {
    pub(super) fn read(request: &SourceRequest) -> Result<Postgres> {
        let options = &request.options;
        let mistake = |option: &str, what: String| {
            Error::user(format!("option \"{option}\" of table \"{}\" {what}", request.name))
        };
        let url = options.get("url").unwrap_or_default();
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let why = error.source().map_or_else(|| error.to_string(), |source| source.to_string());
            mistake("url", format!("is not the address of a database: {why}")).with_hint(
                "Write it as 'postgres://user@host:5432/database'; what TLS must be is said by sslmode = '..'.",
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(mistake("url", "names no host".to_string())
                .with_hint("Write it as 'postgres://user@host:5432/database'."));
        }
        if let Some(password) = options.get("password") {
            config.password(password);
        }
        match options.get("sslmode") {
            None => {}
            Some("disable") => drop(config.ssl_mode(SslMode::Disable)),
            Some("prefer") => drop(config.ssl_mode(SslMode::Prefer)),
            Some(_) => drop(config.ssl_mode(SslMode::Require)),
        }
        let verify = options.get("sslmode") == Some("verify-full");
        if options.get("sslrootcert").is_some() && !verify {
            return Err(mistake("sslrootcert", "has no meaning without sslmode = 'verify-full'".to_string()));
        }
        let tls = Tls::new(verify, options.get("sslrootcert")).map_err(|why| mistake("sslrootcert", why))?;
        let timeout = options.duration("timeout").unwrap_or(Duration::from_secs(30));
        config.application_name("thalweg").connect_timeout(timeout);
        let table = options.get("table").unwrap_or(&request.name);
        let quoted = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let select = format!("SELECT row_to_json(t)::text FROM (SELECT {} FROM {quoted}", columns(request)?);
        let key: Vec<String> = request.key.iter().map(|at| self::quoted(request.fields.field(*at).name())).collect();
        Ok(Postgres {
            place: format!("{}, table {table}", place(&config)),
            statement: format!("{select}) AS t"),
            finding: format!("{select} WHERE ({}) IN ", key.join(", ")),
            config,
            tls,
            timeout,
            size_max: options.size(SIZE_MAX.name).unwrap_or(u64::MAX),
        })
    }

    /// Reads the rows that `statement` selects; `take` is called with lines of JSON.
    async fn rows(&self, statement: &str, take: Take<'_>) -> Result<()> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(meaning)?;
        let asking = async {
            // Times with a zone are told in UTC, and the server gives up when nobody waits any more.
            let limit = self.timeout.as_millis();
            let before = format!(
                "BEGIN READ ONLY; SET LOCAL timezone = 'UTC'; SET LOCAL standard_conforming_strings = on; \
                 SET LOCAL statement_timeout = {limit}"
            );
            client.batch_execute(&before).await.map_err(meaning)?;
            let rows = client.simple_query_raw(statement).await.map_err(meaning)?;
            let mut rows = std::pin::pin!(rows);
            let (mut lines, mut bytes) = (Vec::new(), 0u64);
            while let Some(message) = rows.try_next().await.map_err(meaning)? {
                let SimpleQueryMessage::Row(row) = message else { continue };
                lines.extend_from_slice(row.get(0).unwrap_or_default().as_bytes());
                lines.push(b'\n');
                if lines.len() >= PIECE_BYTES {
                    bytes += lines.len() as u64;
                    // Its rows as text are longer than in memory, but not that much.
                    if bytes / 8 > self.size_max {
                        return Err(Error::retry(format!("it has sent {bytes} bytes, and there is no end")));
                    }
                    take(None, Payload::Bytes(std::mem::take(&mut lines)))?;
                }
            }
            take(None, Payload::Bytes(lines))?;
            client.batch_execute("COMMIT").await.map_err(meaning)
        };
        // The connection lives for as long as it is asked; what it has to say of its own end, the question hears too.
        tokio::select! {
            answer = asking => answer,
            ended = connection => Err(ended.err().map_or_else(|| Error::retry("the server hung up"), meaning)),
        }
    }
}

impl Fetch for Postgres {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn fetch(&self, take: Take<'_>) -> Result<()> {
        self.select(&self.statement, take)
    }

    /// One statement for all keys. A value is a literal without a type: the server takes it for one of its column's.
    fn find(&self, keys: &[Vec<String>], take: Take<'_>) -> Result<()> {
        let literal = |value: &String| format!("'{}'", value.replace('\'', "''"));
        let key = |key: &Vec<String>| format!("({})", key.iter().map(literal).collect::<Vec<_>>().join(", "));
        let keys = keys.iter().map(key).collect::<Vec<_>>().join(", ");
        self.select(&format!("{}({keys})) AS t", self.finding), take)
    }
}

impl Postgres {
    fn select(&self, statement: &str, take: Take<'_>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("a runtime to talk to PostgreSQL", &error))?;
        let late =
            || Error::retry(format!("it took more than {:?}", self.timeout)).with_hint("Give it longer with timeout.");
        runtime.block_on(async {
            tokio::time::timeout(self.timeout, self.rows(statement, take)).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

/// Where the server is, without anything secret.
fn place(config: &Config) -> String {
    let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
}

/// The columns that anybody wants; the key is always among them.
fn columns(request: &SourceRequest) -> Result<String> {
    let fields = request.fields.fields().iter().enumerate();
    let wanted: Vec<_> = fields.filter(|(at, _)| request.wanted[*at] || request.key.contains(at)).collect();
    if let Some((_, field)) = wanted.iter().find(|(_, field)| *field.data_type() == DataType::Binary) {
        return Err(Error::user(format!(
            "column \"{}\" of table \"{}\" cannot be BYTEA: rows come as JSON",
            field.name(),
            request.name
        ))
        .with_hint("Leave it out, or look up in a view there that has it as text: encode(column, 'base64')."));
    }
    Ok(wanted.iter().map(|(_, field)| quoted(field.name())).collect::<Vec<_>>().join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the server said, or what kept it from saying anything.
fn meaning(error: tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        return Error::retry(format!("{error}{why}"));
    };
    let said = Error::retry(format!("{} ({})", answer.message(), answer.code().code()));
    let said = answer.detail().into_iter().fold(said, Error::with_detail);
    answer.hint().into_iter().fold(said, Error::with_hint)
}
