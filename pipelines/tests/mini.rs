//! temporary
#[path = "../../server/tests/it/equivalence/queries.rs"]
mod queries;
#[path = "../../server/tests/it/equivalence/scripted.rs"]
mod scripted;
#[path = "../../server/tests/it/equivalence/table.rs"]
mod table;

use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use queries::QUERIES;
use scripted::{CONNECTORS, script};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use table::{BEGIN_NS, Random, SCHEMA_SQL, WATERMARK_SQL, batch_context, random_table};
use thalweg_engine::clock::{SystemClock, VirtualClock};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, SqlText, compile, render_errors};

fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn equivalence() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut faults = String::new();
    let only = std::env::var("FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let queries = &QUERIES[only..];
    for (seed, workers, watermark) in [(1u64, 1usize, WATERMARK_SQL), (2, 2, WATERMARK_SQL), (3, 4, "")] {
        let rows = random_table(seed, 400);
        let name = format!("mini-{seed}");
        let mut sql = format!("CREATE SOURCE events ({SCHEMA_SQL}{watermark}) WITH (connector = 'scripted', script = '{name}');\n");
        for (number, query) in queries.iter().enumerate() {
            let _ = writeln!(sql, "CREATE MATERIALIZED VIEW v{number} AS {};", queries::streaming(query));
        }
        let texts = [SqlText { file: "equivalence.sql".into(), text: sql.into() }];
        let environment = Environment { connectors: CONNECTORS, variables: &|_| None };
        let program = compile(&texts, &environment).unwrap_or_else(|e| panic!("{}", render_errors(&e, &texts)));
        let script = script(&name);
        let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
        let settings = Settings { workers, tick: Duration::from_millis(100), ..Settings::default() };
        let engine = Engine::start(program.dataflow.clone(), CONNECTORS, clock.clone(), settings).unwrap();
        let mut random = Random::new(seed);
        let mut at = 0;
        while at < rows.num_rows() {
            let length = (1 + random.below(40)).min(rows.num_rows() - at);
            script.push(rows.slice(at, length));
            at += length;
            if random.below(3) == 0 {
                clock.advance(Duration::from_millis(100 * (1 + random.below(30) as u64)));
            }
            if random.below(4) == 0 {
                wait_until(|| script.is_empty() || engine.ended());
            }
        }
        script.close();
        engine.wait().unwrap();
        let names: Vec<String> = (0..queries.len()).map(|n| format!("v{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let snapshots = engine.snapshots(&names).unwrap();
        println!("dead: {:?}", engine.dead_letters());
        let context = batch_context(&rows);
        for (query, snapshot) in queries.iter().zip(snapshots) {
            let found = lines(&snapshot.batches);
            let batch = runtime.block_on(async { context.sql(&queries::batch(query)).await?.collect().await });
            let expected = batch.map(|b| lines(&b)).unwrap_or_else(|e| vec![e.to_string()]);
            if found != expected || found.is_empty() {
                let _ = writeln!(faults, "seed {seed}: {query}");
                for line in found.iter().filter(|l| !expected.contains(l)).take(3) {
                    let _ = writeln!(faults, "  streaming {line}");
                }
                for line in expected.iter().filter(|l| !found.contains(l)).take(3) {
                    let _ = writeln!(faults, "  batch     {line}");
                }
                let _ = writeln!(faults, "  {} against {}", found.len(), expected.len());
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            lines.push(batch.columns().iter().map(|c| cell(c, row)).collect::<Vec<_>>().join(" | "));
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

#[test]
fn slt() {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/it/sql");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut answers: Vec<String> = Vec::new();
    for workers in [1, 2, 4] {
        let text: String = std::fs::read_to_string(folder.join("rankings.sql")).unwrap();
        let data = folder.join("data").display().to_string();
        let variables = |name: &str| (name == "DATA").then(|| data.clone());
        let environment = Environment { connectors: thalweg_connectors::ALL, variables: &variables };
        let texts = [SqlText { file: "rankings.sql".into(), text: text.into() }];
        let program = compile(&texts, &environment).unwrap_or_else(|e| panic!("{}", render_errors(&e, &texts)));
        let settings = Settings { workers, ..Settings::default() };
        let engine = Engine::start(program.dataflow.clone(), thalweg_connectors::ALL, SystemClock::start(), settings).unwrap();
        engine.wait().unwrap();
        println!("dead: {:?}", engine.dead_letters());
        let context = SessionContext::new();
        for view in &program.dataflow.views {
            let snapshot = engine.snapshots(&[view.name.as_str()]).unwrap().remove(0);
            let table = datafusion::datasource::MemTable::try_new(view.plan.schema(), vec![snapshot.batches]).unwrap();
            context.register_table(view.name.as_str(), Arc::new(table)).unwrap();
        }
        let script = std::fs::read_to_string(folder.join("rankings.slt")).unwrap();
        let mut out = Vec::new();
        for block in script.split("\n\n") {
            let mut kept: Vec<String> = block.lines().take_while(|l| *l != "----").map(str::to_string).collect();
            if block.trim_start().starts_with("query") {
                let sql = kept.iter().filter(|l| !l.starts_with("query") && !l.starts_with('#')).cloned().collect::<Vec<_>>().join("\n");
                let batches = runtime.block_on(async { context.sql(&sql).await.unwrap().collect().await.unwrap() });
                kept.push("----".into());
                let options = FormatOptions::default().with_null("NULL");
                for batch in batches {
                    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
                    for row in 0..batch.num_rows() {
                        kept.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" "));
                    }
                }
            }
            out.push(kept.join("\n"));
        }
        answers.push(out.join("\n\n") + "\n");
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    std::fs::write(folder.join("rankings.slt"), &answers[0]).unwrap();
}
