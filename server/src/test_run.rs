//! One `.test.sql` file against a pipeline: the real engine under a virtual clock, rows by hand, no sinks.

use crate::hand::{self, Hand};
use crate::relations::Relations;
use crate::session::Sessions;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::{Clock, VirtualClock};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_operators::plan::{Dataflow, SourcePlan};
use thalweg_pipelines::testfile::{Action, Expect, Insert, Step};
use thalweg_pipelines::{DeclarationKind, Program};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::suggest::closest;
use tokio::runtime::Runtime;

/// When a test begins that inserts no event times: 2026-01-01T00:00:00Z.
const BEGINNING_NS: i64 = 1_767_225_600_000_000_000;
/// How often the engine is looked at while it works.
const LOOK: Duration = Duration::from_micros(200);
/// How many looks it may take: a stalled engine fails the test, after a good while.
const LOOKS_MAX: usize = 300_000;

/// Runs the steps; every expectation that is not met is one error. The first other error ends the test.
pub fn run(program: &Program, steps: &[Step], workers: usize) -> Result<Vec<Error>> {
    let mut test = Test::start(program, steps, workers)?;
    let mut failures = Vec::new();
    for step in steps {
        let located = |error: Error| error.at(step.position.clone());
        match &step.action {
            Action::Insert(insert) => test.insert(insert).map_err(located)?,
            Action::Advance(by) => test.advance(*by).map_err(located)?,
            Action::Finish => test.finish().map_err(located)?,
            Action::Expect(expect) => {
                if let Err(error) = test.expect(expect) {
                    failures.push(located(error));
                }
            }
        }
    }
    test.engine.stop();
    test.engine.wait()?;
    Ok(failures)
}

struct Test {
    engine: Arc<Engine>,
    sessions: Arc<Sessions>,
    runtime: Runtime,
    clock: Arc<VirtualClock>,
    tick: Duration,
    sources: Vec<SourcePlan>,
    hands: BTreeMap<String, Arc<Hand>>,
    handed: u64,
}

impl Test {
    fn start(program: &Program, steps: &[Step], workers: usize) -> Result<Test> {
        let mut program = program.clone();
        program.dataflow.sinks.clear();
        program.declarations.retain(|declared| !matches!(declared.kind, DeclarationKind::Sink { .. }));
        let clock = VirtualClock::at(beginning(&program.dataflow, steps));
        let mut hands = BTreeMap::new();
        let sources = program.dataflow.sources.clone();
        for source in &mut program.dataflow.sources {
            hands.insert(source.name.clone(), Hand::take_over(source)?);
        }
        let settings = Settings { workers, ..Settings::default() };
        let tick = settings.tick;
        let engine = Engine::start(program.dataflow.clone(), &[hand::CONNECTOR], clock.clone(), settings)?;
        let engine = Arc::new(engine);
        let relations = Relations {
            engine: engine.clone(),
            program: Arc::new(program),
            pipeline: "test".to_string(),
            notifications: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Error::io("threads for queries", &error))?;
        let sessions = Sessions::new(Arc::new(relations));
        Ok(Test { engine, sessions, runtime, clock, tick, sources, hands, handed: 0 })
    }

    fn insert(&mut self, insert: &Insert) -> Result<()> {
        let (Some(source), Some(hand)) =
            (self.sources.iter().find(|source| source.name == insert.source), self.hands.get(&insert.source))
        else {
            let error = Error::user(format!("source \"{}\" does not exist", insert.source));
            return Err(match closest(&insert.source, self.hands.keys().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Rows are inserted into the sources that some view reads."),
            });
        };
        let rows = insert.rows(&source.columns)?;
        self.handed += rows.num_rows() as u64;
        hand.push(rows);
        let handed = self.handed;
        self.wait_for("the rows to be taken in", |engine| {
            engine.status().sources.iter().map(|source| source.rows_in).sum::<u64>() >= handed
        })?;
        self.advance(self.tick)
    }

    /// Moves the clock on, until everything before the new time is complete.
    fn advance(&self, by: Duration) -> Result<()> {
        self.clock.advance(by.max(self.tick));
        let epoch = self.clock.now_ns() / self.tick.as_nanos().max(1) as i64;
        self.wait_for("the epoch to be complete", |engine| engine.epoch().0 as i64 >= epoch - 1)
    }

    fn finish(&self) -> Result<()> {
        self.hands.values().for_each(|hand| hand.finish());
        self.wait_for("the sources to end", |_| false).and_then(|()| self.engine.wait())
    }

    /// Waits for `done`, or for the end of the run.
    fn wait_for(&self, what: &str, done: impl Fn(&Engine) -> bool) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            if self.engine.ended() {
                return self.engine.wait();
            }
            if done(&self.engine) {
                return Ok(());
            }
            std::thread::park_timeout(LOOK);
        }
        Err(Error::bug(format!("waiting for {what} took too long")))
    }

    fn expect(&self, expect: &Expect) -> Result<()> {
        let answer = self.runtime.block_on(async {
            let session = self.sessions.borrow()?;
            let prepared = session.prepare(&expect.query).await?;
            let answer = session.execute(&prepared, vec![]).await?;
            let batches: Vec<RecordBatch> =
                answer.rows.try_collect().await.map_err(|error| session.explain(&error, &expect.query))?;
            self.sessions.give_back(session);
            Ok(batches)
        });
        // Places are the file's: those in the query alone would mislead.
        let answer = answer.map_err(|error: crate::sql_error::SqlError| Error { position: None, ..error.error })?;
        expect.check(&answer)
    }
}

/// The latest event time of the first rows: the clock stands there when they come.
fn beginning(dataflow: &Dataflow, steps: &[Step]) -> i64 {
    let first = steps.iter().find_map(|step| {
        let Action::Insert(insert) = &step.action else { return None };
        let source = dataflow.sources.iter().find(|source| source.name == insert.source)?;
        let time = &source.columns.get(source.watermark.as_ref()?.column)?.name;
        let rows = insert.rows(&source.columns).ok()?;
        let nanoseconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
        let times = arrow::compute::cast(rows.column_by_name(time)?, &nanoseconds).ok()?;
        arrow::compute::max(times.as_primitive::<TimestampNanosecondType>())
    });
    first.unwrap_or(BEGINNING_NS)
}
