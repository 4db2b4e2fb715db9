//! The rows of a view on one worker: its own, or those of the operator that makes them.

use super::store::{Version, ViewStore};
use thalweg_operators::arrangement::Arrangement;
use thalweg_operators::state::Section;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// Where the rows of a view are.
pub(crate) enum ViewRows {
    /// Held for the view.
    Own(ViewStore),
    /// Held by an operator, which hands them to checkpoints and takes them back.
    Lent(Arrangement),
}

impl ViewRows {
    /// The rows of who lends them, from the first one on.
    pub fn lent(arrangement: Arrangement) -> ViewRows {
        arrangement.read();
        ViewRows::Lent(arrangement)
    }

    /// Takes in the changes of an epoch; of a view that shows no row whose time, in a column, is up to a bound, `within` says
    /// so. Gives them with what goes for that.
    pub fn apply(&mut self, batches: Vec<Batch>, within: Option<(usize, i64)>) -> Result<Vec<Batch>> {
        match (self, within) {
            (ViewRows::Own(store), Some((column, bound))) => store.apply_within(batches, column, bound),
            (ViewRows::Own(store), None) => store.apply(&batches).map(|()| batches),
            (ViewRows::Lent(_), _) => Ok(batches),
        }
    }

    /// The rows as `epoch`, the last one that was applied, left them.
    pub fn version(&mut self, epoch: Epoch) -> Version {
        match self {
            ViewRows::Own(store) => store.version(),
            ViewRows::Lent(arrangement) => Version::lent(&arrangement.as_of(epoch)),
        }
    }

    /// What a checkpoint is to hold of them.
    pub fn sections(&mut self) -> Vec<Section> {
        match self {
            ViewRows::Own(store) => store.sections(),
            ViewRows::Lent(_) => Vec::new(),
        }
    }

    /// The rows that are the view's own, to be given back what an earlier run left.
    pub fn own(&mut self) -> Option<&mut ViewStore> {
        match self {
            ViewRows::Own(store) => Some(store),
            ViewRows::Lent(_) => None,
        }
    }
}
