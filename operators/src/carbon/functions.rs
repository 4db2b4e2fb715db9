//! The arithmetic as SQL functions, one table of them: name, arguments, and what is computed for a row.
//!
//! NULL in, NULL out, but for the arguments whose absence means something, which are named in the documentation. A result
//! that is no number (a division by nothing) is NULL. What is wrong rather than missing (a unit or a policy that does not
//! exist, an intensity that no grid has) fails for its row, which becomes a dead letter with the reason.

mod table;

use super::slots::{self, Part};
use super::{best_region, best_window, outermost};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, DurationNanosecondType, Field, Fields, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampNanosecondType,
};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// All of them, to be registered: for each row, and over groups.
pub fn functions() -> (Vec<Arc<ScalarUDF>>, Vec<Arc<AggregateUDF>>) {
    let scalars = table::SCALARS.iter().map(|scalar| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Function { scalar, signature }))
    });
    (scalars.collect(), vec![best_window::function(), best_region::function(), outermost::function()])
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Any number, as a double.
    Number,
    Text,
    /// A timestamp, in nanoseconds.
    Time,
    /// An interval or a duration, in nanoseconds.
    Span,
}

impl Kind {
    /// The type that an argument of type `given` is turned into; none if it cannot be one of this kind.
    fn of(self, given: &DataType) -> Option<DataType> {
        let null = given.is_null();
        match (self, given) {
            (Kind::Number, _) if null || given.is_numeric() => Some(DataType::Float64),
            (Kind::Text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Some(DataType::Utf8),
            (Kind::Text, DataType::Dictionary(_, value)) => self.of(value),
            (Kind::Text, _) if null => Some(DataType::Utf8),
            (Kind::Time, DataType::Timestamp(_, zone)) => Some(DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())),
            // A literal that is written as one.
            (Kind::Time, DataType::Utf8) => Some(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            (Kind::Time, _) if null => Some(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            (Kind::Span, DataType::Duration(_)) => Some(DataType::Duration(TimeUnit::Nanosecond)),
            (Kind::Span, DataType::Interval(_)) => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
            (Kind::Span, _) if null => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::Time => "a TIMESTAMP",
            Kind::Span => "an INTERVAL",
        }
    }
}

/// What is computed for a row.
enum Compute {
    Number(fn(&Row) -> Option<f64>),
    /// A number, or what is wrong.
    Checked(fn(&Row) -> Result<Option<f64>, String>),
    Whole(fn(&Row) -> Result<Option<i64>, String>),
    Whether(fn(&Row) -> Option<bool>),
    Word(fn(&Row) -> Option<&'static str>),
    /// The parts of an interval, put behind those of the rows before; whether there is an interval.
    Slots(fn(&Row, &mut Vec<Part>) -> Result<bool, String>),
}

/// A function of a row.
struct Scalar {
    name: &'static str,
    arguments: &'static [(&'static str, Kind)],
    /// How many of the last arguments may be left out.
    optional: usize,
    compute: Compute,
}

/// The arguments of one row.
struct Row<'a> {
    columns: &'a [Column<'a>],
    at: usize,
}

enum Column<'a> {
    Number(&'a Float64Array),
    Text(&'a StringArray),
    Time(&'a TimestampNanosecondArray),
    Interval(&'a arrow::array::IntervalMonthDayNanoArray),
    Duration(&'a arrow::array::DurationNanosecondArray),
}

impl<'a> Row<'a> {
    /// Whether an optional argument was given, be it NULL.
    fn has(&self, argument: usize) -> bool {
        argument < self.columns.len()
    }

    fn number(&self, argument: usize) -> Option<f64> {
        match self.columns.get(argument)? {
            Column::Number(values) if values.is_valid(self.at) => Some(values.value(self.at)),
            _ => None,
        }
    }

    fn text(&self, argument: usize) -> Option<&'a str> {
        match self.columns.get(argument)? {
            Column::Text(values) if values.is_valid(self.at) => Some(values.value(self.at)),
            _ => None,
        }
    }

    fn time(&self, argument: usize) -> Option<i64> {
        match self.columns.get(argument)? {
            Column::Time(values) if values.is_valid(self.at) => Some(values.value(self.at)),
            _ => None,
        }
    }

    /// Nanoseconds.
    fn span(&self, argument: usize) -> Option<i64> {
        const DAY: i64 = 86_400_000_000_000;
        match self.columns.get(argument)? {
            Column::Interval(values) if values.is_valid(self.at) => {
                let value = values.value(self.at);
                i64::from(value.days).checked_mul(DAY)?.checked_add(value.nanoseconds)
            }
            Column::Duration(values) if values.is_valid(self.at) => Some(values.value(self.at)),
            _ => None,
        }
    }
}

/// A [`Scalar`] as DataFusion knows one.
#[derive(Debug)]
struct Function {
    scalar: &'static Scalar,
    signature: Signature,
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.scalar.name == other.scalar.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scalar.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.scalar.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (name, arguments) = (self.scalar.name, self.scalar.arguments);
        let least = arguments.len() - self.scalar.optional;
        if !(least..=arguments.len()).contains(&given.len()) {
            let names: Vec<&str> = arguments.iter().map(|(name, _)| *name).collect();
            let named = names.join(", ");
            let most = arguments.len();
            let taken = if least == most { most.to_string() } else { format!("{least} to {most}") };
            return plan_err!("{name}({named}) takes {taken} arguments, not {}", given.len());
        }
        let coerce = |((argument, kind), given): (&(&str, Kind), &DataType)| match kind.of(given) {
            Some(data_type) => Ok(data_type),
            None => plan_err!("argument \"{argument}\" of {name} is {}, not of type {given}", kind.word()),
        };
        arguments.iter().zip(given).map(coerce).collect()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(match &self.scalar.compute {
            Compute::Number(_) | Compute::Checked(_) => DataType::Float64,
            Compute::Whole(_) => DataType::Int64,
            Compute::Whether(_) => DataType::Boolean,
            Compute::Word(_) => DataType::Utf8,
            Compute::Slots(_) => slots_type(given.first().unwrap_or(&DataType::Null)),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let columns = arrays.iter().map(column).collect::<Result<Vec<_>>>()?;
        if columns.iter().any(has_months) {
            return exec_err!("{}: a month has no length of its own: write days", self.scalar.name);
        }
        let array = compute(&self.scalar.compute, &columns, rows, args.return_field.data_type());
        let array = match array {
            Ok(array) => array,
            Err(reason) => return exec_err!("{}: {reason}", self.scalar.name),
        };
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

fn column(array: &ArrayRef) -> Result<Column<'_>> {
    Ok(match array.data_type() {
        DataType::Float64 => Column::Number(array.as_primitive::<Float64Type>()),
        DataType::Utf8 => Column::Text(array.as_string()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Column::Time(array.as_primitive::<TimestampNanosecondType>()),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Column::Interval(array.as_primitive::<IntervalMonthDayNanoType>())
        }
        DataType::Duration(TimeUnit::Nanosecond) => Column::Duration(array.as_primitive::<DurationNanosecondType>()),
        other => return exec_err!("an argument of type {other} was not turned into one of the function's types"),
    })
}

/// Whether a length of time is given in months or years.
fn has_months(column: &Column) -> bool {
    match column {
        Column::Interval(values) => values.iter().flatten().any(|value| value.months != 0),
        _ => false,
    }
}

fn compute(compute: &Compute, columns: &[Column], rows: usize, result: &DataType) -> Result<ArrayRef, String> {
    let rows = (0..rows).map(|at| Row { columns, at });
    let finite = |value: &f64| value.is_finite();
    Ok(match compute {
        Compute::Number(f) => Arc::new(rows.map(|row| f(&row).filter(finite)).collect::<Float64Array>()),
        Compute::Checked(f) => {
            let values = rows.map(|row| Ok(f(&row)?.filter(finite))).collect::<Result<Vec<_>, String>>()?;
            Arc::new(Float64Array::from(values))
        }
        Compute::Whole(f) => Arc::new(Int64Array::from(rows.map(|row| f(&row)).collect::<Result<Vec<_>, String>>()?)),
        Compute::Whether(f) => Arc::new(rows.map(|row| f(&row)).collect::<BooleanArray>()),
        Compute::Word(f) => Arc::new(rows.map(|row| f(&row)).collect::<StringArray>()),
        Compute::Slots(f) => {
            let (mut parts, mut lengths, mut there) = (Vec::new(), Vec::new(), Vec::new());
            for row in rows {
                let before = parts.len();
                there.push(f(&row, &mut parts)?);
                lengths.push(parts.len() - before);
            }
            Arc::new(slots_array(&parts, lengths, there, result).map_err(|error| error.to_string())?)
        }
    })
}

/// Lists of `slot_start`, `slot_end` and `share`, with times of the type `time`.
fn slots_type(time: &DataType) -> DataType {
    let fields = vec![
        Field::new("slot_start", time.clone(), false),
        Field::new("slot_end", time.clone(), false),
        Field::new("share", DataType::Float64, false),
    ];
    DataType::List(Arc::new(Field::new("slot", DataType::Struct(Fields::from(fields)), false)))
}

fn slots_array(
    parts: &[Part],
    lengths: Vec<usize>,
    there: Vec<bool>,
    list: &DataType,
) -> Result<ListArray, arrow::error::ArrowError> {
    let DataType::List(item) = list else { return Err(arrow::error::ArrowError::SchemaError(list.to_string())) };
    let DataType::Struct(fields) = item.data_type() else {
        return Err(arrow::error::ArrowError::SchemaError(list.to_string()));
    };
    let times = |of: fn(&Part) -> i64, data_type: &DataType| {
        let times = TimestampNanosecondArray::from_iter_values(parts.iter().map(of));
        arrow::compute::cast(&times, data_type)
    };
    let columns: Vec<ArrayRef> = vec![
        times(|part| part.start, fields[0].data_type())?,
        times(|part| part.end, fields[1].data_type())?,
        Arc::new(Float64Array::from_iter_values(parts.iter().map(|part| part.share))),
    ];
    let nulls = NullBuffer::from(there);
    let parts = StructArray::try_new(fields.clone(), columns, None)?;
    ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), Arc::new(parts), Some(nulls))
}

/// Puts the parts of an interval behind `parts`, or says why it cannot be cut.
fn cut(parts: &mut Vec<Part>, since: i64, until: i64, size: i64) -> Result<bool, String> {
    if size <= 0 {
        return Err("the size of a slot is longer than nothing".to_string());
    }
    let most = slots::PARTS_MAX;
    let cut = slots::on_grid_into(parts, since, until, size).map(|()| true);
    cut.ok_or_else(|| format!("an interval has at most {most} slots"))
}
