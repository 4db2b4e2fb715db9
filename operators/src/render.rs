//! From a plan to a dataflow: one arm an operator.
//!
//! A relation has up to two streams: its *changes*, from the first row on, and its *finals*, which only ever append.
//! A source's rows are both at once. Only what somebody reads is built.

use crate::observer::Observer;
use crate::plan::{Plan, Read};
use crate::reduce::ReduceSpec;
use crate::rows::Rows;
use crate::watermark::WatermarkUpdate;
use std::collections::BTreeMap;
use std::rc::Rc;
use thalweg_schemas::error::{Error, Result};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::{Scope, Stream, StreamVec};

/// The streams of one relation.
#[derive(Clone, Default)]
pub struct Rendered<'scope> {
    /// Every change.
    pub changes: Option<Stream<'scope, u64, Rows>>,
    /// What is final.
    pub finals: Option<Stream<'scope, u64, Rows>>,
    /// Whether both are one: a stream that only ever appends.
    append: bool,
}

impl<'scope> Rendered<'scope> {
    /// A stream that only ever appends: its rows are its changes and final at once.
    pub fn append(stream: Stream<'scope, u64, Rows>) -> Rendered<'scope> {
        Rendered { changes: Some(stream.clone()), finals: Some(stream), append: true }
    }

    /// A relation of which nothing is seen before it is final.
    pub fn only_finals(self) -> Rendered<'scope> {
        Rendered { changes: self.finals.clone(), append: self.finals.is_some(), finals: self.finals }
    }
}

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

/// What `plan`, read as `demand`, asks of the views it reads: added to `views`.
pub fn demands(plan: &Plan, demand: Demand, views: &mut BTreeMap<String, Demand>) {
    match plan {
        Plan::Source { .. } => {}
        Plan::View { name, .. } => {
            let entry = views.entry(name.clone()).or_default();
            *entry = entry.and(demand);
        }
        Plan::Filter(spec) => demands(&spec.input, demand, views),
        Plan::Project(spec) => demands(&spec.input, demand, views),
        Plan::AssignWindows(spec) => demands(&spec.input, demand, views),
        Plan::Union { inputs } => inputs.iter().for_each(|input| demands(input, demand, views)),
        Plan::WindowAggregate(spec) => demands(&spec.input, Demand::of(Read::Finals), views),
        Plan::Reduce(spec) => demands(&spec.input, Demand::of(read_of(spec)), views),
    }
}

fn read_of(spec: &ReduceSpec) -> Read {
    if spec.retracts { Read::Changes } else { Read::Finals }
}

/// What rendering needs to know, and what it has rendered.
pub struct Renderer<'scope> {
    /// Where the dataflow is built.
    pub scope: Scope<'scope, u64>,
    /// Workers of the run.
    pub peers: usize,
    /// The rows of each source.
    pub sources: BTreeMap<String, Stream<'scope, u64, Rows>>,
    /// The position of each source, by which watermarks name it.
    pub source_ids: BTreeMap<String, u32>,
    /// The watermarks of all sources, at every worker.
    pub watermarks: StreamVec<'scope, u64, WatermarkUpdate>,
    /// The views rendered so far.
    pub views: BTreeMap<String, Rendered<'scope>>,
    /// Who is told of late and dead rows.
    pub observer: Rc<dyn Observer>,
}

impl<'scope> Renderer<'scope> {
    /// Builds `plan` for the view or sink `view`.
    pub fn render(&self, view: &str, plan: &Plan, demand: Demand) -> Result<Rendered<'scope>> {
        Ok(match plan {
            Plan::Source { name, .. } => {
                let stream = self.sources.get(name).ok_or_else(|| missing("source", name))?.clone();
                Rendered::append(stream)
            }
            Plan::View { name, .. } => self.views.get(name).ok_or_else(|| missing("view", name))?.clone(),
            Plan::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|i| self.render(view, i, demand)).collect::<Result<_>>()?;
                self.union(inputs)
            }
            Plan::Filter(_)
            | Plan::Project(_)
            | Plan::AssignWindows(_)
            | Plan::WindowAggregate(_)
            | Plan::Reduce(_) => {
                return Err(Error::bug(format!("view \"{view}\" needs an operator that is not built yet")));
            }
        })
    }

    fn union(&self, inputs: Vec<Rendered<'scope>>) -> Rendered<'scope> {
        let concat = |streams: Option<Vec<_>>| streams.map(|s| self.scope.concatenate(s));
        let finals = concat(inputs.iter().map(|i| i.finals.clone()).collect());
        match finals {
            Some(stream) if inputs.iter().all(|i| i.append) => Rendered::append(stream),
            finals => {
                let changes = concat(inputs.iter().map(|i| i.changes.clone()).collect());
                Rendered { changes, finals, append: false }
            }
        }
    }
}

fn missing(kind: &str, name: &str) -> Error {
    Error::bug(format!("the plan reads {kind} \"{name}\" before it is built"))
}
