//! A changed pipeline that is killed again and again comes to the answer that it has from the beginning of its sources.

use super::outside::{CONNECTORS, Death, Disk, SharedDisk, World};
use super::{Lives, consolidated, source, world};
use crate::equivalence::{Random, difference, lines, random_table};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::deployment::Surroundings;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::Free;
use thalweg_operators::deployed::Text;
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::{Environment, SqlText, compile};
use thalweg_schemas::error::Error;
use thalweg_server::deploy::{self, Request, Transition};

const BEFORE: &str = "
    CREATE MATERIALIZED VIEW totals AS SELECT g, count(*) AS n, sum(v) AS s FROM events GROUP BY g;
    CREATE MATERIALIZED VIEW each_row AS SELECT ts, k, v FROM events WHERE v > 0;
    CREATE MATERIALIZED VIEW windows AS SELECT window_start, window_end, k, count(*) AS n
        FROM HOP(events, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end, k;
    CREATE MATERIALIZED VIEW changes AS SELECT k, min(v) AS v FROM events GROUP BY k;
    CREATE MATERIALIZED VIEW goes AS SELECT k, v FROM events;
    CREATE SINK raw FROM events WITH ({world});
    CREATE SINK totals_out FROM totals WITH ({world});";

/// Some views as they were, one that changed, one less, and new ones over sources, rows and closed windows.
const AFTER: &str = "
    CREATE MATERIALIZED VIEW totals AS SELECT g, count(*) AS n, sum(v) AS s FROM events GROUP BY g;
    CREATE MATERIALIZED VIEW each_row AS SELECT ts, k, v FROM events WHERE v > 0;
    CREATE MATERIALIZED VIEW windows AS SELECT window_start, window_end, k, count(*) AS n
        FROM HOP(events, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end, k;
    CREATE MATERIALIZED VIEW changes AS SELECT k, max(v) AS v FROM events GROUP BY k;
    CREATE MATERIALIZED VIEW of_totals AS SELECT n, count(*) AS groups FROM totals GROUP BY n;
    CREATE MATERIALIZED VIEW of_rows AS SELECT window_start, sum(v) AS v
        FROM TUMBLE(each_row, ts, INTERVAL '30 seconds') GROUP BY window_start;
    CREATE MATERIALIZED VIEW of_windows AS SELECT k, max(n) AS most FROM windows GROUP BY k;
    CREATE MATERIALIZED VIEW late_comer AS SELECT window_start, g, count(*) AS n
        FROM TUMBLE(events, ts, INTERVAL '10 seconds') GROUP BY window_start, g;
    CREATE SINK raw FROM events WITH ({world});
    CREATE SINK totals_out FROM totals WITH ({world});
    CREATE SINK new_out FROM totals WITH ({world});";

const VIEWS: [&str; 8] =
    ["totals", "each_row", "windows", "changes", "of_totals", "of_rows", "of_windows", "late_comer"];

fn text(sql: &str, name: &str) -> Text {
    let sql = (source() + sql).replace("{world}", &format!("connector = 'world', world = '{name}'"));
    Text { file: "redeploy.sql".into(), text: sql }
}

fn dataflow(texts: &[Text]) -> Dataflow {
    let texts: Vec<SqlText> =
        texts.iter().map(|t| SqlText { file: t.file.as_str().into(), text: t.text.as_str().into() }).collect();
    compile(
        &texts,
        &Environment { connectors: CONNECTORS, notification: &thalweg_notify::statements::SPEC, variables: &|_| None },
    )
    .unwrap()
    .dataflow
}

/// A process with the pipeline `text` that dies at its `operations`-th write, or comes to the end.
fn live(lives: &Lives, text: &Text, workers: usize, operations: i64) -> Option<Engine> {
    let disk = Disk::new(&lives.world, Death::AfterWrites(operations));
    let settings = Settings {
        workers,
        tick: Duration::from_millis(100),
        checkpoint_interval: Duration::from_millis(600),
        ..Settings::default()
    };
    let request = Request {
        dataflow: &dataflow(std::slice::from_ref(text)),
        paths: &["p".to_string()],
        texts: vec![text.clone()],
        dropped: Default::default(),
        compile: &|texts| Ok(dataflow(texts)),
        connectors: CONNECTORS,
        transition: Transition { allowed: &["goes".to_string()], ..Transition::default() },
    };
    let surroundings = Surroundings {
        sinks: std::collections::BTreeMap::new(),
        clock: lives.clock.clone(),
        turns: Arc::new(Free),
        storage: Some(Arc::new(SharedDisk(disk.clone(), ""))),
        archives: None,
    };
    // Finishing the log of the program before waits for the clock.
    let started = std::thread::scope(|scope| {
        let start = scope.spawn(|| deploy::start(&request, settings, surroundings));
        lives.until(|| start.is_finished());
        start.join().unwrap()
    });
    lives.live_on(started.map_err(|failure| Error::outside(format!("{failure:?}"))), &disk)
}

#[test]
fn a_changed_pipeline_goes_on_from_the_state_of_the_one_before_it_wherever_it_dies() {
    let (mut seed, mut taken_over) = (0, 0);
    // On a busy machine a process is slow to write, and comes to the end before it dies.
    while seed < 12 || taken_over < 6 {
        seed += 1;
        taken_over += usize::from(simulate(seed));
        assert!(seed < 200, "only {taken_over} runs had a state to go on from");
    }
}

/// Whether there was a state to go on from.
fn simulate(seed: u64) -> bool {
    let mut random = Random::new(seed);
    let rows = random_table(seed, 240);
    let name = format!("redeploy-{seed}");
    let before = text(BEFORE, &name);
    let lives = Lives::new(&name, &(source() + BEFORE), world(&rows, 1 + random.below(3), 4 + random.below(20)));
    if live(&lives, &before, 1 + random.below(3), 4 + random.below(25) as i64).is_some() {
        return false;
    }
    let after = text(AFTER, &name);
    let mut processes = 0;
    let engine = loop {
        processes += 1;
        let operations = if processes > 8 { i64::MAX } else { random.below(24) as i64 };
        if let Some(engine) = live(&lives, &after, 1 + random.below(3), operations) {
            break engine;
        }
    };
    let same = |what: &str, found: Vec<String>, expected: &[String]| {
        assert!(found == expected, "seed {seed}, {what}:\n{}", difference(&found, expected));
    };
    same("the rows of the source", consolidated(&lives.world, "raw"), &lines(&[rows]));
    // A process that died after the end of the run leaves nothing for the next one to compute.
    if engine.status().sources[0].rows_in > 0 {
        let straight_name = format!("straight-redeploy-{seed}");
        let straight =
            Lives::new(&straight_name, &(source() + AFTER), World::new(lives.world.partitions.clone(), 50, 0));
        let straight = live(&straight, &text(AFTER, &straight_name), 2, i64::MAX).unwrap();
        let view = |engine: &Engine, name: &str| lines(&engine.snapshots(&[name]).unwrap().remove(0).batches);
        for name in VIEWS {
            same(name, view(&engine, name), &view(&straight, name));
        }
        for sink in ["totals_out", "new_out"] {
            same(sink, consolidated(&lives.world, sink), &view(&straight, "totals"));
        }
    }
    true
}
