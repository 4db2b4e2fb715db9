//! The inputs of rows and the outputs of an operator of timely's, with the books of what went through them.

use crate::exchange::Routed;
use crate::observer::OperatorMeter;
use crate::rows::Rows;
use std::sync::Arc;
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::Timestamp;

/// The inputs and outputs of one operator.
pub(crate) struct Ports<T: Timestamp, P: Routed<T>> {
    /// Each with the columns by which its rows came to this worker.
    inputs: Vec<(InputHandleCore<T, Rows, P::Puller>, Vec<usize>)>,
    outputs: Vec<OutputBuilder<T, NoopBuilder<Rows>>>,
    meter: Arc<OperatorMeter>,
}

/// Rows to send: out of which port, in whose name.
pub(crate) type Sent<T> = Vec<(usize, Capability<T>, Rows)>;

impl<T: Timestamp, P: Routed<T>> Ports<T, P> {
    /// Gives the operator that is built inputs for `rows` and so many outputs, which are handed back too.
    pub fn new<'scope>(
        builder: &mut OperatorBuilder<'scope, T>,
        rows: Vec<(Stream<'scope, T, Rows>, P)>,
        outputs: usize,
        meter: Arc<OperatorMeter>,
    ) -> (Ports<T, P>, Vec<Stream<'scope, T, Rows>>) {
        let input = |(rows, pact): (Stream<'scope, T, Rows>, P)| {
            let key = pact.key().to_vec();
            (builder.new_input(rows, pact), key)
        };
        let inputs = rows.into_iter().map(input).collect();
        let output = |_| {
            let (output, stream) = builder.new_output();
            (OutputBuilder::from(output), stream)
        };
        let (outputs, streams) = (0..outputs).map(output).unzip();
        (Ports { inputs, outputs, meter }, streams)
    }

    /// Hands over what has come, and to which input.
    pub fn take_in(&mut self, mut accept: impl FnMut(&InputCapability<T>, usize, Rows)) {
        for (input, (rows_in, key)) in self.inputs.iter_mut().enumerate() {
            rows_in.for_each(|capability, rows: &mut Rows| {
                let rows = std::mem::take(rows);
                self.meter.took_in(&rows, key);
                accept(&capability, input, rows);
            });
        }
    }

    /// Sends rows.
    pub fn send(&mut self, sent: Sent<T>) {
        for (port, capability, mut rows) in sent {
            self.meter.sent(rows.num_rows());
            self.outputs[port].activate().session_with_builder(&capability).give_container(&mut rows);
        }
    }
}
