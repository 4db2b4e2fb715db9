//! The operators of a plan, the last one on top: what each does, by which keys, and what bounds its state.

use super::{line, names, sql};
use datafusion::physical_expr::PhysicalExpr;
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::alert::{AlertSpec, AlertTime};
use thalweg_operators::expand::GroupingSet;
use thalweg_operators::horizon::Horizon;
use thalweg_operators::join::{AsofJoinSpec, JoinKind, JoinSpec, LookupJoinSpec, NullKeys, SharedSides};
use thalweg_operators::over::OverSpec;
use thalweg_operators::plan::{Dataflow, Plan, TimeOrigin};
use thalweg_operators::recursion::{RecursionSpec, is_recursive};
use thalweg_operators::reduce::{Kept, ReduceSpec};
use thalweg_operators::series::SeriesSpec;
use thalweg_operators::session_aggregate::SessionAggregateSpec;
use thalweg_operators::top_n::TopNSpec;
use thalweg_operators::window::Nanos;
use thalweg_operators::window_aggregate::{OnLate, WindowAggregateSpec};

pub(super) fn explain_plan(out: &mut String, plan: &Plan, depth: usize, flow: &Dataflow) {
    match plan {
        Plan::Source { name, .. } => line(out, depth, &format!("Source {name}")),
        Plan::View { name, .. } => line(out, depth, &format!("View {name}")),
        Plan::Filter(spec) => line(out, depth, &format!("Filter: {}", sql(&spec.predicate))),
        Plan::Project(spec) => {
            let columns = spec.exprs.iter().zip(spec.schema.fields()).map(|(expr, field)| match sql(expr) {
                text if text == *field.name() => text,
                text => format!("{text} AS {}", field.name()),
            });
            line(out, depth, &format!("Project: {}", columns.collect::<Vec<_>>().join(", ")));
        }
        Plan::Within(spec) => {
            let time = spec.input.schema().field(spec.horizon.column).name().clone();
            let at = closes_at(&spec.horizon.origin.delayed(spec.horizon.keep_ns), flow);
            line(out, depth, &format!("Within: rows whose {time} is not behind {at}"));
        }
        Plan::Union { inputs } => line(out, depth, &format!("Union of {}", inputs.len())),
        Plan::AssignWindows(spec) => {
            let time = spec.input.schema().field(spec.time).name().clone();
            line(out, depth, &format!("AssignWindows: {} over {time}", spec.window));
        }
        Plan::WindowAggregate(spec) => explain_window_aggregate(out, spec, depth, flow),
        Plan::SessionAggregate(spec) => explain_session_aggregate(out, spec, depth, flow),
        Plan::Reduce(spec) => explain_reduce(out, spec, depth, flow),
        Plan::Join(spec) => explain_join(out, spec, depth, flow),
        Plan::AsofJoin(spec) => explain_asof_join(out, spec, depth, flow),
        Plan::LookupJoin(spec) => explain_lookup_join(out, spec, depth),
        Plan::TopN(spec) => explain_top_n(out, spec, depth, flow),
        Plan::Over(spec) => explain_over(out, spec, depth, flow),
        Plan::Series(spec) => explain_series(out, spec, depth, flow),
        Plan::Expand(spec) => {
            let set = |set: &GroupingSet| {
                let keys = spec.keys.iter().zip(&set.has).filter(|(_, has)| **has).map(|(key, _)| sql(key));
                format!("({})", keys.collect::<Vec<_>>().join(", "))
            };
            line(out, depth, &format!("Expand: {}", spec.sets.iter().map(set).collect::<Vec<_>>().join(", ")));
        }
        Plan::Repeat(spec) => {
            let times = spec.schema.fields().len();
            line(out, depth, &format!("Repeat: as often as {} says", spec.input.schema().field(times).name()));
        }
        Plan::Envelope(spec) => line(out, depth, &spec.to_string()),
        Plan::Unnest(spec) => {
            line(out, depth, &format!("Unnest: {}", spec.input.schema().field(spec.column).name()));
        }
        Plan::Alert(spec) => explain_alert(out, spec, depth, flow),
        Plan::Recursive { name, .. } => line(out, depth, &format!("{name} as of the iteration before")),
        Plan::Recursion(spec) => return explain_recursion(out, spec, depth, flow),
    }
    plan.inputs().into_iter().for_each(|input| explain_plan(out, input, depth + 1, flow));
}

fn explain_window_aggregate(out: &mut String, spec: &WindowAggregateSpec, depth: usize, flow: &Dataflow) {
    line(out, depth, &format!("WindowAggregate: {} over {}", spec.window, sql(&spec.time)));
    keys_and_aggregates(out, &spec.keys, &spec.aggregates, depth + 1);
    let window = &spec.window;
    let slices = match window.slice_ns() {
        _ if window.is_one_slice() => String::new(),
        slice => format!(" in slices of {}", Nanos(slice)),
    };
    let kept = kept_until(&spec.time_origin, spec.on_late, flow);
    line(out, depth + 1, &format!("state: windows of {}{slices}, {kept}", Nanos(window.size_ns())));
}

fn explain_session_aggregate(out: &mut String, spec: &SessionAggregateSpec, depth: usize, flow: &Dataflow) {
    let (partition, _) = spec.keys.split_at(spec.partition);
    let of = match partition {
        [] => String::new(),
        keys => format!(" of ({})", keys.iter().map(sql).collect::<Vec<_>>().join(", ")),
    };
    line(out, depth, &format!("SessionAggregate: SESSION(gap {}){of} over {}", Nanos(spec.gap_ns), sql(&spec.time)));
    let input = spec.input.schema();
    for (column, does) in [(spec.start, "begun"), (spec.end, "ended")] {
        column
            .into_iter()
            .for_each(|at| line(out, depth + 1, &format!("{does} by rows of {}", input.field(at).name())));
    }
    keys_and_aggregates(out, &spec.keys, &spec.aggregates, depth + 1);
    let kept = kept_until(&spec.time_origin, spec.on_late, flow);
    let rows = if spec.is_cut() { "the rows of " } else { "" };
    line(out, depth + 1, &format!("state: {rows}sessions that are open, each {kept}"));
}

/// What a group's state is made of.
fn kept(spec: &ReduceSpec) -> Kept {
    // An aggregate that is not as it was planned is told when the view is built.
    if spec.by_rows() { spec.kept().unwrap_or(Kept::Rows) } else { Kept::Totals }
}

/// When the state of windows goes.
fn kept_until(origin: &TimeOrigin, on_late: OnLate, flow: &Dataflow) -> String {
    let silent = |(name, _): &&(String, i64)| flow.sources.iter().any(|s| s.name == *name && s.is_silent());
    match (origin.sources.iter().find(silent), on_late) {
        (Some((source, _)), _) => format!("dropped when {source} ends, which has no watermark"),
        (None, OnLate::Drop) => format!("dropped at watermark {}", closes_at(origin, flow)),
        (None, OnLate::Revise { until_ns }) => {
            let longer = Nanos(until_ns);
            format!("kept {longer} longer for late rows, then dropped at watermark {}", closes_at(origin, flow))
        }
    }
}

/// `telemetry.ts - 5s`, the least of them where there are several sources.
pub(super) fn closes_at(origin: &TimeOrigin, flow: &Dataflow) -> String {
    let of = |(name, delay): &(String, i64)| {
        let watermark = flow.sources.iter().find(|s| s.name == *name).and_then(|s| {
            let watermark = s.watermark.as_ref()?;
            Some((s.columns[watermark.column].name.as_str(), watermark.lateness_ns))
        });
        let (column, lateness) = watermark.unwrap_or(("time", 0));
        format!("{name}.{column} - {}", Nanos(lateness.saturating_add(*delay)))
    };
    // A table is waited for once, and then says nothing more.
    let is_table = |name: &str| flow.sources.iter().any(|source| source.name == name && source.is_table);
    let timed: Vec<_> = origin.sources.iter().filter(|(name, _)| !is_table(name)).collect();
    match timed.as_slice() {
        [one] => of(one),
        several => format!("least of ({})", several.iter().map(|one| of(one)).collect::<Vec<_>>().join(", ")),
    }
}

fn explain_reduce(out: &mut String, spec: &ReduceSpec, depth: usize, flow: &Dataflow) {
    let input = if spec.retracts { "changelog" } else { "append" };
    line(out, depth, &format!("Reduce over {input}"));
    keys_and_aggregates(out, &spec.keys, &spec.aggregates, depth + 1);
    let (with, bounded) = match kept(spec) {
        Kept::Totals => ("", true),
        Kept::Values => (" with the values", false),
        Kept::Rows => (" with the rows", false),
    };
    match spec.keys.as_slice() {
        [] if bounded => line(out, depth + 1, "state: one group"),
        [] => line(out, depth + 1, &format!("state: one group{with}: nothing bounds it")),
        keys => line(
            out,
            depth + 1,
            &format!(
                "state: groups of ({}){with}: {}",
                keys.iter().map(sql).collect::<Vec<_>>().join(", "),
                kept_by(spec.horizon.as_ref(), spec.state_ttl_ns, flow)
            ),
        ),
    }
}

/// What bounds state that no window does, where it may have a horizon.
fn kept_by(horizon: Option<&Horizon>, state_ttl_ns: Option<i64>, flow: &Dataflow) -> String {
    match horizon {
        Some(horizon) => {
            format!("forgotten at watermark {}", closes_at(&horizon.origin.delayed(horizon.keep_ns), flow))
        }
        None => bound_by(state_ttl_ns),
    }
}

/// What bounds state that neither a window nor a horizon does.
fn bound_by(state_ttl_ns: Option<i64>) -> String {
    match state_ttl_ns {
        Some(ttl) => format!("bounded by state_ttl, forgotten after {} without a row", Nanos(ttl)),
        None => "nothing bounds it".to_string(),
    }
}

fn explain_top_n(out: &mut String, spec: &TopNSpec, depth: usize, flow: &Dataflow) {
    let text = spec.to_string();
    line(out, depth, &format!("TopN: {}", text.trim_start_matches("TopN ")));
    let kept = if spec.retracts || spec.limit == u64::MAX { "all rows" } else { "the rows that are shown" };
    let until = match (&spec.closes, spec.partition.as_slice()) {
        (Some(closes), _) => kept_until(&closes.origin, OnLate::Drop, flow),
        (None, []) if !spec.retracts && spec.limit < u64::MAX => "bounded".to_string(),
        _ => kept_by(spec.horizon.as_ref(), spec.state_ttl_ns, flow),
    };
    line(out, depth + 1, &format!("state: {kept}: {until}"));
}

fn explain_over(out: &mut String, spec: &OverSpec, depth: usize, flow: &Dataflow) {
    let text = spec.to_string();
    line(out, depth, &format!("Over: {}", text.trim_start_matches("Over ")));
    let until = match &spec.closes {
        Some(closes) => kept_until(&closes.origin, OnLate::Drop, flow),
        None => kept_by(spec.horizon.as_ref(), spec.state_ttl_ns, flow),
    };
    if let Some(in_order) = &spec.in_order {
        let time = spec.input.schema().field(in_order.time).name().clone();
        let at = closes_at(&in_order.origin, flow);
        line(out, depth + 1, &format!("final: in order of {time}, each row when watermark {at} has passed it"));
        let kept = "the last row of each partition, and the rows that wait; for changes, all rows";
        let until = spec.state_ttl_ns.map_or(String::new(), |ttl| format!(": {}", bound_by(Some(ttl))));
        line(out, depth + 1, &format!("state: {kept}{until}"));
        return;
    }
    line(out, depth + 1, &format!("state: all rows: {until}"));
}

fn explain_series(out: &mut String, spec: &SeriesSpec, depth: usize, flow: &Dataflow) {
    let text = spec.to_string();
    let (name, rest) = text.split_once(' ').unwrap_or((&text, ""));
    line(out, depth, &format!("{name}: {rest}"));
    line(
        out,
        depth + 1,
        &format!("state: what is known of each series, forgotten after {} without a row", Nanos(spec.ttl_ns())),
    );
    let silent = |(name, _): &&(String, i64)| flow.sources.iter().any(|s| s.name == *name && s.is_silent());
    match spec.origin.sources.iter().find(silent) {
        Some((source, _)) => line(out, depth + 1, &format!("rows wait until {source} ends, which has no watermark")),
        None => line(out, depth + 1, &format!("rows wait for the watermark {}", closes_at(&spec.origin, flow))),
    }
}

fn explain_join(out: &mut String, spec: &JoinSpec, depth: usize, flow: &Dataflow) {
    let (left, right) = (spec.left.schema(), spec.right.schema());
    let kind = match spec.kind {
        JoinKind::Inner if spec.keys == 0 && spec.filter.is_none() => "cross",
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti if spec.nulls == NullKeys::NotIn => "anti (NOT IN)",
        JoinKind::Anti => "anti",
        JoinKind::Mark => "mark",
    };
    let of = |retracts: bool| if retracts { "changelog" } else { "append" };
    line(out, depth, &format!("Join {kind}: {} with {}", of(spec.left_retracts), of(spec.right_retracts)));
    let keys = (0..spec.keys).map(|key| format!("{} = {}", left.field(key).name(), right.field(key).name()));
    match keys.collect::<Vec<_>>() {
        keys if keys.is_empty() => {
            line(out, depth + 1, "keys: none, each row meets all of the other side, on one worker")
        }
        keys => line(out, depth + 1, &format!("keys: {}", keys.join(", "))),
    }
    if let Some(filter) = &spec.filter {
        line(out, depth + 1, &format!("where: {}", sql(filter)));
    }
    if is_recursive(&spec.left) || is_recursive(&spec.right) {
        return line(out, depth + 1, "state: rows of both sides: nothing bounds it but what they read");
    }
    if spec.has_horizon() {
        let [left, right] = spec.horizons.each_ref().map(|horizon| kept_by(horizon.as_ref(), spec.state_ttl_ns, flow));
        let state = match left == right {
            true => format!("rows of both sides, {left}"),
            false => format!("rows of the left side: {left}; of the right side: {right}"),
        };
        return line(out, depth + 1, &format!("state: {state}"));
    }
    let Some(within) = &spec.within else {
        line(out, depth + 1, &format!("state: rows of both sides: {}", bound_by(spec.state_ttl_ns)));
        if let Some((relation, joins)) = SharedSides::of(flow, &BTreeSet::new()).told(spec) {
            line(out, depth + 1, &format!("index: the rows of {relation} are held once for {joins} joins"));
        }
        return;
    };
    let apart = |ns: i64| if ns < 0 { format!("-{}", Nanos(-ns)) } else { Nanos(ns).to_string() };
    let difference = format!("{} - {}", right.field(within.right).name(), left.field(within.left).name());
    match (within.lower_ns, within.upper_ns) {
        (0, 0) => {}
        (i64::MIN, upper) => line(out, depth + 1, &format!("within: {difference} at most {}", apart(upper))),
        (lower, i64::MAX) => line(out, depth + 1, &format!("within: {difference} at least {}", apart(lower))),
        (lower, upper) => {
            line(out, depth + 1, &format!("within: {difference} between {} and {}", apart(lower), apart(upper)));
        }
    }
    let gone = |held_ns: i64| closes_at(&within.origin.delayed(held_ns), flow);
    let left = (within.upper_ns < i64::MAX).then(|| gone(within.upper_ns));
    let right = (within.lower_ns > i64::MIN).then(|| gone(-within.lower_ns));
    let state = match (left, right) {
        (Some(left), Some(right)) if left == right => format!("rows of both sides, dropped at watermark {left}"),
        (left, right) => {
            let side =
                |at: Option<String>| at.map_or(bound_by(spec.state_ttl_ns), |at| format!("dropped at watermark {at}"));
            format!("rows of the left side: {}; of the right side: {}", side(left), side(right))
        }
    };
    line(out, depth + 1, &format!("state: {state}"));
}

fn explain_recursion(out: &mut String, spec: &RecursionSpec, depth: usize, flow: &Dataflow) {
    let rows = if spec.distinct { "each row once" } else { "each row as often as it is made" };
    line(out, depth, &format!("Recursion {}: {rows}, at most {} iterations", spec.name, spec.iterations_max));
    line(out, depth + 1, "state: the rows that it found: nothing bounds it but what it reads");
    line(out, depth + 1, "begins with:");
    explain_plan(out, &spec.base, depth + 2, flow);
    line(out, depth + 1, "goes on with:");
    explain_plan(out, &spec.step, depth + 2, flow);
}

fn explain_alert(out: &mut String, spec: &AlertSpec, depth: usize, flow: &Dataflow) {
    let schema = spec.input.schema();
    let keys = match spec.keys.as_slice() {
        [] => "none, there is one".to_string(),
        keys => names(keys.iter().map(|at| schema.field(*at).name().as_str())),
    };
    line(out, depth, &format!("Alert of each key: {keys}"));
    spec.clauses().iter().for_each(|clause| line(out, depth + 1, clause));
    match &spec.time {
        AlertTime::Event { column, origin, .. } => {
            line(
                out,
                depth + 1,
                &format!("time: {}, at watermark {}", schema.field(*column).name(), closes_at(origin, flow)),
            );
        }
        AlertTime::Clock if spec.rule.standing => {
            line(out, depth + 1, "time: the clock, a row holds until it is corrected")
        }
        AlertTime::Clock => line(out, depth + 1, "time: the clock, when rows come"),
    }
    let state = match (spec.rule.absent, spec.rule.ttl_ns) {
        _ if spec.expected.is_some() => "every key that is expected, or has been seen",
        (Some(_), None) if !spec.keys.is_empty() => "every key: nothing bounds it",
        (Some(_), _) => "every key",
        (None, _) => "keys of which something is wrong",
    };
    line(out, depth + 1, &format!("state: {state}"));
    if let Some(exemplars) = &spec.exemplars {
        let which = exemplars.weight.as_ref().map_or("any".to_string(), |weight| format!("greatest {}", sql(weight)));
        line(out, depth + 1, &format!("sample: {} rows of each group below, {which}", spec.sample_rows));
    }
}

fn explain_asof_join(out: &mut String, spec: &AsofJoinSpec, depth: usize, flow: &Dataflow) {
    let (left, right) = (spec.left.schema(), spec.right.schema());
    let kind = if spec.outer { "left" } else { "inner" };
    let of = |retracts: bool| if retracts { "changelog" } else { "append" };
    line(out, depth, &format!("AsofJoin {kind}: {} with {}", of(spec.left_retracts), of(spec.right_retracts)));
    let keys = (0..spec.keys).map(|key| format!("{} = {}", left.field(key).name(), right.field(key).name()));
    let keys = keys.collect::<Vec<_>>();
    line(out, depth + 1, &format!("keys: {}", if keys.is_empty() { "none".into() } else { keys.join(", ") }));
    let (of_left, of_right) = (left.field(spec.left_at).name(), right.field(spec.right_at).name());
    line(out, depth + 1, &format!("nearest: {of_right} {} {of_left}", spec.nearest));
    let kept = kept_by(spec.horizon.as_ref(), spec.state_ttl_ns, flow);
    line(out, depth + 1, &format!("state: rows of both sides: {kept}"));
}

fn explain_lookup_join(out: &mut String, spec: &LookupJoinSpec, depth: usize) {
    let (left, right) = (spec.left.schema(), spec.right.schema());
    let of = if spec.left_retracts { " of a changelog" } else { "" };
    line(out, depth, &format!("LookupJoin {}{of}", if spec.outer { "left" } else { "inner" }));
    let keys = (0..spec.keys).map(|key| format!("{} = {}", left.field(key).name(), right.field(key).name()));
    line(out, depth + 1, &format!("keys: {}", keys.collect::<Vec<_>>().join(", ")));
    if let Some(filter) = &spec.filter {
        line(out, depth + 1, &format!("where: {}", sql(filter)));
    }
    if !spec.waits_for.sources.is_empty() {
        let tables = names(spec.waits_for.sources.iter().map(|(table, _)| table.as_str()));
        line(out, depth + 1, &format!("waits for: {tables}"));
    }
    let right = match &spec.asked {
        Some(asked) => {
            format!("{} answers at most, each used for {}, and rows that wait for one", asked.rows, Nanos(asked.ttl_ns))
        }
        None => "the rows of the right side".to_string(),
    };
    let left = if spec.left_retracts {
        "; the rows of the left side with what was found: nothing else bounds them"
    } else {
        ""
    };
    line(out, depth + 1, &format!("state: {right}{left}"));
}

fn keys_and_aggregates(out: &mut String, keys: &[Arc<dyn PhysicalExpr>], aggregates: &[Aggregate], depth: usize) {
    if !keys.is_empty() {
        line(out, depth, &format!("keys: {}", keys.iter().map(sql).collect::<Vec<_>>().join(", ")));
    }
    let shown = aggregates.iter().map(|a| match a.function.human_display() {
        Some(text) => text.to_string(),
        None => a.function.name().to_string(),
    });
    let shown: Vec<String> = shown.collect();
    if !shown.is_empty() {
        line(out, depth, &format!("aggregates: {}", shown.join(", ")));
    }
}
