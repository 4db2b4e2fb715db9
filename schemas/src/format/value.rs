//! Values as a text format spells them, and how they become numbers, points in time and truth values.
//!
//! The formats share these rules, so that a column reads the same whether its record came as JSON or as CSV:
//!
//! - numbers may stand in quotes if the whole text is a number; `3.0` is a whole number, `3.5` is not;
//! - times are RFC 3339 with `T` or a space (or whatever else Arrow reads), without an offset they are UTC, or local
//!   to the time zone of the column;
//! - a bare number is a time since 1970, its unit taken from its magnitude: below 10^11 seconds (until the year
//!   5138), below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds; a fraction is allowed.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{Date32Type, TimeUnit};
use arrow::temporal_conversions::timestamp_ns_to_datetime;
use std::fmt;

/// A value of a record, not yet of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(&'a str),
    /// An object or a list, as JSON text that was found valid.
    Nested(&'a str),
    /// A whole number, of a format that has such.
    Integer(i128),
    Float(f64),
    Bytes(&'a [u8]),
    /// A point in time: seconds since 1970, and nanoseconds from there on.
    Instant(i64, i32),
    /// An object or a list that is no text.
    Tree(&'a dyn Tree),
}

/// An object, a list or a map, of a format that is no text.
pub(crate) trait Tree: fmt::Debug {
    /// Has each item of a list taken; `None` if it is none.
    fn items(&self, take: &mut dyn FnMut(Value) -> Result<(), Box<Fault>>) -> Option<Result<(), Box<Fault>>>;

    /// Has each key of a map or an object taken with its value; `None` if it is neither.
    fn entries(&self, take: &mut dyn FnMut(Value, Value) -> Result<(), Box<Fault>>) -> Option<Result<(), Box<Fault>>>;

    /// Has the value of an object's field taken, NULL if there is none; `None` if it is no object.
    fn field(
        &self,
        name: &str,
        take: &mut dyn FnMut(Value) -> Result<(), Box<Fault>>,
    ) -> Option<Result<(), Box<Fault>>>;

    /// It as JSON.
    fn to_json(&self) -> String;
}

/// What is wrong with a value: where it was to go, and why it does not fit there.
#[derive(Debug)]
pub(crate) struct Fault {
    path: String,
    what: Option<String>,
}

impl Fault {
    pub(crate) fn null() -> Box<Fault> {
        Box::new(Fault { path: String::new(), what: None })
    }

    pub(crate) fn because(what: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { path: String::new(), what: Some(what.into()) })
    }

    #[cold]
    pub(crate) fn expected(what: &str, got: &Value) -> Box<Fault> {
        Fault::because(format!("expected {what}, got {got}"))
    }

    /// The same fault, seen from the column or field `name` that holds the value.
    #[cold]
    pub(crate) fn within(mut self: Box<Fault>, name: &str) -> Box<Fault> {
        self.path = if self.path.is_empty() { name.to_string() } else { format!("{name}.{}", self.path) };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            None => write!(f, "column \"{}\" is NULL but declared NOT NULL", self.path),
            Some(what) => write!(f, "column \"{}\": {what}", self.path),
        }
    }
}

/// The value as a message quotes it: shortened, text in quotes.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => f.write_str(&clipped(number.text)),
            Value::Text(text) => write!(f, "\"{}\"", clipped(text)),
            Value::Nested(json) => f.write_str(&clipped(json)),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::Instant(seconds, nanos) => f.write_str(&instant(*seconds, *nanos)),
            Value::Tree(tree) => f.write_str(&clipped(&tree.to_json())),
        }
    }
}

/// A point in time as text, in UTC.
pub(crate) fn instant(seconds: i64, nanos: i32) -> String {
    let at = seconds.checked_mul(1_000_000_000).and_then(|at| at.checked_add(nanos.into()));
    let at = at.and_then(timestamp_ns_to_datetime);
    at.map_or_else(|| format!("{seconds} s and {nanos} ns"), |at| format!("{}Z", at.format("%Y-%m-%dT%H:%M:%S%.f")))
}

const QUOTED_CHARS_MAX: usize = 80;

pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => text.to_string(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// A decimal number: `mantissa` times ten to the `exponent`, where all its digits fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    pub(crate) text: &'a str,
    negative: bool,
    mantissa: u64,
    exponent: i32,
    /// Whether `mantissa` and `exponent` say all that `text` says.
    exact: bool,
}

/// As many decimal digits fit into a `u64` whatever they are.
const DIGITS_MAX: usize = 19;

impl<'a> Number<'a> {
    /// The number that begins at `at`, by JSON's grammar, and where it ends.
    #[inline(always)]
    pub(crate) fn scan(text: &'a str, at: usize) -> Option<(Number<'a>, usize)> {
        let start = at;
        let (number, end) = scan_digits(text, at)?;
        let first = text.as_bytes()[start + usize::from(number.negative)];
        let second = text.as_bytes().get(start + usize::from(number.negative) + 1);
        if first == b'0' && second.is_some_and(u8::is_ascii_digit) {
            return None;
        }
        Some((number, end))
    }

    /// The number that `text` is as a whole, where it may be padded and led by zeros or a plus sign.
    pub(crate) fn whole(text: &'a str) -> Option<Number<'a>> {
        let text = text.trim_ascii();
        let text = text.strip_prefix('+').unwrap_or(text);
        let (number, end) = scan_digits(text, 0)?;
        (end == text.len()).then_some(number)
    }

    #[inline]
    pub(crate) fn to_f64(self) -> f64 {
        // Both factors are exact, so the one operation rounds correctly (Clinger's fast path).
        if self.exact && self.mantissa <= 1 << 53 && self.exponent.unsigned_abs() < POWERS.len() as u32 {
            let power = POWERS[self.exponent.unsigned_abs() as usize];
            let magnitude = self.mantissa as f64;
            let value = if self.exponent < 0 { magnitude / power } else { magnitude * power };
            return if self.negative { -value } else { value };
        }
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// Its value, if it is written as a whole number of at most 63 bits.
    #[inline(always)]
    pub(crate) fn to_small_integer(self) -> Option<i64> {
        let magnitude = i64::try_from(self.mantissa).ok().filter(|_| self.exact && self.exponent == 0)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// Its value, if it is a whole number of at most 128 bits.
    pub(crate) fn to_integer(self) -> Option<i128> {
        if !self.exact {
            let text = match self.text.split_once('.') {
                Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
                _ => self.text,
            };
            return text.parse().ok();
        }
        let magnitude = match self.exponent {
            _ if self.mantissa == 0 => 0,
            0.. => i128::from(self.mantissa).checked_mul(10i128.checked_pow(self.exponent.unsigned_abs())?)?,
            _ => {
                let divisor = 10i128.checked_pow(self.exponent.unsigned_abs())?;
                let mantissa = i128::from(self.mantissa);
                (mantissa % divisor == 0).then_some(mantissa / divisor)?
            }
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// Whether it has a part after the decimal point that is not zero.
    pub(crate) fn is_fraction(self) -> bool {
        self.to_integer().is_none() && self.to_f64().fract() != 0.0
    }
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[inline(always)]
fn scan_digits(text: &str, start: usize) -> Option<(Number<'_>, usize)> {
    let bytes = text.as_bytes();
    let mut at = start;
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(negative);

    let mut mantissa = 0u64;
    let first = at;
    while let Some(digit) = digit(bytes, at) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    let mut digits = at - first;
    if digits == 0 {
        return None;
    }
    let mut exponent = 0;
    if bytes.get(at) == Some(&b'.') {
        let first = at + 1;
        at = first;
        while let Some(digit) = digit(bytes, at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
            at += 1;
        }
        if at == first {
            return None;
        }
        digits += at - first;
        exponent = -i32::try_from(at - first).ok()?;
    }
    let mut exact = digits <= DIGITS_MAX;
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        let minus = bytes.get(at) == Some(&b'-');
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let first = at;
        let mut power = 0i32;
        while let Some(digit) = digit(bytes, at) {
            power = power.saturating_mul(10).saturating_add(digit as i32);
            at += 1;
        }
        if at == first {
            return None;
        }
        exact &= power < 1_000;
        exponent = exponent.saturating_add(if minus { -power } else { power });
    }
    Some((Number { text: &text[start..at], negative, mantissa, exponent, exact }, at))
}

#[inline]
fn digit(bytes: &[u8], at: usize) -> Option<u64> {
    let digit = bytes.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// Reads points in time; remembers the last minute and the last date, since one record's are mostly the next one's.
#[derive(Debug)]
pub(crate) struct TimestampParser {
    unit: TimeUnit,
    /// The zone of times that name none; `None` is UTC.
    zone: Option<Tz>,
    date: [u8; 10],
    date_days: i64,
    /// A minute as it was written, date and all, and when it began: seconds since 1970.
    minute: ([u8; 16], i64),
}

impl TimestampParser {
    pub(crate) fn new(unit: TimeUnit, zone: Option<Tz>) -> TimestampParser {
        TimestampParser { unit, zone, date: *b"1970-01-01", date_days: 0, minute: (*b"1970-01-01T00:00", 0) }
    }

    /// The time in `text`, in the column's unit.
    #[inline]
    pub(crate) fn text(&mut self, text: &str) -> Option<i64> {
        let (seconds, nanos) = match self.fixed_layout(text.as_bytes()) {
            Some(parts) => parts,
            None => self.any_layout(text)?,
        };
        in_unit(seconds, nanos, self.unit)
    }

    /// The time that a number since 1970 stands for; its magnitude tells its unit.
    pub(crate) fn number(&self, number: Number) -> Option<i64> {
        let count = number.to_f64();
        let scale = 1_000_000_000 / i128::from(per_second(count));
        let nanos = match number.to_integer() {
            Some(count) => count.checked_mul(scale)?,
            // Decimal digits are kept exactly: through floating point, milliseconds would be off by one.
            None if number.exact && (-18..0).contains(&number.exponent) => {
                let magnitude = i128::from(number.mantissa) * scale / 10i128.pow(number.exponent.unsigned_abs());
                if number.negative { -magnitude } else { magnitude }
            }
            None => (count * scale as f64).round() as i128,
        };
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        in_unit(seconds, nanos.rem_euclid(1_000_000_000) as i64, self.unit)
    }

    /// A point in time in the column's unit.
    #[inline]
    pub(crate) fn instant(&self, seconds: i64, nanos: i32) -> Option<i64> {
        (0..1_000_000_000).contains(&nanos).then(|| in_unit(seconds, i64::from(nanos), self.unit))?
    }

    /// `YYYY-MM-DDTHH:MM:SS[.frac][Z|+hh:mm]`: seconds and nanoseconds.
    #[inline]
    fn fixed_layout(&mut self, text: &[u8]) -> Option<(i64, i64)> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        let (minute, &[b':', s1, s2]) = head.split_first_chunk::<16>()? else { return None };
        if *minute != self.minute.0 {
            self.minute = (*minute, self.minute_at(minute)?);
        }
        let second = two_digits(s1, s2).filter(|second| *second <= 59)?;
        let mut nanos = 0u64;
        let mut at = 0;
        if rest.first() == Some(&b'.') {
            at = 1;
            while let Some(digit) = digit(rest, at) {
                nanos = nanos.wrapping_mul(10).wrapping_add(digit);
                at += 1;
            }
            if !(2..=10).contains(&at) {
                return None;
            }
            nanos *= SCALES[10 - at];
        }
        let east = match &rest[at..] {
            [] if self.zone.is_none() => 0,
            [b'Z' | b'z'] => 0,
            &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let seconds = two_digits(h1, h2)? * 3_600 + two_digits(m1, m2)? * 60;
                if sign == b'-' { -seconds } else { seconds }
            }
            _ => return None,
        };
        Some((self.minute.1 + second - east, nanos as i64))
    }

    /// When the minute `YYYY-MM-DDTHH:MM` began: seconds since 1970.
    #[inline(never)]
    fn minute_at(&mut self, minute: &[u8; 16]) -> Option<i64> {
        let (date, clock) = minute.split_first_chunk::<10>()?;
        let &[b'T' | b't' | b' ', h1, h2, b':', m1, m2] = clock else { return None };
        let (hour, minute) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
        if hour > 23 || minute > 59 {
            return None;
        }
        if *date != self.date {
            let text = std::str::from_utf8(date).ok()?;
            let &[_, _, _, _, b'-', _, _, b'-', _, _] = date else { return None };
            self.date_days = i64::from(Date32Type::parse(text)?);
            self.date = *date;
        }
        Some(self.date_days * 86_400 + hour * 3_600 + minute * 60)
    }

    #[cold]
    fn any_layout(&self, text: &str) -> Option<(i64, i64)> {
        let text = text.trim_ascii();
        let zone = self.zone.or_else(|| "+00:00".parse().ok())?;
        let at = string_to_datetime(&zone, text).ok()?;
        Some((at.timestamp(), i64::from(at.timestamp_subsec_nanos())))
    }
}

const SCALES: [u64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(i64::from(tens) * 10 + i64::from(ones))
}

fn per_second(count: f64) -> i64 {
    match count.abs() {
        n if n < 1e11 => 1,
        n if n < 1e14 => 1_000,
        n if n < 1e17 => 1_000_000,
        _ => 1_000_000_000,
    }
}

#[inline]
fn in_unit(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(seconds),
        TimeUnit::Millisecond => seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000),
        TimeUnit::Microsecond => seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000),
        TimeUnit::Nanosecond => i64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).ok(),
    }
}

/// The truth value in `text`.
pub(crate) fn truth(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    let is_any = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match () {
        () if is_any(&["true", "t", "yes", "1"]) => Some(true),
        () if is_any(&["false", "f", "no", "0"]) => Some(false),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(text: &str) -> Option<i64> {
        TimestampParser::new(TimeUnit::Microsecond, None).text(text)
    }

    #[test]
    fn reads_times_in_every_layout() {
        let new_year = 1_767_225_600_000_000;
        assert_eq!(micros("2026-01-01T00:00:00.000100Z"), Some(new_year + 100));
        assert_eq!(micros("2026-01-01 00:00:00"), Some(new_year));
        assert_eq!(micros("2026-01-01"), Some(new_year));
        assert_eq!(micros("2026-01-01T02:00:00.5+02:00"), Some(new_year + 500_000));
        assert_eq!(micros("2025-12-31T19:00:00-05:00"), Some(new_year));
        assert_eq!(micros("2026-02-30T00:00:00Z"), None);
        assert_eq!(micros("2026-01-01T25:00:00Z"), None);
        assert_eq!(micros("yesterday"), None);
    }

    #[test]
    fn a_time_without_an_offset_is_local_to_the_column() {
        let mut berlin = TimestampParser::new(TimeUnit::Second, Some("+01:00".parse().unwrap()));
        assert_eq!(berlin.text("2026-01-01T01:00:00"), Some(1_767_225_600));
        assert_eq!(berlin.text("2026-01-01T01:00:00Z"), Some(1_767_225_600 + 3_600));
    }

    #[test]
    fn the_magnitude_of_a_number_tells_its_unit() {
        let parser = TimestampParser::new(TimeUnit::Millisecond, None);
        let at = |text| parser.number(Number::whole(text).unwrap());
        let expected = Some(1_767_225_600_123);
        assert_eq!(at("1767225600"), Some(1_767_225_600_000));
        assert_eq!(at("1767225600.123"), expected);
        assert_eq!(at("1767225600123"), expected);
        assert_eq!(at("1767225600123456"), expected);
        assert_eq!(at("1767225600123456789"), expected);
        assert_eq!(at("-1"), Some(-1_000));
    }

    #[test]
    fn years_beyond_the_unit_are_not_times() {
        assert_eq!(TimestampParser::new(TimeUnit::Nanosecond, None).text("9999-01-01T00:00:00Z"), None);
        assert!(micros("9999-01-01T00:00:00Z").is_some());
    }

    proptest! {
        #[test]
        fn floats_read_as_the_standard_library_reads_them(value: f64) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
                let read = Number::whole(&text).unwrap().to_f64();
                prop_assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
            }
        }

        #[test]
        fn integers_read_back(value: i64, zeros in 0usize..3) {
            let text = format!("{value}.{}", "0".repeat(zeros));
            let text = text.trim_end_matches('.');
            prop_assert_eq!(Number::whole(text).and_then(Number::to_integer), Some(i128::from(value)));
        }

        #[test]
        fn the_fast_layout_reads_times_as_arrow_does(nanos in -8_000_000_000_000_000_000i64..8_000_000_000_000_000_000) {
            let at = arrow::temporal_conversions::timestamp_ns_to_datetime(nanos).unwrap();
            let text = format!("{}Z", at.format("%Y-%m-%dT%H:%M:%S%.f"));
            let mut parser = TimestampParser::new(TimeUnit::Nanosecond, None);
            prop_assert_eq!(parser.text(&text), Some(nanos));
            prop_assert!(parser.fixed_layout(text.as_bytes()).is_some());
        }
    }
}
