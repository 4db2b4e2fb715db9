//! `thalweg test --backtest`: an alert over the history of what it reads, in virtual time, beside what it said then.
//!
//! The alert is the one that the pipeline declares, state machine and all; only the relation below it is replaced, by the
//! rows that a Parquet sink wrote of it, in the order of their time. Where there is no such history and all sources are
//! files, the pipeline itself is run over them.

use crate::relations::know_stores;
use crate::test_run::VirtualRun;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, TimestampNanosecondType};
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_operators::alert::{AlertSpec, AlertTime};
use thalweg_operators::plan::{Dataflow, OnBad, Plan, Read, SourcePlan, TimeOrigin, ViewPlan, WatermarkPlan};
use thalweg_pipelines::{DeclarationKind, Program, alert_history_of};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::{Column, Origin};
use thalweg_schemas::wanted::Wanted;

/// How many rows are handed over at once.
const BATCH_ROWS: usize = 4096;

/// What is asked: of which alert, and between which event times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Question {
    /// The alert.
    pub alert: String,
    /// From here on, if not from the beginning.
    pub from_ns: Option<i64>,
    /// Before this, if not to the end.
    pub to_ns: Option<i64>,
}

/// One firing: from when it fired until it was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The key, a JSON object.
    pub key: String,
    /// The severities that it had, in their order.
    pub severities: Vec<String>,
    /// When it fired, in nanoseconds.
    pub from_ns: i64,
    /// When it was resolved; `None` while it fires.
    pub until_ns: Option<i64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was read, in words.
    pub read: String,
    /// How many rows that was.
    pub rows: u64,
    /// When the alert would have fired, by key and time.
    pub would: Vec<Firing>,
    /// When it did, if its events were kept.
    pub did: Option<Vec<Firing>>,
}

/// Runs the alert over its history.
pub fn run(program: &Program, question: &Question, workers: usize) -> Result<Answer> {
    know_stores(program)?;
    let spec = alert_of(program, &question.alert)?;
    let AlertTime::Event { column, .. } = spec.time else {
        return Err(Error::user(format!("alert \"{}\" follows the engine's clock", question.alert))
            .with_detail("What it reads has no event time, so its history does not say when something happened.")
            .with_hint("Group by a window, or give its source a WATERMARK."));
    };
    let time = spec.input.schema().field(column).name().clone();
    let did = match sink_over(program, &question.alert) {
        Some(sink) => Some(firings(&asked(program, &events_query(&quoted(&sink), &question.alert))?, question)),
        None => None,
    };
    let (read, rows, events) = match leaf(&spec.input).and_then(|below| Some((below, sink_over(program, below)?))) {
        Some((below, sink)) => over_history(program, question, &History { below, sink: &sink, time: &time }, workers)?,
        None => over_files(program, question, workers)?,
    };
    Ok(Answer { read, rows, would: firings(&events, question), did })
}

/// What the alert is.
fn alert_of<'a>(program: &'a Program, name: &str) -> Result<&'a AlertSpec> {
    let alerts = program.declarations.iter().filter(|d| matches!(d.kind, DeclarationKind::Alert { .. }));
    let view = program.dataflow.views.iter().find(|view| view.name == name);
    match view.map(|view| &view.plan) {
        Some(Plan::Alert(spec)) => Ok(spec),
        _ => {
            let error = Error::user(format!("alert \"{name}\" does not exist"));
            let names: Vec<&str> = alerts.map(|declared| declared.name.as_str()).collect();
            Err(match closest(name, names.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint(format!("There are: {}.", names.join(", "))),
            })
        }
    }
}

/// The relation whose rows a plan reads one by one.
fn leaf(plan: &Plan) -> Option<&str> {
    match plan {
        Plan::View { name, .. } | Plan::Source { name, .. } => Some(name),
        Plan::Filter(spec) => leaf(&spec.input),
        Plan::Project(spec) => leaf(&spec.input),
        _ => None,
    }
}

/// The sink that keeps all rows of a relation where they can be queried.
fn sink_over(program: &Program, relation: &str) -> Option<String> {
    let is_kept = |name: &str| {
        let declared = program.declaration(name).map(|declared| &declared.kind);
        matches!(declared, Some(DeclarationKind::Sink { history: Some(_), .. }))
    };
    let whole = |plan: &Plan| matches!(plan, Plan::View { name, .. } | Plan::Source { name, .. } if name == relation);
    let sink = program.dataflow.sinks.iter().find(|sink| whole(&sink.plan) && is_kept(&sink.name))?;
    Some(sink.name.clone())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn events_query(relation: &str, alert: &str) -> String {
    format!(
        "SELECT key, incident_id, kind, severity, event_time FROM {relation} WHERE alert = '{}' \
         AND kind IN ('firing', 'escalated', 'resolved') ORDER BY event_time, key, seq",
        alert.replace('\'', "''")
    )
}

/// What the histories of a pipeline answer.
fn asked(program: &Program, query: &str) -> Result<Vec<RecordBatch>> {
    let mut reader = program.clone();
    reader.dataflow = Dataflow::default();
    reader.declarations.retain(|declared| matches!(declared.kind, DeclarationKind::Sink { .. }));
    let run = VirtualRun::start(reader, 0, 1)?;
    let answer = run.ask(query)?;
    run.stop()?;
    Ok(answer)
}

/// Where the rows of the relation below an alert are.
struct History<'a> {
    below: &'a str,
    sink: &'a str,
    /// Their time.
    time: &'a str,
}

type Outcome = (String, u64, Vec<RecordBatch>);

fn over_history(program: &Program, question: &Question, history: &History<'_>, workers: usize) -> Result<Outcome> {
    let spec = alert_of(program, &question.alert)?;
    let schema = leaf_schema(&spec.input).ok_or_else(|| Error::bug("an alert that reads no relation"))?;
    let rows = asked(program, &rows_query(&schema, question, history))?;
    let count = rows.iter().map(|batch| batch.num_rows() as u64).sum();
    let beginning = rows.first().and_then(|batch| last_time(batch, history.time)).unwrap_or_default();
    let mut run = VirtualRun::start(alone(program, question, history, &schema)?, beginning, workers)?;
    for batch in rows {
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let part = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            // The clock comes first: rows from far ahead of it would be refused.
            if let Some(until) = last_time(&part, history.time) {
                run.advance_to(until)?;
            }
            run.push(history.below, typed(&part, &schema)?)?;
        }
    }
    let events = events(run, question)?;
    Ok((format!("sink \"{}\"", history.sink), count, events))
}

fn rows_query(schema: &Schema, question: &Question, history: &History<'_>) -> String {
    let columns: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
    let time = quoted(history.time);
    // What was the matter before --from decides what fires after it.
    let until = question.to_ns.map(|ns| format!("WHERE {time} < to_timestamp_nanos({ns})")).unwrap_or_default();
    format!("SELECT {} FROM {} {until} ORDER BY {time}", columns.join(", "), quoted(history.sink))
}

fn last_time(batch: &RecordBatch, time: &str) -> Option<i64> {
    let times = batch.column_by_name(time)?.as_primitive_opt::<TimestampNanosecondType>()?;
    arrow::compute::max(times)
}

/// The rows with the types of the relation: Parquet may hold others.
fn typed(batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow::compute::cast(column, field.data_type()).map_err(Error::from));
    Ok(RecordBatch::try_new(schema.clone().into(), columns.collect::<Result<_>>()?)?)
}

fn leaf_schema(plan: &Plan) -> Option<Schema> {
    match plan {
        Plan::View { schema, .. } | Plan::Source { schema, .. } => Some(schema.as_ref().clone()),
        Plan::Filter(spec) => leaf_schema(&spec.input),
        Plan::Project(spec) => leaf_schema(&spec.input),
        _ => None,
    }
}

/// The alert and the view of its events, over a source in the place of what it reads.
fn alone(program: &Program, question: &Question, history: &History<'_>, schema: &Schema) -> Result<Program> {
    let views = [question.alert.clone(), alert_history_of(&question.alert)];
    let mut alone = program.clone();
    alone.dataflow.sinks.clear();
    alone.declarations.retain(|declared| declared.name == question.alert);
    alone.dataflow.views.retain(|view| views.contains(&view.name));
    for view in &mut alone.dataflow.views {
        if let ViewPlan { plan: Plan::Alert(spec), .. } = view {
            put_source(&mut spec.input, history.below);
            spec.read = Read::Finals;
            // A history does not say which keys were expected when.
            spec.expected = None;
            // Nor which rows were behind its rows.
            spec.exemplars = None;
            if let AlertTime::Event { origin, closed, .. } = &mut spec.time {
                *origin = TimeOrigin { sources: vec![(history.below.to_string(), 0)] };
                *closed = false;
            }
        }
    }
    alone.dataflow.sources = vec![source(history, schema)?];
    Ok(alone)
}

fn put_source(plan: &mut Plan, below: &str) {
    match plan {
        Plan::View { schema, .. } | Plan::Source { schema, .. } => {
            *plan = Plan::Source { name: below.to_string(), schema: schema.clone() };
        }
        Plan::Filter(spec) => put_source(&mut spec.input, below),
        Plan::Project(spec) => put_source(&mut spec.input, below),
        _ => {}
    }
}

fn source(history: &History<'_>, schema: &Schema) -> Result<SourcePlan> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: field.is_nullable(),
        origin: Origin::Field,
    };
    let columns: Vec<Column> = schema.fields().iter().map(column).collect();
    let at = columns.iter().position(|column| column.name == history.time);
    let at = at.ok_or_else(|| Error::bug(format!("\"{}\" has no column \"{}\"", history.below, history.time)))?;
    Ok(SourcePlan {
        name: history.below.to_string(),
        connector: String::new(),
        options: Options::default(),
        format: None,
        format_options: Options::default(),
        wanted: vec![Wanted::Whole; columns.len()],
        columns,
        generated: Vec::new(),
        key: Vec::new(),
        is_table: false,
        watermark: Some(WatermarkPlan {
            column: at,
            lateness_ns: 0,
            idle_timeout_ns: i64::MAX,
            future_max_ns: i64::MAX,
        }),
        on_bad: OnBad::Fail,
    })
}

/// Runs all of the pipeline that the alert needs, over its files.
fn over_files(program: &Program, question: &Question, workers: usize) -> Result<Outcome> {
    let other = program.declarations.iter().find_map(|declared| match &declared.kind {
        DeclarationKind::Source { connector, bounded } if !(*bounded && connector == "file") => Some(&declared.name),
        DeclarationKind::Table { .. } => Some(&declared.name),
        _ => None,
    });
    if let Some(other) = other {
        let over = alert_over(program, &question.alert);
        return Err(Error::user(format!("there is no history to test alert \"{}\" over", question.alert))
            .with_detail(format!("No Parquet sink keeps the rows of \"{over}\", and \"{other}\" is no file."))
            .with_hint(format!(
                "Keep them from now on: CREATE SINK {over}_history FROM {over} WITH (connector = 'parquet', path = '..')."
            )));
    }
    let mut whole = program.clone();
    whole.dataflow.sinks.clear();
    whole.declarations.retain(|declared| !matches!(declared.kind, DeclarationKind::Sink { .. }));
    let run = VirtualRun::over_files(whole, workers)?;
    let rows = run.rows_in();
    Ok(("the files of its sources".to_string(), rows, run.ask(&events_query("thalweg.alert_events", &question.alert))?))
}

fn alert_over(program: &Program, alert: &str) -> String {
    match program.declaration(alert).map(|declared| &declared.kind) {
        Some(DeclarationKind::Alert { over, .. }) => over.clone(),
        _ => alert.to_string(),
    }
}

fn events(run: VirtualRun, question: &Question) -> Result<Vec<RecordBatch>> {
    run.finish()?;
    run.ask(&events_query("thalweg.alert_events", &question.alert))
}

/// Events as firings; those that were over before the beginning, or began after the end, are left out.
fn firings(events: &[RecordBatch], question: &Question) -> Vec<Firing> {
    let mut open: BTreeMap<(String, String), Firing> = BTreeMap::new();
    let mut done = Vec::new();
    for batch in events {
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_string_opt::<i32>().filter(|column| column.is_valid(row));
            column.map(|column| column.value(row).to_string()).unwrap_or_default()
        };
        let times = batch.column(4).as_primitive::<TimestampNanosecondType>();
        for row in 0..batch.num_rows() {
            let (key, incident, severity, at) = (text(0, row), text(1, row), text(3, row), times.value(row));
            let slot = (key.clone(), incident);
            if text(2, row) == "resolved" {
                done.extend(open.remove(&slot).map(|firing| Firing { until_ns: Some(at), ..firing }));
                continue;
            }
            let firing =
                open.entry(slot).or_insert(Firing { key, severities: Vec::new(), from_ns: at, until_ns: None });
            if firing.severities.last() != Some(&severity) {
                firing.severities.push(severity);
            }
        }
    }
    done.extend(open.into_values());
    let after = |firing: &Firing| question.from_ns.is_none_or(|from| firing.until_ns.is_none_or(|until| until > from));
    let before = |firing: &Firing| question.to_ns.is_none_or(|to| firing.from_ns < to);
    done.retain(|firing| after(firing) && before(firing));
    done.sort_by(|a, b| (&a.key, a.from_ns).cmp(&(&b.key, b.from_ns)));
    done
}

impl Answer {
    /// Firings that would have been beside those that were: the ones of a key that overlap are of one line.
    pub fn pairs(&self) -> Vec<(Option<&Firing>, Option<&Firing>)> {
        let mut did: Vec<Option<&Firing>> = self.did.iter().flatten().map(Some).collect();
        let mut pairs: Vec<(Option<&Firing>, Option<&Firing>)> = Vec::new();
        for would in &self.would {
            let met = did.iter_mut().find(|other| other.is_some_and(|other| would.meets(other)));
            pairs.push((Some(would), met.and_then(Option::take)));
        }
        pairs.extend(did.into_iter().flatten().map(|only| (None, Some(only))));
        let first = |pair: &(Option<&Firing>, Option<&Firing>)| {
            pair.0.or(pair.1).map(|firing| (firing.key.clone(), firing.from_ns))
        };
        pairs.sort_by_key(first);
        pairs
    }
}

impl Firing {
    /// Whether both fire at some time.
    fn meets(&self, other: &Firing) -> bool {
        let before = |a: &Firing, b: &Firing| a.until_ns.is_some_and(|until| until <= b.from_ns);
        self.key == other.key && !before(self, other) && !before(other, self)
    }

    /// For how long it fires, if it is over.
    pub fn length(&self) -> Option<Duration> {
        Some(Duration::from_nanos(u64::try_from(self.until_ns? - self.from_ns).unwrap_or_default()))
    }
}
