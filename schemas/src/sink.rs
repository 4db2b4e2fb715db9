//! The contract of a sink: how results leave the engine.

use crate::batch::Batch;
use crate::epoch::{Epoch, WorkerId};
use crate::error::Result;
use arrow::datatypes::SchemaRef;

/// A sink as one run uses it, shared by all workers.
pub trait Sink: Send + Sync {
    /// The writer of this worker. Called once per worker, before anything is written.
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn Writer>>;

    /// Whether only one worker may write (a single file, a terminal): the engine sends all rows to that one.
    fn single_writer(&self) -> bool {
        false
    }
}

/// What writes one worker's share of a sink, on a thread of its own.
///
/// # Contract
///
/// ```text
///   [resume(c)]   write(e, ..)*  commit(e)   write(e', ..)*  commit(e')   flush(e')   ...   finish
/// ```
///
/// Epochs never go back, `commit(e)` comes after the last `write` of an epoch `<= e` (epochs without rows may be
/// skipped; see also [`joins_epochs`](Writer::joins_epochs)), `finish` comes last, once, on every orderly end. While nothing comes, the last `commit` is repeated about
/// every second, for writers that hold rows back for a time.
/// An error of kind `Retry` means that nothing of the call took effect: the engine makes the same call again, with
/// growing pauses, for as long as it takes, and holds the sources back meanwhile. Any other error ends the run.
/// Rows are visible to readers of the outside system whole or not at all.
pub trait Writer: Send {
    /// Takes rows of `epoch`. A changelog only comes to a sink that said it takes one.
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()>;

    /// Everything up to `epoch` has been handed over.
    fn commit(&mut self, epoch: Epoch) -> Result<()>;

    /// Everything up to `epoch` has been handed over and is about to become part of a checkpoint: makes it visible and
    /// durable now, held back or not. It will not be written again.
    fn flush(&mut self, epoch: Epoch) -> Result<()> {
        self.commit(epoch)
    }

    /// Whether one commit may stand for several epochs, for writers to whom a commit costs much however little it holds.
    /// Epochs that have become durable while such a writer was busy are then handed over together, and only the last of
    /// them is committed: rows wait for two commits at most, however slow these are, and never queue up.
    fn joins_epochs(&self) -> bool {
        false
    }

    /// Whether rows may be written before their epoch is durable, so that only the commit has to wait for that: nothing
    /// of what was written is visible before its commit, and what a process leaves behind that dies before it is gone
    /// when the next one begins. A commit still comes for none but durable epochs.
    fn writes_ahead(&self) -> bool {
        false
    }

    /// The run goes on from the checkpoint of epoch `checkpoint`, everything up to which was flushed. Removes what a
    /// crash left half done and says up to which epoch (at least `checkpoint`) everything is visible outside: rows of
    /// epochs up to that one are not written again. A sink that cannot tell answers `checkpoint`, and rows of the
    /// epochs after it may be there twice.
    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        Ok(checkpoint)
    }

    /// Rows that the outside will never take (too large, say), since the last call: asked for after each call that
    /// succeeded. They become dead letters, and the others go on.
    fn refused(&mut self) -> Vec<Refused> {
        Vec::new()
    }

    /// Makes everything visible and closes.
    fn finish(&mut self) -> Result<()>;
}

/// A row that a sink's outside does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The row as it was to be written.
    pub raw: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// What a connector is told when it opens a sink.
#[derive(Clone, Debug)]
pub struct SinkRequest {
    /// The sink's name.
    pub name: String,
    /// Its options, checked against the connector's [`crate::options::OptionSpec`]s; `format` among them where the
    /// connector takes several.
    pub options: crate::options::Options,
    /// The rows' schema.
    pub schema: SchemaRef,
    /// Whether the rows come with differences.
    pub changelog: bool,
    /// What each row does to the row with its key, where a changelog is written as rows that only ever come.
    pub envelope: Option<Envelope>,
    /// Names the state that the run goes on from: the same after a restart, another for other pipelines. For systems
    /// that know their writers by name (transactional ids).
    pub lineage: String,
}

/// How a changelog is written as rows that only ever come, each of which says what it does to the row with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The form.
    pub kind: EnvelopeKind,
    /// The columns of the relation by which a row is found, in the order given; none are known only of
    /// [`EnvelopeKind::Debezium`].
    pub key: Vec<usize>,
}

/// The forms of an [`Envelope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// The relation's columns and [`DELETED`], behind them: the row that takes the place of the one with its key; or
    /// the key of one that goes, all other columns NULL.
    Upsert,
    /// `before`, `after`, each a row or NULL; `op`, which is `c`, `u` or `d`; `ts_ms`, when the epoch began.
    Debezium,
}

/// The column of an upsert that says whether the row goes.
pub const DELETED: &str = "_deleted";

impl std::fmt::Display for EnvelopeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EnvelopeKind::Upsert => "upsert",
            EnvelopeKind::Debezium => "debezium",
        })
    }
}
