//! `COPY table FROM STDIN`: rows as text or CSV, kept as they come and inserted at the end of the data, all of them or none.
//!
//! What a field says is cast to its column as a text in `INSERT` would be.

use super::{Queries, connection, errors};
use crate::insert::Target;
use crate::sql_error::{BAD_PARAMETER, NOT_SUPPORTED, SYNTAX, SqlError, SqlResult};
use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::ClientInfo;
use pgwire::api::copy::CopyHandler;
use pgwire::api::results::Tag;
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyFail};
use std::fmt::Debug;
use std::sync::Arc;
use thalweg_schemas::error::Error;

#[cfg(test)]
mod tests;

/// `bad_copy_file_format`
const BAD_FORMAT: &str = "22P04";
/// `query_canceled`
const GIVEN_UP: &str = "57014";

const FORM: &str =
    "Write COPY table [(columns)] FROM STDIN [WITH (FORMAT text | csv, DELIMITER ',', NULL '', HEADER)].";

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFormat {
    /// Comma separated values; otherwise PostgreSQL's text, with backslashes.
    csv: bool,
    delimiter: char,
    /// Whether NULL is written as nothing; otherwise as `\N`.
    null_is_empty: bool,
    /// Whether the first line names the columns.
    header: bool,
}

/// What the statement says.
#[derive(Debug, PartialEq, Eq)]
pub struct CopyInto {
    pub table: String,
    pub columns: Option<Vec<String>>,
    pub format: InputFormat,
}

/// The rows that a connection is sending.
pub struct CopyIn {
    target: Target,
    format: InputFormat,
    data: Vec<u8>,
}

impl CopyIn {
    /// Rows that go to `target`.
    pub fn new(target: Target, format: InputFormat) -> CopyIn {
        CopyIn { target, format, data: Vec::new() }
    }

    /// The rows as columns of text.
    fn rows(&self) -> SqlResult<RecordBatch> {
        let text = std::str::from_utf8(&self.data).map_err(|error| {
            let line = self.data[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            SqlError::user("22021", format!("COPY line {line} is not UTF-8"))
        })?;
        let names: Vec<&str> = self.target.columns().iter().map(|column| column.name.as_str()).collect();
        let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
        let mut records = Records { text, format: self.format, line: 1 };
        let mut is_header = self.format.header;
        while let Some((line, fields)) = records.next()? {
            if std::mem::take(&mut is_header) {
                continue;
            }
            if fields.len() != names.len() {
                let (which, at) = match fields.len() < names.len() {
                    true => ("is missing data for column", fields.len()),
                    false => ("has data after the last column,", names.len() - 1),
                };
                let message = format!("COPY line {line} {which} \"{}\"", names[at]);
                return Err(
                    SqlError::user(BAD_FORMAT, message).with_hint(format!("The columns are {}.", names.join(", ")))
                );
            }
            columns.iter_mut().zip(fields).for_each(|(column, field)| column.append_option(field));
        }
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let columns = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Error::from)?)
    }
}

/// The records of a text, one after the other.
struct Records<'a> {
    text: &'a str,
    format: InputFormat,
    /// The line that comes next.
    line: usize,
}

type Record = (usize, Vec<Option<String>>);

impl Records<'_> {
    fn next(&mut self) -> SqlResult<Option<Record>> {
        if self.text.is_empty() || is_end(self.text) {
            return Ok(None);
        }
        let line = self.line;
        let fields = if self.format.csv { self.csv(line)? } else { self.plain() };
        Ok(Some((line, fields)))
    }

    /// A line of PostgreSQL's text format.
    fn plain(&mut self) -> Vec<Option<String>> {
        let (line, rest) = self.text.split_once('\n').unwrap_or((self.text, ""));
        self.text = rest;
        self.line += 1;
        let null = if self.format.null_is_empty { "" } else { "\\N" };
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (mut fields, mut start, mut escaped) = (Vec::new(), 0, false);
        let mut add = |field: &str| fields.push((field != null).then(|| unescaped(field)));
        for (at, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == self.format.delimiter => {
                    add(&line[start..at]);
                    start = at + c.len_utf8();
                }
                _ => {}
            }
        }
        add(&line[start..]);
        fields
    }

    /// A record of CSV, which goes on over lines within quotes. Nothing is NULL where it is not quoted.
    fn csv(&mut self, line: usize) -> SqlResult<Vec<Option<String>>> {
        let null = if self.format.null_is_empty { "" } else { "\\N" };
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = self.text.char_indices().peekable();
        let mut end = self.text.len();
        let mut finish = |field: &mut String, quoted: &mut bool| {
            let said = std::mem::take(field);
            fields.push((std::mem::take(quoted) || said != null).then_some(said));
        };
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    quoted = true;
                    loop {
                        match characters.next() {
                            Some((_, '"')) if characters.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                            Some((_, '"')) => break,
                            Some((_, c)) => {
                                self.line += usize::from(c == '\n');
                                field.push(c);
                            }
                            None => {
                                let message = format!("COPY line {line} has a quote that is not closed");
                                return Err(SqlError::user(BAD_FORMAT, message));
                            }
                        }
                    }
                }
                '\r' if characters.peek().is_some_and(|(_, next)| *next == '\n') => {}
                '\n' => {
                    end = at + 1;
                    break;
                }
                c if c == self.format.delimiter => finish(&mut field, &mut quoted),
                c => field.push(c),
            }
        }
        finish(&mut field, &mut quoted);
        self.text = &self.text[end..];
        self.line += 1;
        Ok(fields)
    }
}

/// Whether the data ends here by a line of its own, as psql sends it.
fn is_end(text: &str) -> bool {
    text.strip_prefix("\\.").is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', '\r']))
}

/// What a field of the text format stands for.
fn unescaped(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('v') => out.push('\u{b}'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// Reads `COPY table [(columns)] FROM STDIN ..`; `None` where it is another `COPY`.
pub fn statement(text: &str) -> SqlResult<Option<CopyInto>> {
    let upper = text.to_ascii_uppercase();
    let Some(from) = upper.match_indices("FROM").map(|(at, _)| at).find(|at| {
        let behind = upper[at + 4..].trim_start();
        behind.strip_prefix("STDIN").is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    }) else {
        return Ok(None);
    };
    let wrong = |what: &str| SqlError::user(SYNTAX, what.to_string()).with_hint(FORM);
    let named = text["COPY".len()..from].trim();
    let (table, columns) = match named.split_once('(') {
        None => (named, None),
        Some((table, columns)) => {
            let columns =
                columns.trim_end().strip_suffix(')').ok_or_else(|| wrong("COPY names its columns in brackets"))?;
            (table.trim(), Some(columns.split(',').map(|column| folded(column.trim())).collect()))
        }
    };
    let table = table.rsplit('.').next().unwrap_or(table).trim();
    if table.is_empty() {
        return Err(wrong("COPY is given no table"));
    }
    let at = upper[from..].find("STDIN").map_or(from, |at| from + at + "STDIN".len());
    Ok(Some(CopyInto { table: folded(table), columns, format: input_format(&text[at..])? }))
}

/// `[WITH] (FORMAT csv, HEADER, ..)`, or `[WITH] CSV HEADER ..` as before PostgreSQL 9.
fn input_format(text: &str) -> SqlResult<InputFormat> {
    let text = text.trim().trim_end_matches(';').trim();
    let text = text.get(..4).filter(|word| word.eq_ignore_ascii_case("WITH")).map_or(text, |_| text[4..].trim());
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let options: Vec<String> = match inner {
        Some(inner) => outside_quotes(inner, ','),
        None => outside_quotes(text, ' '),
    };
    let mut options = options.iter().map(|option| option.trim()).filter(|option| !option.is_empty()).peekable();
    let (mut csv, mut delimiter, mut null, mut header) = (false, None, None, false);
    while let Some(option) = options.next() {
        let (name, mut value) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let name = name.to_ascii_uppercase();
        // Without brackets a value is the next word.
        if inner.is_none() && ["DELIMITER", "NULL"].contains(&name.as_str()) {
            value =
                options.next_if(|next| !next.eq_ignore_ascii_case("AS")).or_else(|| options.nth(1)).unwrap_or_default();
        }
        let text = value.trim().trim_matches('\'');
        match name.as_str() {
            "CSV" => csv = true,
            "FORMAT" => match text.to_ascii_lowercase().as_str() {
                "csv" => csv = true,
                "text" => csv = false,
                other => {
                    return Err(SqlError::user(
                        NOT_SUPPORTED,
                        format!("COPY FROM STDIN reads text or csv, not \"{other}\""),
                    )
                    .with_hint(FORM));
                }
            },
            "HEADER" => header = !["false", "off", "0"].contains(&text.to_ascii_lowercase().as_str()),
            "DELIMITER" => {
                let only = if text == "\\t" || text == "E'\\t" { Some('\t') } else { single(text) };
                let given =
                    only.ok_or_else(|| SqlError::user(BAD_PARAMETER, "the DELIMITER of COPY is one character"))?;
                delimiter = Some(given);
            }
            "NULL" => {
                null = Some(match text {
                    "" => true,
                    "\\N" => false,
                    other => {
                        return Err(SqlError::user(NOT_SUPPORTED, format!("COPY cannot read '{other}' as NULL"))
                            .with_hint("NULL is '' or '\\N'."));
                    }
                });
            }
            "ENCODING" if text.replace('-', "").eq_ignore_ascii_case("utf8") => {}
            _ => return Err(SqlError::user(SYNTAX, format!("option {name} of COPY is not known")).with_hint(FORM)),
        }
    }
    let delimiter = delimiter.unwrap_or(if csv { ',' } else { '\t' });
    Ok(InputFormat { csv, delimiter, null_is_empty: null.unwrap_or(csv), header })
}

/// The character that `text` is.
fn single(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// The pieces of `text` between separators that do not stand in quotes.
fn outside_quotes(text: &str, separator: char) -> Vec<String> {
    let (mut pieces, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '\'';
        match c {
            c if c == separator && !quoted => pieces.push(String::new()),
            c => pieces.iter_mut().next_back().into_iter().for_each(|piece| piece.push(c)),
        }
    }
    pieces
}

/// A name as SQL compares it.
fn folded(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

#[async_trait]
impl CopyHandler for Queries {
    async fn on_copy_data<C>(&self, client: &mut C, data: CopyData) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = connection::of(client)?;
        if let Some(copy) = connection.copy_in.lock().await.as_mut() {
            copy.data.extend_from_slice(&data.data);
        }
        Ok(())
    }

    async fn on_copy_done<C>(&self, client: &mut C, _done: CopyDone) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = connection::of(client)?;
        let Some(copy) = connection.copy_in.lock().await.take() else {
            return Err(errors::internal("the end of rows that nobody asked for"));
        };
        let rows = copy.rows().map_err(errors::plain)?;
        let inserted = connection.session()?.insert_rows(&copy.target, &rows).await;
        let (_, inserted) = inserted.map_err(errors::plain)?;
        let tag = Tag::new("COPY").with_rows(inserted);
        client.send(PgWireBackendMessage::CommandComplete(tag.into())).await?;
        Ok(())
    }

    async fn on_copy_fail<C>(&self, client: &mut C, fail: CopyFail) -> PgWireError
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Ok(connection) = connection::of(client) {
            connection.copy_in.lock().await.take();
        }
        errors::plain(SqlError::user(GIVEN_UP, format!("COPY FROM STDIN was given up: {}", fail.message)))
    }
}
