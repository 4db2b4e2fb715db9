//! Columns of facts, put together to a batch.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

/// Columns being put together.
#[derive(Default)]
pub(super) struct Table {
    pub(super) columns: Vec<(&'static str, ArrayRef)>,
}

impl Table {
    pub(super) fn with(mut self, name: &'static str, column: impl arrow::array::Array + 'static) -> Table {
        self.columns.push((name, Arc::new(column)));
        self
    }

    pub(super) fn text<R>(self, name: &'static str, rows: &[R], value: impl Fn(&R) -> Option<String>) -> Table {
        self.with(name, rows.iter().map(value).collect::<StringArray>())
    }

    pub(super) fn count<R>(self, name: &'static str, rows: &[R], value: impl Fn(&R) -> Option<u64>) -> Table {
        let signed = |row| value(row).map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        self.with(name, rows.iter().map(signed).collect::<Int64Array>())
    }

    pub(super) fn milliseconds<R>(self, name: &'static str, rows: &[R], ns: impl Fn(&R) -> u64) -> Table {
        self.with(name, rows.iter().map(|row| Some(ns(row) as f64 / 1e6)).collect::<Float64Array>())
    }

    pub(super) fn maybe_milliseconds<R>(self, name: &'static str, rows: &[R], ns: impl Fn(&R) -> Option<i64>) -> Table {
        self.with(name, rows.iter().map(|row| ns(row).map(|ns| ns as f64 / 1e6)).collect::<Float64Array>())
    }

    pub(super) fn flag<R>(self, name: &'static str, rows: &[R], value: impl Fn(&R) -> bool) -> Table {
        self.with(name, rows.iter().map(|row| Some(value(row))).collect::<BooleanArray>())
    }

    pub(super) fn time<R>(self, name: &'static str, rows: &[R], ns: impl Fn(&R) -> Option<i64>) -> Table {
        self.with(name, rows.iter().map(ns).collect::<TimestampNanosecondArray>())
    }

    pub(super) fn bytes<R>(self, name: &'static str, rows: &[R], value: impl for<'a> Fn(&'a R) -> &'a [u8]) -> Table {
        self.with(name, rows.iter().map(|row| Some(value(row))).collect::<BinaryArray>())
    }

    pub(super) fn finish(self) -> RecordBatch {
        let fields = self.columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = self.columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(schema, columns).expect("every column was made from the same rows")
    }
}
