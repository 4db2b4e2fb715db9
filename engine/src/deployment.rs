//! What a run is given: what to run, on which state, in which surroundings.

use crate::clock::Clock;
use crate::durability::storage::Storage;
use crate::turns::Turns;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_operators::deployed::{Deployed, Renaming};
use thalweg_operators::plan::Dataflow;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::sink::Sink;

/// What a run is surrounded by.
#[derive(Clone)]
pub struct Surroundings {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Decides which worker moves when.
    pub turns: Arc<dyn Turns>,
    /// Sinks that are there before the run, by the name of the connector that plans know them by.
    pub sinks: BTreeMap<String, Arc<dyn Sink>>,
    /// Where the run keeps its state; `None`: it does not outlive its process.
    pub storage: Option<Arc<dyn Storage>>,
    /// Where it keeps what it rejects; `None`: in memory.
    pub archives: Option<Archives>,
}

/// A place of a run's archives: one folder for each pipeline, which the others may read.
pub use crate::archive::shelf::Place;

/// Where a run keeps what it rejects.
#[derive(Clone)]
pub struct Archives {
    /// Its dead letters.
    pub dead: Place,
    /// The dead letters of other pipelines.
    pub others: Vec<Place>,
    /// Its late rows.
    pub late: Place,
}

/// What is to run, and what it makes of the state that is there.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// What runs.
    pub dataflow: Dataflow,
    /// What the state is to say of it.
    pub deployed: Deployed,
    /// How it takes over the state of another program; `None`: the state is its own.
    pub takeover: Option<Takeover>,
}

/// How a program goes on from the state of another.
#[derive(Clone, Debug, Default)]
pub struct Takeover {
    /// The objects whose state goes on; all others begin empty.
    pub kept: BTreeSet<String>,
    /// For each of those the views with whose rows it begins.
    pub seeds: BTreeMap<String, BTreeSet<String>>,
    /// The last epoch that a reader may have seen of the other program.
    pub seen: Epoch,
    /// What is called by another name from then on, in all of the above.
    pub renaming: Option<Renaming>,
}
