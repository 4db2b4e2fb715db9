//! Values become what a column holds, or a fault that names what was expected and quotes what came.

use super::value::{Fault, Number, TimestampParser, Value, clipped};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Date32Type;

#[inline]
pub(crate) fn to_float(value: Value) -> Result<f64, Box<Fault>> {
    let parsed = match value {
        Value::Number(number) => number.to_f64(),
        Value::Text(text) => match Number::whole(text) {
            Some(number) => number.to_f64(),
            None => return text.trim_ascii().parse().map_err(|_| Fault::expected("a number", &value)),
        },
        Value::Float(float) => return Ok(float),
        Value::Integer(whole) => return Ok(whole as f64),
        _ => return Err(Fault::expected("a number", &value)),
    };
    finite_or(parsed, parsed.is_finite(), value)
}

#[inline]
pub(crate) fn finite_or<T>(parsed: T, finite: bool, value: Value) -> Result<T, Box<Fault>> {
    match value {
        Value::Number(number) if !finite => {
            Err(Fault::because(format!("{} is out of range for a floating-point number", number.text)))
        }
        _ => Ok(parsed),
    }
}

#[inline(always)]
pub(crate) fn to_integer<T: Whole>(value: Value) -> Result<T, Box<Fault>> {
    if let Value::Number(number) = value
        && let Some(whole) = number.to_small_integer()
        && let Ok(whole) = T::try_from(whole)
    {
        return Ok(whole);
    }
    to_any_integer(value)
}

/// As [`to_integer`], for whatever is not just some digits.
#[inline(never)]
fn to_any_integer<T: Whole>(value: Value) -> Result<T, Box<Fault>> {
    let number = match value {
        Value::Number(number) => number,
        Value::Text(text) => Number::whole(text).ok_or_else(|| Fault::expected("a number", &value))?,
        Value::Integer(whole) => return T::try_from(whole).map_err(|_| out_of_range::<T>(&whole.to_string())),
        Value::Float(float) => return float_to_integer(float).ok_or_else(|| Fault::expected("a whole number", &value)),
        _ => return Err(Fault::expected("a number", &value)),
    };
    match number.to_integer() {
        Some(whole) => T::try_from(whole).map_err(|_| out_of_range::<T>(number.text)),
        None if number.is_fraction() => Err(Fault::expected("a whole number", &value)),
        None => Err(out_of_range::<T>(number.text)),
    }
}

#[cold]
fn out_of_range<T: Whole>(number: &str) -> Box<Fault> {
    Fault::because(format!("{} is out of range ({} to {})", clipped(number), T::MIN, T::MAX))
}

/// The whole number that a floating-point number is, if it is one.
fn float_to_integer<T: Whole>(float: f64) -> Option<T> {
    // Beyond 2^127 the cast would saturate, and no column is as wide.
    (float.fract() == 0.0 && float.abs() < 1e30).then(|| T::try_from(float as i128).ok())?
}

/// The whole numbers that a column can hold.
pub(crate) trait Whole: TryFrom<i64> + TryFrom<i128> {
    const MIN: i128;
    const MAX: i128;
}

macro_rules! whole {
    ($($native:ty),*) => {
        $(impl Whole for $native {
            const MIN: i128 = <$native>::MIN as i128;
            const MAX: i128 = <$native>::MAX as i128;
        })*
    };
}

whole!(i8, i16, i32, i64, u8, u16, u32, u64);

#[inline]
pub(crate) fn to_timestamp(value: Value, parser: &mut TimestampParser) -> Result<i64, Box<Fault>> {
    let parsed = match value {
        Value::Text(text) => parser.text(text).or_else(|| parser.number(epoch_digits(text)?)),
        Value::Number(number) => parser.number(number),
        Value::Instant(seconds, nanos) => parser.instant(seconds, nanos),
        // Of unit and magnitude as text would have them.
        Value::Integer(whole) => Number::whole(&whole.to_string()).and_then(|number| parser.number(number)),
        _ => None,
    };
    parsed.ok_or_else(|| Fault::expected("a timestamp such as 2026-01-31T13:45:00Z", &value))
}

/// A text that can only be a count since 1970, not a date without separators.
fn epoch_digits(text: &str) -> Option<Number<'_>> {
    let number = Number::whole(text)?;
    (number.text.len() > "20260131".len()).then_some(number)
}

pub(crate) fn to_date(value: Value, parser: &mut TimestampParser) -> Result<i32, Box<Fault>> {
    let parsed = match value {
        Value::Text(text) => {
            Date32Type::parse(text.trim_ascii()).or_else(|| i32::try_from(parser.text(text)?.div_euclid(86_400)).ok())
        }
        Value::Number(number) => number.to_integer().and_then(|days| i32::try_from(days).ok()),
        Value::Integer(days) => i32::try_from(days).ok(),
        Value::Instant(seconds, _) => i32::try_from(seconds.div_euclid(86_400)).ok(),
        _ => None,
    };
    parsed.ok_or_else(|| Fault::expected("a date such as 2026-01-31", &value))
}
