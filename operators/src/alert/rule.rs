//! What an alert demands over time, and what its conditions say of a sample.

use serde::{Deserialize, Serialize};

/// What an alert demands, without its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For each level from the mildest, for how long its condition must hold before it fires, in nanoseconds.
    pub for_ns: Vec<i64>,
    /// For how long an alert whose condition is clear is kept firing, in nanoseconds.
    pub keep_ns: i64,
    /// What silence means; `None`: nothing.
    pub absent: Option<Absent>,
    /// After how long without a sample a key is forgotten, in nanoseconds; `None`: never.
    pub ttl_ns: Option<i64>,
    /// When an alert counts as flapping; `None`: never.
    pub flap: Option<Flap>,
    /// For how long a resolved alert is shown as such, in nanoseconds.
    pub keep_resolved_ns: i64,
    /// Whether a sample holds until the next one: a row of a relation that is kept up to date, and not a measurement.
    pub standing: bool,
}

/// `ABSENT FOR`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// How long nothing must have come, in nanoseconds.
    pub after_ns: i64,
    /// What then happens.
    pub policy: AbsentPolicy,
}

/// What happens when nothing has come for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentPolicy {
    /// A firing alert goes on firing, and nothing fires.
    Keep,
    /// A firing alert is resolved.
    Resolve,
    /// The alert fires at this level.
    Fire(usize),
}

/// An alert that fires this often within this time stays open until it has been quiet for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// How often.
    pub times: usize,
    /// Within how many nanoseconds.
    pub within_ns: i64,
}

/// What the conditions say of a sample, one bit a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether `WHEN` is true.
    pub raised: u32,
    /// Whether `CLEAR WHEN` is true; without it, whether `WHEN` is false. A condition that is NULL is neither.
    pub cleared: u32,
}

/// The most levels that an alert can have.
pub const LEVELS_MAX: usize = 16;

impl Judgement {
    /// Nothing is raised and everything is clear.
    pub const CLEAR: Judgement = Judgement { raised: 0, cleared: u32::MAX };

    /// Of several rows the worst decides.
    pub fn worst(self, other: Judgement) -> Judgement {
        Judgement { raised: self.raised | other.raised, cleared: self.cleared & other.cleared }
    }

    /// The highest level that is raised.
    pub fn raised_level(self) -> usize {
        (u32::BITS - self.raised.leading_zeros()) as usize
    }

    /// Whether a level's condition holds: an `active` one holds until it is clear.
    pub(super) fn breaches(self, level: usize, active: bool) -> bool {
        let bit = 1 << (level - 1);
        self.raised & bit != 0 || (active && self.cleared & bit == 0)
    }
}
