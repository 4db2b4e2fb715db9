//! Rows that nothing can be computed from, while the engine goes on: later rows are counted, earlier results stay.

use crate::equivalence::scripted::{CONNECTORS, script};
use crate::equivalence::wait_until;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, SqlText, compile, render_errors};

const PIPELINE: &str = "
CREATE SOURCE numbers (ts TIMESTAMP, n BIGINT, d DECIMAL(38, 0)) WITH (connector = 'scripted', script = 'faults');
CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, count(*) AS c, avg(d) AS mean, sum(100 / n) AS q
  FROM TUMBLE(numbers, ts, INTERVAL '1 minute') GROUP BY window_start;
CREATE MATERIALIZED VIEW whole AS SELECT count(*) AS c, avg(d) AS mean, sum(100 / n) AS q, sum(n) AS s FROM numbers;
";
const HUGE: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

fn rows(values: &[(i64, i128)]) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values(0..values.len() as i64));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|(n, _)| *n)));
    let decimals = Decimal128Array::from_iter_values(values.iter().map(|(_, d)| *d));
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(38, 0).unwrap());
    RecordBatch::try_from_iter_with_nullable([("ts", times, true), ("n", numbers, true), ("d", decimals, true)])
        .unwrap()
}

/// The rows that are counted by a view, and the value of a column of its one row.
fn shown(engine: &Engine, view: &str, column: &str) -> Option<(i64, String)> {
    let snapshot = engine.snapshots(&[view]).ok()?.pop()?;
    let batch = snapshot.batches.into_iter().find(|batch| batch.num_rows() > 0)?;
    let count = batch.column_by_name("c")?.as_primitive::<Int64Type>().value(0);
    let value = arrow::util::display::array_value_to_string(batch.column_by_name(column)?, 0).ok()?;
    Some((count, value))
}

#[test]
fn a_live_view_outlives_rows_that_its_aggregates_fail_on() {
    let texts = [SqlText { file: "faults.sql".into(), text: PIPELINE.into() }];
    let environment =
        Environment { connectors: CONNECTORS, notification: &thalweg_notify::statements::SPEC, variables: &|_| None };
    let program = compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    let clock = VirtualClock::at(1_000_000_000);
    let settings = Settings { workers: 2, tick: Duration::from_millis(100), ..Settings::default() };
    let engine = Engine::start(program.dataflow, CONNECTORS, clock.clone(), settings).unwrap();
    let script = script("faults");
    let feed = |values: &[(i64, i128)], counted: i64| {
        script.push(rows(values));
        for view in ["per_minute", "whole"] {
            wait_until("the rows are counted", || {
                clock.advance(Duration::from_millis(100));
                shown(&engine, view, "mean").is_some_and(|(count, _)| count == counted)
            });
        }
    };
    feed(&[(1, 4), (0, 5), (2, HUGE), (4, 6)], 2);
    assert_eq!(shown(&engine, "per_minute", "mean").unwrap().1, "5.0000");
    assert_eq!(shown(&engine, "whole", "q").unwrap().1, "125");
    // The total of n does not fit; the counts hold, and the run goes on.
    feed(&[(i64::MAX, 5), (i64::MAX, HUGE), (i64::MAX, 5)], 4);
    assert_eq!(shown(&engine, "whole", "s").unwrap().1, "");
    // 1 + 4 + 2 * MAX + 2 * MIN + 5.
    feed(&[(i64::MIN, 5), (i64::MIN, 5), (0, HUGE), (5, 5)], 7);
    assert_eq!(shown(&engine, "whole", "s").unwrap().1, "8");
    assert_eq!(engine.dead_letters().unwrap().map(|some| some.unwrap().len()).sum::<usize>(), 2 * 4);
    script.close();
    engine.wait().unwrap();
    assert_eq!(shown(&engine, "per_minute", "mean"), shown(&engine, "whole", "mean"));
}
