//! Which folder a row belongs to, named as Hive does it: `window_start_day=2026-01-01/region=eu`.
//!
//! A column that names a folder as it is (`region`) is left out of the files, as Hive, Spark and DuckDB do: readers add
//! it from the folder's name, and would find it twice otherwise. A derived one (`day(window_start)`) has a name of its
//! own and its column stays in the files.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::temporal_conversions::timestamp_s_to_datetime;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;

/// What Hive calls the folder of NULL.
const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// One level of folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partitioning {
    /// The column's position in the rows.
    pub column: usize,
    /// The stretch of time it is cut down to; `None`: the value itself.
    pub unit: Option<Unit>,
}

/// A stretch of time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Year,
    Month,
    Day,
    Hour,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Year => "year",
            Unit::Month => "month",
            Unit::Day => "day",
            Unit::Hour => "hour",
        }
    }

    fn pattern(self) -> &'static str {
        match self {
            Unit::Year => "%Y",
            Unit::Month => "%Y-%m",
            Unit::Day => "%Y-%m-%d",
            Unit::Hour => "%Y-%m-%d-%H",
        }
    }

    /// The length in seconds within which all times have the same name. Months and years are made of days.
    fn seconds(self) -> i64 {
        match self {
            Unit::Hour => 3_600,
            Unit::Year | Unit::Month | Unit::Day => 86_400,
        }
    }
}

/// The rows of `rows` by their folder. Without partitions there is one, with an empty name.
pub(super) fn split(partitions: &[Partitioning], rows: &RecordBatch) -> Result<BTreeMap<String, Vec<RecordBatch>>> {
    let mut folders: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
    if partitions.is_empty() {
        folders.insert(String::new(), vec![rows.clone()]);
        return Ok(folders);
    }
    let keys: Vec<ArrayRef> = partitions.iter().map(|p| p.keys(rows)).collect::<Result<_>>()?;
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone()));
    let encoded = RowConverter::new(fields.collect())?.convert_columns(&keys)?;
    let mut groups: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for row in 0..encoded.num_rows() {
        groups.entry(encoded.row(row).data()).or_default().push(row as u64);
    }
    let stays: Vec<usize> = files_columns(partitions, rows.num_columns());
    let inside = rows.project(&stays)?;
    for members in groups.into_values() {
        let first = members[0] as usize;
        let levels: Vec<String> =
            partitions.iter().zip(&keys).map(|(p, key)| p.folder(rows, key, first)).collect::<Result<_>>()?;
        let part = if members.len() == rows.num_rows() {
            inside.clone()
        } else {
            take_record_batch(&inside, &UInt64Array::from(members))?
        };
        folders.entry(levels.join("/")).or_default().push(part);
    }
    Ok(folders)
}

/// The columns of the rows that are in the files.
pub(super) fn files_columns(partitions: &[Partitioning], columns: usize) -> Vec<usize> {
    let plain = |column: &usize| partitions.iter().any(|p| p.unit.is_none() && p.column == *column);
    (0..columns).filter(|column| !plain(column)).collect()
}

impl Partitioning {
    /// For each row a value that tells folders apart.
    fn keys(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        let column = rows.column(self.column);
        let Some(unit) = self.unit else { return Ok(column.clone()) };
        let seconds: Int64Array = seconds(column)?.unary(|s| s.div_euclid(unit.seconds()) * unit.seconds());
        Ok(std::sync::Arc::new(seconds))
    }

    /// The folder's name for the row at `row`.
    fn folder(&self, rows: &RecordBatch, keys: &ArrayRef, row: usize) -> Result<String> {
        let schema = rows.schema();
        let column = schema.field(self.column).name();
        let name = match self.unit {
            None => escape(column),
            Some(unit) => format!("{}_{}", escape(column), unit.name()),
        };
        let value = if keys.is_null(row) {
            NULL_VALUE.to_string()
        } else if let Some(unit) = self.unit {
            let time = timestamp_s_to_datetime(keys.as_primitive::<Int64Type>().value(row));
            time.map_or_else(|| NULL_VALUE.to_string(), |time| time.format(unit.pattern()).to_string())
        } else {
            let options = FormatOptions::default();
            escape(&ArrayFormatter::try_new(rows.column(self.column), &options)?.value(row).to_string())
        };
        Ok(format!("{name}={value}"))
    }
}

/// Seconds since 1970 in UTC.
fn seconds(column: &ArrayRef) -> Result<Int64Array> {
    let ticks_a_second = match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000,
        _ => 1,
    };
    let ticks = match column.data_type() {
        DataType::Date32 => {
            let days = cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?;
            return Ok(days.as_primitive::<Int64Type>().unary(|days| days * 86_400));
        }
        _ => cast(column, &DataType::Int64)?,
    };
    Ok(ticks.as_primitive::<Int64Type>().unary(|t| t.div_euclid(ticks_a_second)))
}

/// A value as it can stand in a folder's name: what has a meaning there, or might have one, as `%XX`.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, StringArray, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    fn rows() -> RecordBatch {
        let fields = vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("region", DataType::Utf8, true),
            Field::new("v", DataType::Float64, true),
        ];
        // 2026-01-01T00:30, the last millisecond of 1969, nothing, 2026-01-01T23:59:59.999
        let at =
            TimestampMillisecondArray::from(vec![Some(1_767_227_400_000), Some(-1), None, Some(1_767_311_999_999)]);
        let region = StringArray::from(vec![Some("eu"), Some("a/b=ü %"), None, Some("eu")]);
        let v = Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(at), Arc::new(region), Arc::new(v)]).unwrap()
    }

    fn folders(partitions: &[(usize, Option<Unit>)]) -> Vec<(String, usize)> {
        let partitions: Vec<_> =
            partitions.iter().map(|(column, unit)| Partitioning { column: *column, unit: *unit }).collect();
        let split = split(&partitions, &rows()).unwrap();
        split.into_iter().map(|(name, parts)| (name, parts.iter().map(|p| p.num_rows()).sum())).collect()
    }

    fn named(names: &[(&str, usize)]) -> Vec<(String, usize)> {
        names.iter().map(|(name, rows)| (name.to_string(), *rows)).collect()
    }

    #[test]
    fn values_and_times_name_folders() {
        assert_eq!(folders(&[]), named(&[("", 4)]));
        assert_eq!(
            folders(&[(1, None)]),
            named(&[("region=__HIVE_DEFAULT_PARTITION__", 1), ("region=a%2Fb%3D%C3%BC%20%25", 1), ("region=eu", 2)])
        );
        assert_eq!(
            folders(&[(0, Some(Unit::Day)), (1, None)]),
            named(&[
                ("at_day=1969-12-31/region=a%2Fb%3D%C3%BC%20%25", 1),
                ("at_day=2026-01-01/region=eu", 2),
                ("at_day=__HIVE_DEFAULT_PARTITION__/region=__HIVE_DEFAULT_PARTITION__", 1),
            ])
        );
        let of = |unit| folders(&[(0, Some(unit))]).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let null = "__HIVE_DEFAULT_PARTITION__";
        assert_eq!(of(Unit::Year), ["at_year=1969", "at_year=2026", &format!("at_year={null}")]);
        assert_eq!(of(Unit::Month), ["at_month=1969-12", "at_month=2026-01", &format!("at_month={null}")]);
        assert_eq!(of(Unit::Hour)[..3], ["at_hour=1969-12-31-23", "at_hour=2026-01-01-00", "at_hour=2026-01-01-23"]);
    }

    #[test]
    fn dates_are_times_too() {
        let schema = Arc::new(Schema::new(vec![Field::new("d", DataType::Date32, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Date32Array::from(vec![-1, 20_454]))]).unwrap();
        let split = split(&[Partitioning { column: 0, unit: Some(Unit::Month) }], &rows).unwrap();
        assert_eq!(split.keys().collect::<Vec<_>>(), ["d_month=1969-12", "d_month=2026-01"]);
    }

    #[test]
    fn plain_columns_leave_the_files_and_derived_ones_stay() {
        let partitions = [Partitioning { column: 0, unit: Some(Unit::Day) }, Partitioning { column: 1, unit: None }];
        for part in split(&partitions, &rows()).unwrap().into_values().flatten() {
            let schema = part.schema();
            let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            assert_eq!(names, ["at", "v"]);
        }
    }
}
