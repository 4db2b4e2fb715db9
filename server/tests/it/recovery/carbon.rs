//! The shipped carbon pipeline, killed again and again with other numbers of workers, comes to the ledger that its statements
//! say in batch.

use super::outside::{CONNECTORS, OPTION, World, register};
use super::{Lives, consolidated, lines};
use crate::carbon::input::Input;
use crate::carbon::{READ, alike, batch, by_default, reading_from};
use crate::equivalence::{BEGIN_NS, Random, difference};
use thalweg_engine::clock::VirtualClock;

#[test]
fn the_ledger_is_the_same_whatever_process_died_when() {
    for seed in [12] {
        let mut random = Random::new(seed);
        let name = |source: &str| format!("carbon-{seed}-{source}");
        let everything = name("all");
        let sinks = format!(
            "CREATE SINK ledger_out FROM ledger WITH (connector = 'world', world = '{everything}');
             CREATE SINK tenants_out FROM tenant_ledger WITH (connector = 'world', world = '{everything}');"
        );
        let text = by_default();
        let program = reading_from(&(text.clone() + &sinks), &CONNECTORS[0], &OPTION, &name);
        let tables = Input::random(seed).rows(&program);
        for (source, rows) in &tables {
            // Of one partition: the order of samples is what their watermark is about.
            register(&name(source), World::new(vec![rows.clone()], 1 + random.below(20), 5));
        }
        let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
        let lives = Lives { world: register(&everything, World::default()), dataflow: program.dataflow, clock };
        let mut deaths = 0;
        let engine = loop {
            let operations = if deaths < 3 { 6 + random.below(30) as i64 } else { i64::MAX };
            match lives.live(1 + random.below(3), operations) {
                Some(engine) => break engine,
                None => deaths += 1,
            }
        };
        assert!(deaths > 0, "seed {seed}: no process died");
        let expected = batch::answers(&text, &tables);
        let same = |what: &str, found: Vec<String>, view: &str| {
            let expected = lines(&expected[view]);
            assert!(
                alike(&found, &expected),
                "seed {seed}, {deaths} deaths, {what}:\n{}",
                difference(&found, &expected)
            );
        };
        same("the sink of the ledger", consolidated(&lives.world, "ledger_out"), "ledger");
        same("the sink of the tenants", consolidated(&lives.world, "tenants_out"), "tenant_ledger");
        // A process that died after the end of the run leaves nothing for the next one to compute.
        if engine.status().sources.iter().any(|source| source.rows_in > 0) {
            for view in READ {
                same(view, lines(&engine.snapshots(&[view]).unwrap().remove(0).batches), view);
            }
        }
    }
}
