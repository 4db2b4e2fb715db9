//! Crashes at every step of the protocols, by seed: whatever died when, and however many workers went on, the sinks show
//! what they show without any crash, and so do the views, the dead letters and the late rows.
//!
//! A seed is one run of a small pipeline of everything that holds state. Its processes die one after the other, each at a
//! step that the seed names or after so many writes; the last one comes to the end. In half of the seeds the number of
//! workers is another one after each death; in the others the workers take turns by the seed. Time passes with the turns.
//!
//! The pipeline is compiled once, and what it comes to without a crash is computed once for each table: what is left of a
//! seed are its processes, so that a minute holds thousands of seeds. `THALWEG_SIMULATE` says for how many seconds new seeds are
//! begun (20), `THALWEG_SEED` with which one (1).

use super::outside::{Death, HEAR, SHOW, Step, World, enter};
use super::{Lives, consolidated, source, world};
use crate::equivalence::{BEGIN_NS, Random, difference, lines, random_table};
use crate::process::number;
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_engine::baton::Baton;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::turns::{Free, Turns};
use thalweg_operators::plan::Dataflow;
use thalweg_schemas::error::Result;

/// What is run: statements over `events`, and which of their views and sinks are compared.
struct Pipeline {
    sql: &'static str,
    views: &'static [&'static str],
    sinks: &'static [&'static str],
}

/// Takes every step of the protocols, and little else.
const SMALL: Pipeline = Pipeline {
    sql: "
    CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k;
    CREATE MATERIALIZED VIEW divided AS SELECT k, v, 100 / g AS share FROM events;
    CREATE SINK changes FROM totals WITH ({world});
    CREATE SINK shares FROM divided WITH ({world});",
    views: &["totals"],
    sinks: &["changes", "shares"],
};

/// Has windows, alerts and views of views as well.
const LARGE: Pipeline = Pipeline {
    sql: "
    CREATE MATERIALIZED VIEW windows AS SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, max(f) AS m
        FROM HOP(events, ts, INTERVAL '20 seconds', INTERVAL '40 seconds') GROUP BY window_start, window_end, k;
    CREATE MATERIALIZED VIEW totals AS SELECT g, count(*) AS n, sum(v) AS s FROM events GROUP BY g;
    CREATE MATERIALIZED VIEW of_totals AS SELECT count(*) AS groups, max(n) AS n FROM totals;
    CREATE ALERT wrong FROM windows BY k WARNING WHEN n > 3 CRITICAL WHEN m > 0 FOR INTERVAL '5 seconds';
    CREATE SINK said FROM wrong WITH ({world});
    CREATE MATERIALIZED VIEW divided AS SELECT k, 100 / g AS share FROM events;
    CREATE SINK raw FROM events WITH ({world});
    CREATE SINK finals FROM windows WITH ({world});
    CREATE SINK changes FROM totals WITH ({world});
    CREATE SINK ends FROM of_totals WITH ({world});",
    views: &["windows", "totals", "of_totals", "wrong"],
    sinks: &["said", "raw", "finals", "changes", "ends"],
};
/// Every so many seeds one is of the large pipeline, which takes as long as many of the small one.
const LARGE_EVERY: u64 = 50;

const APPEND: Step = ("append", "log");
const CUT: Step = ("cut", "log");

/// All steps at which a process can die.
const STEPS: [Step; 15] = [
    ("begin", "log"),
    APPEND,
    CUT,
    ("remove", "log"),
    SHOW,
    HEAR,
    ("begin", "letters"),
    ("append", "letters"),
    ("write", "state"),
    ("write", "manifest"),
    ("remove", "manifest"),
    ("remove", "state"),
    ("write", "end"),
    ("remove", "end"),
    // Nothing in particular: after so many writes.
    ("", ""),
];

/// So many seeds are run however slow the machine is, and more until each step was died at; not more than so many for that.
const SEEDS: std::ops::Range<u64> = 150..2_000;
/// How many tables there are; more would only be more of the same.
const TABLES: u64 = 12;
const ROWS: usize = 60;
/// How much time a worker's turn takes.
const TURN: Duration = Duration::from_millis(20);
/// How long a worker rests between two turns: they would be in the way of what it waits for.
const PAUSE: Duration = Duration::from_micros(500);
/// How often it is looked whether a process is still there.
const LOOK: Duration = Duration::from_micros(200);

#[test]
fn whatever_the_step_at_which_it_dies_nothing_is_lost_and_nothing_comes_twice() {
    let (seconds, first) = (number("THALWEG_SIMULATE", 20), number("THALWEG_SEED", 1));
    let (small, large) = (Simulation::new(&SMALL), Simulation::new(&LARGE));
    #[allow(clippy::disallowed_methods, reason = "how long to go on with other seeds")]
    let began = std::time::Instant::now();
    let next = AtomicU64::new(first);
    let deaths: Mutex<BTreeMap<Step, usize>> = Mutex::default();
    let goes_on = || {
        let seeds = next.load(Ordering::Relaxed) - first;
        let is_enough = began.elapsed().as_secs() >= seconds && seeds >= SEEDS.start;
        !is_enough || (seeds < SEEDS.end && never_died_at(&deaths.lock().unwrap()).is_some())
    };
    // Most of the time a process waits for its own threads.
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get()) * 8;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while goes_on() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let died = if seed.is_multiple_of(LARGE_EVERY) { &large } else { &small }.run(seed);
                    died.into_iter().for_each(|step| *deaths.lock().unwrap().entry(step).or_default() += 1);
                }
            });
        }
    });
    let (seeds, deaths) = (next.into_inner() - first, deaths.into_inner().unwrap());
    println!("{seeds} seeds, {} processes killed:", deaths.values().sum::<usize>());
    deaths.iter().for_each(|((what, of), times)| println!("{times:>8} about to {what} {of}"));
    assert_eq!(never_died_at(&deaths), None, "{deaths:?}");
}

/// A step at which nobody has died.
fn never_died_at(deaths: &BTreeMap<Step, usize>) -> Option<Step> {
    STEPS.into_iter().find(|step| !step.0.is_empty() && !deaths.contains_key(step))
}

/// A pipeline that is run again and again, by several threads.
struct Simulation {
    pipeline: &'static Pipeline,
    dataflow: Dataflow,
    tables: Mutex<BTreeMap<u64, Arc<Table>>>,
}

/// Rows, and what the pipeline comes to with them if nothing dies.
struct Table {
    partitions: Vec<RecordBatch>,
    outcome: Outcome,
}

/// What a run came to.
struct Outcome {
    sinks: Vec<Vec<String>>,
    dead_letters: Vec<String>,
    late_rows: Vec<String>,
    /// `None`: the process before the last one died after the end of the run, which leaves nothing to compute.
    views: Option<Vec<Vec<String>>>,
}

impl Simulation {
    fn new(pipeline: &'static Pipeline) -> Simulation {
        let dataflow = Lives::new("here", &(source() + pipeline.sql), World::default()).dataflow;
        Simulation { pipeline, dataflow, tables: Mutex::default() }
    }

    /// Begins anew in another world.
    fn begin(&self, world: World) -> Lives {
        let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
        Lives { world: enter(world), dataflow: self.dataflow.clone(), clock }
    }

    fn outcome(&self, lives: &Lives, engine: &Engine) -> Outcome {
        let view = |view: &&str| lines(&engine.snapshots(&[view]).unwrap().remove(0).batches);
        let computed = engine.status().sources[0].rows_in > 0;
        Outcome {
            sinks: self.pipeline.sinks.iter().map(|sink| consolidated(&lives.world, sink)).collect(),
            dead_letters: dead_letters(engine),
            late_rows: late_rows(engine),
            views: computed.then(|| self.pipeline.views.iter().map(view).collect()),
        }
    }

    fn table(&self, number: u64) -> Arc<Table> {
        if let Some(table) = self.tables.lock().unwrap().get(&number) {
            return table.clone();
        }
        let rows = random_table(number, ROWS);
        let partitions = world(&rows, 1 + number as usize % 4, 1).partitions;
        let lives = self.begin(World::new(partitions.clone(), 50, 0));
        let engine = live(&lives, 2, Death::AfterWrites(i64::MAX), Arc::new(Free)).0.expect("nothing dies");
        let outcome = self.outcome(&lives, &engine);
        for (sink, shown) in self.pipeline.sinks.iter().zip(&outcome.sinks) {
            match *sink {
                "raw" => assert_eq!(*shown, lines(std::slice::from_ref(&rows))),
                "shares" => assert_eq!(shown.len() + outcome.dead_letters.len(), ROWS),
                "said" => assert!(shown.iter().any(|event| event.contains("[{")), "some events show rows: {shown:?}"),
                _ => assert!(!shown.is_empty(), "{sink} shows nothing"),
            }
        }
        let table = Arc::new(Table { partitions, outcome });
        self.tables.lock().unwrap().insert(number, table.clone());
        table
    }

    /// Where the processes of a seed died.
    fn run(&self, seed: u64) -> Vec<Step> {
        let mut random = Random::new(seed);
        let table = self.table(random.next() % TABLES);
        let lives = self.begin(World::new(table.partitions.clone(), 1 + random.below(12), random.below(6) as u64));
        let mut deaths = Vec::new();
        let deaths_max = [1, 2, 3, 10][random.below(4)];
        let some_workers = |random: &mut Random| [1, 1, 2, 2, 3][random.below(5)];
        let always = (seed % 2 == 1).then(|| some_workers(&mut random));
        let engine = loop {
            let death = match deaths.len() {
                so_far if so_far < deaths_max => random_death(&mut random, deaths.last()),
                _ => Death::AfterWrites(i64::MAX),
            };
            let workers = always.unwrap_or_else(|| some_workers(&mut random));
            // A log that other workers wrote is finished by as many as these were: no one order is of both.
            let turns: Arc<dyn Turns> = match always {
                Some(_) => Arc::new(Baton::new(seed * 100 + deaths.len() as u64, workers)),
                None => Arc::new(Free),
            };
            match live(&lives, workers, death, turns) {
                (Some(engine), _) => break engine,
                (None, died_at) => deaths.extend(died_at),
            }
        };
        let (found, expected) = (self.outcome(&lives, &engine), &table.outcome);
        let same = |what: &str, found: &[String], expected: &[String]| {
            assert!(
                found == expected,
                "seed {seed}, {what}, after deaths at {deaths:?}:\n{}",
                difference(found, expected)
            );
        };
        for (sink, (found, expected)) in self.pipeline.sinks.iter().zip(found.sinks.iter().zip(&expected.sinks)) {
            same(sink, found, expected);
        }
        same("the dead letters", &found.dead_letters, &expected.dead_letters);
        same("the late rows", &found.late_rows, &expected.late_rows);
        for (found, expected) in found.views.iter().zip(&expected.views) {
            for (view, (found, expected)) in self.pipeline.views.iter().zip(found.iter().zip(expected)) {
                same(view, found, expected);
            }
        }
        deaths
    }
}

/// A process that dies at some step, which is the answer too, or comes to the end.
fn live(lives: &Lives, workers: usize, death: Death, turns: Arc<dyn Turns>) -> (Option<Engine>, Option<Step>) {
    let turns = Arc::new(Ticking { turns, clock: lives.clock.clone() });
    let (engine, disk) = lives.start_in_turns(workers, death, turns);
    if let Ok(engine) = &engine {
        while !engine.ended() && !disk.is_dead() {
            std::thread::park_timeout(LOOK);
        }
    }
    (lives.live_on(engine, &disk), disk.died_at())
}

/// How a process is to die, when the one before it died at `last`.
fn random_death(random: &mut Random, last: Option<&Step>) -> Death {
    // Only a process that begins with a torn log cuts it.
    let step = if last == Some(&APPEND) && random.below(3) == 0 { CUT } else { STEPS[random.below(STEPS.len())] };
    match step {
        ("", _) => Death::AfterWrites(random.below(40) as i64),
        CUT | ("write", "end") | ("begin", "letters") => Death::At(step, 0),
        step => Death::At(step, random.below(4) as i64),
    }
}

/// Turns with which time passes.
struct Ticking {
    turns: Arc<dyn Turns>,
    clock: Arc<VirtualClock>,
}

impl Turns for Ticking {
    fn take(&self, worker: usize, turn: &mut dyn FnMut()) {
        self.turns.take(worker, &mut || {
            self.clock.advance(TURN);
            turn();
        });
        // What a worker waits for is done by threads that take no turns: they, and other seeds, have the core meanwhile.
        std::thread::park_timeout(PAUSE);
    }

    fn parks(&self) -> bool {
        false
    }

    fn leave(&self, worker: usize) {
        self.turns.leave(worker);
    }
}

/// The dead letters: all of them are rows that something could not be computed for.
fn dead_letters(engine: &Engine) -> Vec<String> {
    let letters = engine.dead_letters().unwrap().flat_map(Result::unwrap);
    let mut letters: Vec<String> =
        letters.map(|l| format!("{} {} {}", l.origin, l.reason, String::from_utf8(l.raw).unwrap())).collect();
    letters.sort();
    letters
}

fn late_rows(engine: &Engine) -> Vec<String> {
    let rows = engine.late_rows().unwrap().flat_map(Result::unwrap);
    let mut rows: Vec<String> = rows.map(|late| format!("{} {}", late.view, late.row)).collect();
    rows.sort();
    rows
}
