//! What an operator is: a state machine over batches and epochs, a plain value that can be tested as one.

use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::record_batch::RecordBatch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// The port of changes, where an operator has two.
pub(crate) const CHANGES: usize = 0;
/// The port of finals.
pub(crate) const FINALS: usize = 1;

/// A stateful operator.
///
/// # Contract
///
/// ```text
///   process(e, ..)*   finish_epoch(e, ..)   process(e', ..)*   finish_epoch(e', ..)   ...
/// ```
///
/// `finish_epoch` is called once for each epoch, in growing order, that had rows or in which the watermark moved, or that
/// the operator asked for by `wake_at`, when all of its rows have been handed over; epochs in between had neither. With [`EAGER`](Operator::EAGER) `process` may
/// be called with rows of an epoch before the epochs below it are finished; without it, never.
/// What an operator sends while epoch `e` is current leaves in epoch `e`. It must be a function of what it was handed:
/// no clock, no randomness, no order of a hash map.
/// An error of kind `Data` never comes from here: a row that cannot be computed goes to [`Output::dead`].
pub trait Operator: 'static {
    /// Whether rows may be handed over before earlier epochs are finished.
    const EAGER: bool = false;

    /// Takes rows of `epoch`.
    fn process(&mut self, epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()>;

    /// Takes rows of `epoch` of the second input, where there is one; as [`process`](Self::process) does of the first.
    fn process_second(&mut self, _epoch: Epoch, _rows: Rows, _output: &mut Output) -> Result<()> {
        Err(Error::bug("rows came for a second input, and the operator has one"))
    }

    /// As [`process_second`](Self::process_second), of the third.
    fn process_third(&mut self, _epoch: Epoch, _rows: Rows, _output: &mut Output) -> Result<()> {
        Err(Error::bug("rows came for a third input, and the operator has none"))
    }

    /// All rows of `epoch` were handed over.
    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()>;

    /// The epoch in which it wants to be finished though nothing may come and no watermark may move: something is due by
    /// the engine's clock. Asked for after each epoch that was finished, and after [`restore`](Self::restore); epochs that
    /// are behind mean the next one.
    fn wake_at(&self) -> Option<Epoch> {
        None
    }

    /// Nothing more comes of the epochs before `before`, and those are finished: for an operator that others wait for.
    fn is_through(&mut self, _before: Epoch) {}

    /// Its state as of the last finished epoch, when no rows of a later one were handed over. Cheap: it shares what it
    /// holds with the sections and goes on at once.
    fn snapshot(&mut self) -> Result<Vec<Section>> {
        Ok(Vec::new())
    }

    /// Takes on state that [`snapshot`](Self::snapshot) handed over in an earlier run, perhaps of another number of
    /// workers: `sections` have the rows that this worker owns. `watermark` is that of its input as of then.
    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        match sections.first() {
            None => Ok(()),
            Some(section) => Err(section.unknown()),
        }
    }

    /// Rows, groups or windows held, and the bytes they take, for `thalweg.operators`.
    fn state(&self) -> StateSize {
        StateSize::default()
    }

    /// How many rows or groups of its state it has forgotten since the run began, because they were silent or too many.
    fn evicted(&self) -> u64 {
        0
    }
}

/// The watermark of an operator's input around one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// As of the epoch before: rows of this epoch are late by this one.
    pub before: Watermark,
    /// As of this epoch, never less: windows close by this one.
    pub now: Watermark,
    /// How far event time has come: as `now`, but where the input has ended it is where it stopped.
    pub reached: Watermark,
}

/// How much an operator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Groups (or rows) held.
    pub rows: u64,
    /// Bytes held, estimated.
    pub bytes: u64,
}

/// Where an operator puts what it has to say; the host empties it after each call.
#[derive(Debug, Default)]
pub struct Output {
    /// What was sent, with the port.
    pub sent: Vec<(usize, Rows)>,
    /// Rows that came after their window had closed.
    pub late: Vec<RecordBatch>,
    /// Rows that could not be computed.
    pub dead: Vec<DeadRow>,
}

/// A row that an expression could not be computed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRow {
    /// The row as a JSON object.
    pub row: String,
    /// What was wrong with it.
    pub reason: String,
}

impl Output {
    /// Sends rows out of port `port`; empty ones are not sent.
    pub fn send(&mut self, port: usize, rows: Rows) {
        if rows.num_rows() > 0 {
            self.sent.push((port, rows));
        }
    }
}
