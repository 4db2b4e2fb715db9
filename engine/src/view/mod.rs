//! Published views: what readers see of a view, as of one epoch, without stopping a worker.

pub(crate) mod history;
pub(crate) mod published;
pub(crate) mod rows;
pub(crate) mod store;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
pub use thalweg_operators::arrangement::Chunk;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// The rows of a view as of one epoch.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: Epoch,
    /// The schema.
    pub schema: SchemaRef,
    /// The rows, each as often as it is in the view; shared, not copied, where nothing was retracted.
    pub batches: Vec<RecordBatch>,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// The epoch after which changes are wanted; `None`: now.
    pub after: Option<Epoch>,
    /// Whether the rows as of then come first, as insertions.
    pub snapshot: bool,
}

/// What a subscription hears, in epoch order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Changes of one epoch; several of one epoch follow each other.
    Changes(Epoch, Batch),
    /// All changes of this epoch and those before it have been heard.
    Progress(Epoch),
    /// The run has ended: no more changes.
    Ended,
}

/// A reader of a view's changes. Blocking: a server asks it from a blocking task, or with a short timeout.
pub struct Subscription {
    /// The view's schema.
    pub schema: SchemaRef,
    pub(crate) feed: Arc<published::Feed>,
}

impl Subscription {
    /// The next event; `None` when nothing came in time; an error when the subscriber fell too far behind.
    pub fn next(&self, timeout: std::time::Duration) -> Option<Result<Event>> {
        self.feed.next(timeout)
    }
}
