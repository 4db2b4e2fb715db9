//! `thalweg sql`: a client of a running engine, over HTTP.

use crate::cli::{OutputFormat, SqlArgs};
use crate::config::{DEFAULT_HTTP, parse_address};
use crate::failure::{Failure, Outcome, USERS_MISTAKE, one_error};
use crate::statements;
use arrow::ipc::reader::StreamReader;
use arrow::util::pretty::pretty_format_batches;
use rustyline::error::ReadlineError;
use std::io::{IsTerminal, Read, Write};
use thalweg_schemas::error::{Error, Position, Result};

/// Runs one query, or all that stdin says, or a prompt.
pub fn sql(args: &SqlArgs) -> Outcome {
    let client = Client::new(args)?;
    match &args.query {
        Some(query) => Ok(client.print(query)?),
        None if std::io::stdin().is_terminal() => prompt(&client),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Error::io("stdin", &error))?;
            for statement in statements::split(&text) {
                client.print(statement.text)?;
            }
            Ok(())
        }
    }
}

/// Reads statements, each up to its semicolon, and prints what they answer; a mistake does not end it.
fn prompt(client: &Client) -> Outcome {
    let fault = |error: ReadlineError| Error::outside(format!("prompt: {error}"));
    let mut editor = rustyline::DefaultEditor::new().map_err(fault)?;
    println!("Connected to {}. End statements with ';'; \\q leaves.", client.url);
    let mut pending = String::new();
    loop {
        let line = match editor.readline(if pending.is_empty() { "thalweg> " } else { "      -> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                pending.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(fault(error).into()),
        };
        if pending.is_empty() && matches!(line.trim(), "\\q" | "quit" | "exit") {
            return Ok(());
        }
        pending.push_str(&line);
        pending.push('\n');
        if !line.trim_end().ends_with(';') {
            continue;
        }
        let statement = std::mem::take(&mut pending);
        let _unrecorded = editor.add_history_entry(statement.trim_end());
        if let Err(error) = client.print(&statement) {
            eprintln!("{}", one_error(&error));
        }
    }
}

/// Where to ask, and how to print.
struct Client {
    url: String,
    format: OutputFormat,
    agent: ureq::Agent,
}

impl Client {
    fn new(args: &SqlArgs) -> Outcome<Client> {
        let given = args.http.as_deref().unwrap_or(DEFAULT_HTTP);
        let Some(address) = parse_address("http", given)? else {
            eprintln!("error: option \"http\" is 'off', and thalweg sql asks over HTTP");
            return Err(Failure::Told(USERS_MISTAKE));
        };
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        Ok(Client { url: format!("http://{address}"), format: args.format, agent })
    }

    /// Asks, and writes the answer to stdout: a table once it is whole, anything else as it comes.
    fn print(&self, query: &str) -> Result<()> {
        let mut body = self.ask(query)?;
        let mut out = std::io::stdout().lock();
        let written = match self.format {
            OutputFormat::Table => writeln!(out, "{}", table(body)?),
            OutputFormat::Json | OutputFormat::Csv | OutputFormat::Arrow => pass_on(&mut body, &mut out),
        };
        match written.and_then(|()| out.flush()) {
            // Whoever reads has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Error::outside(format!("answer of {}: {error}", self.url))),
        }
    }

    fn ask(&self, query: &str) -> Result<impl Read + use<>> {
        let format = match self.format {
            OutputFormat::Table | OutputFormat::Arrow => "arrow",
            OutputFormat::Json => "ndjson",
            OutputFormat::Csv => "csv",
        };
        let request = self.agent.post(format!("{}/api/v1/sql?format={format}", self.url));
        let response = request.content_type("text/plain").send(query).map_err(|error| {
            Error::user(format!("no engine answers at {}: {error}", self.url))
                .with_hint("Start one with `thalweg run PIPELINE`, or name its address with --http.")
        })?;
        let status = response.status();
        let mut body = response.into_body().into_reader();
        if status.is_success() {
            return Ok(body);
        }
        let mut text = Vec::new();
        let read = body.read_to_end(&mut text);
        read.map_err(|error| Error::outside(format!("answer of {}: {error}", self.url)))?;
        Err(error_of(&text))
    }
}

/// Copies piece by piece: a subscription's changes are to be seen when they come.
fn pass_on(body: &mut impl Read, out: &mut impl Write) -> std::io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match body.read(&mut piece)? {
            0 => return Ok(()),
            read => out.write_all(&piece[..read]).and_then(|()| out.flush())?,
        }
    }
}

/// The rows of an Arrow stream, in columns.
fn table(body: impl Read) -> Result<String> {
    let reader = StreamReader::try_new(body, None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    if batches.is_empty() {
        batches.push(arrow::record_batch::RecordBatch::new_empty(schema));
    }
    Ok(format!("{}\n({rows} {})", pretty_format_batches(&batches)?, if rows == 1 { "row" } else { "rows" }))
}

/// The error in an answer.
fn error_of(body: &[u8]) -> Error {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &value["error"];
    let text = |key: &str| error[key].as_str().map(str::to_string);
    let message = text("message").unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let position = error["position"].as_object().and_then(|position| {
        let number = |key: &str| position.get(key).and_then(serde_json::Value::as_u64);
        Some(Position { file: "".into(), line: number("line")?, column: number("column")?, width: 1 })
    });
    Error { detail: text("detail"), hint: text("hint"), position, ..Error::user(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_keep_their_parts() {
        let body =
            br#"{"error":{"message":"m","hint":"h","detail":null,"position":{"line":1,"column":8},"code":"42703"}}"#;
        let error = error_of(body);
        assert_eq!(one_error(&error), "error: 1:8: m\n  hint: h");
    }
}
