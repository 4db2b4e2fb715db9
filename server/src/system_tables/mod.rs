//! The tables of schema `thalweg`: what the engine says about itself, as rows.
//!
//! Each table is a function from the facts to one batch; its schema is that of the batch made from no facts.

mod alerting;
mod table;

use crate::relations::Relations;
use alerting::{alert_events, alert_rules, alerts, calendars, deliveries, inhibitions, notifiers, silences};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use table::Table;
use thalweg_engine::engine::Engine;
use thalweg_engine::status::{ArchiveStatus, DeadLetter, LateRow, MemoryStatus, Status};
use thalweg_notify::notification::Attempt;
use thalweg_notify::notifications::Attention;
use thalweg_notify::silence::Silence;
use thalweg_pipelines::query::Pieces;
use thalweg_pipelines::{Declaration, DeclarationKind, alert_history_of, is_constant};
use thalweg_schemas::alert_event::{self, AlertEvent};
use thalweg_schemas::epoch::Watermark;
use thalweg_schemas::error::Result;
use thalweg_schemas::notification::NotificationPlan;

/// What the tables are made from.
#[derive(Default)]
pub struct Facts {
    /// The name of what runs.
    pub pipeline: String,
    /// Whether it has ended.
    pub ended: bool,
    /// What was declared.
    pub declarations: Vec<Declaration>,
    /// The counters.
    pub status: Status,
    /// Some of the dead letters that are kept.
    pub dead_letters: Vec<DeadLetter>,
    /// Some of the late rows that are kept.
    pub late_rows: Vec<LateRow>,
    /// Who is told of alerts, and when not.
    pub notifications: Vec<NotificationPlan>,
    /// What became of messages.
    pub attempts: Vec<Attempt>,
    /// The silences that are remembered.
    pub silences: Vec<Silence>,
    /// The calendars, and whether it is one of their times.
    pub calendars: BTreeMap<String, bool>,
    /// The time by which silences begin and end.
    pub now_ns: i64,
    /// The state of each key of each alert: the last event.
    pub alerts: Vec<AlertEvent>,
    /// What is done about each of these, where anybody is told of alerts.
    pub attention: Vec<Attention>,
    /// The last events of each alert.
    pub alert_events: Vec<AlertEvent>,
}

/// Takes the facts that `table` is made from, which is none of the archives.
pub fn facts(table: &str, relations: &Relations) -> Facts {
    let Relations { engine, program, pipeline, notifications } = relations;
    let notifying = |wanted: &str| notifications.as_ref().filter(|_| table == wanted);
    let alerts = match table {
        "alerts" | "alert_rules" => events(relations, str::to_string),
        _ => Vec::new(),
    };
    let incidents = alerts.iter().map(|alert| alert.incident_id.as_str());
    let mut status = engine.status();
    // What constants are computed from is nobody's source.
    status.sources.retain(|source| !is_constant(&source.name));
    Facts {
        attention: notifying("alerts").map(|n| n.attention(incidents)).unwrap_or_default(),
        pipeline: pipeline.to_string(),
        ended: engine.ended(),
        declarations: program.declarations.clone(),
        status,
        dead_letters: Vec::new(),
        late_rows: Vec::new(),
        notifications: program.notifications.clone(),
        attempts: notifying("deliveries").map(|n| n.attempts()).unwrap_or_default(),
        silences: notifying("silences").map(|n| n.silences()).unwrap_or_default(),
        calendars: notifying("calendars").map(|n| n.calendars()).unwrap_or_default(),
        now_ns: notifying("silences").map(|n| n.now_ns()).unwrap_or_default(),
        alerts,
        alert_events: if table == "alert_events" { events(relations, alert_history_of) } else { Vec::new() },
    }
}

/// The rows of a view of each alert, all as of one epoch.
fn events(relations: &Relations, view_of: impl Fn(&str) -> String) -> Vec<AlertEvent> {
    let alerts = relations.program.declarations.iter().filter(|d| matches!(d.kind, DeclarationKind::Alert { .. }));
    let views: Vec<String> = alerts.map(|alert| view_of(&alert.name)).collect();
    let views: Vec<&str> = views.iter().map(String::as_str).collect();
    // The views were declared with the program that runs, and hold alert events.
    let snapshots = if views.is_empty() { Vec::new() } else { relations.engine.snapshots(&views).unwrap_or_default() };
    let batches = snapshots.into_iter().flat_map(|snapshot| snapshot.batches);
    let mut events: Vec<AlertEvent> =
        batches.flat_map(|batch| alert_event::from_rows(&batch).unwrap_or_default()).collect();
    events.sort_by(|a, b| (&a.alert, &a.key, a.event_time_ns, a.seq).cmp(&(&b.alert, &b.key, b.event_time_ns, b.seq)));
    events
}

/// Whether a table lies on disk, and is read [piece by piece](pieces_of).
pub fn is_archive(table: &str) -> bool {
    ARCHIVES.contains(&table)
}

const ARCHIVES: [&str; 2] = ["dead_letters", "late_rows"];

/// The rows of an archive.
pub fn pieces_of(table: &str, engine: &Engine) -> Result<Pieces> {
    if table == "late_rows" {
        let pieces = engine.late_rows()?;
        return Ok(Box::new(
            pieces.map(|rows| Ok(late_rows(&Facts { late_rows: rows?, ..Facts::default() }).finish())),
        ));
    }
    let pieces = engine.dead_letters()?;
    Ok(Box::new(pieces.map(|letters| Ok(dead_letters(&Facts { dead_letters: letters?, ..Facts::default() }).finish()))))
}

type Build = fn(&Facts) -> Table;

/// All system tables.
const TABLES: &[(&str, Build)] = &[
    ("alert_events", alert_events),
    ("alert_rules", alert_rules),
    ("alerts", alerts),
    ("calendars", calendars),
    ("checkpoints", checkpoints),
    ("dead_letter_counts", dead_letter_counts),
    ("dead_letter_space", dead_letter_space),
    ("dead_letters", dead_letters),
    ("deliveries", deliveries),
    ("inhibitions", inhibitions),
    ("late_rows", late_rows),
    ("latency", latency),
    ("memory", memory),
    ("notifiers", notifiers),
    ("operators", operators),
    ("pipelines", pipelines),
    ("silences", silences),
    ("sinks", sinks),
    ("sources", sources),
    ("views", views),
    ("watermarks", watermarks),
];

/// Their names, in order.
pub fn names() -> Vec<String> {
    TABLES.iter().map(|(name, _)| name.to_string()).collect()
}

/// The columns of a table.
pub fn schema_of(table: &str) -> Option<SchemaRef> {
    Some(rows_of(table, &Facts::default())?.schema())
}

/// The rows of a table.
pub fn rows_of(table: &str, facts: &Facts) -> Option<RecordBatch> {
    let (_, build) = TABLES.iter().find(|(name, _)| *name == table)?;
    Some(build(facts).finish())
}

fn pipelines(facts: &Facts) -> Table {
    // Without an engine there is no row: the facts of no run are those of the schema.
    let rows: &[&Facts] = if facts.status.workers == 0 { &[] } else { &[facts] };
    Table::default()
        .text("name", rows, |f| Some(f.pipeline.clone()))
        .text("state", rows, |f| {
            let held = f.status.memory.held.is_some();
            Some(
                if f.ended {
                    "ended"
                } else if held {
                    "held back"
                } else {
                    "running"
                }
                .to_string(),
            )
        })
        .count("workers", rows, |f| Some(f.status.workers as u64))
        .count("sources", rows, |f| Some(f.status.sources.len() as u64))
        .count("views", rows, |f| Some(f.status.views.len() as u64))
        .count("sinks", rows, |f| Some(f.status.sinks.len() as u64))
        .count("epoch", rows, |f| Some(f.status.epoch.0))
        .time("epoch_start", rows, |f| Some(f.status.epoch_start_ns))
}

fn sources(facts: &Facts) -> Table {
    let connector = |name: &str| {
        let declared = |name: &str| {
            facts.declarations.iter().find_map(|declaration| match &declaration.kind {
                DeclarationKind::Source { connector, bounded } if declaration.name == name => {
                    Some((connector.clone(), *bounded))
                }
                DeclarationKind::Table { source, .. } if source == name => Some(("table".to_string(), false)),
                _ => None,
            })
        };
        // A second reading of a source, `orders#2`, is declared with the first.
        declared(name).or_else(|| declared(name.rsplit_once('#')?.0))
    };
    let rows = &facts.status.sources;
    Table::default()
        .text("name", rows, |s| Some(s.name.clone()))
        .text("connector", rows, |s| connector(&s.name).map(|(connector, _)| connector))
        .flag("bounded", rows, |s| connector(&s.name).is_some_and(|(_, bounded)| bounded))
        .text("state", rows, |s| Some(if s.ended { "ended" } else { "reading" }.to_string()))
        .count("rows_in", rows, |s| Some(s.rows_in))
        .count("rows_out", rows, |s| Some(s.rows_out))
        .count("dead", rows, |s| Some(s.dead))
        .count("replayed", rows, |s| Some(s.replayed))
        .count("bytes", rows, |s| Some(s.bytes))
        .count("bytes_done", rows, |s| s.progress.map(|p| p.done))
        .count("bytes_total", rows, |s| s.progress.map(|p| p.total))
        .time("watermark", rows, |s| s.watermark.and_then(event_time))
        .text("last_error", rows, |s| facts.status.memory.held.clone().or(s.last_error.clone()))
        .count("refreshes", rows, |s| s.refreshes.map(|r| r.done))
        .count("refreshes_failed", rows, |s| s.refreshes.map(|r| r.failed))
        .time("refreshed_at", rows, |s| s.refreshes.map(|r| r.last_ns).filter(|at| *at > 0))
        .count("cache_hits", rows, |s| s.cache.map(|cache| cache.hits))
        .count("cache_misses", rows, |s| s.cache.map(|cache| cache.misses))
}

fn views(facts: &Facts) -> Table {
    let status = |name: &str| facts.status.views.iter().find(|view| view.name == name);
    // An alert has a table of its own.
    let is_alert = |d: &Declaration| matches!(d.kind, DeclarationKind::Alert { .. });
    let declared =
        |d: &&Declaration| (d.kind.is_kept() && !is_alert(d)) || matches!(d.kind, DeclarationKind::View { .. });
    let rows: Vec<&Declaration> = facts.declarations.iter().filter(declared).collect();
    Table::default()
        .text("name", &rows, |d| Some(d.name.clone()))
        .flag("materialized", &rows, |d| d.kind.is_kept())
        .count("rows", &rows, |d| status(&d.name).map(|s| s.rows))
        .count("bytes", &rows, |d| status(&d.name).map(|s| s.bytes))
        .count("late", &rows, |d| status(&d.name).map(|s| s.late))
        .count("dead", &rows, |d| status(&d.name).map(|s| s.dead))
        .count("epoch", &rows, |d| status(&d.name).map(|s| s.epoch.0))
        .text("definition", &rows, |d| Some(d.ddl.clone()))
}

fn sinks(facts: &Facts) -> Table {
    let declared = |name: &str| {
        facts.declarations.iter().find_map(|declaration| match &declaration.kind {
            DeclarationKind::Sink { connector, history } if declaration.name == name => {
                Some((connector.clone(), history.clone()))
            }
            _ => None,
        })
    };
    let rows = &facts.status.sinks;
    Table::default()
        .text("name", rows, |s| Some(s.name.clone()))
        .text("connector", rows, |s| declared(&s.name).map(|(connector, _)| connector))
        .count("rows", rows, |s| Some(s.rows))
        .count("queued_bytes", rows, |s| Some(s.queued_bytes))
        .count("retries", rows, |s| Some(s.retries))
        .text("last_error", rows, |s| s.last_error.clone())
        .text("history", rows, |s| declared(&s.name).and_then(|(_, history)| history))
}

fn watermarks(facts: &Facts) -> Table {
    let rows = &facts.status.watermarks;
    Table::default()
        .text("source", rows, |w| Some(w.source.clone()))
        .text("partition", rows, |w| Some(w.partition.clone()))
        .count("worker", rows, |w| Some(w.worker as u64))
        .time("watermark", rows, |w| event_time(w.watermark))
        .flag("ended", rows, |w| w.watermark == Watermark::MAX)
        .flag("idle", rows, |w| w.idle)
}

fn operators(facts: &Facts) -> Table {
    let rows = &facts.status.operators;
    Table::default()
        .text("view", rows, |o| Some(o.view.clone()))
        .text("operator", rows, |o| Some(o.operator.clone()))
        .count("worker", rows, |o| Some(o.worker as u64))
        .count("rows_in", rows, |o| Some(o.rows_in))
        .count("rows_out", rows, |o| Some(o.rows_out))
        .count("state_rows", rows, |o| Some(o.state_rows))
        .count("state_bytes", rows, |o| Some(o.state_bytes))
        .count("evicted", rows, |o| Some(o.evicted))
        .milliseconds("busy_ms", rows, |o| o.busy_ns)
        .text("hottest_keys", rows, |o| o.hottest_keys.clone())
}

fn memory(facts: &Facts) -> Table {
    let rows: &[&MemoryStatus] = if facts.status.workers == 0 { &[] } else { &[&facts.status.memory] };
    Table::default()
        .count("budget", rows, |m| m.budget)
        .count("resident", rows, |m| Some(m.resident))
        .count("operators", rows, |m| Some(m.operators))
        .count("views", rows, |m| Some(m.views))
        .count("queues", rows, |m| Some(m.queues))
        .count("holds", rows, |m| Some(m.holds))
        .text("held", rows, |m| m.held.clone())
}

fn latency(facts: &Facts) -> Table {
    let rows = &facts.status.latencies;
    Table::default()
        .text("name", rows, |l| Some(l.name.clone()))
        .count("count", rows, |l| Some(l.count))
        .milliseconds("p50_ms", rows, |l| l.p50_ns)
        .milliseconds("p90_ms", rows, |l| l.p90_ns)
        .milliseconds("p99_ms", rows, |l| l.p99_ns)
        .milliseconds("max_ms", rows, |l| l.max_ns)
}

fn checkpoints(facts: &Facts) -> Table {
    let rows = facts.status.checkpoints.as_slice();
    Table::default()
        .count("epoch", rows, |c| (c.written > 0).then_some(c.epoch))
        .count("written", rows, |c| Some(c.written))
        .count("failed", rows, |c| Some(c.failed))
        .count("bytes_written", rows, |c| Some(c.bytes))
        .count("state_bytes", rows, |c| Some(c.state_bytes))
}

fn dead_letters(facts: &Facts) -> Table {
    let rows = &facts.dead_letters;
    Table::default()
        .text("id", rows, |d| Some(d.id.clone()))
        .time("time", rows, |d| Some(d.time_ns))
        .text("origin", rows, |d| Some(d.origin.clone()))
        .text("partition", rows, |d| Some(d.partition.clone()))
        .count("offset", rows, |d| d.offset)
        .text("reason", rows, |d| Some(d.reason.clone()))
        .count("attempts", rows, |d| Some(u64::from(d.attempts)))
        .text("text", rows, |d| Some(String::from_utf8_lossy(&d.raw).into_owned()))
        .bytes("raw", rows, |d| &d.raw)
}

fn dead_letter_counts(facts: &Facts) -> Table {
    let rows = &facts.status.dead_letters.counts;
    Table::default()
        .text("origin", rows, |c| Some(c.origin.clone()))
        .text("reason", rows, |c| Some(c.reason.clone()))
        .count("count", rows, |c| Some(c.count))
}

fn dead_letter_space(facts: &Facts) -> Table {
    let archive = &facts.status.dead_letters;
    let rows: &[&ArchiveStatus] = if facts.status.workers == 0 { &[] } else { &[archive] };
    Table::default().count("bytes", rows, |a| Some(a.bytes)).count("bytes_max", rows, |a| Some(a.bytes_max)).count(
        "removed",
        rows,
        |a| Some(a.removed.iter().map(|(_, removed)| removed).sum()),
    )
}

fn late_rows(facts: &Facts) -> Table {
    let rows = &facts.late_rows;
    Table::default().time("time", rows, |l| Some(l.time_ns)).text("view", rows, |l| Some(l.view.clone())).text(
        "row",
        rows,
        |l| Some(l.row.clone()),
    )
}

/// A watermark as a timestamp; neither the first nor the last has one.
fn event_time(watermark: Watermark) -> Option<i64> {
    (watermark != Watermark::MIN && watermark != Watermark::MAX).then_some(watermark.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_columns_without_any_facts() {
        for name in names() {
            let schema = schema_of(&name).unwrap();
            assert!(!schema.fields().is_empty(), "{name}");
            assert_eq!(rows_of(&name, &Facts::default()).unwrap().num_rows(), 0, "{name}");
        }
        assert!(schema_of("nothing").is_none());
    }

    #[test]
    fn dead_letters_keep_their_bytes() {
        let letter = DeadLetter {
            id: "a/1/2".into(),
            time_ns: 1,
            origin: "clicks".into(),
            partition: "a.json".into(),
            offset: Some(7),
            reason: "not JSON".into(),
            attempts: 1,
            raw: vec![0xff, b'x'],
        };
        let facts = Facts { dead_letters: vec![letter], ..Facts::default() };
        let rows = rows_of("dead_letters", &facts).unwrap();
        let raw = rows.column_by_name("raw").unwrap();
        assert_eq!(arrow::array::AsArray::as_binary::<i32>(raw).value(0), [0xff, b'x']);
    }
}
