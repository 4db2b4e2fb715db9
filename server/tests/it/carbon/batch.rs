//! The ledger in batch: the pipeline's own statements by DataFusion, one after the other, each over whole tables.

use crate::equivalence::lines;
use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The queries of the views of a pipeline, in the order of its files.
fn views(pipeline: &str) -> Vec<(String, String)> {
    let text: String = pipeline.lines().map(|line| line.split("--").next().unwrap().to_string() + "\n").collect();
    let statements = text.split(';').filter_map(|statement| {
        let statement = statement.trim();
        let view = statement.strip_prefix("CREATE MATERIALIZED VIEW ").or(statement.strip_prefix("CREATE VIEW "))?;
        let (name, query) = view.split_once(" AS\n")?;
        let name = name.split_whitespace().next()?;
        Some((name.to_string(), query.trim_end_matches("EMIT ON WINDOW CLOSE").to_string()))
    });
    statements.collect()
}

/// Each view of the pipeline over these tables.
pub fn answers(pipeline: &str, tables: &BTreeMap<&'static str, RecordBatch>) -> BTreeMap<String, Vec<RecordBatch>> {
    let context = SessionContext::new();
    for (name, rows) in tables {
        context.register_batch(*name, rows.clone()).unwrap();
    }
    // What is said of a machine last is what holds: a table has no order, so the keys' last rows are made of it here.
    let machines = &tables["machines"];
    let names = machines.column_by_name("machine").unwrap().as_string::<i32>();
    let last = |row: &usize| (row + 1..machines.num_rows()).all(|later| names.value(later) != names.value(*row));
    let rows = UInt64Array::from_iter_values((0..machines.num_rows()).filter(last).map(|row| row as u64));
    context.deregister_table("machines").unwrap();
    context.register_batch("machines", take_record_batch(machines, &rows).unwrap()).unwrap();
    let (scalars, aggregates) = thalweg_operators::carbon::functions();
    scalars.iter().for_each(|function| context.register_udf(function.as_ref().clone()));
    aggregates.iter().for_each(|function| context.register_udaf(function.as_ref().clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut answers = BTreeMap::new();
    for (name, query) in views(pipeline) {
        let (schema, batches) = runtime.block_on(async {
            let frame = context.sql(&query).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let schema = Arc::new(frame.schema().as_arrow().clone());
            (schema, frame.collect().await.unwrap_or_else(|error| panic!("{name}: {error}")))
        });
        let table = MemTable::try_new(schema, vec![batches.clone()]).unwrap();
        context.register_table(&name, Arc::new(table)).unwrap();
        answers.insert(name, batches);
    }
    answers
}

/// What a query says of them.
pub fn asked(answers: &BTreeMap<String, Vec<RecordBatch>>, query: &str) -> Vec<String> {
    let context = SessionContext::new();
    for (name, batches) in answers {
        if let Some(first) = batches.first() {
            let table = MemTable::try_new(first.schema(), vec![batches.clone()]).unwrap();
            context.register_table(name, Arc::new(table)).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    lines(&runtime.block_on(async { context.sql(query).await?.collect().await }).unwrap())
}
