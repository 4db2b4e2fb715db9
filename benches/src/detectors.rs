//! How many points a core judges: rows of many series through the operator of `DETECT_ANOMALIES`, from batches to batches,
//! finding the keys, putting rows in order of time and making the columns of verdicts included.
//!
//! Time is that of the thread where the system tells it, so that other processes on the machine take nothing from the figure.

use crate::serving::Outcome;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_operators::anomaly::{DetectSettings, Detector, Method};
use thalweg_operators::operator::{Operator, Output, Times};
use thalweg_operators::plan::{Plan, TimeOrigin};
use thalweg_operators::rows::Rows;
use thalweg_operators::series::{Series, SeriesSpec, Task, detect_columns};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};

/// 2026-01-01T00:00:00Z, where event time begins.
const START_MS: i64 = 1_767_225_600_000;
/// Between two points of a series.
const STEP_MS: i64 = 1_000;
/// Turns before time is taken: every series is known and judged by then.
const WARM_UP: usize = 40;
/// The same of the heavy methods: their samples and windows are full by then.
const HEAVY_WARM_UP: usize = 2_600;
/// Methods that look at much more than one point each time; they get fewer series and fewer points.
const HEAVY: [Method; 4] = [Method::Mad, Method::HalfSpaceTrees, Method::RandomCutForest, Method::Bocpd];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Series of a method that is not heavy; the others get one for 2,500 of them.
    pub series: usize,
    /// Series that send a point a second.
    pub many: usize,
    /// Points, all series together, of a method that is not heavy; the others get a fiftieth.
    pub points: usize,
    /// Nothing but this method, for a profiler.
    pub only: Option<Method>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The method, and whether there is a season.
    pub case: String,
    /// Series at the same time.
    pub series: usize,
    /// Points that time was taken for.
    pub points: usize,
    /// How long they took.
    pub took: Duration,
    /// What the operator says that it holds for a series, its key included.
    pub bytes_a_series: usize,
    /// Incidents that were found: a figure of nothing found would be one of nothing done.
    pub anomalies: usize,
}

impl Figure {
    /// Points judged a second.
    pub fn points_a_second(&self) -> f64 {
        self.points as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Measures every method, `auto` with a season as well, and many series at a point a second.
pub fn measure(load: Load) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let asked = |method: &Method| load.only.is_none_or(|only| only == *method);
    for (name, method) in Method::ALL.iter().filter(|(_, method)| asked(method)) {
        let settings = DetectSettings { method: *method, ..DetectSettings::default() };
        let (series, points) = match HEAVY.contains(method) {
            true => (load.series.div_ceil(2_500), load.points / 50),
            false => (load.series, load.points),
        };
        figures.push(run((*name).to_string(), &settings, series, points)?);
    }
    if !asked(&Method::Auto) {
        return Ok(figures);
    }
    // A season that has been seen twice after half of the points.
    let turns = (load.points / load.series).max(WARM_UP * 2) as i64;
    let season_ns = turns / 4 * STEP_MS * 1_000_000;
    let settings = DetectSettings { season_ns, ..DetectSettings::default() };
    figures.push(run("auto with a season".into(), &settings, load.series, load.points)?);
    let turns = 60;
    figures.push(run("auto, a point a second".into(), &DetectSettings::default(), load.many, turns * load.many)?);
    Ok(figures)
}

/// The figures as a table, in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut out = String::from(
        "| method | series | million points/s a core | ns a point | bytes a series | of a core at a point a second each |\n|---|--:|--:|--:|--:|--:|\n",
    );
    for figure in figures {
        let rate = figure.points_a_second();
        out += &format!(
            "| {} | {} | {:.3} | {:.0} | {} | {:.1} % |\n",
            figure.case,
            figure.series,
            rate / 1e6,
            1e9 / rate,
            figure.bytes_a_series,
            100.0 * figure.series as f64 / rate,
        );
    }
    out
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("host", DataType::Utf8, false),
        Field::new("x", DataType::Float64, false),
    ]))
}

fn spec(settings: &DetectSettings) -> SeriesSpec {
    let input = schema();
    let fields = input.fields().iter().cloned().chain(detect_columns().into_iter().map(Arc::new));
    SeriesSpec {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        input: Box::new(Plan::Source { name: "points".to_string(), schema: input }),
        time: 0,
        value: 2,
        others: Vec::new(),
        by: vec![1],
        grouped_by: 0,
        deploy: None,
        series_max: None,
        zone: None,
        task: Task::Detect(settings.clone()),
        origin: TimeOrigin::default(),
    }
}

/// A point of every series, spread over the time until the next.
fn batch(turn: usize, hosts: &ArrayRef, random: &mut StdRng) -> Outcome<RecordBatch> {
    let series = hosts.len();
    let at = |row: usize| START_MS + turn as i64 * STEP_MS + (row as i64 * STEP_MS) / series as i64;
    let value = |row: usize| {
        // The sum of four uniform numbers is near enough to normal.
        let noise: f64 = (0..4).map(|_| random.random::<f64>()).sum::<f64>() - 2.0;
        let spike = if (turn * 31 + row * 17).is_multiple_of(50_021) { 40.0 } else { 0.0 };
        100.0 + (row % 7) as f64 + noise + spike
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values((0..series).map(at))),
        hosts.clone(),
        Arc::new(Float64Array::from_iter_values((0..series).map(value))),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

fn run(case: String, settings: &DetectSettings, series: usize, points: usize) -> Outcome<Figure> {
    let mut operator = Series::<Detector>::new(&spec(settings), settings)?;
    let hosts = (0..series).map(|host| format!("host-{:06}", host * 7_919 % series.max(1)));
    let hosts: ArrayRef = Arc::new(StringArray::from_iter_values(hosts));
    let warm_up = if HEAVY.contains(&settings.method) { HEAVY_WARM_UP } else { WARM_UP };
    let turns = (points / series).max(1);
    let mut random = StdRng::seed_from_u64(1);
    let (mut took, mut anomalies) = (Duration::ZERO, 0);
    for turn in 0..warm_up + turns {
        let rows = batch(turn, &hosts, &mut random)?;
        let ms = |turn: usize| Watermark((START_MS + turn as i64 * STEP_MS - 1) * 1_000_000);
        let times = Times { before: ms(turn), now: ms(turn + 1), reached: ms(turn + 1) };
        let (epoch, mut output) = (Epoch(turn as u64), Output::default());
        let clock = Stopwatch::start();
        operator.process(epoch, Rows::unbounded(Batch::append(rows)), &mut output)?;
        operator.finish_epoch(epoch, times, &mut output)?;
        if turn >= warm_up {
            took += clock.read();
        }
        let judged: Vec<Batch> = output.sent.into_iter().filter_map(|(_, rows)| rows.into_batch()).collect();
        let rows: usize = judged.iter().map(Batch::num_rows).sum();
        if rows != series || !output.late.is_empty() {
            return Err(format!("{case}: {rows} of {series} points were judged in turn {turn}").into());
        }
        anomalies += black_box(&judged).iter().map(|batch| found(&batch.rows)).sum::<usize>();
    }
    let bytes_a_series = operator.state().bytes as usize / series;
    Ok(Figure { case, series, points: turns * series, took, bytes_a_series, anomalies })
}

fn found(rows: &RecordBatch) -> usize {
    let said = rows.column_by_name("is_anomaly");
    said.and_then(|said| said.as_any().downcast_ref::<arrow::array::BooleanArray>()).map_or(0, |said| said.true_count())
}

/// The time that this thread has run for, or the time that has passed where the system does not tell.
struct Stopwatch {
    thread_ns: Option<u64>,
    wall: Instant,
}

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
    fn start() -> Stopwatch {
        Stopwatch { thread_ns: thread_ns(), wall: Instant::now() }
    }

    fn read(&self) -> Duration {
        match self.thread_ns.zip(thread_ns()) {
            Some((from, to)) => Duration::from_nanos(to.saturating_sub(from)),
            None => self.wall.elapsed(),
        }
    }
}

/// Nanoseconds that this thread has been on a processor: the first number of Linux's `schedstat`.
fn thread_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_measured_and_finds_something() {
        let figures = measure(Load { series: 200, many: 300, points: 20_000, only: None }).unwrap();
        assert_eq!(figures.len(), Method::ALL.len() + 2);
        assert!(figures.iter().all(|figure| figure.took > Duration::ZERO && figure.bytes_a_series > 0));
        assert!(figures.iter().map(|figure| figure.anomalies).sum::<usize>() > 0);
        assert_eq!(table(&figures).lines().count(), figures.len() + 2);
    }
}
