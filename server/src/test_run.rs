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
use thalweg_engine::clock::{Clock, SystemClock, VirtualClock};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_operators::plan::{Dataflow, SourcePlan};
use thalweg_pipelines::ONCE;
use thalweg_pipelines::testfile::{Action, Expect, Insert, Step};
use thalweg_pipelines::{DeclarationKind, Program};
use thalweg_schemas::connector::ConnectorSpec;
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
    let mut program = program.clone();
    program.dataflow.sinks.clear();
    program.declarations.retain(|declared| !matches!(declared.kind, DeclarationKind::Sink { .. }));
    let beginning = beginning(&program.dataflow, steps);
    let mut test = VirtualRun::start(program, beginning, workers)?;
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
    test.stop()?;
    Ok(failures)
}

/// A program that runs under a clock that is moved by hand, its sources fed by hand.
pub(crate) struct VirtualRun {
    engine: Arc<Engine>,
    sessions: Arc<Sessions>,
    runtime: Runtime,
    clock: Arc<VirtualClock>,
    tick: Duration,
    sources: Vec<SourcePlan>,
    hands: BTreeMap<String, Arc<Hand>>,
    handed: u64,
}

impl VirtualRun {
    /// Starts it at the time `beginning_ns`.
    pub fn start(mut program: Program, beginning_ns: i64, workers: usize) -> Result<VirtualRun> {
        let mut hands = BTreeMap::new();
        let sources = program.dataflow.sources.clone();
        // Constants are what they are.
        let by_hand = |source: &&mut SourcePlan| source.connector != ONCE;
        for source in program.dataflow.sources.iter_mut().filter(by_hand) {
            hands.insert(source.name.clone(), Hand::take_over(source)?);
        }
        let once = thalweg_connectors::ALL.iter().filter(|connector| connector.name == ONCE);
        let connectors: Vec<ConnectorSpec> = once.copied().chain([hand::CONNECTOR]).collect();
        let run = VirtualRun::of(program, &connectors, beginning_ns, workers)?;
        Ok(VirtualRun { sources, hands, ..run })
    }

    /// Runs a program whose sources end by themselves, to its end.
    pub fn over_files(program: Program, workers: usize) -> Result<VirtualRun> {
        let run = VirtualRun::of(program, thalweg_connectors::ALL, SystemClock::start().now_ns(), workers)?;
        while !run.engine.ended() {
            run.clock.advance(run.tick);
            std::thread::park_timeout(LOOK);
        }
        run.engine.wait()?;
        Ok(run)
    }

    fn of(program: Program, connectors: &[ConnectorSpec], beginning_ns: i64, workers: usize) -> Result<VirtualRun> {
        let clock = VirtualClock::at(beginning_ns);
        let settings = Settings { workers, ..Settings::default() };
        let tick = settings.tick;
        let engine = Arc::new(Engine::start(program.dataflow.clone(), connectors, clock.clone(), settings)?);
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
        let (sources, hands) = (Vec::new(), BTreeMap::new());
        Ok(VirtualRun { engine, sessions, runtime, clock, tick, sources, hands, handed: 0 })
    }

    fn insert(&mut self, insert: &Insert) -> Result<()> {
        let Some(source) = self.sources.iter().find(|source| source.name == insert.source) else {
            let error = Error::user(format!("source \"{}\" does not exist", insert.source));
            return Err(match closest(&insert.source, self.hands.keys().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Rows are inserted into the sources that some view reads."),
            });
        };
        let rows = insert.rows(&source.columns)?;
        self.push(&insert.source, rows)
    }

    /// Hands rows over, in one epoch.
    pub fn push(&mut self, source: &str, rows: RecordBatch) -> Result<()> {
        let hand = self.hands.get(source);
        let hand = hand.ok_or_else(|| Error::bug(format!("source \"{source}\" is not fed by hand")))?;
        self.handed += rows.num_rows() as u64;
        hand.push(rows);
        let handed = self.handed;
        self.wait_for("the rows to be taken in", |engine| rows_in(engine) >= handed)?;
        self.advance(self.tick)
    }

    /// How many rows have been taken in.
    pub fn rows_in(&self) -> u64 {
        rows_in(&self.engine)
    }

    /// Moves the clock on to a time, if it is before that.
    pub fn advance_to(&self, ns: i64) -> Result<()> {
        let ahead = u64::try_from(ns.saturating_sub(self.clock.now_ns())).unwrap_or_default();
        if ahead > 0 { self.advance(Duration::from_nanos(ahead)) } else { Ok(()) }
    }

    /// Moves the clock on, until everything before the new time is complete.
    pub fn advance(&self, by: Duration) -> Result<()> {
        self.clock.advance(by.max(self.tick));
        let epoch = self.clock.now_ns() / self.tick.as_nanos().max(1) as i64;
        self.wait_for("the epoch to be complete", |engine| engine.epoch().0 as i64 >= epoch - 1)
    }

    /// Ends all sources, and waits for the run to end.
    pub fn finish(&self) -> Result<()> {
        self.hands.values().for_each(|hand| hand.finish());
        self.wait_for("the sources to end", |_| false).and_then(|()| self.engine.wait())
    }

    /// Stops it.
    pub fn stop(&self) -> Result<()> {
        self.engine.stop();
        self.engine.wait()
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
        expect.check(&self.ask(&expect.query)?)
    }

    /// The answer of a query as of now.
    pub fn ask(&self, query: &str) -> Result<Vec<RecordBatch>> {
        let answer = self.runtime.block_on(async {
            let session = self.sessions.borrow()?;
            let prepared = session.prepare(query).await?;
            let answer = session.execute(&prepared, vec![]).await?;
            let batches: Vec<RecordBatch> =
                answer.rows.try_collect().await.map_err(|error| session.explain(&error, query))?;
            self.sessions.give_back(session);
            Ok(batches)
        });
        // Places are the file's: those in the query alone would mislead.
        answer.map_err(|error: crate::sql_error::SqlError| Error { position: None, ..error.error })
    }
}

fn rows_in(engine: &Engine) -> u64 {
    engine.status().sources.iter().map(|source| source.rows_in).sum()
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
