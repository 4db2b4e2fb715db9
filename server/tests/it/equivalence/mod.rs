//! Streaming equals batch: whatever the epochs and the number of workers, the final state of a view is DataFusion's
//! answer to the same query over the whole table, with and without a watermark; and so is the answer of a running
//! engine to the query as the view has it, asked over a view of all rows.

mod fuzz;
pub mod queries;
pub mod scripted;
mod table;

use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use queries::QUERIES;
use scripted::{CONNECTORS, Script, script};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
pub use table::{BEGIN_NS, Random, SCHEMA_SQL, WATERMARK_SQL, batch_context, random_table};
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, Program, SqlText, compile, render_errors};
use thalweg_server::relations::Relations;
use thalweg_server::session::{Session, Sessions};

/// Rows of each random table.
const ROWS: usize = 400;

#[test]
fn every_query_has_datafusions_answer_whatever_the_epochs_and_workers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut faults = String::new();
    for (seed, workers, watermark) in [(1, 1, WATERMARK_SQL), (2, 2, WATERMARK_SQL), (3, 4, "")] {
        let rows = random_table(seed, ROWS);
        let run = Run { name: format!("equivalence-{seed}"), seed, workers, watermark };
        let texts: Vec<String> = QUERIES.iter().map(|query| query.to_string()).collect();
        let engine = run.stream(&rows, &texts);
        let views = final_state(&engine.0, QUERIES.len());
        let session = Sessions::new(Arc::new(engine.1)).open().unwrap();
        let context = batch_context(&rows);
        for (number, query) in QUERIES.iter().enumerate() {
            let batch = runtime.block_on(async { context.sql(&queries::batch(query)).await?.collect().await });
            let expected = batch.map(|batches| lines(&batches)).map_err(|e| e.to_string());
            let found = lines(&views[number]);
            let asked = ad_hoc(&runtime, &session, &queries::streaming(query).replace("events", "every_row"));
            if asked.as_ref() != Ok(&found) {
                let difference = difference(&asked.unwrap_or_else(|e| vec![e]), &found);
                let _ = writeln!(faults, "seed {seed}, asked ad hoc against the view: {query}\n{difference}");
            }
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

/// The answer of a running engine.
fn ad_hoc(runtime: &tokio::runtime::Runtime, session: &Session, query: &str) -> Result<Vec<String>, String> {
    let answer = runtime.block_on(async {
        let prepared = session.prepare(query).await.map_err(|error| error.error.to_string())?;
        let answer = session.execute(&prepared, vec![]).await.map_err(|error| error.error.to_string())?;
        answer.rows.try_collect::<Vec<_>>().await.map_err(|error| error.to_string())
    });
    answer.map(|batches| lines(&batches))
}

/// How the rows are streamed.
struct Run {
    name: String,
    seed: u64,
    workers: usize,
    watermark: &'static str,
}

impl Run {
    /// The pipeline whose views are `queries`; `Err`: what `check` says of it.
    fn compile(name: &str, queries: &[String], watermark: &str) -> Result<Program, String> {
        let mut sql = format!(
            "CREATE SOURCE events ({SCHEMA_SQL}{watermark}) WITH (connector = 'scripted', script = '{name}');\n\
             CREATE MATERIALIZED VIEW every_row AS SELECT * FROM events;\n"
        );
        for (number, query) in queries.iter().enumerate() {
            let _ = writeln!(sql, "CREATE MATERIALIZED VIEW v{number} AS {};", queries::streaming(query));
        }
        let texts = [SqlText { file: "equivalence.sql".into(), text: sql.into() }];
        let environment = Environment {
            connectors: CONNECTORS,
            notification: &thalweg_notify::statements::SPEC,
            variables: &|_| None,
        };
        compile(&texts, &environment).map_err(|errors| render_errors(&errors, &texts))
    }

    /// Streams the rows in random pieces through random epochs, to the end.
    fn stream(&self, rows: &RecordBatch, queries: &[String]) -> (Arc<Engine>, Relations) {
        let Run { name, seed, workers, watermark } = self;
        let program = Run::compile(name, queries, watermark).unwrap_or_else(|errors| panic!("{errors}"));
        let script = script(name);
        let clock = VirtualClock::at(table::BEGIN_NS + 3_600_000_000_000);
        let settings = Settings { workers: *workers, tick: Duration::from_millis(100), ..Settings::default() };
        let engine = Arc::new(Engine::start(program.dataflow.clone(), CONNECTORS, clock.clone(), settings).unwrap());
        feed(&engine, &clock, &script, rows, &mut Random::new(*seed));
        engine.wait().unwrap();
        let relations = Relations {
            engine: engine.clone(),
            program: Arc::new(program),
            pipeline: "equivalence.sql".into(),
            notifications: None,
        };
        (engine, relations)
    }
}

/// The rows of each query's view.
fn final_state(engine: &Engine, queries: usize) -> Vec<Vec<RecordBatch>> {
    let names: Vec<String> = (0..queries).map(|number| format!("v{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let snapshots = engine.snapshots(&names).unwrap();
    let dead: Vec<_> = engine.dead_letters().unwrap().flat_map(Result::unwrap).collect();
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
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute until {what}");
        std::thread::yield_now();
    }
}

/// The rows as sorted lines. Floating-point numbers to nine digits: addition is not associative.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        lines.extend((0..batch.num_rows()).map(|row| line(batch, row)));
    }
    lines.sort();
    lines
}

/// A row as text.
pub fn line(batch: &RecordBatch, row: usize) -> String {
    let cells = batch.columns().iter().map(|column| cell(column, row));
    cells.collect::<Vec<_>>().join(" | ")
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

pub fn difference(found: &[String], expected: &[String]) -> String {
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
