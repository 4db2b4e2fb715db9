//! A run that is killed again and again comes to the answer of one that never was, and its sinks show every row once.

mod carbon;
mod damage;
mod detection;
mod formats;
mod keyed;
mod outside;
mod redeploy;
mod simulation;

use super::equivalence::{
    BEGIN_NS, SCHEMA_SQL, WATERMARK_SQL, batch_context, difference, line, lines, queries, random_table,
};
use arrow::array::{Int64Array, RecordBatch};
use outside::{CONNECTORS, Death, Disk, SharedDisk, World, register};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::deployment::{Archives, Place, Surroundings};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::{Free, Turns};
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::{Environment, SqlText, compile, render_errors};
use thalweg_schemas::error::Result;

/// A pipeline over a world, run by one process after the other.
struct Lives {
    world: Arc<World>,
    dataflow: Dataflow,
    clock: Arc<VirtualClock>,
}

impl Lives {
    fn new(name: &str, sql: &str, world: World) -> Lives {
        let world = register(name, world);
        let sql = sql.replace("{world}", &format!("connector = 'world', world = '{name}'"));
        let texts = [SqlText { file: "recovery.sql".into(), text: sql.into() }];
        let environment = Environment {
            connectors: CONNECTORS,
            notification: &thalweg_notify::statements::SPEC,
            variables: &|_| None,
        };
        let program =
            compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
        let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
        Lives { world, dataflow: program.dataflow, clock }
    }

    fn start(&self, workers: usize, operations: i64) -> (Result<Engine>, Arc<Disk>) {
        self.start_in_turns(workers, Death::AfterWrites(operations), Arc::new(Free))
    }

    fn start_in_turns(&self, workers: usize, death: Death, turns: Arc<dyn Turns>) -> (Result<Engine>, Arc<Disk>) {
        let disk = Disk::new(&self.world, death);
        let settings = Settings {
            workers,
            tick: Duration::from_millis(100),
            checkpoint_interval: Duration::from_millis(600),
            ..Settings::default()
        };
        let place = |folder| Place { lineage: "it".into(), storage: Arc::new(SharedDisk(disk.clone(), folder)) };
        let surroundings = Surroundings {
            sinks: std::collections::BTreeMap::new(),
            clock: self.clock.clone(),
            turns,
            storage: Some(Arc::new(SharedDisk(disk.clone(), ""))),
            archives: Some(Archives { dead: place("dead"), others: Vec::new(), late: place("late") }),
        };
        (Engine::start_with(self.dataflow.clone(), CONNECTORS, settings, surroundings), disk)
    }

    /// A process that dies at its `operations`-th write, or comes to the end.
    fn live(&self, workers: usize, operations: i64) -> Option<Engine> {
        let (engine, disk) = self.start(workers, operations);
        self.live_on(engine, &disk)
    }

    /// What becomes of a process: it dies, or comes to the end.
    fn live_on(&self, engine: Result<Engine>, disk: &Disk) -> Option<Engine> {
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => {
                assert!(disk.is_dead(), "{error}: {:?}", error.detail);
                return None;
            }
        };
        self.until(|| engine.ended() || disk.is_dead());
        if disk.is_dead() {
            engine.crash();
            return None;
        }
        engine.wait().map_or_else(
            |error| {
                assert!(disk.is_dead(), "{error}: {:?}", error.detail);
                None
            },
            |()| Some(engine),
        )
    }

    /// Moves the clock until `done`.
    fn until(&self, mut done: impl FnMut() -> bool) {
        #[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
        let began = std::time::Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "a run did not end within a minute");
            self.clock.advance(Duration::from_millis(20));
            std::thread::yield_now();
        }
    }
}

/// The last of several processes of which the others died, each with so many workers and after so many writes, and what it
/// left. A process that has little to write comes to the end before, or leaves nothing for the last one to compute: then all
/// begin anew in another world, to die a write earlier.
fn after_deaths(name: &str, sql: &str, world: impl Fn() -> World, deaths: &[(usize, i64)]) -> (Lives, Engine) {
    let attempt = |sooner: i64| {
        let lives = Lives::new(&format!("{name}-{sooner}"), sql, world());
        let mut processes = deaths.iter().map(|(workers, writes)| lives.live(*workers, (writes - sooner).max(1)));
        if processes.any(|process| process.is_some()) {
            return None;
        }
        let engine = lives.live(2, i64::MAX).unwrap();
        (engine.status().sources[0].rows_in > 0).then_some((lives, engine))
    };
    (0..20).find_map(attempt).expect("who dies at its first write leaves something to do")
}

fn world(rows: &RecordBatch, partitions: usize, chunk_rows: usize) -> World {
    let length = rows.num_rows().div_ceil(partitions);
    let part = |p: usize| rows.slice(p * length, length.min(rows.num_rows() - p * length));
    World::new((0..partitions).map(part).collect(), chunk_rows, 5)
}

/// The rows that a sink shows in the end, whatever it was told in between.
fn consolidated(world: &World, sink: &str) -> Vec<String> {
    let mut counts: std::collections::BTreeMap<String, i64> = Default::default();
    for batch in world.shown(sink) {
        let diffs = batch.diffs.clone().unwrap_or_else(|| Int64Array::from(vec![1; batch.num_rows()]));
        for (row, diff) in diffs.values().iter().enumerate() {
            *counts.entry(line(&batch.rows, row)).or_default() += diff;
        }
    }
    counts
        .into_iter()
        .flat_map(|(line, n)| {
            assert!(n >= 0, "{sink} retracts a row that it never showed: {line}");
            std::iter::repeat_n(line, n as usize)
        })
        .collect()
}

const SOURCE: &str = "CREATE SOURCE events ({SCHEMA}{WATERMARK}) WITH ({world});\n";

fn source() -> String {
    SOURCE.replace("{SCHEMA}", SCHEMA_SQL).replace("{WATERMARK}", WATERMARK_SQL)
}

/// Every query of the equivalence list, killed a few times, with another number of workers after each death.
#[test]
fn every_query_survives_crashes_with_other_numbers_of_workers() {
    let rows = random_table(77, 400);
    let mut sql = source();
    for (number, query) in queries::QUERIES.iter().enumerate() {
        let _ = writeln!(sql, "CREATE MATERIALIZED VIEW v{number} AS {};", queries::streaming(query));
        let _ = writeln!(sql, "CREATE SINK s{number} FROM v{number} WITH ({{world}});");
    }
    let deaths = [(2, 9), (2, 14), (3, 12), (1, 20)];
    let (lives, engine) = after_deaths("every-query", &sql, || world(&rows, 3, 20), &deaths);
    let context = batch_context(&rows);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut faults = String::new();
    for (number, query) in queries::QUERIES.iter().enumerate() {
        let batch = runtime.block_on(async { context.sql(&queries::batch(query)).await?.collect().await });
        let expected = lines(&batch.unwrap());
        let view = lines(&engine.snapshots(&[&format!("v{number}")]).unwrap().remove(0).batches);
        let sink = consolidated(&lives.world, &format!("s{number}"));
        if view != expected || sink != expected {
            let _ =
                writeln!(faults, "{query}\n  batch {}, view {}, sink {} rows", expected.len(), view.len(), sink.len());
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert_eq!(lives.world.files(), Vec::<String>::new(), "a run that has come to its end leaves no state");
}

/// A clock that begins at its own beginning, and processes that die at each of their first writes: what came in with the
/// first tick is not taken for a part of the checkpoint that a run begins with, which is as of epoch 0.
#[test]
fn a_process_that_dies_within_its_first_tick_loses_nothing() {
    let rows = random_table(9, 60);
    // No event time: all of it would be far in this clock's future.
    let sql = SOURCE.replace("{SCHEMA}", SCHEMA_SQL).replace("{WATERMARK}", "")
        + "
        CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM events;
        CREATE SINK raw FROM events WITH ({world});
        CREATE SINK changes FROM counted WITH ({world});";
    let expected = lines(std::slice::from_ref(&rows));
    for operations in 0..12 {
        for workers in [1, 2] {
            let name = format!("first-tick-{operations}-{workers}");
            let halves = vec![rows.slice(0, 30), rows.slice(30, 30)];
            let mut lives = Lives::new(&name, &sql, World::new(halves, 60, 0));
            lives.clock = VirtualClock::at(0);
            let died = lives.live(workers, operations).is_none();
            if died {
                lives.live(workers, i64::MAX).expect("the second process comes to its end");
            }
            let found = consolidated(&lives.world, "raw");
            assert!(found == expected, "{name}, died: {died}:\n{}", difference(&found, &expected));
            assert_eq!(consolidated(&lives.world, "changes"), ["60"], "{name}, died: {died}");
        }
    }
}
