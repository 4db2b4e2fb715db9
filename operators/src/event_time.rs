//! Event times in nanoseconds, from and to timestamp columns of any unit.

use crate::assign_windows::with_event_time;
use crate::evaluate::{evaluate, evaluate_rows};
use crate::operator::DeadRow;
use arrow::array::{
    Array, ArrayRef, AsArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, make_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// A timestamp column read as nanoseconds since 1970.
pub(crate) struct EventTimes {
    values: ScalarBuffer<i64>,
    unit_ns: i64,
}

impl EventTimes {
    /// Reads a column without NULLs.
    pub(crate) fn new(column: &ArrayRef) -> Result<EventTimes> {
        assert_eq!(column.null_count(), 0, "rows without an event time are put aside before");
        let (values, unit_ns) = match column.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                (column.as_primitive::<TimestampNanosecondType>().values(), 1)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                (column.as_primitive::<TimestampMicrosecondType>().values(), 1_000)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                (column.as_primitive::<TimestampMillisecondType>().values(), 1_000_000)
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                (column.as_primitive::<TimestampSecondType>().values(), 1_000_000_000)
            }
            other => return Err(Error::bug(format!("an event time has type {other}, which is no timestamp"))),
        };
        Ok(EventTimes { values: values.clone(), unit_ns })
    }

    /// The event time of row `row`.
    pub(crate) fn ns(&self, row: usize) -> i64 {
        self.values[row].saturating_mul(self.unit_ns)
    }

    /// All event times in row order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        self.values.iter().map(|v| v.saturating_mul(self.unit_ns))
    }

    /// The earliest and the latest; `None` without rows.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let (&first, rest) = self.values.split_first()?;
        // No early exit, so that the compiler can do it in vectors.
        let (min, max) = rest.iter().fold((first, first), |(min, max), &v| (min.min(v), max.max(v)));
        Some((min.saturating_mul(self.unit_ns), max.saturating_mul(self.unit_ns)))
    }

    /// How many rows from `begin` on are earlier than `end_ns`, where the rows are in order of time.
    pub(crate) fn partition_point(&self, begin: usize, end_ns: i64) -> usize {
        self.values[begin..].partition_point(|v| v.saturating_mul(self.unit_ns) < end_ns)
    }

    /// Whether no row is earlier than the one before it.
    pub(crate) fn is_sorted(&self) -> bool {
        self.values.is_sorted()
    }
}

/// The event times of a column in nanoseconds; what has none is later than all others.
pub(crate) fn times_or_never(column: &ArrayRef) -> Result<Vec<i64>> {
    let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(EventTimes::new(column)?.iter().collect());
    };
    let values = make_array(column.to_data().into_builder().nulls(None).build()?);
    let times = EventTimes::new(&values)?;
    Ok(times.iter().enumerate().map(|(row, time)| if nulls.is_valid(row) { time } else { i64::MAX }).collect())
}

/// The rows of `batch` for which `time` is there, and these times.
pub(crate) fn timed(
    time: &Arc<dyn PhysicalExpr>,
    batch: Batch,
    dead: &mut Vec<DeadRow>,
) -> Result<(Batch, EventTimes)> {
    let (mut batch, mut columns) = evaluate(std::slice::from_ref(time), batch, dead)?;
    if columns[0].null_count() > 0 {
        batch = with_event_time(batch, columns[0].as_ref(), dead)?;
        columns[0] = evaluate_rows(time, &batch.rows)?.0;
    }
    Ok((batch, EventTimes::new(&columns[0])?))
}

/// A column of timestamps of type `data_type`, NULL where there is none.
pub(crate) fn optional_timestamps(ns: Vec<Option<i64>>, data_type: &DataType) -> Result<ArrayRef> {
    let there: NullBuffer = ns.iter().map(Option::is_some).collect();
    let values = timestamps(ns.into_iter().map(Option::unwrap_or_default).collect(), data_type)?;
    let data = values.to_data().into_builder().nulls(Some(there)).build()?;
    Ok(make_array(data))
}

/// A column of timestamps of type `data_type`.
pub(crate) fn timestamps(ns: Vec<i64>, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone) = data_type else {
        return Err(Error::bug(format!("a window's bound has type {data_type}, which is no timestamp")));
    };
    let scaled = |unit_ns: i64| ns.iter().map(|v| v.div_euclid(unit_ns)).collect::<Vec<i64>>();
    Ok(match unit {
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(ns).with_timezone_opt(zone.clone())),
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::from(scaled(1_000)).with_timezone_opt(zone.clone()))
        }
        TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::from(scaled(1_000_000)).with_timezone_opt(zone.clone()))
        }
        TimeUnit::Second => Arc::new(TimestampSecondArray::from(scaled(1_000_000_000)).with_timezone_opt(zone.clone())),
    })
}
