//! In the middle of the events: as of every epoch each view holds what a batch says of the events taken in by then, windows
//! that are still open included, and all views are of the same epoch.

use super::{RELATIONS, batch_answers, generator, pipeline, texts};
use crate::equivalence::scripted::{CONNECTORS, Script, script};
use crate::equivalence::{BEGIN_NS, Random, difference, lines, wait_until};
use crate::in_process;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, SqlText, compile, render_errors};

/// Events of half a minute: three of the longest windows.
const EVENTS: usize = 1_200;
const INTERVAL: &str = "25ms";
/// Events that come at once, at most: in about ten lots all have come.
const AT_ONCE: usize = 240;
const TICK: Duration = Duration::from_millis(100);

/// The columns of the generator's events.
const COLUMNS: &str = "date_time TIMESTAMP NOT NULL, event_type INT NOT NULL,
  person STRUCT<id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT, date_time TIMESTAMP, extra TEXT>,
  auction STRUCT<id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP,
    expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT>,
  bid STRUCT<auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT>,
  WATERMARK FOR date_time AS date_time";

/// The generator's events in their order.
fn events() -> RecordBatch {
    let sql = format!("{} CREATE MATERIALIZED VIEW e AS SELECT * FROM nexmark;", generator(EVENTS, INTERVAL));
    let ended = in_process::run(&sql, std::path::Path::new("."), 1);
    let events = ended.ask("SELECT * FROM e ORDER BY date_time").unwrap();
    concat_batches(&events[0].schema(), &events).unwrap()
}

/// An engine with the pipeline, and what says which events come.
fn start(workers: usize) -> (Engine, Arc<VirtualClock>, Arc<Script>) {
    let name = format!("nexmark-{workers}");
    let source = format!("CREATE SOURCE nexmark ({COLUMNS}) WITH (connector = 'scripted', script = '{name}');");
    let texts = [SqlText { file: "nexmark.sql".into(), text: pipeline(&source).into() }];
    let environment =
        Environment { connectors: CONNECTORS, notification: &thalweg_notify::statements::SPEC, variables: &|_| None };
    let program = compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
    let settings = Settings { workers, tick: TICK, ..Settings::default() };
    let engine = Engine::start(program.dataflow, CONNECTORS, clock.clone(), settings).unwrap();
    (engine, clock, script(&name))
}

#[test]
fn every_query_has_the_answer_of_a_batch_as_of_every_epoch() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events = events();
    let queries: Vec<&str> = texts().split_off(RELATIONS).into_iter().map(|(name, _)| name).collect();
    let names: Vec<&str> = ["events"].iter().chain(&queries).copied().collect();
    // The events of a number of rows are the same in every run.
    let mut expected: BTreeMap<usize, Vec<Vec<String>>> = BTreeMap::new();
    for workers in [1, 2] {
        let (engine, clock, script) = start(workers);
        let (mut random, mut at) = (Random::new(7), 0);
        while at < EVENTS {
            let length = (AT_ONCE / 4 + random.below(AT_ONCE * 3 / 4)).min(EVENTS - at);
            script.push(events.slice(at, length));
            at += length;
            let mut views = Vec::new();
            wait_until("the epoch of the events is over", || {
                clock.advance(TICK);
                views = engine.snapshots(&names).unwrap();
                views[0].batches.iter().map(RecordBatch::num_rows).sum::<usize>() == at
            });
            let epoch = views[0].epoch;
            let answers = expected.entry(at).or_insert_with(|| batch_answers(&runtime, &views[0].batches));
            for ((name, view), answer) in queries.iter().zip(&views[1..]).zip(answers) {
                assert_eq!(view.epoch, epoch, "{name}");
                let found = lines(&view.batches);
                assert!(
                    found == *answer,
                    "{name} after {at} events, {workers} workers: {}",
                    difference(&found, answer)
                );
            }
        }
        script.close();
        engine.wait().unwrap();
        assert!(engine.dead_letters().unwrap().next().is_none());
    }
    assert!(expected.len() >= 6, "{} epochs are looked at", expected.len());
    // Few auctions are those that q2 asks for.
    for (position, name) in queries.iter().enumerate().filter(|(_, name)| **name != "q2") {
        let said = expected.values().filter(|answers| !answers[position].is_empty()).count();
        assert!(said > expected.len() / 2, "{name} says something in {said} of {} epochs", expected.len());
    }
}
