//! Columns under construction: a value is pushed or refused, and a row that was begun can be taken back.
//!
//! Arrow's own builders cannot forget a value. These can (`truncate`), so a record that turns out wrong in its last
//! field leaves nothing behind. Of what nobody wants the values are judged as any others, and then not kept.

use super::convert::{to_float, to_integer, to_timestamp};
use super::value::{Fault, TimestampParser, Value};
use crate::error::{Error, Result};
use crate::wanted::Wanted;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, LargeBinaryArray, LargeStringArray,
    ListArray, MapArray, NullArray, PrimitiveArray, StringArray, StringViewArray, StructArray, new_empty_array,
    new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use std::ops::Range;
use std::sync::Arc;

mod object;
mod rare;

pub(crate) use object::{Object, with_json};
use rare::push_as_text;

type Pushed = Result<(), Box<Fault>>;

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    values: Values,
    nulls: Nulls,
    nullable: bool,
    /// Where nobody wants the values: the NULLs that stand for them, as many as were ever needed.
    stand_in: Option<ArrayRef>,
    /// How many values there were last time, and their bytes of text.
    before: (usize, usize),
}

#[derive(Debug)]
enum Values {
    Null,
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal128 { values: Vec<i128>, precision: u8, scale: i8 },
    Date32 { values: Vec<i32>, parser: TimestampParser },
    Time64 { values: Vec<i64>, unit: TimeUnit },
    Timestamp { values: Vec<i64>, parser: TimestampParser, unit: TimeUnit, zone: Option<Arc<str>> },
    Bytes { bytes: Vec<u8>, offsets: Vec<i32>, data_type: DataType },
    List { items: Box<Column>, offsets: Vec<i32>, field: FieldRef },
    Struct { columns: Vec<Column>, fields: Fields },
    Map { keys: Box<Column>, values: Box<Column>, offsets: Vec<i32>, field: FieldRef, sorted: bool },
}

impl Column {
    /// An empty column for `field`, of which so much is wanted. Arrow lets no NULL stand where none may be, so such
    /// values are kept though nobody wants them.
    pub(crate) fn new(field: &Field, wanted: &Wanted) -> Result<Column> {
        let kept = wanted.any() || !field.is_nullable();
        let values = match field.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(Vec::new()),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::UInt8 => Values::UInt8(Vec::new()),
            DataType::UInt16 => Values::UInt16(Vec::new()),
            DataType::UInt32 => Values::UInt32(Vec::new()),
            DataType::UInt64 => Values::UInt64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            &DataType::Decimal128(precision, scale) => Values::Decimal128 { values: Vec::new(), precision, scale },
            DataType::Date32 => {
                Values::Date32 { values: Vec::new(), parser: TimestampParser::new(TimeUnit::Second, None) }
            }
            &DataType::Time64(unit) => Values::Time64 { values: Vec::new(), unit },
            DataType::Timestamp(unit, zone) => {
                let parsed = match zone.as_deref() {
                    None | Some("UTC" | "+00:00") => None,
                    Some(name) => Some(name.parse().map_err(|_| {
                        Error::user(format!("column \"{}\": time zone '{name}' does not exist", field.name()))
                    })?),
                };
                let parser = TimestampParser::new(*unit, parsed);
                Values::Timestamp { values: Vec::new(), parser, unit: *unit, zone: zone.clone() }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::LargeBinary => {
                Values::Bytes { bytes: Vec::new(), offsets: vec![0], data_type: field.data_type().clone() }
            }
            DataType::List(item) => Values::List {
                items: Box::new(Column::new(item, &Wanted::Whole)?),
                offsets: vec![0],
                field: item.clone(),
            },
            DataType::Struct(fields) => Values::Struct {
                columns: fields.iter().map(|f| Column::new(f, wanted.field(f.name()))).collect::<Result<_>>()?,
                fields: fields.clone(),
            },
            DataType::Map(entries, sorted) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => Values::Map {
                    keys: Box::new(Column::new(&pair[0], &Wanted::Whole)?),
                    values: Box::new(Column::new(&pair[1], &Wanted::Whole)?),
                    offsets: vec![0],
                    field: entries.clone(),
                    sorted: *sorted,
                },
                _ => return Err(Error::bug(format!("{} is no map", field.data_type()))),
            },
            other => {
                let message = format!("column \"{}\": type {other} cannot be read from text", field.name());
                return Err(Error::user(message).with_hint("Declare it as TEXT and cast it in the view."));
            }
        };
        let stand_in = (!kept).then(|| new_empty_array(field.data_type()));
        Ok(Column { values, nulls: Nulls::default(), nullable: field.is_nullable(), stand_in, before: (0, 0) })
    }

    #[inline]
    fn is_kept(&self) -> bool {
        self.stand_in.is_none()
    }

    /// Appends `value`, or says why it cannot: then the column is as long as it was, except for what nested columns
    /// hold, and must be [truncated](Self::truncate) before the next push.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: Value) -> Pushed {
        if let Value::Null = value {
            return self.push_null();
        }
        match &mut self.values {
            Values::Float64(values) => values.push(to_float(value)?),
            Values::Int32(values) => values.push(to_integer(value)?),
            Values::Int64(values) => values.push(to_integer(value)?),
            Values::Timestamp { values, parser, .. } => values.push(to_timestamp(value, parser)?),
            // Nothing can be wrong with it.
            Values::Bytes { .. } if self.stand_in.is_some() => {}
            Values::Bytes { bytes, offsets, data_type } => {
                match value {
                    Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                    other => push_as_text(bytes, data_type, other)?,
                }
                offsets.push(to_offset(bytes.len())?);
            }
            Values::Struct { columns, fields } => {
                return Object { columns, fields, nulls: &mut self.nulls }.take(value);
            }
            other => other.push_rare(value)?,
        }
        self.nulls.push_valid();
        Ok(())
    }

    pub(crate) fn push_null(&mut self) -> Pushed {
        if !self.nullable {
            return Err(Fault::null());
        }
        self.push_blank();
        Ok(())
    }

    /// Appends a place that holds nothing, whatever the column allows: only a NULL above may cover it.
    pub(crate) fn push_blank(&mut self) {
        self.push_blanks(1);
    }

    fn push_blanks(&mut self, count: usize) {
        if !self.is_kept() {
            // Of what is not kept it is only told how much there is.
            self.nulls.len += count;
            return;
        }
        self.nulls.push_nulls(count);
        fn extend<T: Copy>(values: &mut Vec<T>, count: usize, blank: T) {
            values.resize(values.len() + count, blank);
        }
        match &mut self.values {
            // The columns of an object follow when it has a value again.
            Values::Null | Values::Struct { .. } => {}
            Values::Bool(values) => extend(values, count, false),
            Values::Int8(values) => extend(values, count, 0),
            Values::Int16(values) => extend(values, count, 0),
            Values::Int32(values) | Values::Date32 { values, .. } => extend(values, count, 0),
            Values::Int64(values) | Values::Time64 { values, .. } | Values::Timestamp { values, .. } => {
                extend(values, count, 0);
            }
            Values::UInt8(values) => extend(values, count, 0),
            Values::UInt16(values) => extend(values, count, 0),
            Values::UInt32(values) => extend(values, count, 0),
            Values::UInt64(values) => extend(values, count, 0),
            Values::Float32(values) => extend(values, count, 0.0),
            Values::Float64(values) => extend(values, count, 0.0),
            Values::Decimal128 { values, .. } => extend(values, count, 0),
            Values::Bytes { offsets, .. } | Values::List { offsets, .. } | Values::Map { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or(0);
                extend(offsets, count, end);
            }
        }
    }

    /// Makes up for the places where the object that holds it was NULL.
    #[inline]
    fn catch_up(&mut self, len: usize) {
        if self.nulls.len < len {
            self.push_blanks(len - self.nulls.len);
        }
    }

    /// The object whose next value is to be filled field by field, if that is what the column holds.
    #[inline]
    pub(crate) fn object(&mut self) -> Option<Object<'_>> {
        match &mut self.values {
            Values::Struct { columns, fields } => Some(Object { columns, fields, nulls: &mut self.nulls }),
            _ => None,
        }
    }

    /// Forgets all but the first `len` values, and whatever a failed push left over.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Null => {}
            Values::Bool(values) => values.truncate(len),
            Values::Int8(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) | Values::Date32 { values, .. } => values.truncate(len),
            Values::Int64(values) | Values::Time64 { values, .. } | Values::Timestamp { values, .. } => {
                values.truncate(len);
            }
            Values::UInt8(values) => values.truncate(len),
            Values::UInt16(values) => values.truncate(len),
            Values::UInt32(values) => values.truncate(len),
            Values::UInt64(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal128 { values, .. } => values.truncate(len),
            Values::Bytes { bytes, offsets, .. } => bytes.truncate(cut(offsets, len)),
            Values::List { items, offsets, .. } => items.truncate(cut(offsets, len)),
            Values::Struct { columns, .. } => columns.iter_mut().for_each(|column| column.truncate(len)),
            Values::Map { keys, values, offsets, .. } => {
                let end = cut(offsets, len);
                keys.truncate(end);
                values.truncate(end);
            }
        }
        self.nulls.truncate(len);
    }

    /// Makes room for a few more values than there were last time.
    pub(crate) fn reserve(&mut self) {
        let more = |count: usize| count + count / 16;
        let rows = more(self.before.0);
        if !self.is_kept() {
            return;
        }
        match &mut self.values {
            Values::Int32(values) => values.reserve(rows),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.reserve(rows),
            Values::Float64(values) => values.reserve(rows),
            Values::Bytes { bytes, offsets, .. } => {
                offsets.reserve(rows);
                bytes.reserve(more(self.before.1));
            }
            Values::Struct { columns, .. } => columns.iter_mut().for_each(Column::reserve),
            _ => {}
        }
    }

    /// The values as an array; the column is empty again.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        if let Some(nulls) = &mut self.stand_in {
            let len = self.nulls.len;
            if nulls.len() < len {
                *nulls = new_null_array(nulls.data_type(), len.next_power_of_two());
            }
            let nulls = nulls.slice(0, len);
            self.truncate(0);
            return Ok(nulls);
        }
        let (len, nulls) = self.nulls.finish();
        self.before = (len, if let Values::Bytes { bytes, .. } = &self.values { bytes.len() } else { 0 });
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(len)),
            Values::Bool(values) => Arc::new(BooleanArray::new(std::mem::take(values).into(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls),
            Values::UInt8(values) => primitive::<UInt8Type>(values, nulls),
            Values::UInt16(values) => primitive::<UInt16Type>(values, nulls),
            Values::UInt32(values) => primitive::<UInt32Type>(values, nulls),
            Values::UInt64(values) => primitive::<UInt64Type>(values, nulls),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls),
            Values::Decimal128 { values, precision, scale } => {
                let array = PrimitiveArray::<Decimal128Type>::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Date32 { values, .. } => primitive::<Date32Type>(values, nulls),
            Values::Time64 { values, unit: TimeUnit::Microsecond } => primitive::<Time64MicrosecondType>(values, nulls),
            Values::Time64 { values, .. } => primitive::<Time64NanosecondType>(values, nulls),
            Values::Timestamp { values, unit, zone, .. } => match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(values, nulls, zone),
                TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(values, nulls, zone),
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(values, nulls, zone),
                TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(values, nulls, zone),
            },
            Values::Bytes { bytes, offsets, data_type } => {
                let offsets = finish_offsets(offsets);
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                if matches!(data_type, DataType::Binary | DataType::LargeBinary) {
                    let array = BinaryArray::try_new(offsets, bytes, nulls)?;
                    match data_type {
                        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(array.iter())),
                        _ => Arc::new(array),
                    }
                } else {
                    let array = StringArray::try_new(offsets, bytes, nulls)?;
                    match data_type {
                        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(array.iter())),
                        DataType::Utf8View => Arc::new(StringViewArray::from(&array)),
                        _ => Arc::new(array),
                    }
                }
            }
            Values::List { items, offsets, field } => {
                let items = items.finish()?;
                Arc::new(ListArray::try_new(field.clone(), finish_offsets(offsets), items, nulls)?)
            }
            Values::Struct { columns, fields } => {
                let finish = |column: &mut Column| {
                    column.catch_up(len);
                    column.finish()
                };
                let arrays = columns.iter_mut().map(finish).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, len)?)
            }
            Values::Map { keys, values, offsets, field, sorted } => {
                let DataType::Struct(pair) = field.data_type() else {
                    return Err(Error::bug(format!("{} is no map", field.data_type())));
                };
                let entries = StructArray::try_new(pair.clone(), vec![keys.finish()?, values.finish()?], None)?;
                Arc::new(MapArray::try_new(field.clone(), finish_offsets(offsets), entries, nulls, *sorted)?)
            }
        })
    }
}

#[inline]
fn to_offset(len: usize) -> Result<i32, Box<Fault>> {
    i32::try_from(len).map_err(|_| Fault::because("more than 2 GiB in one batch"))
}

/// Cuts `offsets` back to `len` values and tells where they end.
fn cut(offsets: &mut Vec<i32>, len: usize) -> usize {
    offsets.truncate(len + 1);
    offsets.last().map_or(0, |end| *end as usize)
}

fn finish_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(std::mem::take(values).into(), nulls))
}

fn timestamps<T: ArrowTimestampType>(
    values: &mut Vec<i64>,
    nulls: Option<NullBuffer>,
    zone: &Option<Arc<str>>,
) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(std::mem::take(values).into(), nulls);
    Arc::new(array.with_timezone_opt(zone.clone()))
}

/// Which values are NULL, in runs.
#[derive(Debug, Default)]
struct Nulls {
    len: usize,
    runs: Vec<Range<usize>>,
}

impl Nulls {
    #[inline]
    fn push_valid(&mut self) {
        self.len += 1;
    }

    #[inline]
    fn push_nulls(&mut self, count: usize) {
        let begin = self.len;
        self.len += count;
        match self.runs.last_mut() {
            Some(run) if run.end == begin => run.end = self.len,
            _ => self.runs.push(begin..self.len),
        }
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        while let Some(run) = self.runs.last_mut()
            && run.end > len
        {
            run.end = len;
            if run.start >= len {
                self.runs.pop();
            }
        }
    }

    fn finish(&mut self) -> (usize, Option<NullBuffer>) {
        let len = std::mem::take(&mut self.len);
        if self.runs.is_empty() {
            return (len, None);
        }
        let mut valid = BooleanBufferBuilder::new(len);
        for run in self.runs.drain(..) {
            valid.append_n(run.start - valid.len(), true);
            valid.append_n(run.len(), false);
        }
        valid.append_n(len - valid.len(), true);
        (len, Some(NullBuffer::new(valid.finish())))
    }
}
