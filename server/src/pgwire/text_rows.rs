//! Rows in PostgreSQL's text form, written column by column into one buffer a row.
//!
//! `arrow-pg` asks the type of each value anew and writes a time through a pattern that is read each time, which is most of what
//! it costs to say many rows. Here a column's type is asked once a batch; the texts are the same, bit for bit. Types that have
//! no form here are written by `arrow-pg`.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampNanosecondType};
use arrow_pg::encoder::encode_value;
use bytes::{BufMut, BytesMut};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use pgwire::types::format::float_digits::ExtraFloatDigits;
use std::fmt::Write;
use std::sync::Arc;

/// What stands for NULL where the length of a value is.
const NULL: i32 = -1;
const NANOS_A_SECOND: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// The rows of one batch.
pub struct TextRows {
    columns: Vec<Column>,
    rows: usize,
    next: usize,
    buffer: BytesMut,
}

/// A column, by how its values are written.
enum Column {
    Int(Int32Array),
    BigInt(Int64Array),
    Double(Float64Array, ExtraFloatDigits),
    Boolean(BooleanArray),
    Text(StringArray),
    /// Nanoseconds since 1970, written as ISO does.
    Time(ArrayRef, Vec<i64>),
    /// By `arrow-pg`, as a row of this column alone.
    Other(ArrayRef, FieldRef, FieldInfo, DataRowEncoder),
}

impl TextRows {
    /// The rows of `batch`, whose columns are told to the client as `fields`.
    pub fn new(batch: &RecordBatch, fields: &[FieldInfo]) -> TextRows {
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields()).zip(fields);
        let columns = columns.map(|((values, own), told)| Column::new(values, own, told)).collect();
        TextRows { columns, rows: batch.num_rows(), next: 0, buffer: BytesMut::new() }
    }
}

impl Iterator for TextRows {
    type Item = PgWireResult<DataRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = (self.next < self.rows).then_some(self.next)?;
        self.next += 1;
        for column in &mut self.columns {
            if let Err(error) = column.write(row, &mut self.buffer) {
                return Some(Err(error));
            }
        }
        Some(Ok(DataRow::new(self.buffer.split(), self.columns.len() as i16)))
    }
}

impl Column {
    fn new(values: &ArrayRef, own: &FieldRef, told: &FieldInfo) -> Column {
        let other = || {
            let encoder = DataRowEncoder::new(Arc::new(vec![told.clone()]));
            Column::Other(values.clone(), own.clone(), told.clone(), encoder)
        };
        if told.format() != FieldFormat::Text {
            return other();
        }
        match values.data_type() {
            DataType::Int32 => Column::Int(values.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Column::BigInt(values.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => {
                let digits = ExtraFloatDigits(told.format_options().extra_float_digits);
                Column::Double(values.as_primitive::<Float64Type>().clone(), digits)
            }
            DataType::Boolean => Column::Boolean(values.as_boolean().clone()),
            DataType::Utf8 => Column::Text(values.as_string::<i32>().clone()),
            DataType::Timestamp(_, None) if is_iso(&told.format_options().date_style) => {
                nanoseconds(values).map_or_else(other, |nanos| Column::Time(values.clone(), nanos))
            }
            _ => other(),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Column::Int(values) => values.is_null(row),
            Column::BigInt(values) => values.is_null(row),
            Column::Double(values, _) => values.is_null(row),
            Column::Boolean(values) => values.is_null(row),
            Column::Text(values) => values.is_null(row),
            Column::Time(values, _) => values.is_null(row),
            Column::Other(..) => false,
        }
    }

    /// Appends the value's length and text.
    fn write(&mut self, row: usize, out: &mut BytesMut) -> PgWireResult<()> {
        if self.is_null(row) {
            out.put_i32(NULL);
            return Ok(());
        }
        let begin = out.len();
        out.put_i32(NULL);
        match self {
            // Writing to a buffer in memory does not fail.
            Column::Int(values) => drop(write!(out, "{}", values.value(row))),
            Column::BigInt(values) => drop(write!(out, "{}", values.value(row))),
            Column::Double(values, digits) => out.put_slice(digits.format_f64(values.value(row)).as_bytes()),
            Column::Boolean(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
            Column::Text(values) => out.put_slice(values.value(row).as_bytes()),
            Column::Time(_, nanos) => out.put_slice(&iso(nanos[row])),
            Column::Other(values, own, told, encoder) => {
                encode_value(encoder, values, row, own, told)?;
                // It has its own length.
                out.truncate(begin);
                out.put_slice(&encoder.take_row().data);
                return Ok(());
            }
        }
        let length = (out.len() - begin - 4) as i32;
        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// Whether times are written as ISO does: what nothing else is said for.
fn is_iso(date_style: &str) -> bool {
    let style = date_style.split_once(", ").map_or(date_style, |(style, _)| style);
    !["sql", "german", "postgres"].contains(&style.trim().to_lowercase().as_str())
}

/// The times as nanoseconds; `None` where one of them does not fit.
fn nanoseconds(times: &ArrayRef) -> Option<Vec<i64>> {
    let wide = cast(times, &DataType::Timestamp(TimeUnit::Nanosecond, None)).ok()?;
    let fits = wide.null_count() == times.null_count();
    fits.then(|| wide.as_primitive::<TimestampNanosecondType>().values().to_vec())
}

/// `2026-01-05 10:00:00.000000`. Nanoseconds reach from 1677 to 2262, so that a year has four digits.
fn iso(nanos: i64) -> [u8; 26] {
    let (seconds, fraction) = (nanos.div_euclid(NANOS_A_SECOND), nanos.rem_euclid(NANOS_A_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00 00:00:00.000000";
    let mut put = |mut number: i64, from: usize, digits: usize| {
        for place in text[from..from + digits].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(year, 0, 4);
    put(month, 5, 2);
    put(day, 8, 2);
    put(second / 3_600, 11, 2);
    put(second / 60 % 60, 14, 2);
    put(second % 60, 17, 2);
    put(fraction / 1_000, 20, 6);
    text
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`): years begin in March, and four centuries have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray};
    use arrow_pg::datatypes::arrow_schema_to_pg_fields;
    use arrow_pg::row_encoder::RowEncoder;
    use pgwire::api::portal::Format;
    use pgwire::types::format::FormatOptions;

    /// Values at the ends of their types and between them.
    fn batch() -> RecordBatch {
        let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, 1_767_225_599_999_999_999, 951_782_400_000_000_000, i64::MAX];
        let days = (0..200i64).map(|n| (n - 100) * 86_399_999_999_937);
        let times: Vec<Option<i64>> = extremes.into_iter().chain(days).map(Some).chain([None]).collect();
        let rows = times.len();
        let pick = |n: usize| (!n.is_multiple_of(7)).then_some(n as i64 - 40);
        let doubles = [0.0, -0.0, 1.0, -1.5, 1e300, 1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("ns", Arc::new(TimestampNanosecondArray::from(times.clone()))),
            ("ms", Arc::new(times.iter().map(|t| t.map(|t| t / 1_000_000)).collect::<TimestampMillisecondArray>())),
            // Beyond what nanoseconds can say.
            ("s", Arc::new((0..rows).map(|n| pick(n).map(|n| n * 10_000_000_000)).collect::<TimestampSecondArray>())),
            ("int", Arc::new((0..rows).map(|n| pick(n).map(|n| n as i32)).collect::<Int32Array>())),
            ("bigint", Arc::new(Int64Array::from(times))),
            ("double", Arc::new((0..rows).map(|n| pick(n).map(|_| doubles[n % 10])).collect::<Float64Array>())),
            ("bool", Arc::new((0..rows).map(|n| pick(n).map(|n| n > 0)).collect::<BooleanArray>())),
            (
                "text",
                Arc::new((0..rows).map(|n| pick(n).map(|n| "ä\\\"{".repeat(n as usize % 3))).collect::<StringArray>()),
            ),
            ("decimal", Arc::new((0..rows).map(|n| pick(n).map(i128::from)).collect::<Decimal128Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn rows_are_those_of_arrow_pg_in_every_form() {
        let batch = batch();
        for (style, digits) in [("ISO, MDY", 1), ("iso", 0), ("German", -3), ("SQL, DMY", 3), ("nothing", 1)] {
            let mut options = FormatOptions::default();
            (options.date_style, options.extra_float_digits) = (style.to_string(), digits);
            let options = Arc::new(options);
            for format in [Format::UnifiedText, Format::Individual(vec![0, 1, 0, 1, 0, 1, 0, 1, 0])] {
                let fields = arrow_schema_to_pg_fields(&batch.schema(), &format, Some(options.clone())).unwrap();
                let mut expected = RowEncoder::new(batch.clone(), Arc::new(fields.clone()));
                let mut rows = TextRows::new(&batch, &fields);
                for row in 0..batch.num_rows() {
                    let (own, its) = (rows.next().unwrap().unwrap(), expected.next_row().unwrap().unwrap());
                    assert_eq!((own.data, own.field_count), (its.data, its.field_count), "{style}, row {row}");
                }
                assert!(rows.next().is_none());
            }
        }
    }
}
