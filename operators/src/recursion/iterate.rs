//! The host of an operator within the loop: it is handed iterations in order, one epoch after the other.
//!
//! Timely orders the times of a loop only where both the epoch and the iteration are later, so the first iteration of an
//! epoch could be complete before the last one of the epoch before is. Here an iteration waits for all of that: state is as
//! of an epoch and an iteration, never of some of two epochs.

use crate::exchange::Routed;
use crate::observer::Observer;
use crate::operator::{DeadRow, Operator, Output, StateSize, Times};
use crate::ports::{Ports, Sent};
use crate::rows::Rows;
use crate::state::{Checkpointed, Restored, Section};
use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{max, min};
use arrow::datatypes::Int64Type;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::order::Product;
use timely::progress::frontier::MutableAntichain;

/// A time in the loop: the epoch and, within it, the iteration.
pub(super) type Time = Product<u64, u64>;

/// The port of rows that stay in the loop.
const LOOP: usize = 0;

/// A state machine within the loop.
///
/// # Contract
///
/// ```text
///   iterate(e, 0, ..)  iterate(e, 3, ..)  finish_epoch(e, ..)  iterate(e', 0, ..)   ...
/// ```
///
/// `iterate` is called once for each iteration, in growing order, for which rows came or that was asked for, with all of
/// its rows; `finish_epoch`, where there is an output that leaves the loop, when no iteration of the epoch can have any more.
pub(super) trait Iterated: 'static {
    /// Whether it keeps nothing, so that rows can be handed over as they come: then `iterate` is called for each lot of
    /// them, and nobody waits for the others.
    const EAGER: bool = false;

    /// Takes the rows of one iteration, those of each of its inputs.
    fn iterate(&mut self, epoch: Epoch, iteration: u64, rows: [Vec<Rows>; 2], output: &mut Iteration) -> Result<()>;

    /// No iteration of `epoch` has anything more. What is sent now leaves out of another port than the loop's.
    fn finish_epoch(&mut self, _epoch: Epoch, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// As [`Operator::snapshot`].
    fn snapshot(&mut self) -> Result<Vec<Section>>;

    /// As [`Operator::restore`].
    fn restore(&mut self, sections: Vec<Restored>) -> Result<()>;

    /// As [`Operator::state`].
    fn state(&self) -> StateSize;
}

/// What an operator has to say in an iteration.
#[derive(Default)]
pub(super) struct Iteration {
    /// Rows, and of which iteration they are: of this one or of a later one.
    sent: Vec<(u64, Rows)>,
    /// Rows that could not be computed.
    pub dead: Vec<DeadRow>,
    /// A later iteration to be handed though nothing may come for it.
    pub again: Option<u64>,
}

impl Iteration {
    /// Sends rows of `iteration`; empty ones are not sent.
    pub fn send(&mut self, iteration: u64, rows: Rows) {
        if rows.num_rows() > 0 {
            self.sent.push((iteration, rows));
        }
    }
}

/// An ordinary operator within the loop, for which each iteration is an epoch of its own.
pub(super) struct Each<O> {
    pub operator: O,
    /// Where its rows say of which iteration they are, if they may be of a later one.
    pub iteration: Option<usize>,
}

impl<O: Operator> Iterated for Each<O> {
    const EAGER: bool = O::EAGER;

    fn iterate(&mut self, epoch: Epoch, iteration: u64, rows: [Vec<Rows>; 2], output: &mut Iteration) -> Result<()> {
        const TIMELESS: Times = Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN };
        let [first, second] = rows;
        let mut said = Output::default();
        for rows in first {
            self.operator.process(epoch, rows, &mut said)?;
        }
        for rows in second {
            self.operator.process_second(epoch, rows, &mut said)?;
        }
        self.operator.finish_epoch(epoch, TIMELESS, &mut said)?;
        output.dead.append(&mut said.dead);
        for (_, rows) in said.sent {
            match self.iteration {
                None => output.send(iteration, rows),
                Some(column) => by_iteration(rows, column, output)?,
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.operator.snapshot()
    }

    fn restore(&mut self, sections: Vec<Restored>) -> Result<()> {
        self.operator.restore(sections, Watermark::MIN)
    }

    fn state(&self) -> StateSize {
        self.operator.state()
    }
}

/// Sends each row in the iteration that its `column` names.
fn by_iteration(rows: Rows, column: usize, output: &mut Iteration) -> Result<()> {
    let Some(batch) = rows.into_batch() else { return Ok(()) };
    let missing = || Error::bug("a row in a recursion does not say of which iteration it is");
    let iterations = batch.rows.column(column).as_primitive_opt::<Int64Type>().ok_or_else(missing)?.clone();
    let (Some(first), Some(last)) = (min(&iterations), max(&iterations)) else { return Ok(()) };
    if first == last {
        output.send(first as u64, Rows::unbounded(batch));
        return Ok(());
    }
    let mut all: Vec<i64> = iterations.values().to_vec();
    all.sort_unstable();
    all.dedup();
    for one in all {
        let own: BooleanArray = iterations.values().iter().map(|iteration| Some(*iteration == one)).collect();
        output.send(one as u64, Rows::unbounded(batch.filter(&own)?));
    }
    Ok(())
}

/// Runs `operator` in the loop; its first output stays in it, what it sends at the end of an epoch leaves by the second.
pub(super) fn iterated<'scope, I, P>(
    scope: Scope<'scope, Time>,
    (view, name): (&str, &str),
    operator: I,
    inputs: Vec<(Stream<'scope, Time, Rows>, P)>,
    ports: usize,
    observer: Rc<dyn Observer>,
) -> Vec<Stream<'scope, Time, Rows>>
where
    I: Iterated,
    P: Routed<Time>,
{
    let mut builder = OperatorBuilder::new(name.to_string(), scope);
    let meter = observer.operator(view, name);
    let (mut rows, streams) = Ports::new(&mut builder, inputs, ports, meter.clone());
    let hosted = Hosted { operator, view: view.to_string(), observer, ports, pending: BTreeMap::new(), open: None };
    let hosted = Rc::new(RefCell::new(hosted));
    hosted.borrow().observer.built(view, name, hosted.clone());
    builder.build(move |_capabilities| {
        move |frontiers: &[MutableAntichain<Time>]| {
            let mut hosted = hosted.borrow_mut();
            let began = hosted.observer.nanos();
            let mut sent = Vec::new();
            rows.take_in(|capability, input, rows| hosted.accept(capability, input, rows, &mut sent));
            let frontier =
                frontiers.iter().filter_map(|f| f.frontier().iter().map(|time| (time.outer, time.inner)).min()).min();
            hosted.advance(frontier, &mut sent);
            rows.send(sent);
            meter.holds(hosted.operator.state());
            meter.worked(hosted.observer.nanos().saturating_sub(began));
        }
    });
    streams
}

struct Hosted<I> {
    operator: I,
    view: String,
    observer: Rc<dyn Observer>,
    ports: usize,
    /// Iterations whose turn has not come, by epoch and number.
    pending: BTreeMap<(u64, u64), Pending>,
    /// The epoch that is not over, and the right to speak at its end.
    open: Option<(u64, Vec<Capability<Time>>)>,
}

struct Pending {
    capabilities: Vec<Capability<Time>>,
    rows: [Vec<Rows>; 2],
}

impl<I: Iterated> Hosted<I> {
    fn accept(&mut self, capability: &InputCapability<Time>, input: usize, rows: Rows, sent: &mut Sent<Time>) {
        let ports = self.ports;
        let time = (capability.time().outer, capability.time().inner);
        let new = || Pending {
            capabilities: (0..ports).map(|port| capability.retain(port)).collect(),
            rows: Default::default(),
        };
        if I::EAGER {
            let mut pending = new();
            pending.rows[input].push(rows);
            return self.iterate(time, pending, sent);
        }
        self.pending.entry(time).or_insert_with(new).rows[input].push(rows);
    }

    /// Hands over what is complete: `frontier` is the first iteration of the first epoch that rows may still come for.
    fn advance(&mut self, frontier: Option<(u64, u64)>, sent: &mut Sent<Time>) {
        let complete = |time: (u64, u64)| frontier.is_none_or(|frontier| time < frontier);
        loop {
            let next = self.pending.keys().next().copied();
            if let Some((epoch, capabilities)) = self
                .open
                .take_if(|(epoch, _)| complete((*epoch, u64::MAX)) && next.is_none_or(|(next, _)| next > *epoch))
            {
                self.finish(epoch, &capabilities, sent);
                continue;
            }
            let Some(entry) = self.pending.first_entry().filter(|entry| complete(*entry.key())) else { return };
            let (time, pending) = entry.remove_entry();
            self.iterate(time, pending, sent);
        }
    }

    fn iterate(&mut self, (epoch, iteration): (u64, u64), pending: Pending, sent: &mut Sent<Time>) {
        let Pending { capabilities, rows } = pending;
        let mut output = Iteration::default();
        let result = self.operator.iterate(Epoch(epoch), iteration, rows, &mut output);
        self.told(epoch, result, std::mem::take(&mut output.dead));
        let at = |port: usize, iteration: u64| capabilities[port].delayed(&Product::new(epoch, iteration));
        for (iteration, rows) in output.sent {
            sent.push((LOOP, at(LOOP, iteration), rows));
        }
        if let Some(again) = output.again {
            self.pending.entry((epoch, again)).or_insert_with(|| Pending {
                capabilities: (0..self.ports).map(|port| at(port, again)).collect(),
                rows: Default::default(),
            });
        }
        // Without another output there is nothing to say at the end, and no right to say it that would hold the end up.
        if self.open.is_none() && self.ports > LOOP + 1 {
            self.open = Some((epoch, capabilities.into_iter().skip(LOOP + 1).collect()));
        }
    }

    fn finish(&mut self, epoch: u64, capabilities: &[Capability<Time>], sent: &mut Sent<Time>) {
        let mut output = Output::default();
        let result = self.operator.finish_epoch(Epoch(epoch), &mut output);
        self.told(epoch, result, output.dead);
        for (port, rows) in output.sent {
            if let Some(capability) = port.checked_sub(LOOP + 1).and_then(|at| capabilities.get(at)) {
                sent.push((port, capability.clone(), rows));
            }
        }
    }

    fn told(&self, epoch: u64, result: Result<()>, dead: Vec<DeadRow>) {
        if let Err(error) = result {
            self.observer.fail(error.with_detail(format!("in view \"{}\", epoch {epoch}", self.view)));
        }
        for row in dead {
            self.observer.dead(&self.view, Epoch(epoch), row);
        }
    }
}

impl<I: Iterated> Checkpointed for Hosted<I> {
    fn watermark(&mut self) -> Watermark {
        Watermark::MIN
    }

    fn snapshot(&mut self) -> Result<Option<Vec<Section>>> {
        if self.pending.is_empty() && self.open.is_none() { self.operator.snapshot().map(Some) } else { Ok(None) }
    }

    fn restore(&mut self, _watermark: Watermark, sections: Vec<Restored>) -> Result<()> {
        self.operator.restore(sections)
    }
}
