//! Alerts, who is told of them, and when not.

use super::Facts;
use super::table::Table;
use arrow::array::RecordBatch;
use std::time::Duration;
use thalweg_notify::notifications::Attention;
use thalweg_notify::silence::Silence;
use thalweg_pipelines::{DeclarationKind, Escalation};
use thalweg_schemas::alert_event::{self, AlertEvent, State};
use thalweg_schemas::notification::{NotificationKind, NotificationPlan};

pub(super) fn alert_rules(facts: &Facts) -> Table {
    let rows = facts.declarations.iter().filter_map(|declaration| match &declaration.kind {
        DeclarationKind::Alert { over, notify, escalations } => Some((declaration, over, notify, escalations)),
        _ => None,
    });
    let rows: Vec<_> = rows.collect();
    let keys = |alert: &str, holds: fn(State) -> bool| {
        facts.alerts.iter().filter(|event| event.alert == alert && holds(event.state)).count() as u64
    };
    let is_pending = |state| state == State::Pending;
    let state = |alert: &str| match (keys(alert, State::is_open), keys(alert, is_pending)) {
        (0, 0) => State::Normal,
        (0, _) => State::Pending,
        _ => State::Firing,
    };
    Table::default()
        .text("name", &rows, |(d, ..)| Some(d.name.clone()))
        .text("relation", &rows, |(_, over, ..)| Some(over.to_string()))
        .text("state", &rows, |(d, ..)| Some(state(&d.name).to_string()))
        .count("firing", &rows, |(d, ..)| Some(keys(&d.name, State::is_open)))
        .count("pending", &rows, |(d, ..)| Some(keys(&d.name, is_pending)))
        .text("notify", &rows, |(_, _, notify, _)| (!notify.is_empty()).then(|| notify.join(", ")))
        .text("escalate", &rows, |(.., steps)| {
            let step = |step: &Escalation| {
                let after = Duration::from_nanos(step.after_ns.unsigned_abs());
                format!("{} after {after:?}", step.notifiers.join(", "))
            };
            (!steps.is_empty()).then(|| steps.iter().map(step).collect::<Vec<_>>().join("; "))
        })
        .text("definition", &rows, |(d, ..)| Some(d.ddl.clone()))
}

pub(super) fn alerts(facts: &Facts) -> Table {
    let rows = &facts.alerts;
    let attention = (0..rows.len()).map(|at| facts.attention.get(at).cloned().unwrap_or_default());
    let attention: Vec<Attention> = attention.collect();
    let since = |event: &AlertEvent| match event.state {
        State::Pending => Some(event.starts_at_ns),
        State::Firing | State::NoData => event.fired_at_ns,
        State::Resolved => event.ends_at_ns,
        State::Normal | State::Recovering => Some(event.event_time_ns),
    };
    Table::default()
        .text("alert", rows, |e| Some(e.alert.clone()))
        .text("key", rows, |e| Some(e.key.clone()))
        .text("state", rows, |e| Some(e.state.to_string()))
        .text("severity", rows, |e| e.severity.clone())
        .time("since", rows, since)
        .text("incident_id", rows, |e| Some(e.incident_id.clone()))
        .time("starts_at", rows, |e| Some(e.starts_at_ns))
        .time("ends_at", rows, |e| e.ends_at_ns)
        .text("labels", rows, |e| Some(alert_event::to_json(&e.labels)))
        .text("annotations", rows, |e| Some(alert_event::to_json(&e.annotations)))
        .text("values", rows, |e| Some(e.values.clone()))
        .text("threshold", rows, |e| e.threshold.clone())
        .text("reason", rows, |e| Some(e.reason.to_string()))
        .text("row", rows, |e| e.row.clone())
        .count("revision", rows, |e| u64::try_from(e.revision).ok())
        .text("suppressed_by", &attention, |a| a.suppressed_by.clone())
        .text("acknowledged_by", &attention, |a| a.acknowledged_by.clone())
}

pub(super) fn alert_events(facts: &Facts) -> Table {
    // The columns are those of the contract.
    let rows =
        alert_event::to_rows(&facts.alert_events).unwrap_or_else(|_| RecordBatch::new_empty(alert_event::schema()));
    Table { columns: alert_event::COLUMNS.into_iter().zip(rows.columns().iter().cloned()).collect() }
}

pub(super) fn deliveries(facts: &Facts) -> Table {
    let rows = &facts.attempts;
    Table::default()
        .time("time", rows, |a| Some(a.at_ns))
        .text("notifier", rows, |a| Some(a.notifier.clone()))
        .text("notification_id", rows, |a| Some(a.id.clone()))
        .text("group_key", rows, |a| Some(a.group_key.clone()))
        .text("status", rows, |a| Some(a.status.name().to_string()))
        .text("reason", rows, |a| Some(a.reason.name().to_string()))
        .text("incidents", rows, |a| Some(a.incidents.join(" ")))
        .count("attempt", rows, |a| Some(u64::from(a.attempt)))
        .text("outcome", rows, |a| Some(a.outcome.clone()))
        .count("http_status", rows, |a| a.http_status.map(u64::from))
        .text("error", rows, |a| a.error.clone())
        .maybe_milliseconds("took_ms", rows, |a| a.took_ns)
        .time("next_try", rows, |a| a.next_try_ns)
}

fn declared(facts: &Facts, kind: NotificationKind) -> Vec<&NotificationPlan> {
    facts.notifications.iter().filter(|plan| plan.kind == kind).collect()
}

pub(super) fn notifiers(facts: &Facts) -> Table {
    let rows = declared(facts, NotificationKind::Notifier);
    let said = |option: &'static str| move |plan: &&NotificationPlan| plan.options.get(option).map(str::to_string);
    Table::default()
        .text("name", &rows, |plan| Some(plan.name.clone()))
        .text("type", &rows, said("type"))
        .text("format", &rows, said("format"))
        .text("matchers", &rows, said("matchers"))
        .text("group_by", &rows, said("group_by"))
        .text("group_wait", &rows, said("group_wait"))
        .text("group_interval", &rows, said("group_interval"))
        .text("repeat_interval", &rows, said("repeat_interval"))
        .text("mute_calendars", &rows, said("mute_calendars"))
        .text("active_calendars", &rows, said("active_calendars"))
        .text("watchdog", &rows, said("watchdog"))
}

pub(super) fn calendars(facts: &Facts) -> Table {
    let rows = declared(facts, NotificationKind::Calendar);
    let said = |option: &'static str| move |plan: &&NotificationPlan| plan.options.get(option).map(str::to_string);
    Table::default()
        .text("name", &rows, |plan| Some(plan.name.clone()))
        .text("state", &rows, |plan| {
            facts.calendars.get(&plan.name).map(|now| if *now { "active" } else { "inactive" }.to_string())
        })
        .text("times", &rows, said("times"))
        .text("weekdays", &rows, said("weekdays"))
        .text("days_of_month", &rows, said("days_of_month"))
        .text("months", &rows, said("months"))
        .text("years", &rows, said("years"))
        .text("location", &rows, said("location"))
}

pub(super) fn inhibitions(facts: &Facts) -> Table {
    let rows = declared(facts, NotificationKind::Inhibition);
    let said = |option: &'static str| move |plan: &&NotificationPlan| plan.options.get(option).map(str::to_string);
    Table::default()
        .text("name", &rows, |plan| Some(plan.name.clone()))
        .text("source_matchers", &rows, said("source_matchers"))
        .text("target_matchers", &rows, said("target_matchers"))
        .text("equal", &rows, said("equal"))
}

pub(super) fn silences(facts: &Facts) -> Table {
    let rows = &facts.silences;
    let matchers = |s: &Silence| s.matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Table::default()
        .text("name", rows, |s| Some(s.id.clone()))
        .text("state", rows, |s| Some(s.phase(facts.now_ns).name().to_string()))
        .text("matchers", rows, |s| Some(matchers(s)))
        // One by calendars alone has always begun, and does not end.
        .time("starts_at", rows, |s| Some(s.starts_at_ns).filter(|at| *at > 0))
        .time("ends_at", rows, |s| Some(s.ends_at_ns).filter(|at| *at < i64::MAX))
        .text("calendars", rows, |s| (!s.calendars.is_empty()).then(|| s.calendars.join(", ")))
        .text("author", rows, |s| Some(s.created_by.clone()))
        .text("comment", rows, |s| Some(s.comment.clone()))
}
