//! JSON: one object a line (NDJSON).
//!
//! One pass over the bytes, straight into columns. Records of one stream are alike, so the text between two values
//! (comma, key, colon, blanks) is expected to be what stood in that place in the record before: then finding a field
//! is one comparison. Where the guess is wrong the key is parsed and looked up. An object that a struct is declared for is
//! read in the same way. No string may hold a control character, so a line's end needs no search of its own: the parser
//! meets it. What lies deeper than a plain value (escapes, lists, other objects) is given to `sonic-rs`, and so is a line
//! that is no JSON, to say what is wrong with it.

mod changelog;
mod document;
mod scanner;

pub use changelog::{DEBEZIUM, UPSERT};
pub use document::{Lines, to_lines};

use super::column::Object;
use super::rows::Rows;
use super::value::{Fault, Value, clipped};
use super::{DecodeRequest, Decoded, Decoder, EMPTY, FormatSpec, Framing, TOMBSTONE};
use crate::error::Result;
use crate::messages::Message;
use scanner::{DEPTH_MAX, Scanner};
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
    Ok(Box::new(JsonDecoder { rows: Rows::new(&request)?, layout: Layout::default() }))
}

struct JsonDecoder {
    rows: Rows,
    layout: Layout,
}

/// What stood before the values of the last object: the n-th of these before its n-th value.
#[derive(Default)]
struct Layout(Vec<Place>);

struct Place {
    /// From the end of the value before (or the opening brace) to the beginning of the value.
    text: Vec<u8>,
    /// The field that its key names.
    field: Option<usize>,
    /// How the value is laid out, where it is an object.
    inside: Layout,
}

/// What an object is read into.
trait Target {
    /// The field that the key `name` stands for.
    fn named(&self, name: &str) -> Option<usize>;
    fn put(&mut self, field: usize, value: Value) -> Result<(), Box<Fault>>;
    /// What the object in `field` is read into, if it is declared as one; then `close` hears of what came of it.
    fn object(&mut self, field: usize) -> Option<Object<'_>>;
    fn close(&mut self, field: usize, outcome: Result<(), Box<Fault>>) -> Result<(), Box<Fault>>;
}

impl Target for Rows {
    fn named(&self, name: &str) -> Option<usize> {
        self.schema().fields().iter().position(|field| field.name() == name)
    }

    #[inline(always)]
    fn put(&mut self, field: usize, value: Value) -> Result<(), Box<Fault>> {
        Rows::put(self, field, value)
    }

    fn object(&mut self, field: usize) -> Option<Object<'_>> {
        Rows::object(self, field)
    }

    fn close(&mut self, field: usize, outcome: Result<(), Box<Fault>>) -> Result<(), Box<Fault>> {
        self.end(field, outcome)
    }
}

impl Target for Object<'_> {
    fn named(&self, name: &str) -> Option<usize> {
        self.field(name)
    }

    #[inline(always)]
    fn put(&mut self, field: usize, value: Value) -> Result<(), Box<Fault>> {
        Object::put(self, field, value)
    }

    fn object(&mut self, field: usize) -> Option<Object<'_>> {
        self.column(field).object()
    }

    fn close(&mut self, field: usize, outcome: Result<(), Box<Fault>>) -> Result<(), Box<Fault>> {
        outcome.map_err(|fault| fault.within(self.name(field)))
    }
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
        read(&mut self.rows, &mut self.layout, scanner)?;
        scanner.end_of_line()
    }
}

/// Reads an object; the scanner then stands behind it.
#[inline]
fn read<T: Target>(target: &mut T, layout: &mut Layout, scanner: &mut Scanner) -> Result<(), Stop> {
    scanner.expect(b'{')?;
    if scanner.blanks() == Some(b'}') {
        scanner.at += 1;
        return Ok(());
    }
    let mut nth = 0;
    loop {
        let field = match layout.0.get(nth) {
            Some(place) if scanner.skip(&place.text) => place.field,
            _ => layout.learn(scanner, nth, |name| target.named(name))?,
        };
        if let (Some(field), Some(b'{')) = (field, scanner.peek())
            && let Some(object) = target.object(field)
        {
            let outcome = fill(object, layout.0.get_mut(nth).map(|place| &mut place.inside), scanner)?;
            target.close(field, outcome)?;
        } else {
            take(target, field, scanner)?;
        }
        nth += 1;
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
    Ok(())
}

/// Reads a value that is not read field by field.
///
/// What a value is and which column it goes to are one choice here: a `Value` that several cases shared would be written to
/// memory, moved and read again in words of other widths, which the processor waits for.
#[inline(always)]
fn take<T: Target>(target: &mut T, field: Option<usize>, scanner: &mut Scanner) -> Result<(), Stop> {
    match scanner.peek() {
        Some(b'"') => {
            let (quoted, escaped) = scanner.string()?;
            match field {
                Some(field) if escaped => take_escaped(target, field, quoted)?,
                Some(field) => target.put(field, Value::Text(&quoted[1..quoted.len() - 1]))?,
                None => {}
            }
        }
        Some(b'-' | b'0'..=b'9') => {
            let number = scanner.number()?;
            if let Some(field) = field {
                target.put(field, Value::Number(number))?;
            }
        }
        Some(b'n') if scanner.skip(b"null") => {
            if let Some(field) = field {
                target.put(field, Value::Null)?;
            }
        }
        _ => return take_other(target, field, scanner),
    }
    Ok(())
}

#[inline(never)]
fn take_other<T: Target>(target: &mut T, field: Option<usize>, scanner: &mut Scanner) -> Result<(), Stop> {
    // More blanks than stood here in the record before.
    if let Some(b'"' | b'-' | b'0'..=b'9') = scanner.blanks() {
        return take(target, field, scanner);
    }
    let value = scanner.other()?;
    if let Some(field) = field {
        target.put(field, value)?;
    }
    Ok(())
}

#[cold]
fn take_escaped<T: Target>(target: &mut T, field: usize, quoted: &str) -> Result<(), Stop> {
    let text = sonic_rs::from_str::<String>(quoted).map_err(|_| Stop::Syntax)?;
    Ok(target.put(field, Value::Text(&text))?)
}

/// Reads an object into a struct; what is wrong with its values is told apart from what is no JSON.
fn fill(
    mut object: Object<'_>,
    layout: Option<&mut Layout>,
    scanner: &mut Scanner,
) -> Result<Result<(), Box<Fault>>, Stop> {
    match read(&mut object, layout.unwrap_or(&mut Layout::default()), scanner) {
        Ok(()) => Ok(object.end()),
        Err(Stop::Fault(fault)) => Ok(Err(fault)),
        Err(Stop::Syntax) => Err(Stop::Syntax),
    }
}

impl Layout {
    /// Parses the key that stands `nth` in the object, and expects it there from now on.
    #[cold]
    fn learn(
        &mut self,
        scanner: &mut Scanner,
        nth: usize,
        named: impl Fn(&str) -> Option<usize>,
    ) -> Result<Option<usize>, Stop> {
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
        let field = named(&key);
        let text = scanner.text.as_bytes()[start..scanner.at].to_vec();
        match self.0.get_mut(nth) {
            Some(old) if old.field == field => old.text = text,
            Some(old) => *old = Place { text, field, inside: Layout::default() },
            // A record of very many keys is not worth remembering whole.
            None if nth < PLACES_MAX => self.0.push(Place { text, field, inside: Layout::default() }),
            None => {}
        }
        Ok(field)
    }
}

const PLACES_MAX: usize = 1_024;

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
