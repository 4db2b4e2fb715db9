//! `explain`: the dataflow of each view as a tree: operators, keys, append or changelog, what bounds the state.

mod operators;

use crate::bind::Mode;
use crate::program::{DeclarationKind, Program};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use operators::{closes_at, explain_plan};
use std::fmt::Write;
use std::sync::Arc;
use thalweg_operators::plan::{Dataflow, Emit, Plan, Read, SinkPlan, SourcePlan, ViewPlan};
use thalweg_operators::window::Nanos;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::NotificationPlan;
use thalweg_schemas::suggest::closest;

/// The dataflow of `view`, or of everything: each view with its operators, the last one on top.
pub fn explain(program: &Program, view: Option<&str>) -> Result<String> {
    let flow = &program.dataflow;
    let mut out = String::new();
    match view {
        None => {
            flow.sources.iter().for_each(|source| explain_source(&mut out, source));
            // What keeps the history of an alert is part of the alert.
            let declared = flow.views.iter().filter(|view| program.declaration(&view.name).is_some());
            declared.for_each(|view| explain_view(&mut out, view, flow));
            flow.sinks.iter().for_each(|sink| explain_sink(&mut out, sink, flow));
        }
        Some(name) => explain_one(&mut out, program, name)?,
    }
    Ok(out)
}

fn explain_one(out: &mut String, program: &Program, name: &str) -> Result<()> {
    let flow = &program.dataflow;
    let Some(declaration) = program.declaration(name) else {
        let error = Error::user(format!("relation \"{name}\" does not exist"));
        return Err(match closest(name, program.declarations.iter().map(|d| d.name.as_str())) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        });
    };
    match &declaration.kind {
        DeclarationKind::Source { .. } => match flow.sources.iter().find(|s| s.name == name) {
            Some(source) => explain_source(out, source),
            None => line(out, 0, &format!("source {name}: nothing reads it")),
        },
        DeclarationKind::View { query } => {
            line(out, 0, &format!("view {name}: a name for a query, put in place where it is read"));
            line(out, 1, query);
        }
        DeclarationKind::Function => line(out, 0, &format!("function {name}: put in place where it is called")),
        DeclarationKind::MaterializedView | DeclarationKind::Table { .. } | DeclarationKind::Alert { .. } => {
            flow.views.iter().filter(|v| v.name == name).for_each(|v| explain_view(out, v, flow));
        }
        DeclarationKind::Sink { .. } => {
            flow.sinks.iter().filter(|s| s.name == name).for_each(|s| explain_sink(out, s, flow));
        }
        DeclarationKind::Notification(_) => {
            program
                .notifications
                .iter()
                .filter(|plan| plan.name == name)
                .for_each(|plan| explain_notification(out, plan));
        }
    }
    Ok(())
}

/// What it says apart from addresses and secrets.
fn explain_notification(out: &mut String, plan: &NotificationPlan) {
    const SHOWN: [&str; 24] = [
        "type",
        "matchers",
        "group_by",
        "group_wait",
        "group_interval",
        "repeat_interval",
        "watchdog",
        "fallback",
        "mute_calendars",
        "active_calendars",
        "source_matchers",
        "target_matchers",
        "equal",
        "start",
        "end",
        "duration",
        "calendars",
        "author",
        "times",
        "weekdays",
        "days_of_month",
        "months",
        "years",
        "location",
    ];
    line(out, 0, &format!("{} {}", plan.kind.noun(), plan.name));
    for (option, value) in SHOWN.iter().filter_map(|option| Some((option, plan.options.get(option)?))) {
        line(out, 1, &format!("{option}: {value}"));
    }
}

fn explain_source(out: &mut String, source: &SourcePlan) {
    let format = source.format.as_ref().map_or(String::new(), |f| format!(", {f}"));
    let kind = if source.key.is_empty() { "append" } else { "changelog" };
    line(out, 0, &format!("source {}: {}{format}: {kind}", source.name, source.connector));
    if !source.key.is_empty() {
        let key = names(source.key.iter().map(|at| source.columns[*at].name.as_str()));
        line(out, 1, &format!("upserts by: {key}"));
        let state = match source.options.get("cache") {
            Some("lru") if source.is_table => "none, it is asked for the rows of keys",
            _ if source.is_table => "the table as it was read last",
            _ => "the last row of each key: nothing bounds it",
        };
        line(out, 1, &format!("state: {state}"));
    }
    let wanted = source.columns.iter().zip(&source.wanted).flat_map(|(column, wanted)| wanted.named(&column.name));
    line(out, 1, &format!("reads: {}", wanted.collect::<Vec<_>>().join(", ")));
    for (at, expr) in &source.generated {
        line(out, 1, &format!("computes: {} = {}", source.columns[*at].name, sql(expr)));
    }
    match &source.watermark {
        Some(w) => {
            let name = &source.columns[w.column].name;
            line(out, 1, &format!("watermark: {name} - {}", Nanos(w.lateness_ns)));
        }
        None if source.is_table => {}
        None => line(out, 1, "watermark: none"),
    }
}

fn explain_view(out: &mut String, view: &ViewPlan, flow: &Dataflow) {
    let shows = match (mode(&view.plan, flow), view.emit) {
        (Mode::Append, _) => "append",
        (Mode::Windows, Emit::OnWindowClose) => "append: each window once, when it has closed",
        (Mode::Windows, Emit::Changes) => "changelog: windows live, final when they have closed",
        (Mode::Changelog, _) => "changelog",
    };
    let schema = view.plan.schema();
    let (noun, shows) = match view.plan {
        Plan::Alert(_) => ("alert", "changelog: the state of each key; its events are final"),
        _ => ("materialized view", shows),
    };
    line(out, 0, &format!("{noun} {}: {shows}", view.name));
    match view.key.as_deref() {
        Some([]) => line(out, 1, "key: none, there is one row"),
        Some(key) => line(out, 1, &format!("key: {}", names(key.iter().map(|at| schema.field(*at).name().as_str())))),
        None => {}
    }
    if let Some(retain) = &view.retain {
        let at = closes_at(&retain.origin.delayed(retain.keep_ns), flow);
        line(out, 1, &format!("shows rows until {} is behind {at}", schema.field(retain.column).name()));
    }
    explain_plan(out, &view.plan, 1, flow);
}

fn explain_sink(out: &mut String, sink: &SinkPlan, flow: &Dataflow) {
    let takes = match (sink.read, mode(&sink.plan, flow)) {
        _ if sink.envelope().is_some() => "append: what becomes of the row with each key",
        (Read::Changes, _) => "changelog: every change",
        (Read::Finals, Mode::Append) => "append",
        (Read::Finals, _) if reads_alert(&sink.plan, flow) => "append: the events of the alert",
        (Read::Finals, Mode::Windows | Mode::Changelog) => "append: windows once they have closed",
    };
    line(out, 0, &format!("sink {}: {}: {takes}", sink.name, sink.connector));
    explain_plan(out, &sink.plan, 1, flow);
}

fn reads_alert(plan: &Plan, flow: &Dataflow) -> bool {
    let is_alert = |name: &str| flow.views.iter().any(|view| view.name == name && matches!(view.plan, Plan::Alert(_)));
    match plan {
        Plan::View { name, .. } => is_alert(name),
        _ => plan.inputs().into_iter().any(|input| reads_alert(input, flow)),
    }
}

/// What the rows of `plan` do over time, before the view says when it shows them.
pub(crate) fn mode(plan: &Plan, flow: &Dataflow) -> Mode {
    match plan {
        Plan::Source { name, .. } => match flow.sources.iter().find(|source| source.name == *name) {
            Some(source) if !source.key.is_empty() => Mode::Changelog,
            _ => Mode::Append,
        },
        Plan::View { name, .. } => match flow.views.iter().find(|view| view.name == *name) {
            Some(view) if view.emit == Emit::OnWindowClose => Mode::Append,
            Some(view) => mode(&view.plan, flow),
            None => Mode::Append,
        },
        Plan::WindowAggregate(_) | Plan::SessionAggregate(_) | Plan::Alert(_) => Mode::Windows,
        Plan::TopN(spec) if spec.closes.is_some() => Mode::Windows,
        Plan::Over(spec) if spec.origin().is_some() => Mode::Windows,
        Plan::Join(spec) if spec.appends() => Mode::Append,
        Plan::Join(spec) if spec.ends() => {
            plan.inputs().into_iter().map(|i| mode(i, flow)).fold(Mode::Windows, Mode::or)
        }
        Plan::Recursion(spec) if !spec.retracts => Mode::Append,
        Plan::Recursion(_) | Plan::Recursive { .. } => Mode::Changelog,
        Plan::LookupJoin(spec) if spec.left_retracts => Mode::Changelog,
        Plan::Series(_) | Plan::LookupJoin(_) | Plan::Envelope(_) => Mode::Append,
        Plan::Reduce(_) | Plan::TopN(_) | Plan::Over(_) | Plan::Join(_) | Plan::AsofJoin(_) => Mode::Changelog,
        Plan::Filter(_)
        | Plan::Within(_)
        | Plan::Project(_)
        | Plan::AssignWindows(_)
        | Plan::Union { .. }
        | Plan::Expand(_)
        | Plan::Repeat(_)
        | Plan::Unnest(_) => plan.inputs().into_iter().map(|input| mode(input, flow)).fold(Mode::Append, Mode::or),
    }
}

fn sql(expr: &Arc<dyn PhysicalExpr>) -> String {
    fmt_sql(expr.as_ref()).to_string()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn line(out: &mut String, depth: usize, text: &str) {
    // count(*) is planned as a count of ones.
    let text = text.replace("count(Int64(1))", "count(*)").replace("count(1)", "count(*)");
    // Writing to a string does not fail.
    let _ = writeln!(out, "{:indent$}{text}", "", indent = depth * 2);
}
