//! `thalweg sql`: a client of a running engine, over HTTP.

use crate::cli::{OutputFormat, SqlArgs};
use crate::config::{DEFAULT_HTTP, parse_address};
use crate::failure::{Failure, Outcome, USERS_MISTAKE, one_error};
use crate::markdown;
use crate::statements;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
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
    // Whoever answers nothing is told now, and not after a statement has been typed.
    drop(client.ask("SELECT 1")?);
    println!("Connected to {}\nEnd statements with ';'. \\? helps, \\q leaves.", client.url);
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
        if pending.is_empty() && line.trim().is_empty() {
            continue;
        }
        if pending.is_empty()
            && let Some(command) = command(line.trim())
        {
            let _unrecorded = editor.add_history_entry(line.trim());
            match command {
                Command::Leave => return Ok(()),
                Command::Help => println!("{HELP}"),
                Command::Ask(query) => show(client, &query),
                Command::Other(text) => {
                    eprintln!("error: there is no command {text}\n  hint: \\? lists those that there are.")
                }
            }
            continue;
        }
        pending.push_str(&line);
        pending.push('\n');
        if !line.trim_end().ends_with(';') {
            continue;
        }
        let statement = std::mem::take(&mut pending);
        let _unrecorded = editor.add_history_entry(statement.trim_end());
        show(client, &statement);
    }
}

/// Prints what a statement answers, or what is wrong with it.
fn show(client: &Client, statement: &str) {
    if let Err(error) = client.print(statement) {
        eprintln!("{}", one_error(&error));
    }
}

const HELP: &str = "\
statement;    runs it, over as many lines as it needs; Ctrl-C drops it
\\d            lists sources, views and sinks
\\d NAME       the columns of NAME
\\q            leaves, as Ctrl-D does";

/// What a line says that is no statement.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Leave,
    Help,
    Ask(String),
    Other(String),
}

fn command(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
    Some(match words[..] {
        ["\\q" | "quit" | "exit"] => Command::Leave,
        ["\\?" | "\\h" | "help"] => Command::Help,
        ["\\d" | "\\dt" | "\\dv"] => Command::Ask(
            "SELECT 'source' AS kind, name, rows_out AS rows, dead FROM thalweg.sources UNION ALL \
             SELECT 'view', name, rows, dead FROM thalweg.views UNION ALL \
             SELECT 'sink', name, rows, NULL FROM thalweg.sinks ORDER BY kind, name"
                .to_string(),
        ),
        ["\\d", name] => Command::Ask(format!(
            "SELECT column_name AS \"column\", data_type AS type FROM information_schema.columns \
             WHERE table_name = '{}' ORDER BY ordinal_position",
            name.trim_matches('"').replace('\'', "''")
        )),
        [first, ..] if first.starts_with('\\') => Command::Other(first.to_string()),
        _ => return None,
    })
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
            OutputFormat::Markdown => writeln!(out, "{}{}", markdown::prose(query), markdown::table(body)?),
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
            OutputFormat::Table | OutputFormat::Markdown | OutputFormat::Arrow => "arrow",
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

/// The rows of an Arrow stream, in columns; one below the other where a terminal is too narrow for that.
fn table(body: impl Read) -> Result<String> {
    let reader = StreamReader::try_new(body, None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    let mut text = pretty_format_batches(&batches)?.to_string();
    let width = text.lines().next().map_or(0, |line| line.chars().count());
    if rows > 0
        && std::io::stdout().is_terminal()
        && let Ok((columns, _)) = crossterm::terminal::size()
        && columns > 0
        && width > usize::from(columns)
    {
        text = expanded(&batches)?;
    }
    Ok(format!("{text}\n({rows} {})", if rows == 1 { "row" } else { "rows" }))
}

/// A line for each value.
fn expanded(batches: &[RecordBatch]) -> Result<String> {
    let mut lines = Vec::new();
    let options = FormatOptions::default();
    let mut number = 0;
    for batch in batches {
        let schema = batch.schema();
        let width = schema.fields().iter().map(|field| field.name().chars().count()).max().unwrap_or(0);
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            number += 1;
            lines.push(format!("-[ row {number} ]{}", "-".repeat(width)));
            for (field, column) in schema.fields().iter().zip(&columns) {
                lines.push(format!("{:width$} | {}", field.name(), column.value(row)));
            }
        }
    }
    Ok(lines.join("\n"))
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
    fn a_line_may_be_a_command() {
        assert_eq!(command("\\q"), Some(Command::Leave));
        assert_eq!(command("\\x on"), Some(Command::Other("\\x".to_string())));
        assert!(matches!(command("\\d orders;"), Some(Command::Ask(query)) if query.contains("= 'orders'")));
        assert_eq!(command("SELECT 1;"), None);
    }

    #[test]
    fn wide_rows_are_shown_value_by_value() {
        let column = |values: [i64; 2]| std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(values)) as _;
        let batch = RecordBatch::try_from_iter([("a", column([1, 2])), ("long", column([3, 4]))]).unwrap();
        let expected = "-[ row 1 ]----\na    | 1\nlong | 3\n-[ row 2 ]----\na    | 2\nlong | 4";
        assert_eq!(expanded(&[batch]).unwrap(), expected);
    }

    #[test]
    fn errors_of_the_server_keep_their_parts() {
        let body =
            br#"{"error":{"message":"m","hint":"h","detail":null,"position":{"line":1,"column":8},"code":"42703"}}"#;
        let error = error_of(body);
        assert_eq!(one_error(&error), "error: 1:8: m\n  hint: h");
    }
}
