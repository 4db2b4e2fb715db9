//! By which time an alert goes, and what stays the same while it passes.

use crate::bind::Mode;
use crate::lower::Lowered;
use crate::parse::ddl::Name;
use thalweg_operators::alert::AlertTime;
use thalweg_operators::plan::{Dataflow, Plan, Read, TimeOrigin};
use thalweg_operators::window_aggregate::OnLate;

/// The alert's time, and which stream of the relation it follows.
pub(super) fn time_of(lowered: &Lowered, width: usize, over: &Name, dataflow: &Dataflow) -> (AlertTime, Read) {
    if lowered.mode == Mode::Changelog {
        return (AlertTime::Clock, Read::Changes);
    }
    let schema = lowered.plan.schema();
    let candidates = (0..width).filter(|at| lowered.times[*at].is_some());
    let is_bound = |at: usize| lowered.bounds.contains(&at);
    // Of the bounds of a window its end is when it is complete; a row's own time tells more than the window around it.
    let column = candidates.max_by_key(|at| {
        (
            is_bound(*at) && lowered.mode == Mode::Windows,
            schema.field(*at).name() == "window_end",
            std::cmp::Reverse(*at),
        )
    });
    let Some((column, origin)) = column.and_then(|at| Some((at, lowered.times[at].clone()?))) else {
        return (AlertTime::Clock, Read::Finals);
    };
    let closed = is_bound(column);
    let view = dataflow.views.iter().find(|view| view.name == over.value);
    match view.filter(|_| closed).and_then(|view| revised_for(&view.plan, dataflow)) {
        // What is final only much later is looked at when its window closes, and corrected afterwards.
        Some(until_ns) => (AlertTime::Event { column, origin: hastened(&origin, until_ns), closed }, Read::Changes),
        None => (AlertTime::Event { column, origin, closed }, Read::Finals),
    }
}

/// For how long after their close the windows of a plan may be revised, if they may.
fn revised_for(plan: &Plan, dataflow: &Dataflow) -> Option<i64> {
    let revised = |on_late: OnLate| match on_late {
        OnLate::Revise { until_ns } => Some(until_ns),
        OnLate::Drop => None,
    };
    match plan {
        Plan::WindowAggregate(spec) => revised(spec.on_late),
        Plan::SessionAggregate(spec) => revised(spec.on_late),
        Plan::Filter(spec) => revised_for(&spec.input, dataflow),
        Plan::Project(spec) => revised_for(&spec.input, dataflow),
        Plan::View { name, .. } => revised_for(&dataflow.views.iter().find(|view| view.name == *name)?.plan, dataflow),
        _ => None,
    }
}

fn hastened(origin: &TimeOrigin, by_ns: i64) -> TimeOrigin {
    TimeOrigin {
        sources: origin.sources.iter().map(|(name, delay)| (name.clone(), delay.saturating_sub(by_ns))).collect(),
    }
}

/// The relation's own key without its windows: what stays the same from one window to the next.
pub(super) fn own_key(lowered: &Lowered, width: usize) -> Vec<usize> {
    let key = lowered.key.iter().flatten();
    let lasting = key.filter(|part| !part.iter().any(|at| lowered.bounds.contains(at) || lowered.times[*at].is_some()));
    lasting.map(|part| part[0]).filter(|at| *at < width).collect()
}
