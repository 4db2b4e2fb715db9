//! The host: runs any [`Operator`] in a timely dataflow and holds it to its contract.
//!
//! It keeps what belongs to epochs that are not due yet, hands over epochs in order, finishes them when the frontier
//! says that they are complete, and holds the capability of an epoch for as long as the operator may still speak in it.

use crate::exchange::Routed;
use crate::observer::Observer;
use crate::operator::{Operator, Output, Times};
use crate::ports::{Ports, Sent};
use crate::rows::Rows;
use crate::state::{Checkpointed, Restored, Section};
use crate::watermark::{WatermarkTracker, WatermarkUpdate};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream, StreamVec};
use timely::progress::frontier::MutableAntichain;

/// What a hosted operator listens to.
pub struct Inputs<'scope, P> {
    /// Its rows: one input, or up to three, and how each comes to the workers.
    pub rows: Vec<(Stream<'scope, u64, Rows>, P)>,
    /// The watermarks of all sources.
    pub watermarks: StreamVec<'scope, u64, WatermarkUpdate>,
    /// What it makes of them.
    pub tracker: WatermarkTracker,
}

/// Runs `operator` under `name` for `view`, with `ports` outputs.
pub fn host<'scope, P, O>(
    scope: Scope<'scope, u64>,
    (view, name): (&str, &str),
    operator: O,
    inputs: Inputs<'scope, P>,
    ports: usize,
    observer: Rc<dyn Observer>,
) -> Vec<Stream<'scope, u64, Rows>>
where
    P: Routed,
    O: Operator,
{
    let mut builder = OperatorBuilder::new(name.to_string(), scope);
    let meter = observer.operator(view, name);
    let (mut rows, streams) = Ports::new(&mut builder, inputs.rows, ports, meter.clone());
    let mut watermarks_in = builder.new_input(inputs.watermarks, Pipeline);
    let hosted = Rc::new(RefCell::new(Hosted {
        operator,
        view: view.to_string(),
        tracker: inputs.tracker,
        observer: observer.clone(),
        ports,
        pending: BTreeMap::new(),
        alarm: None,
        finished: None,
        // What a checkpoint brought is told of as well.
        has_worked: true,
    }));
    observer.built(view, name, hosted.clone());
    builder.build(move |capabilities| {
        let mut first = Some(capabilities);
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut hosted = hosted.borrow_mut();
            let began = hosted.observer.nanos();
            // What a checkpoint brought may be due before anything comes.
            first.take().into_iter().for_each(|capabilities| hosted.set_alarm(0, &capabilities));
            let frontier = frontiers.iter().filter_map(|f| f.frontier().first().copied()).min().unwrap_or(u64::MAX);
            let mut sent = Vec::new();
            rows.take_in(|capability, input, rows| {
                hosted.accept_rows(capability, (input, rows), frontier, &mut sent);
            });
            watermarks_in.for_each(|capability, updates: &mut Vec<WatermarkUpdate>| {
                hosted.epoch(&capability).updates.append(updates);
            });
            hosted.advance(frontier, &mut sent);
            hosted.operator.is_through(Epoch(frontier));
            rows.send(sent);
            if std::mem::take(&mut hosted.has_worked) {
                meter.holds(hosted.operator.state());
                meter.has_evicted(hosted.operator.evicted());
            }
            meter.worked(hosted.observer.nanos().saturating_sub(began));
        }
    });
    streams
}

struct Hosted<O> {
    operator: O,
    view: String,
    tracker: WatermarkTracker,
    observer: Rc<dyn Observer>,
    ports: usize,
    pending: BTreeMap<u64, PendingEpoch>,
    /// The epoch that the operator asked to be finished in, and the right to speak in it.
    alarm: Option<(u64, Vec<Capability<u64>>)>,
    /// The last epoch that was finished, for the contract.
    finished: Option<u64>,
    /// Whether the operator was called since its state was last looked at: looking is not free.
    has_worked: bool,
}

/// An epoch that is not finished.
struct PendingEpoch {
    capabilities: Vec<Capability<u64>>,
    /// Rows whose turn has not come, with the input that they came to.
    rows: Vec<(usize, Rows)>,
    updates: Vec<WatermarkUpdate>,
    /// Whether the operator was handed rows of it.
    begun: bool,
}

impl<O: Operator> Hosted<O> {
    fn epoch(&mut self, capability: &InputCapability<u64>) -> &mut PendingEpoch {
        let ports = self.ports;
        assert!(self.finished.is_none_or(|f| f < *capability.time()), "timely delivers nothing behind the frontier");
        self.pending.entry(*capability.time()).or_insert_with(|| PendingEpoch {
            capabilities: (0..ports).map(|port| capability.retain(port)).collect(),
            rows: Vec::new(),
            updates: Vec::new(),
            begun: false,
        })
    }

    fn accept_rows(
        &mut self,
        capability: &InputCapability<u64>,
        rows: (usize, Rows),
        frontier: u64,
        sent: &mut Sent<u64>,
    ) {
        let time = *capability.time();
        let first = self.pending.keys().next().is_none_or(|first| time <= *first);
        let epoch = self.epoch(capability);
        // Not before rows of the epoch that came earlier and wait: an operator may go by the order in which they came.
        if O::EAGER || (first && time <= frontier && epoch.rows.is_empty()) {
            self.ring(time, sent);
            self.process(time, rows, sent);
        } else {
            epoch.rows.push(rows);
        }
    }

    fn process(&mut self, time: u64, (input, rows): (usize, Rows), sent: &mut Sent<u64>) {
        self.has_worked = true;
        let mut output = Output::default();
        let result = match input {
            0 => self.operator.process(Epoch(time), rows, &mut output),
            1 => self.operator.process_second(Epoch(time), rows, &mut output),
            _ => self.operator.process_third(Epoch(time), rows, &mut output),
        };
        if let Some(epoch) = self.pending.get_mut(&time) {
            epoch.begun = true;
        }
        self.settle(time, result, output, sent);
    }

    /// Finishes what is complete and begins what is due.
    fn advance(&mut self, frontier: u64, sent: &mut Sent<u64>) {
        while let Some(&time) = self.pending.keys().next().filter(|time| **time <= frontier) {
            self.ring(time, sent);
            let rows = self.pending.get_mut(&time).map(|e| std::mem::take(&mut e.rows)).unwrap_or_default();
            for rows in rows {
                self.process(time, rows, sent);
            }
            if time == frontier {
                return;
            }
            self.finish(time, sent);
        }
        match frontier {
            // The inputs are closed: the clock goes on without this dataflow.
            u64::MAX => self.alarm = None,
            frontier => self.ring(frontier, sent),
        }
    }

    /// Finishes the epochs before `before` that the operator asked for.
    fn ring(&mut self, before: u64, sent: &mut Sent<u64>) {
        while let Some((time, capabilities)) = self.alarm.take_if(|(time, _)| *time < before) {
            let asked = PendingEpoch { capabilities, rows: Vec::new(), updates: Vec::new(), begun: true };
            self.pending.insert(time, asked);
            self.finish(time, sent);
        }
    }

    /// Takes note of when the operator wants to be finished next, after epoch `time`.
    fn set_alarm(&mut self, time: u64, capabilities: &[Capability<u64>]) {
        self.alarm = self.operator.wake_at().map(|epoch| {
            let at = epoch.0.max(time + 1);
            (at, capabilities.iter().map(|capability| capability.delayed(&at)).collect())
        });
    }

    fn finish(&mut self, time: u64, sent: &mut Sent<u64>) {
        let Some(epoch) = self.pending.get_mut(&time) else { return };
        let before = self.tracker.current();
        for update in std::mem::take(&mut epoch.updates) {
            self.tracker.update(update);
        }
        let (now, reached) = (self.tracker.current(), self.tracker.reached());
        let begun = epoch.begun || self.alarm.as_ref().is_some_and(|(at, _)| *at <= time);
        self.finished = Some(time);
        if begun || now != before {
            self.has_worked = true;
            let mut output = Output::default();
            let result = self.operator.finish_epoch(Epoch(time), Times { before, now, reached }, &mut output);
            self.settle(time, result, output, sent);
        }
        if let Some(epoch) = self.pending.remove(&time) {
            self.set_alarm(time, &epoch.capabilities);
        }
    }

    fn settle(&mut self, time: u64, result: Result<()>, output: Output, sent: &mut Sent<u64>) {
        if let Err(error) = result {
            self.observer.fail(error.with_detail(format!("in view \"{}\", epoch {time}", self.view)));
        }
        let Some(epoch) = self.pending.get(&time) else { return };
        for (port, rows) in output.sent {
            // A port that the dataflow did not ask for has no listener.
            if let Some(capability) = epoch.capabilities.get(port) {
                sent.push((port, capability.clone(), rows));
            }
        }
        for rows in output.late {
            self.observer.late(&self.view, Epoch(time), rows);
        }
        for row in output.dead {
            self.observer.dead(&self.view, Epoch(time), row);
        }
    }
}

impl<O: Operator> Checkpointed for Hosted<O> {
    fn watermark(&mut self) -> Watermark {
        self.tracker.current()
    }

    fn snapshot(&mut self) -> Result<Option<Vec<Section>>> {
        if self.pending.is_empty() { self.operator.snapshot().map(Some) } else { Ok(None) }
    }

    fn restore(&mut self, watermark: Watermark, sections: Vec<Restored>) -> Result<()> {
        self.has_worked = true;
        self.tracker.restore(watermark);
        self.operator.restore(sections, watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::OperatorMeter;
    use crate::operator::DeadRow;
    use crate::plan::TimeOrigin;
    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;
    use thalweg_schemas::batch::Batch;
    use thalweg_schemas::error::Error;
    use timely::container::NoopBuilder;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::Input;

    /// Takes note of the numbers that it is handed.
    struct Heard(Rc<RefCell<Vec<i64>>>);

    impl Operator for Heard {
        fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
            let numbers = rows.into_batch().unwrap().rows;
            self.0.borrow_mut().extend(numbers.column(0).as_primitive::<Int64Type>().values());
            Ok(())
        }

        fn finish_epoch(&mut self, _epoch: Epoch, _times: Times, _output: &mut Output) -> Result<()> {
            Ok(())
        }
    }

    struct Deaf;

    impl Observer for Deaf {
        fn operator(&self, _view: &str, _name: &str) -> Arc<OperatorMeter> {
            Arc::default()
        }

        fn built(&self, _view: &str, _name: &str, _operator: Rc<RefCell<dyn Checkpointed>>) {}

        fn late(&self, _view: &str, _epoch: Epoch, _rows: RecordBatch) {}

        fn dead(&self, _view: &str, _epoch: Epoch, _row: DeadRow) {}

        fn fail(&self, error: Error) {
            panic!("{error}");
        }

        fn nanos(&self) -> u64 {
            0
        }
    }

    fn rows(number: i64) -> Rows {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        Rows::unbounded(Batch::append(RecordBatch::try_from_iter([("n", numbers)]).unwrap()))
    }

    /// What is heard of rows of one epoch when the news that the epoch before is over come so many steps before some of them.
    fn heard(steps: usize) -> Vec<i64> {
        timely::execute_directly(move |worker| {
            let mut input = InputHandle::<u64, NoopBuilder<Rows>>::new_with_builder();
            let mut watermarks = InputHandle::<u64, _>::new();
            let heard = Rc::new(RefCell::new(Vec::new()));
            worker.dataflow::<u64, _, _>(|scope| {
                let inputs = Inputs {
                    rows: vec![(scope.input_from(&mut input), Pipeline)],
                    watermarks: scope.input_from(&mut watermarks),
                    tracker: WatermarkTracker::new(&TimeOrigin::default(), &BTreeMap::new(), 1),
                };
                host(scope, ("view", "heard"), Heard(heard.clone()), inputs, 1, Rc::new(Deaf));
            });
            let mut step = |times| {
                (0..times).for_each(|_| {
                    worker.step();
                });
            };
            input.advance_to(1);
            input.send_batch(&mut rows(1));
            step(4);
            assert_eq!(*heard.borrow(), [0; 0], "the epoch before is not over");
            watermarks.advance_to(1);
            step(steps);
            input.send_batch(&mut rows(2));
            step(4);
            input.send_batch(&mut rows(3));
            step(4);
            heard.take()
        })
    }

    #[test]
    fn rows_of_an_epoch_are_handed_over_in_the_order_in_which_they_came() {
        for steps in 0..4 {
            assert_eq!(heard(steps), [1, 2, 3], "{steps} steps");
        }
    }
}
