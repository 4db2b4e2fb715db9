//! CSV: one record a line, columns named by a header or, without one, in the order they are declared.
//!
//! A file is cut at line ends, so a quoted field cannot go over several lines: such a record is a bad one, and each
//! of the lines it consists of is kept as such. A field equal to `null_string` is NULL, quoted or not.

use super::rows::Rows;
use super::value::{Value, clipped};
use super::{DecodeRequest, Decoded, Decoder, EMPTY, FormatSpec, Framing, TOMBSTONE};
use crate::error::{Error, Result};
use crate::messages::Message;
use crate::options::{OptionKind, OptionSpec, Options};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "csv",
    doc: "Comma-separated values; the header line names the columns, in any order.",
    options: &[
        OptionSpec {
            name: "delimiter",
            kind: OptionKind::Text,
            default: Some(","),
            required: false,
            doc: "What stands between two fields: one ASCII character, or `\\t`.",
        },
        OptionSpec {
            name: "quote",
            kind: OptionKind::Text,
            default: Some("\""),
            required: false,
            doc: "What stands around a field that contains the delimiter: one ASCII character, doubled inside the field.",
        },
        OptionSpec {
            name: "header",
            kind: OptionKind::Flag,
            default: Some("true"),
            required: false,
            doc: "Whether the first line names the columns; without it they come in the order they are declared.",
        },
        OptionSpec {
            name: "null_string",
            kind: OptionKind::Text,
            default: Some(""),
            required: false,
            doc: "The field that stands for NULL.",
        },
    ],
    changelog: false,
    framing: Framing::LinesAfterHeader,
    decoder: Some(decoder),
};

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    let options = &request.options;
    let mut builder = ReaderBuilder::new();
    let quote = one_byte(options, "quote", b'"')?;
    builder.delimiter(one_byte(options, "delimiter", b',')?).quote(quote);
    let rows = Rows::new(&request)?;
    Ok(Box::new(CsvDecoder {
        places: (0..request.fields.fields().len()).map(Some).collect(),
        rows,
        reader: builder.build(),
        named: options.get("header") != Some("false"),
        header: Vec::new(),
        broken: None,
        null: options.get("null_string").unwrap_or_default().to_string(),
        fields: Fields::default(),
        quote,
    }))
}

fn one_byte(options: &Options, name: &str, default: u8) -> Result<u8> {
    match options.get(name) {
        None => Ok(default),
        Some("\\t") => Ok(b'\t'),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::user(format!("option \"{name}\" takes one ASCII character, not '{text}'"))),
        },
    }
}

struct CsvDecoder {
    rows: Rows,
    reader: Reader,
    /// Whether the first line names the columns.
    named: bool,
    /// The header that `places` was made from.
    header: Vec<u8>,
    /// What is wrong with it: then no record under it can be read.
    broken: Option<String>,
    /// For each field of a record, the column it goes to.
    places: Vec<Option<usize>>,
    null: String,
    fields: Fields,
    quote: u8,
}

/// The fields of one record, one behind the other, without quotes.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Decoder for CsvDecoder {
    fn header(&mut self, line: &[u8]) -> Result<()> {
        if !self.named || line == self.header {
            return Ok(());
        }
        self.header = line.to_vec();
        self.broken = self.fields.read(&mut self.reader, line, self.quote).err();
        if self.broken.is_some() {
            return Ok(());
        }
        let text = match self.fields.text() {
            Ok(text) => text,
            Err(reason) => {
                self.broken = Some(reason);
                return Ok(());
            }
        };
        let schema = self.rows.schema();
        let names = self.fields.iter(text).map(str::trim_ascii);
        self.places = names
            .map(|name| {
                let fields = schema.fields();
                let exact = fields.iter().position(|field| field.name() == name);
                exact.or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)))
            })
            .collect();
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded> {
        self.rows.reserve();
        self.lines(bytes, |start| origin + start as u64);
        self.rows.finish()
    }

    fn message(&mut self, message: Message<'_>) {
        let before = self.rows.seen();
        match message.value {
            Some(value) => self.lines(value, |_| message.offset),
            None => self.rows.take_back(message.offset, &[], TOMBSTONE.to_string()),
        }
        if self.rows.seen() == before {
            self.rows.take_back(message.offset, message.value.unwrap_or_default(), EMPTY.to_string());
        }
    }

    fn finish(&mut self) -> Result<Decoded> {
        self.rows.finish()
    }
}

impl CsvDecoder {
    /// Takes whole lines; `offset` knows a line's by where it begins.
    fn lines(&mut self, bytes: &[u8], offset: impl Fn(usize) -> u64) {
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
            let offset = offset(start);
            start += line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Err(reason) = self.record(line, offset) {
                self.rows.take_back(offset, line, reason);
            }
        }
    }

    fn record(&mut self, line: &[u8], offset: u64) -> Result<(), String> {
        if let Some(reason) = &self.broken {
            return Err(format!("the header that names the columns: {reason}"));
        }
        self.fields.read(&mut self.reader, line, self.quote)?;
        let text = self.fields.text()?;
        if self.fields.count != self.places.len() {
            return Err(format!("expected {} fields, got {}", self.places.len(), self.fields.count));
        }
        for (place, field) in self.places.iter().zip(self.fields.iter(text)) {
            let Some(place) = *place else { continue };
            let value = if field == self.null { Value::Null } else { Value::Text(field) };
            self.rows.put(place, value).map_err(|fault| fault.to_string())?;
        }
        self.rows.end_row(offset).map_err(|fault| fault.to_string())
    }
}

impl Fields {
    /// Splits one line.
    fn read(&mut self, reader: &mut Reader, line: &[u8], quote: u8) -> Result<(), String> {
        self.bytes.resize(self.bytes.len().max(line.len()), 0);
        self.ends.resize(self.ends.len().max(line.len() + 1), 0);
        reader.reset();
        let (_, read, written, ends) = reader.read_record(line, &mut self.bytes, &mut self.ends);
        let mut count = ends;
        let open = memchr::memchr_iter(quote, line).count() % 2 == 1;
        let (result, _, _, ends) = reader.read_record(&[], &mut self.bytes[written..], &mut self.ends[ends..]);
        count += ends;
        if read < line.len() || !matches!(result, ReadRecordResult::Record) {
            return Err(format!("not valid CSV: {}", clipped(&String::from_utf8_lossy(line))));
        }
        if open {
            return Err("a quote is not closed on its line; line breaks inside a field are not supported".to_string());
        }
        self.count = count;
        Ok(())
    }

    fn text(&self) -> Result<&str, String> {
        let len = self.count.checked_sub(1).map_or(0, |last| self.ends[last]);
        std::str::from_utf8(&self.bytes[..len])
            .map_err(|error| format!("not valid UTF-8 at byte {}", error.valid_up_to()))
    }

    fn iter<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        // A field border inside a character is possible only where the delimiter is, which is ASCII.
        starts.zip(&self.ends[..self.count]).map(|(start, end)| text.get(start..*end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
