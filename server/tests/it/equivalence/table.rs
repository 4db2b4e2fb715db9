//! Random tables: all the types that matter, NULLs, few distinct values so that groups meet.

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// The table as the pipeline declares it.
pub const SCHEMA_SQL: &str = "ts TIMESTAMP NOT NULL, k TEXT, g INT, v BIGINT, f DOUBLE, b BOOLEAN, d DECIMAL(12, 2)";
/// A watermark by which no row is ever late.
pub const WATERMARK_SQL: &str = ", WATERMARK FOR ts AS ts - INTERVAL '1 day'";

/// 2026-01-01T00:00:00Z.
pub const BEGIN_NS: i64 = 1_767_225_600_000_000_000;

/// A xorshift generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    /// A value, or NULL one time in eight.
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
        if self.below(8) == 0 { None } else { Some(value(self)) }
    }
}

pub fn random_table(seed: u64, rows: usize) -> RecordBatch {
    let mut random = Random::new(seed);
    let mut column = |f: &mut dyn FnMut(&mut Random) -> Option<i64>| -> Vec<Option<i64>> {
        (0..rows).map(|_| f(&mut random)).collect()
    };
    // About three minutes, out of order.
    let ts = column(&mut |r| Some(BEGIN_NS + r.below(180_000) as i64 * 1_000_000));
    let k = column(&mut |r| r.maybe(|r| r.below(6) as i64));
    let g = column(&mut |r| r.maybe(|r| r.below(4) as i64));
    let v = column(&mut |r| r.maybe(|r| r.below(2_000) as i64 - 1_000));
    let f = column(&mut |r| r.maybe(|r| r.below(1_000_000) as i64 - 500_000));
    let b = column(&mut |r| r.maybe(|r| r.below(2) as i64));
    let d = column(&mut |r| r.maybe(|r| r.below(100_000) as i64 - 50_000));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampNanosecondArray::from(ts))),
        ("k", Arc::new(k.into_iter().map(|k| k.map(|k| format!("key-{k}"))).collect::<StringArray>())),
        ("g", Arc::new(g.into_iter().map(|g| g.map(|g| g as i32)).collect::<Int32Array>())),
        ("v", Arc::new(Int64Array::from(v))),
        ("f", Arc::new(f.into_iter().map(|f| f.map(|f| f as f64 / 1_000.0)).collect::<Float64Array>())),
        ("b", Arc::new(b.into_iter().map(|b| b.map(|b| b == 1)).collect::<BooleanArray>())),
        (
            "d",
            Arc::new(
                d.into_iter()
                    .map(|d| d.map(i128::from))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, name != "ts")))
        .unwrap()
}

/// A DataFusion context with the whole table as `events`, and our percentiles in place of DataFusion's.
pub fn batch_context(rows: &RecordBatch) -> SessionContext {
    let context = SessionContext::new();
    context.register_batch("events", rows.clone()).unwrap();
    for function in thalweg_operators::aggregate::functions() {
        context.register_udaf(function.as_ref().clone());
    }
    context
}
