//! From a plan to a dataflow: one arm an operator.
//!
//! A relation has up to two streams: its *changes*, from the first row on, and its *finals*, which only ever append.
//! A source's rows are both at once. Only what somebody reads is built (`demand.rs`).

mod holds;
mod joins;
mod repeated;

pub use holds::Holds;
pub use joins::Sharing;
use repeated::Part;
pub use repeated::{Built, repeats};

use crate::alert::{Alert, AlertSpec};
use crate::anomaly::{Detector, Forecaster};
use crate::arrangement::Arrangement;
use crate::assign_windows::AssignWindows;
pub use crate::demand::{Demand, demanded, demands};
use crate::demand::{read_by_over, read_of, read_of_parts};
use crate::envelope::{EnvelopeSpec, Enveloping};
use crate::exchange::{Routed, by_key};
use crate::expand::Expand;
use crate::filter::{Filter, picks};
use crate::horizon::{Bounds, Horizon, WatchHorizon, WithinHorizon, WithinSpec};
use crate::host::{Inputs, host};
use crate::observer::{Observer, Unheard};
use crate::operator::Operator;
use crate::over::{Over, OverInOrder, OverSpec};
use crate::plan::{Plan, Read, SourcePlan, TimeOrigin};
use crate::project::Project;
use crate::reduce::{KeyRows, LocalReduce, MergeReduce, ReduceRows, ReduceSpec};
use crate::repeat::Repeat;
use crate::rows::Rows;
use crate::series::{Series, SeriesSpec, Task};
use crate::session_aggregate::{CutSessions, LocalSessions, MergeSessions, SessionAggregateSpec};
use crate::state_ttl::Lifetimes;
use crate::top_n::{TopN, TopNSpec};
use crate::unnest::Unnest;
use crate::upsert::Upsert;
use crate::watermark::{WatermarkTracker, WatermarkUpdate};
use crate::window_aggregate::{LocalAggregate, MergeAggregate, WindowAggregateSpec};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_schemas::alert_event;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::questions::Questions;
use thalweg_schemas::table::schema_of;
use timely::dataflow::channels::pact::Pipeline;
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
    /// The rows that its groups are made of, where it has groups: for alerts, which show some of them.
    below: Option<Below<'scope>>,
    /// Where an operator holds what its changes add up to, at the worker where each comes.
    pub arrangement: Option<Arrangement>,
}

/// What the aggregation nearest below a relation reads.
#[derive(Clone)]
struct Below<'scope> {
    rows: Stream<'scope, u64, Rows>,
    /// By which watermarks its windows close.
    origin: TimeOrigin,
}

impl<'scope> Rendered<'scope> {
    /// A stream that only ever appends: its rows are its changes and final at once.
    pub fn append(stream: Stream<'scope, u64, Rows>) -> Rendered<'scope> {
        Rendered { changes: Some(stream.clone()), finals: Some(stream), append: true, ..Rendered::default() }
    }

    /// A stream of changes of which nothing is ever final.
    pub(crate) fn changes(stream: Stream<'scope, u64, Rows>) -> Rendered<'scope> {
        Rendered { changes: Some(stream), ..Rendered::default() }
    }

    /// The stream that `view` reads.
    fn stream(&self, view: &str, read: Read) -> Result<Stream<'scope, u64, Rows>> {
        let stream = match read {
            Read::Changes => &self.changes,
            Read::Finals => &self.finals,
        };
        let missing = || Error::bug(format!("view \"{view}\" reads a stream that its input does not have"));
        stream.clone().ok_or_else(missing)
    }

    /// The relation for a reader that comes later and is handed its `rows` as they were: they come as changes, and as
    /// final where every row is.
    pub fn after(self, scope: Scope<'scope, u64>, rows: Stream<'scope, u64, Rows>) -> Rendered<'scope> {
        let both = |stream: Stream<'scope, u64, Rows>| scope.concatenate([stream, rows.clone()]);
        if self.append {
            let below = self.below;
            return self
                .finals
                .map_or_else(Rendered::default, |finals| Rendered { below, ..Rendered::append(both(finals)) });
        }
        Rendered { changes: self.changes.map(both), arrangement: None, ..self }
    }

    /// A relation of which nothing is seen before it is final.
    pub fn only_finals(self) -> Rendered<'scope> {
        Rendered { changes: self.finals.clone(), append: self.finals.is_some(), arrangement: None, ..self }
    }
}

/// What rendering needs to know, and what it has rendered.
pub struct Renderer<'scope> {
    /// Where the dataflow is built.
    pub scope: Scope<'scope, u64>,
    /// Workers of the run.
    pub peers: usize,
    /// The length of an epoch, in nanoseconds.
    pub tick_ns: i64,
    /// The sources [taken in](Renderer::source) so far.
    pub sources: BTreeMap<String, Rendered<'scope>>,
    /// The position of each source, by which watermarks name it.
    pub source_ids: BTreeMap<String, u32>,
    /// The watermarks of all sources, at every worker.
    pub watermarks: StreamVec<'scope, u64, WatermarkUpdate>,
    /// The views rendered so far.
    pub views: BTreeMap<String, Rendered<'scope>>,
    /// Who is told of late and dead rows.
    pub observer: Rc<dyn Observer>,
    /// The tables that are asked by key, by the names of their sources.
    pub questions: BTreeMap<String, Arc<Questions>>,
    /// Who lets rows wait.
    pub holds: Holds<'scope>,
    /// Which sides of joins are held once for several.
    pub sharing: Sharing<'scope>,
    /// What of the view that is being rendered is built already.
    pub built: RefCell<Built<'scope>>,
}

impl<'scope> Renderer<'scope> {
    /// Takes in the rows of a source. Records that say what becomes of a row are made into changes here, once for all
    /// who read the source.
    pub fn source(&mut self, plan: &SourcePlan, rows: Stream<'scope, u64, Rows>) -> Result<()> {
        let rendered = if plan.key.is_empty() {
            Rendered::append(rows)
        } else if self.questions.contains_key(&plan.name) {
            // Answers are for those who asked.
            Rendered::changes(rows)
        } else {
            let operator = Upsert::new(&schema_of(&plan.columns), &plan.key)?;
            let operator = if plan.is_table { operator.on_one_worker() } else { operator };
            let (pact, none) = (by_key(plan.placed_by()), TimeOrigin::default());
            let changes = self.host(&plan.name, "Upsert", operator, rows, pact, 1, &none).swap_remove(0);
            Rendered::changes(changes)
        };
        self.sources.insert(plan.name.clone(), rendered);
        Ok(())
    }

    /// Builds `plan` for the view or sink `view`, or finds what was built of it there.
    pub fn render(&self, view: &str, plan: &Plan, demand: Demand) -> Result<Rendered<'scope>> {
        if let Plan::Source { .. } | Plan::View { .. } | Plan::Recursive { .. } = plan {
            return self.build(view, plan, demand);
        }
        let part = Part::of(view, plan, demand);
        if let Some(rendered) = self.built.borrow().get(&part) {
            return Ok(rendered);
        }
        let rendered = self.build(view, plan, demand)?;
        self.built.borrow_mut().put(part, &rendered);
        Ok(rendered)
    }

    fn build(&self, view: &str, plan: &Plan, demand: Demand) -> Result<Rendered<'scope>> {
        Ok(match plan {
            Plan::Source { name, .. } => self.sources.get(name).ok_or_else(|| missing("source", name))?.clone(),
            Plan::View { name, .. } => {
                self.holds.inherit(view, name);
                let known = self.views.get(name).ok_or_else(|| missing("view", name))?.clone();
                // The rows of an operator are for the view that it makes.
                Rendered { arrangement: None, ..known }
            }
            Plan::Filter(spec) => {
                let input = self.render(view, &spec.input, demand)?;
                self.each(view, "Filter", input, demand, || Filter::new(spec))?
            }
            Plan::Within(spec) => self.within(view, spec, demand)?,
            Plan::Project(spec) => match &*spec.input {
                Plan::Filter(filter) if picks(spec) => {
                    let input = self.render(view, &filter.input, demand)?;
                    self.each(view, "Filter", input, demand, || Filter::picking(filter, spec))?
                }
                input => {
                    let input = self.render(view, input, demand)?;
                    self.each(view, "Project", input, demand, || Project::new(spec))?
                }
            },
            Plan::AssignWindows(spec) => {
                let input = self.render(view, &spec.input, demand)?;
                self.each(view, "AssignWindows", input, demand, || AssignWindows::new(spec))?
            }
            Plan::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|i| self.render(view, i, demand)).collect::<Result<_>>()?;
                self.union(inputs)
            }
            Plan::Repeat(spec) => {
                let input = self.render(view, &spec.input, demand)?;
                self.each(view, "Repeat", input, demand, || Repeat::new(spec))?
            }
            Plan::Unnest(spec) => {
                let input = self.render(view, &spec.input, demand)?;
                self.each(view, "Unnest", input, demand, || Unnest::new(spec))?
            }
            Plan::Envelope(spec) => self.envelope(view, spec)?,
            Plan::WindowAggregate(_) | Plan::SessionAggregate(_) | Plan::Reduce(_) => {
                self.aggregate(view, plan, demand)?
            }
            Plan::Join(spec) => self.join(view, spec, demand)?,
            Plan::AsofJoin(spec) => self.asof_join(view, spec)?,
            Plan::LookupJoin(spec) => self.lookup_join(view, spec)?,
            Plan::TopN(spec) => self.top_n(view, spec, demand)?,
            Plan::Over(spec) => self.over(view, spec, demand)?,
            Plan::Series(spec) => self.series(view, spec)?,
            Plan::Expand(spec) => {
                let input = self.render(view, &spec.input, demand)?;
                self.each(view, "Expand", input, demand, || Expand::new(spec))?
            }
            Plan::Recursion(spec) => self.recursion(view, spec)?,
            Plan::Recursive { name, .. } => return Err(missing("recursion", name)),
            Plan::Alert(spec) => self.alert(view, spec, demand)?,
        })
    }

    fn union(&self, inputs: Vec<Rendered<'scope>>) -> Rendered<'scope> {
        let concat = |streams: Option<Vec<_>>| streams.map(|s| self.scope.concatenate(s));
        let finals = concat(inputs.iter().map(|i| i.finals.clone()).collect());
        match finals {
            Some(stream) if inputs.iter().all(|i| i.append) => Rendered::append(stream),
            finals => {
                let changes = concat(inputs.iter().map(|i| i.changes.clone()).collect());
                Rendered { changes, finals, ..Rendered::default() }
            }
        }
    }

    /// An operator without state, over each of the streams that is asked for; one over both where they are the same.
    fn each<O: Operator>(
        &self,
        view: &str,
        name: &str,
        input: Rendered<'scope>,
        demand: Demand,
        new: impl Fn() -> Result<O>,
    ) -> Result<Rendered<'scope>> {
        let run = |stream: Stream<'scope, u64, Rows>| -> Result<Stream<'scope, u64, Rows>> {
            Ok(self.host(view, name, new()?, stream, Pipeline, 1, &TimeOrigin::default()).swap_remove(0))
        };
        let below = input.below;
        if input.append {
            let stream = input.finals.map(run).transpose()?.ok_or_else(lost)?;
            return Ok(Rendered { below, ..Rendered::append(stream) });
        }
        let changes = input.changes.filter(|_| demand.changes).map(run).transpose()?;
        let finals = input.finals.filter(|_| demand.finals).map(run).transpose()?;
        Ok(Rendered { changes, finals, below, ..Rendered::default() })
    }

    /// Over each of the streams that is asked for, of which one tells of the rows that it holds up.
    fn within(&self, view: &str, spec: &WithinSpec, demand: Demand) -> Result<Rendered<'scope>> {
        let input = self.render(view, &spec.input, demand)?;
        let run = |stream: Stream<'scope, u64, Rows>, reports: bool| {
            let operator = WithinHorizon::new(spec, reports);
            self.host(view, "WithinHorizon", operator, stream, Pipeline, 1, &spec.horizon.origin).swap_remove(0)
        };
        let below = input.below;
        if input.append {
            let stream = input.finals.map(|stream| run(stream, true)).ok_or_else(lost)?;
            return Ok(Rendered { below, ..Rendered::append(stream) });
        }
        let changes = input.changes.filter(|_| demand.changes).map(|stream| run(stream, true));
        let finals = input.finals.filter(|_| demand.finals).map(|stream| run(stream, changes.is_none()));
        Ok(Rendered { changes, finals, below, ..Rendered::default() })
    }

    /// The same rows, and how far a horizon has come as of each of their epochs.
    pub fn watched(
        &self,
        view: &str,
        rows: Stream<'scope, u64, Rows>,
        horizon: &Horizon,
    ) -> (Stream<'scope, u64, Rows>, Bounds) {
        let (operator, bounds) = WatchHorizon::new(horizon);
        let rows = self.host(view, "WatchHorizon", operator, rows, Pipeline, 1, &horizon.origin).swap_remove(0);
        (rows, bounds)
    }

    /// The changes of a key meet on one worker; without a key those of a row do.
    fn envelope(&self, view: &str, spec: &EnvelopeSpec) -> Result<Rendered<'scope>> {
        let rows = self.input(view, &spec.input, Read::Changes)?;
        let key = match spec.envelope.key.as_slice() {
            [] => (0..spec.input.schema().fields().len()).collect(),
            key => key.to_vec(),
        };
        let (operator, none) = (Enveloping::new(spec, self.tick_ns)?, TimeOrigin::default());
        Ok(Rendered::append(self.host(view, "Envelope", operator, rows, by_key(key), 1, &none).swap_remove(0)))
    }

    /// An aggregation over what it reads; that is kept for alerts.
    fn aggregate(&self, view: &str, plan: &Plan, demand: Demand) -> Result<Rendered<'scope>> {
        let (input, read, origin) = match plan {
            Plan::WindowAggregate(spec) => (&spec.input, Read::Finals, spec.time_origin.clone()),
            Plan::SessionAggregate(spec) => (&spec.input, Read::Finals, spec.time_origin.clone()),
            Plan::Reduce(spec) => (&spec.input, read_of(spec), TimeOrigin::default()),
            _ => return Err(Error::bug("a plan that aggregates nothing")),
        };
        let below = Below { rows: self.input(view, input, read)?, origin };
        Ok(Rendered { below: Some(below.clone()), ..self.aggregate_of(view, plan, below, demand)? })
    }

    /// An aggregation over the rows that are given.
    fn aggregate_of(&self, view: &str, plan: &Plan, below: Below<'scope>, demand: Demand) -> Result<Rendered<'scope>> {
        match plan {
            Plan::WindowAggregate(spec) => self.window_aggregate(view, spec, below, demand),
            Plan::SessionAggregate(spec) => self.session_aggregate(view, spec, below, demand),
            Plan::Reduce(spec) => self.reduce(view, spec, below.rows),
            _ => Err(Error::bug("a plan that aggregates nothing")),
        }
    }

    fn window_aggregate(
        &self,
        view: &str,
        spec: &WindowAggregateSpec,
        Below { rows, origin }: Below<'scope>,
        demand: Demand,
    ) -> Result<Rendered<'scope>> {
        let local = LocalAggregate::new(spec)?;
        let partials = self.host(view, "LocalAggregate", local, rows, Pipeline, 1, &origin).swap_remove(0);
        let merge = MergeAggregate::new(spec, demand.changes, demand.finals)?;
        // The partial rows begin with the slice, then come the keys.
        let pact = by_key((1..=spec.keys.len()).collect());
        let outputs = self.host(view, "MergeAggregate", merge, partials, pact, 2, &origin);
        Ok(both_ports(outputs, demand))
    }

    fn session_aggregate(
        &self,
        view: &str,
        spec: &SessionAggregateSpec,
        Below { rows, origin }: Below<'scope>,
        demand: Demand,
    ) -> Result<Rendered<'scope>> {
        let local = LocalSessions::new(spec)?;
        let partials = self.host(view, "LocalSessions", local, rows, Pipeline, 1, &origin).swap_remove(0);
        let pact = by_key((0..spec.partition).collect());
        let outputs = if spec.is_cut() {
            let cut = CutSessions::new(spec, demand.changes, demand.finals)?;
            self.host(view, "CutSessions", cut, partials, pact, 2, &origin)
        } else {
            let merge = MergeSessions::new(spec, demand.changes, demand.finals)?;
            self.host(view, "MergeSessions", merge, partials, pact, 2, &origin)
        };
        Ok(both_ports(outputs, demand))
    }

    fn reduce(&self, view: &str, spec: &ReduceSpec, input: Stream<'scope, u64, Rows>) -> Result<Rendered<'scope>> {
        // A group without keys is there before the first row: it is told when the time first moves.
        let all = self.source_ids.keys().map(|name| (name.clone(), 0)).collect();
        let time = TimeOrigin { sources: if spec.keys.is_empty() { all } else { Vec::new() } };
        let time = spec.horizon.as_ref().map_or(time, |horizon| horizon.origin.clone());
        let owns = self.scope.index() == 0;
        let key = (0..spec.keys.len()).collect();
        let none = TimeOrigin::default();
        let changes = if spec.by_rows() {
            let keyed = self.host(view, "KeyRows", KeyRows::new(spec)?, input, Pipeline, 1, &none).swap_remove(0);
            let reduce = ReduceRows::new(spec, owns)?.forgetting(self.lifetimes(spec.state_ttl_ns));
            self.host(view, "ReduceRows", reduce, keyed, by_key(key), 1, &time).swap_remove(0)
        } else {
            let local = LocalReduce::new(spec)?;
            let partials = self.host(view, "LocalReduce", local, input, Pipeline, 1, &none).swap_remove(0);
            let merge = MergeReduce::new(spec, owns)?.forgetting(self.lifetimes(spec.state_ttl_ns));
            self.host(view, "MergeReduce", merge, partials, by_key(key), 1, &time).swap_remove(0)
        };
        Ok(Rendered::changes(changes))
    }

    fn top_n(&self, view: &str, spec: &TopNSpec, demand: Demand) -> Result<Rendered<'scope>> {
        let read = read_of_parts(spec.retracts, spec.closes.is_some(), demand);
        let rendered = self.render(view, &spec.input, Demand::of(read))?;
        let input = rendered.stream(view, read)?;
        let time = spec.goes_by().cloned().unwrap_or_default();
        let finals = demand.finals && spec.closes.is_some();
        let operator = TopN::new(spec, demand.changes, finals, read == Read::Finals)?;
        let operator = operator.forgetting(self.lifetimes(spec.state_ttl_ns));
        let outputs = self.host(view, "TopN", operator, input, by_key(spec.partition.clone()), 2, &time);
        Ok(Rendered { below: rendered.below, ..both_ports(outputs, Demand { finals, ..demand }) })
    }

    fn over(&self, view: &str, spec: &OverSpec, demand: Demand) -> Result<Rendered<'scope>> {
        let input = self.render(view, &spec.input, read_by_over(spec, demand))?;
        let below = input.below.clone();
        let Some(in_order) = &spec.in_order else {
            return Ok(Rendered { below, ..self.over_parts(view, spec, &input, demand)? });
        };
        let changes = match demand.changes {
            true => self.over_parts(view, spec, &input, Demand::of(Read::Changes))?.changes,
            false => None,
        };
        let finals = || -> Result<_> {
            let (rows, pact) = (input.stream(view, Read::Finals)?, by_key(spec.partition.clone()));
            let operator = OverInOrder::new(spec, in_order)?.forgetting(self.lifetimes(spec.state_ttl_ns));
            Ok(self.host(view, "OverInOrder", operator, rows, pact, 1, &in_order.origin).swap_remove(0))
        };
        let finals = demand.finals.then(finals).transpose()?;
        Ok(Rendered { changes, finals, below, ..Rendered::default() })
    }

    /// Functions over whole partitions.
    fn over_parts(
        &self,
        view: &str,
        spec: &OverSpec,
        input: &Rendered<'scope>,
        demand: Demand,
    ) -> Result<Rendered<'scope>> {
        let read = match spec.in_order {
            Some(_) => Read::Changes,
            None => read_of_parts(spec.retracts, spec.closes.is_some(), demand),
        };
        let time = spec.goes_by().cloned().unwrap_or_default();
        let finals = demand.finals && spec.closes.is_some();
        let operator = Over::new(spec, demand.changes, finals)?.forgetting(self.lifetimes(spec.state_ttl_ns));
        let rows = input.stream(view, read)?;
        let outputs = self.host(view, "Over", operator, rows, by_key(spec.partition.clone()), 2, &time);
        Ok(both_ports(outputs, Demand { finals, ..demand }))
    }

    fn series(&self, view: &str, spec: &SeriesSpec) -> Result<Rendered<'scope>> {
        let rendered = self.render(view, &spec.input, Demand::of(Read::Finals))?;
        let input = rendered.stream(view, Read::Finals)?;
        let pact = by_key(spec.exchanged_by().to_vec());
        // Each worker has its share of the series that are kept.
        let share = |most: usize| most.div_ceil(self.peers.max(1));
        let spec = &SeriesSpec { series_max: spec.series_max.map(share), ..spec.clone() };
        let rows = match &spec.task {
            Task::Detect(settings) => {
                let operator = Series::<Detector>::new(spec, settings)?;
                self.host(view, "DetectAnomalies", operator, input, pact, 1, &spec.origin)
            }
            Task::Forecast(settings) => {
                let operator = Series::<Forecaster>::new(spec, settings)?;
                self.host(view, "Forecast", operator, input, pact, 1, &spec.origin)
            }
        };
        let rows = rows.into_iter().next().ok_or_else(lost)?;
        Ok(Rendered { below: rendered.below, ..Rendered::append(rows) })
    }

    /// An alert's finals are its events; its changes keep the last one of each key.
    fn alert(&self, view: &str, spec: &AlertSpec, demand: Demand) -> Result<Rendered<'scope>> {
        let input = self.render(view, &spec.input, Demand::of(spec.read))?;
        let mut inputs = vec![(input.stream(view, spec.read)?, by_key(spec.keys.clone()))];
        if let Some(expected) = &spec.expected {
            inputs.push((self.input(view, expected, Read::Changes)?, by_key((0..spec.keys.len()).collect())));
        }
        if let (Some(exemplars), Some(below)) = (&spec.exemplars, input.below) {
            let demand = Demand::of(spec.read);
            let beside = self.unheard().aggregate_of(view, &exemplars.plan, below, demand)?;
            inputs.push((beside.stream(view, spec.read)?, by_key(exemplars.keys.clone())));
        }
        let operator = Alert::new(spec, self.tick_ns, demand.changes, demand.finals)?;
        let outputs = self.host_all(view, "Alert", operator, inputs, 2, &spec.origin());
        let Rendered { changes, finals, .. } = both_ports(outputs, demand);
        let key = vec![alert_event::KEY];
        let Some(changes) = changes else { return Ok(Rendered { finals, ..Rendered::default() }) };
        let upsert = Upsert::new(&alert_event::schema(), &key)?;
        let (arrangement, none) = (Some(upsert.arrangement()), TimeOrigin::default());
        let changes = self.host(view, "AlertState", upsert, changes, by_key(key), 1, &none).swap_remove(0);
        Ok(Rendered { changes: Some(changes), finals, arrangement, ..Rendered::default() })
    }

    /// The same without telling anybody of late and dead rows: what is computed beside a view has those that the view has.
    fn unheard(&self) -> Renderer<'scope> {
        Renderer {
            scope: self.scope,
            peers: self.peers,
            tick_ns: self.tick_ns,
            sources: BTreeMap::new(),
            source_ids: self.source_ids.clone(),
            watermarks: self.watermarks.clone(),
            views: BTreeMap::new(),
            observer: Rc::new(Unheard(self.observer.clone())),
            questions: BTreeMap::new(),
            holds: self.holds.clone(),
            sharing: Sharing::default(),
            built: RefCell::default(),
        }
    }

    fn lifetimes(&self, state_ttl_ns: Option<i64>) -> Option<Lifetimes> {
        state_ttl_ns.map(|ttl_ns| Lifetimes::new(ttl_ns, self.tick_ns))
    }

    /// One stream of `plan`.
    pub(crate) fn input(&self, view: &str, plan: &Plan, read: Read) -> Result<Stream<'scope, u64, Rows>> {
        self.render(view, plan, Demand::of(read))?.stream(view, read)
    }

    #[allow(clippy::too_many_arguments, reason = "the host's own inputs, with those of this dataflow filled in")]
    fn host<O, P>(
        &self,
        view: &str,
        name: &str,
        operator: O,
        rows: Stream<'scope, u64, Rows>,
        pact: P,
        ports: usize,
        origin: &TimeOrigin,
    ) -> Vec<Stream<'scope, u64, Rows>>
    where
        O: Operator,
        P: Routed,
    {
        self.host_all(view, name, operator, vec![(rows, pact)], ports, origin)
    }

    /// Hosts an operator with all of its inputs.
    fn host_all<O, P>(
        &self,
        view: &str,
        name: &str,
        operator: O,
        rows: Vec<(Stream<'scope, u64, Rows>, P)>,
        ports: usize,
        origin: &TimeOrigin,
    ) -> Vec<Stream<'scope, u64, Rows>>
    where
        O: Operator,
        P: Routed,
    {
        let mut inputs = self.inputs(rows, origin);
        if let Some((ids, holds)) = self.holds.of(view).filter(|_| !origin.sources.is_empty()) {
            inputs.watermarks = self.scope.concatenate(holds.into_iter().chain([inputs.watermarks]));
            inputs.tracker = inputs.tracker.held_by(ids, self.peers);
        }
        host(self.scope, (view, name), operator, inputs, ports, self.observer.clone())
    }

    /// What an operator takes in that no rows hold which wait.
    fn inputs<P>(&self, rows: Vec<(Stream<'scope, u64, Rows>, P)>, origin: &TimeOrigin) -> Inputs<'scope, P> {
        let tracker = WatermarkTracker::new(origin, &self.source_ids, self.peers);
        Inputs { rows, watermarks: self.watermarks.clone(), tracker }
    }
}

/// The streams of an operator that sends changes out of its first port and finals out of its second.
fn both_ports(outputs: Vec<Stream<'_, u64, Rows>>, demand: Demand) -> Rendered<'_> {
    let mut outputs = outputs.into_iter();
    let (changes, finals) = (outputs.next(), outputs.next());
    let (changes, finals) = (changes.filter(|_| demand.changes), finals.filter(|_| demand.finals));
    Rendered { changes, finals, ..Rendered::default() }
}

fn missing(kind: &str, name: &str) -> Error {
    Error::bug(format!("the plan reads {kind} \"{name}\" before it is built"))
}

fn lost() -> Error {
    Error::bug("an operator was hosted without an output")
}
