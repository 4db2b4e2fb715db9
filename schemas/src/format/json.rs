//! JSON: one object a line (NDJSON).
//!
//! One pass over the bytes, straight into columns. Records of one stream are alike, so the text between two values
//! (comma, key, colon, blanks) is expected to be what stood in that place in the record before: then finding a field
//! is one comparison. Where the guess is wrong the key is parsed and looked up. No string may hold a control
//! character, so a line's end needs no search of its own: the parser meets it. What lies deeper than a plain value
//! (escapes, objects, lists) is given to `sonic-rs`, and so is a line that is no JSON, to say what is wrong with it.

mod changelog;
mod document;

pub use changelog::{DEBEZIUM, UPSERT};
pub use document::{Lines, to_lines};

use super::rows::Rows;
use super::value::{Fault, Number, Value, clipped};
use super::{DecodeRequest, Decoded, Decoder, EMPTY, FormatSpec, Framing, TOMBSTONE};
use crate::error::Result;
use crate::messages::Message;
use sonic_rs::LazyValue;
use std::borrow::Cow;

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "json",
    doc: "One JSON object a line (NDJSON).",
    options: &[],
    changelog: false,
    framing: Framing::Lines,
    decoder: Some(decoder),
};

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    Ok(Box::new(JsonDecoder { rows: Rows::new(&request)?, layout: Vec::new() }))
}

struct JsonDecoder {
    rows: Rows,
    layout: Vec<Place>,
}

/// What stood before a value of the last record: the n-th of these before its n-th value.
struct Place {
    /// From the end of the value before (or the opening brace) to the beginning of the value.
    text: Vec<u8>,
    /// The field that its key names.
    field: Option<usize>,
}

/// Why a record is no row.
enum Stop {
    /// It is no JSON object on one line.
    Syntax,
    Fault(Box<Fault>),
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Stop {
        Stop::Fault(fault)
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, bytes: &[u8], origin: u64) -> Result<Decoded> {
        self.rows.reserve();
        self.decode_bytes(bytes, |start| origin + start as u64);
        self.rows.finish()
    }

    fn message(&mut self, message: Message<'_>) {
        let Some(value) = message.value else {
            return self.rows.take_back(message.offset, &[], TOMBSTONE.to_string());
        };
        let before = self.rows.seen();
        if before == 0 {
            self.rows.reserve();
        }
        if !self.spread_out(value, message.offset) {
            self.decode_bytes(value, |_| message.offset);
        }
        if self.rows.seen() == before {
            self.rows.take_back(message.offset, value, EMPTY.to_string());
        }
    }

    fn finish(&mut self) -> Result<Decoded> {
        self.rows.finish()
    }
}

impl JsonDecoder {
    /// Takes an object that is spread over several lines, if that is what the message is.
    fn spread_out(&mut self, value: &[u8], offset: u64) -> bool {
        let first = value.trim_ascii_start();
        let Some(end) = memchr::memchr(b'\n', first) else { return false };
        // The first of several objects ends on its line.
        if first[..end].trim_ascii_end().ends_with(b"}") || sonic_rs::from_slice::<LazyValue>(value).is_err() {
            return false;
        }
        // No string of valid JSON holds a line's end, so these are blanks.
        let flat: Vec<u8> = value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        self.decode_bytes(&flat, |_| offset);
        true
    }

    /// Takes whole lines; `offset` knows a line's by where it begins.
    fn decode_bytes(&mut self, bytes: &[u8], offset: impl Fn(usize) -> u64) {
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => text,
                Err(error) => {
                    let lines = rest[..error.valid_up_to()].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                    std::str::from_utf8(&rest[..lines]).unwrap_or_default()
                }
            };
            self.decode_text(valid, |at| offset(start + at));
            start += valid.len();
            if start < bytes.len() {
                let line = line_at(bytes, start);
                let reason = match std::str::from_utf8(line) {
                    Err(error) => format!("not valid UTF-8 at byte {}", error.valid_up_to()),
                    Ok(_) => "not valid UTF-8".to_string(),
                };
                self.rows.take_back(offset(start), line, reason);
                start += line.len() + 1;
            }
        }
    }

    fn decode_text(&mut self, text: &str, offset: impl Fn(usize) -> u64) {
        let mut start = 0;
        while start < text.len() {
            let mut scanner = Scanner { text, at: start };
            match scanner.blanks() {
                Some(b'\n') => {
                    start = scanner.at + 1;
                    continue;
                }
                None => return,
                _ => {}
            }
            let offset = offset(start);
            let ended = self.record(&mut scanner).and_then(|()| Ok(self.rows.end_row(offset)?));
            match ended {
                Ok(()) => start = scanner.at + 1,
                Err(stop) => {
                    let len = line_at(text.as_bytes(), start).len();
                    let line = text[start..start + len].trim_end_matches('\r');
                    let reason = match stop {
                        Stop::Syntax => syntax_error(line),
                        Stop::Fault(fault) => fault.to_string(),
                    };
                    self.rows.take_back(offset, line.as_bytes(), reason);
                    start += len + 1;
                }
            }
        }
    }

    /// Reads one object and the blanks after it; the scanner then stands at the end of the line.
    #[inline]
    fn record(&mut self, scanner: &mut Scanner) -> Result<(), Stop> {
        scanner.expect(b'{')?;
        if scanner.blanks() == Some(b'}') {
            scanner.at += 1;
            return scanner.end_of_line();
        }
        let mut nth = 0;
        loop {
            let field = match self.layout.get(nth) {
                Some(place) if scanner.skip(&place.text) => place.field,
                _ => self.learn(scanner, nth)?,
            };
            nth += 1;
            let quoted;
            let value = match scanner.value()? {
                Scanned::Plain(value) => value,
                Scanned::Escaped(raw) => {
                    quoted = sonic_rs::from_str::<String>(raw).map_err(|_| Stop::Syntax)?;
                    Value::Text(&quoted)
                }
            };
            if let Some(field) = field {
                self.rows.put(field, value)?;
            }
            match scanner.peek() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => match scanner.blanks() {
                    Some(b',') => {}
                    Some(b'}') => break,
                    _ => return Err(Stop::Syntax),
                },
            }
        }
        scanner.at += 1;
        scanner.end_of_line()
    }

    /// Parses the key that stands `nth` in the record, and expects it there from now on.
    #[cold]
    fn learn(&mut self, scanner: &mut Scanner, nth: usize) -> Result<Option<usize>, Stop> {
        let start = scanner.at;
        if nth > 0 {
            scanner.expect(b',')?;
        }
        scanner.blanks();
        scanner.expect(b'"')?;
        let key_start = scanner.at;
        let escaped = scanner.string_end()?;
        let key: Cow<str> = if escaped {
            let raw = &scanner.text[key_start - 1..scanner.at];
            Cow::Owned(sonic_rs::from_str(raw).map_err(|_| Stop::Syntax)?)
        } else {
            Cow::Borrowed(&scanner.text[key_start..scanner.at - 1])
        };
        scanner.blanks();
        scanner.expect(b':')?;
        scanner.blanks();
        let field = self.rows.schema().fields().iter().position(|field| *field.name() == *key);
        let place = Place { text: scanner.text.as_bytes()[start..scanner.at].to_vec(), field };
        match self.layout.get_mut(nth) {
            Some(old) => *old = place,
            // A record of very many keys is not worth remembering whole.
            None if nth < PLACES_MAX => self.layout.push(place),
            None => {}
        }
        Ok(field)
    }
}

const PLACES_MAX: usize = 1_024;

/// How deep objects and lists may lie in each other.
const DEPTH_MAX: usize = 100;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

enum Scanned<'a> {
    Plain(Value<'a>),
    /// A string with escapes, quotes included.
    Escaped(&'a str),
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no blank; a line's end is not a blank.
    #[inline]
    fn blanks(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek() != Some(byte) {
            return Err(Stop::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn skip(&mut self, expected: &[u8]) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    #[inline]
    fn end_of_line(&mut self) -> Result<(), Stop> {
        match self.blanks() {
            None | Some(b'\n') => Ok(()),
            Some(_) => Err(Stop::Syntax),
        }
    }

    #[inline]
    fn value(&mut self) -> Result<Scanned<'a>, Stop> {
        let start = self.at;
        Ok(Scanned::Plain(match self.peek() {
            Some(b'"') => {
                self.at += 1;
                if self.string_end()? {
                    return Ok(Scanned::Escaped(&self.text[start..self.at]));
                }
                Value::Text(&self.text[start + 1..self.at - 1])
            }
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = Number::scan(self.text, start).ok_or(Stop::Syntax)?;
                self.at = end;
                Value::Number(number)
            }
            Some(b'{' | b'[') => self.nested()?,
            Some(b't') if self.skip(b"true") => Value::Bool(true),
            Some(b'f') if self.skip(b"false") => Value::Bool(false),
            Some(b'n') if self.skip(b"null") => Value::Null,
            // More blanks than stood here in the record before.
            Some(b' ' | b'\t' | b'\r') => {
                self.blanks();
                return self.value();
            }
            _ => return Err(Stop::Syntax),
        }))
    }

    /// Goes behind the quote that ends the string; whether it has escapes.
    #[inline]
    fn string_end(&mut self) -> Result<bool, Stop> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            while let Some(chunk) = bytes[self.at..].first_chunk::<8>() {
                let stops = string_stops(u64::from_le_bytes(*chunk));
                if stops != 0 {
                    self.at += (stops.trailing_zeros() / 8) as usize;
                    break;
                }
                self.at += 8;
            }
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') if bytes.get(self.at + 1).is_some_and(|next| *next >= b' ') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0x20..) if bytes[self.at] != b'\\' => self.at += 1,
                _ => return Err(Stop::Syntax),
            }
        }
    }

    /// Goes behind an object or a list, and has it checked.
    fn nested(&mut self) -> Result<Value<'a>, Stop> {
        let start = self.at;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Stop::Syntax);
                    }
                }
                Some(b'}' | b']') => depth -= 1,
                Some(b'"') => {
                    self.at += 1;
                    self.string_end()?;
                    continue;
                }
                None | Some(b'\n') => return Err(Stop::Syntax),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        let json = &self.text[start..self.at];
        sonic_rs::from_str::<LazyValue>(json).map_err(|_| Stop::Syntax)?;
        Ok(Value::Nested(json))
    }
}

/// The bytes of `word` at which a string's plain text stops (quote, backslash, control character): the high bit of
/// the first of them is set and none below.
#[inline]
fn string_stops(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zeros = |x: u64| x.wrapping_sub(ONES) & !x;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64)) | controls) & HIGHS
}

/// The line that begins at `start`, without its end.
fn line_at(bytes: &[u8], start: usize) -> &[u8] {
    let rest = &bytes[start..];
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// What is wrong with a line that is no JSON object.
#[cold]
fn syntax_error(line: &str) -> String {
    let mut depth = 0usize;
    for byte in line.bytes() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return format!("objects and lists lie more than {DEPTH_MAX} deep in each other");
        }
    }
    match sonic_rs::from_str::<sonic_rs::Value>(line) {
        Err(error) => not_json(&error, 0),
        Ok(_) => format!("expected a JSON object, got {}", clipped(line.trim_ascii())),
    }
}

/// What is wrong with a text that begins `before` bytes into what came.
fn not_json(error: &sonic_rs::Error, before: usize) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().trim().to_string();
    format!("not valid JSON at byte {}: {}", before + error.offset(), lower_first(&message))
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
