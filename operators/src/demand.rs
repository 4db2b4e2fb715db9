//! Which streams of each relation somebody reads: what a dataflow is built of, and nothing else.
//!
//! A reader of a relation reads its changes or its finals, and so asks something of what the relation is made from; what a
//! view is asked for is known when all that read it have been looked at.

use crate::over::OverSpec;
use crate::plan::{Dataflow, Emit, Plan, Read};
use crate::reduce::ReduceSpec;
use std::collections::BTreeMap;

/// Which streams of a relation are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Whether anybody reads its changes.
    pub changes: bool,
    /// Whether anybody reads its finals.
    pub finals: bool,
}

impl Demand {
    /// Only this stream.
    pub fn of(read: Read) -> Demand {
        Demand { changes: read == Read::Changes, finals: read == Read::Finals }
    }

    /// Both demands.
    pub fn and(self, other: Demand) -> Demand {
        Demand { changes: self.changes || other.changes, finals: self.finals || other.finals }
    }
}

/// What is asked of each view of `dataflow`, by its readers and by who reads those.
pub fn demanded(dataflow: &Dataflow) -> BTreeMap<String, Demand> {
    let mut demanded = BTreeMap::new();
    for sink in &dataflow.sinks {
        demands(&sink.plan, Demand::of(sink.read), &mut demanded);
    }
    for view in dataflow.views.iter().rev() {
        let demand = demanded.entry(view.name.clone()).or_default();
        *demand = match view.emit {
            Emit::Changes => demand.and(Demand::of(Read::Changes)),
            // Whoever reads such a view reads what is final, downstream views included.
            Emit::OnWindowClose => Demand::of(Read::Finals),
        };
        let demand = *demand;
        demands(&view.plan, demand, &mut demanded);
    }
    demanded
}

/// What `plan`, read as `demand`, asks of the views it reads: added to `views`.
pub fn demands(plan: &Plan, demand: Demand, views: &mut BTreeMap<String, Demand>) {
    match plan {
        Plan::Source { .. } | Plan::Recursive { .. } => {}
        Plan::View { name, .. } => {
            let entry = views.entry(name.clone()).or_default();
            *entry = entry.and(demand);
        }
        Plan::Filter(spec) => demands(&spec.input, demand, views),
        Plan::Within(spec) => demands(&spec.input, demand, views),
        Plan::Project(spec) => demands(&spec.input, demand, views),
        Plan::AssignWindows(spec) => demands(&spec.input, demand, views),
        Plan::Union { inputs } => inputs.iter().for_each(|input| demands(input, demand, views)),
        Plan::Repeat(spec) => demands(&spec.input, demand, views),
        Plan::Unnest(spec) => demands(&spec.input, demand, views),
        Plan::Envelope(spec) => demands(&spec.input, Demand::of(Read::Changes), views),
        Plan::WindowAggregate(spec) => demands(&spec.input, Demand::of(Read::Finals), views),
        Plan::SessionAggregate(spec) => demands(&spec.input, Demand::of(Read::Finals), views),
        Plan::Reduce(spec) => demands(&spec.input, Demand::of(read_of(spec)), views),
        Plan::Join(spec) => {
            let demand = if spec.appends() { Demand::of(Read::Finals) } else { demand };
            [&spec.left, &spec.right].into_iter().for_each(|input| demands(input, demand, views));
        }
        Plan::AsofJoin(spec) => {
            let demand = Demand::of(Read::Changes);
            [&spec.left, &spec.right].into_iter().for_each(|input| demands(input, demand, views));
        }
        Plan::LookupJoin(spec) => {
            let left = if spec.left_retracts { Read::Changes } else { Read::Finals };
            demands(&spec.left, Demand::of(left), views);
            demands(&spec.right, Demand::of(Read::Changes), views);
        }
        Plan::TopN(spec) => {
            demands(&spec.input, Demand::of(read_of_parts(spec.retracts, spec.closes.is_some(), demand)), views);
        }
        Plan::Over(spec) => demands(&spec.input, read_by_over(spec, demand), views),
        Plan::Series(spec) => demands(&spec.input, Demand::of(Read::Finals), views),
        Plan::Expand(spec) => demands(&spec.input, demand, views),
        Plan::Recursion(spec) => {
            let demand = Demand::of(Read::Changes);
            [&spec.base, &spec.step].into_iter().for_each(|input| demands(input, demand, views));
        }
        Plan::Alert(spec) => {
            demands(&spec.input, Demand::of(spec.read), views);
            spec.expected.iter().for_each(|keys| demands(keys, Demand::of(Read::Changes), views));
        }
    }
}

/// Which stream a grouping reads.
pub(crate) fn read_of(spec: &ReduceSpec) -> Read {
    if spec.retracts { Read::Changes } else { Read::Finals }
}

/// Partitions that close are read as they close where nobody asks for what comes before.
pub(crate) fn read_of_parts(retracts: bool, closes: bool, demand: Demand) -> Read {
    if retracts && (demand.changes || !closes) { Read::Changes } else { Read::Finals }
}

/// What functions that look at the row before in order of event time say of rows that are final, they learn from such.
pub(crate) fn read_by_over(spec: &OverSpec, demand: Demand) -> Demand {
    match spec.in_order {
        Some(_) => demand,
        None => Demand::of(read_of_parts(spec.retracts, spec.closes.is_some(), demand)),
    }
}
