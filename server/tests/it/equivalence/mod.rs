//! Streaming equals batch: whatever the epochs and the number of workers, the final state of a view is DataFusion's
//! answer to the same query over the whole table.

mod queries;
mod scripted;
mod table;

use arrow::record_batch::RecordBatch;
use queries::QUERIES;
use scripted::{CONNECTORS, Script, script};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use table::{Random, SCHEMA_SQL, batch_context, random_table};
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, SqlText, compile, render_errors};

/// Rows of each random table.
const ROWS: usize = 400;

#[test]
fn every_query_has_datafusions_answer_whatever_the_epochs_and_workers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut faults = String::new();
    for (seed, workers) in [(1, 1), (2, 2), (3, 4)] {
        let rows = random_table(seed, ROWS);
        let views = stream(&format!("equivalence-{seed}"), seed, workers, &rows);
        let context = batch_context(&rows);
        for (number, query) in QUERIES.iter().enumerate() {
            let batch = runtime.block_on(async { context.sql(&queries::batch(query)).await?.collect().await });
            let expected = batch.map(|batches| lines(&batches)).map_err(|e| e.to_string());
            let found = lines(&views[number]);
            assert!(!found.is_empty(), "a query without an answer proves nothing: {query}");
            if expected.as_ref() != Ok(&found) {
                let _ = writeln!(
                    faults,
                    "seed {seed}, {workers} workers: {query}\n{}",
                    difference(&found, &expected.unwrap_or_else(|e| vec![e]))
                );
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Streams the rows in random pieces through random epochs, and gives the final state of each query's view.
fn stream(name: &str, seed: u64, workers: usize, rows: &RecordBatch) -> Vec<Vec<RecordBatch>> {
    let mut sql = format!("CREATE SOURCE events ({SCHEMA_SQL}) WITH (connector = 'scripted', script = '{name}');\n");
    for (number, query) in QUERIES.iter().enumerate() {
        let _ = writeln!(sql, "CREATE MATERIALIZED VIEW v{number} AS {};", queries::streaming(query));
    }
    let texts = [SqlText { file: "equivalence.sql".into(), text: sql.into() }];
    let environment = Environment { connectors: CONNECTORS, variables: &|_| None };
    let program = compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    let script = script(name);
    let clock = VirtualClock::at(table::BEGIN_NS + 3_600_000_000_000);
    let settings = Settings { workers, tick: Duration::from_millis(100), ..Settings::default() };
    let engine = Engine::start(program.dataflow, CONNECTORS, clock.clone(), settings).unwrap();
    feed(&engine, &clock, &script, rows, &mut Random::new(seed));
    engine.wait().unwrap();
    let names: Vec<String> = (0..QUERIES.len()).map(|number| format!("v{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let snapshots = engine.snapshots(&names).unwrap();
    let dead = engine.dead_letters();
    assert!(dead.is_empty(), "no row of the table is bad: {dead:?}");
    snapshots.into_iter().map(|snapshot| snapshot.batches).collect()
}

fn feed(engine: &Engine, clock: &Arc<VirtualClock>, script: &Script, rows: &RecordBatch, random: &mut Random) {
    let mut at = 0;
    while at < rows.num_rows() {
        let length = (1 + random.below(40)).min(rows.num_rows() - at);
        script.push(rows.slice(at, length));
        at += length;
        if random.below(3) == 0 {
            clock.advance(Duration::from_millis(100 * (1 + random.below(30) as u64)));
        }
        if random.below(4) == 0 {
            wait_until("the source is read", || script.is_empty() || engine.ended());
        }
    }
    script.close();
}

/// Waits for a condition; a test that waits for a minute has failed.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute until {what}");
        std::thread::yield_now();
    }
}

/// The rows as sorted lines. Floating-point numbers to nine digits: addition is not associative.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| cell(column, row));
            lines.push(cells.collect::<Vec<_>>().join(" | "));
        }
    }
    lines.sort();
    lines
}

fn cell(column: &arrow::array::ArrayRef, row: usize) -> String {
    let text = arrow::util::display::array_value_to_string(column, row).unwrap();
    match column.data_type() {
        arrow::datatypes::DataType::Float64 if !column.is_null(row) => match text.parse::<f64>() {
            Ok(number) => format!("{:.9e}", if number.abs() < 1e-9 { 0.0 } else { number }),
            Err(_) => text,
        },
        _ => text,
    }
}

fn difference(found: &[String], expected: &[String]) -> String {
    let mut text = String::new();
    for line in found.iter().filter(|line| !expected.contains(line)).take(3) {
        let _ = writeln!(text, "  only streaming: {line}");
    }
    for line in expected.iter().filter(|line| !found.contains(line)).take(3) {
        let _ = writeln!(text, "  only batch:     {line}");
    }
    let _ = writeln!(text, "  {} rows against {}", found.len(), expected.len());
    text
}
