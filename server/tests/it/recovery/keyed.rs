//! Rows by key survive: whatever process died when, and however many workers went on, the last record of a key counts.

use super::outside::{CONNECTORS, OPTION, World, register};
use super::{Lives, consolidated, lines};
use crate::carbon::reading_from;
use crate::equivalence::{BEGIN_NS, Random};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::clock::VirtualClock;

const PIPELINE: &str = "
CREATE SOURCE stock (item TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'file', path = 'stock.ndjson', format = 'upsert');
CREATE MATERIALIZED VIEW items AS SELECT item, n FROM stock;
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS items, sum(n) AS n FROM stock;
";

#[test]
fn the_last_record_of_a_key_counts_whatever_process_died_when() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let name = |source: &str| format!("keyed-{seed}-{source}");
        let everything = name("all");
        let sinks = ["items", "total"].map(|view| {
            format!("CREATE SINK {view}_out FROM {view} WITH (connector = 'world', world = '{everything}');")
        });
        let program = reading_from(&(PIPELINE.to_string() + &sinks.concat()), &CONNECTORS[0], &OPTION, &name);
        let records: Vec<(String, i64)> =
            (0..1 + random.below(60) as i64).map(|n| (format!("item {}", random.below(6)), n)).collect();
        let items: ArrayRef = Arc::new(StringArray::from_iter_values(records.iter().map(|(item, _)| item)));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(records.iter().map(|(_, n)| *n)));
        let rows = RecordBatch::try_from_iter_with_nullable([("item", items, true), ("n", numbers, true)]).unwrap();
        register(&name("stock"), World::new(vec![rows], 1 + random.below(10), random.below(8) as u64));
        let clock = VirtualClock::at(BEGIN_NS);
        let lives = Lives { world: register(&everything, World::default()), dataflow: program.dataflow, clock };
        let mut deaths = 0;
        let engine = loop {
            let operations = if deaths < 8 { random.below(25) as i64 } else { i64::MAX };
            match lives.live(1 + random.below(3), operations) {
                Some(engine) => break engine,
                None => deaths += 1,
            }
        };
        let last: BTreeMap<String, i64> = records.into_iter().collect();
        let expected: Vec<String> = last.iter().map(|(item, n)| format!("{item} | {n}")).collect();
        let total = [format!("{} | {}", last.len(), last.values().sum::<i64>())];
        assert_eq!(consolidated(&lives.world, "items_out"), expected, "seed {seed}, {deaths} deaths");
        assert_eq!(consolidated(&lives.world, "total_out"), total, "seed {seed}, {deaths} deaths");
        if engine.status().sources[0].rows_in > 0 {
            assert_eq!(lines(&engine.snapshots(&["items"]).unwrap().remove(0).batches), expected, "seed {seed}");
        }
    }
}
