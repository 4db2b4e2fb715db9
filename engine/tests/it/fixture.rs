//! A source that hands over what the test scripts, a sink that keeps what it gets, and a plan between them.

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_engine::clock::{Clock, VirtualClock};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_operators::plan::{Dataflow, Emit, OnBad, Plan, Read, SinkPlan, SourcePlan, ViewPlan, WatermarkPlan};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest};
use thalweg_schemas::table::{Column, Origin, schema_of};
use thalweg_schemas::wanted::Wanted;

/// What a test shares with its scripted connector, found by the `script` option.
#[derive(Default)]
pub struct Script {
    /// What the source hands over next, to whichever worker asks first; `None` is a fault that may pass.
    pub chunks: Mutex<VecDeque<Option<RecordBatch>>>,
    /// Whether the source ends when there is nothing left.
    pub closed: Mutex<bool>,
    /// What the sink was handed, with its epoch, and the commits (`None`).
    pub written: Mutex<Vec<(Epoch, Option<Batch>)>>,
    /// How many of the next calls to the sink fail.
    pub failures: Mutex<usize>,
    /// While true the sink takes nothing.
    pub blocked: Mutex<bool>,
    /// Whether the sink takes several epochs at once.
    pub joins: Mutex<bool>,
    pub finished: Mutex<usize>,
}

static SCRIPTS: Mutex<BTreeMap<String, Arc<Script>>> = Mutex::new(BTreeMap::new());

const SCRIPT: &[OptionSpec] =
    &[OptionSpec { name: "script", kind: OptionKind::Text, default: None, required: true, doc: "Which script." }];

pub const CONNECTORS: &[ConnectorSpec] = &[ConnectorSpec {
    name: "scripted",
    doc: "What a test says.",
    source: Some(SourceSpec {
        options: SCRIPT,
        formats: &[],
        columns: None,
        bounded: |_| true,
        check: None,
        open: open_source,
    }),
    table: None,
    sink: Some(SinkSpec {
        options: SCRIPT,
        formats: &[],
        changelogs: Changelogs::Always,
        history: None,
        check: None,
        open: open_sink,
    }),
}];

fn script_of(options: &Options) -> Arc<Script> {
    SCRIPTS.lock().unwrap()[options.get("script").unwrap()].clone()
}

fn open_source(request: SourceRequest) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(Scripted(script_of(&request.options))))
}

fn open_sink(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(Scripted(script_of(&request.options))))
}

struct Scripted(Arc<Script>);

impl Source for Scripted {
    fn reader(&self, _worker: WorkerId) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Scripted(self.0.clone())))
    }

    fn bounded(&self) -> bool {
        true
    }
}

impl Reader for Scripted {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        match self.0.chunks.lock().unwrap().pop_front() {
            Some(Some(rows)) => Ok(Polled::Ready(Chunk {
                partition: Partition { index: 0, name: "script".into() },
                start: 0,
                end: rows.num_rows() as u64,
                header: None,
                payload: Payload::Rows(rows),
            })),
            Some(None) => Err(Error::retry("the script says no")),
            None if *self.0.closed.lock().unwrap() => Ok(Polled::Ended),
            None => Ok(Polled::Pending),
        }
    }
}

impl Sink for Scripted {
    fn writer(&self, _worker: WorkerId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Scripted(self.0.clone())))
    }
}

impl Scripted {
    fn refuse(&self) -> Result<()> {
        let mut failures = self.0.failures.lock().unwrap();
        if *self.0.blocked.lock().unwrap() || *failures > 0 {
            *failures = failures.saturating_sub(1);
            return Err(Error::retry("no space left on the script"));
        }
        Ok(())
    }
}

impl Writer for Scripted {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        self.refuse()?;
        self.0.written.lock().unwrap().push((epoch, Some(batch.clone())));
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        self.refuse()?;
        self.0.written.lock().unwrap().push((epoch, None));
        Ok(())
    }

    fn joins_epochs(&self) -> bool {
        *self.0.joins.lock().unwrap()
    }

    fn finish(&mut self) -> Result<()> {
        *self.0.finished.lock().unwrap() += 1;
        Ok(())
    }
}

/// The script named `name`, empty. Names are unique among tests.
pub fn script(name: &str) -> Arc<Script> {
    let script = Arc::new(Script::default());
    assert!(SCRIPTS.lock().unwrap().insert(name.to_string(), script.clone()).is_none(), "two tests share a script");
    script
}

pub fn options(name: &str) -> Options {
    let given = GivenOption { name: "script".into(), value: name.into(), position: None };
    Options::check(SCRIPT, &[given], "connector 'scripted'").unwrap()
}

/// The source `events(ts, key, value)`, with a watermark without lateness.
pub fn events(script: &str) -> SourcePlan {
    SourcePlan {
        name: "events".into(),
        connector: "scripted".into(),
        options: options(script),
        format: None,
        format_options: Options::default(),
        columns: events_columns(),
        wanted: vec![Wanted::Whole; 3],
        generated: vec![],
        key: Vec::new(),
        is_table: false,
        watermark: Some(WatermarkPlan {
            column: 0,
            lateness_ns: 0,
            idle_timeout_ns: 30_000_000_000,
            future_max_ns: 600_000_000_000,
        }),
        on_bad: OnBad::DeadLetter,
    }
}

pub fn events_schema() -> SchemaRef {
    schema_of(&events_columns())
}

fn events_columns() -> Vec<Column> {
    vec![
        Column {
            name: "ts".into(),
            data_type: DataType::Timestamp(TimeUnit::Nanosecond, None),
            nullable: false,
            origin: Origin::Field,
        },
        Column { name: "key".into(), data_type: DataType::Utf8, nullable: true, origin: Origin::Field },
        Column { name: "value".into(), data_type: DataType::Int64, nullable: true, origin: Origin::Field },
    ]
}

/// Rows of `events`; times in seconds.
pub fn rows(rows: &[(i64, &str, i64)]) -> RecordBatch {
    let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.0 * 1_000_000_000));
    let keys = StringArray::from_iter_values(rows.iter().map(|r| r.1));
    let values = Int64Array::from_iter_values(rows.iter().map(|r| r.2));
    RecordBatch::try_new(events_schema(), vec![Arc::new(times), Arc::new(keys), Arc::new(values)]).unwrap()
}

pub fn source_plan() -> Plan {
    Plan::Source { name: "events".into(), schema: events_schema() }
}

pub fn view(name: &str, plan: Plan, emit: Emit) -> ViewPlan {
    ViewPlan { name: name.into(), plan, emit, key: None, retain: None }
}

pub fn sink(script: &str, plan: Plan, read: Read) -> SinkPlan {
    let (connector, changelog) = ("scripted".to_string(), read == Read::Changes);
    SinkPlan { name: "kept".into(), plan, read, changelog, connector, options: options(script) }
}

/// Settings with ticks of 100 ms.
pub fn settings(workers: usize) -> Settings {
    Settings { workers, tick: Duration::from_millis(100), ..Settings::default() }
}

/// Starts `dataflow` on a clock that stands at 1000 s.
pub fn start(dataflow: Dataflow, settings: Settings) -> (Engine, Arc<VirtualClock>) {
    let clock = VirtualClock::at(1_000_000_000_000);
    (Engine::start(dataflow, CONNECTORS, clock.clone(), settings).unwrap(), clock)
}

/// Waits until the script is read, then moves the clock on until the epoch in which that was is complete.
pub fn settle(engine: &Engine, clock: &VirtualClock, script: &Script) {
    // A tick first: a source that pauses after a fault waits for time to pass.
    wait_until("the source is read", || {
        clock.advance(Duration::from_millis(100));
        script.chunks.lock().unwrap().is_empty()
    });
    clock.advance(Duration::from_millis(200));
    let last = (clock.now_ns() / 100_000_000) as u64 - 1;
    wait_until("the epoch is complete", || engine.epoch().0 >= last);
}

/// Waits for a condition; a test that waits for a minute has failed.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute until {what}");
        std::thread::yield_now();
    }
}

/// The rows of batches as text, sorted: `key=value` after the first column as seconds.
pub fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut texts = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |i: usize| arrow::util::display::array_value_to_string(batch.column(i), row).unwrap();
            texts.push((0..batch.num_columns()).map(cell).collect::<Vec<_>>().join(" "));
        }
    }
    texts.sort();
    texts
}

/// The sum of column `column` over all batches.
pub fn sum(batches: &[RecordBatch], column: usize) -> i64 {
    batches.iter().filter_map(|b| arrow::compute::sum(b.column(column).as_primitive::<Int64Type>())).sum()
}

/// A dataflow of one source and what reads it.
pub fn dataflow(script: &str, views: Vec<ViewPlan>, sinks: Vec<SinkPlan>) -> Dataflow {
    Dataflow { sources: vec![events(script)], views, sinks }
}
