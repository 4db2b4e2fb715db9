//! Joins: pairs of rows with one key, kept exactly while rows of both sides come and are taken back.
//!
//! Each side's rows are held by key (`held.rs`); a change of one side meets what the other holds. A row that must be
//! told when it has *no* partner (outer joins, EXISTS, NOT IN) is judged once an epoch, by how often it is shown and how
//! often it should be. With a bound in event time ([`Within`]) rows go as soon as the watermark says that no partner can
//! come any more, and such rows can be told once and for all: that is the stream of finals.

mod arrived;
mod asof;
mod chunks;
mod expiry;
mod forget;
mod held;
mod lookup;
mod output;
mod process;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;

pub use asof::{AsofJoin, AsofJoinSpec, Nearest};
pub(crate) use lookup::HOLDS;
pub use lookup::{AskedSpec, LookupJoin, LookupJoinSpec};
pub use process::Join;
pub(crate) use shared::index_side;
pub use shared::{SharedSide, SharedSides};

use crate::horizon::Horizon;
use crate::plan::{Plan, TimeOrigin};
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;

/// `left JOIN right`.
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// One side; its first [`keys`](Self::keys) columns are the key.
    pub left: Box<Plan>,
    /// The other side; its first columns are the key too, of the same types.
    pub right: Box<Plan>,
    /// Whether `left` takes rows back.
    pub left_retracts: bool,
    /// Whether `right` takes rows back.
    pub right_retracts: bool,
    /// Which rows it gives.
    pub kind: JoinKind,
    /// How many columns are the key; without any each row meets all rows of the other side, on one worker.
    pub keys: usize,
    /// What a NULL in the key does.
    pub nulls: NullKeys,
    /// What else must be true of a pair: over the columns of `left`, then those of `right`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// How far apart in event time the rows of a pair may be.
    pub within: Option<Within>,
    /// Of each side whose rows have a time, how long after it they are forgotten, with nothing taken back; only where
    /// [`within`](Self::within) says nothing. Of a side whose rows decide how those of the other stand, both go together.
    pub horizons: [Option<Horizon>; 2],
    /// After how long without a row of it a key is forgotten, in nanoseconds.
    pub state_ttl_ns: Option<i64>,
    /// The columns of `left` and of `right`, as far as [`kind`](Self::kind) has them.
    pub schema: SchemaRef,
}

/// Which rows a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// The pairs.
    Inner,
    /// The pairs, and the rows of the left side without a partner.
    Left,
    /// The pairs, and the rows of the right side without a partner.
    Right,
    /// The pairs, and the rows of both sides without a partner.
    Full,
    /// The rows of the left side with a partner.
    Semi,
    /// The rows of the left side without a partner.
    Anti,
    /// The rows of the left side, each with whether it has a partner.
    Mark,
}

/// What a NULL in the key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullKeys {
    /// It equals nothing.
    MatchNothing,
    /// It equals another NULL, as in INTERSECT.
    MatchEachOther,
    /// `NOT IN` of a set with a NULL is never true. Such a join runs on one worker, which knows the whole set.
    NotIn,
}

/// A bound of pairs in event time: `right - left` lies between `lower_ns` and `upper_ns`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// The event time among the columns of the left side.
    pub left: usize,
    /// The event time among the columns of the right side.
    pub right: usize,
    /// In nanoseconds; `i64::MIN`: any.
    pub lower_ns: i64,
    /// In nanoseconds; `i64::MAX`: any.
    pub upper_ns: i64,
    /// The watermarks that no row of either side stays behind.
    pub origin: TimeOrigin,
}

impl Within {
    /// Whether equal keys say it already: windows of both sides that must be the same.
    fn follows_from_keys(&self, keys: usize) -> bool {
        self.left == self.right && self.left < keys && self.lower_ns == 0 && self.upper_ns == 0
    }
}

impl JoinSpec {
    /// Whether its rows only come and are never taken back.
    pub fn appends(&self) -> bool {
        !self.left_retracts && !self.right_retracts && matches!(self.kind, JoinKind::Inner | JoinKind::Semi)
    }

    /// Whether all rows of both sides go some time, as the watermark moves.
    pub fn lets_go(&self) -> bool {
        self.within.as_ref().is_some_and(|within| within.lower_ns > i64::MIN && within.upper_ns < i64::MAX)
    }

    /// Whether rows of a side go with a horizon.
    pub fn has_horizon(&self) -> bool {
        self.horizons.iter().any(Option::is_some)
    }

    /// By which watermarks its rows go, if they do.
    pub fn goes_by(&self) -> Option<&TimeOrigin> {
        let within = self.within.as_ref().map(|within| &within.origin);
        within.or_else(|| self.horizons.iter().flatten().map(|horizon| &horizon.origin).next())
    }

    /// Whether its rows are held by keys that can be forgotten one by one; of `NOT IN` the whole set matters.
    pub fn forgets_keys(&self) -> bool {
        self.keys > 0 && self.nulls != NullKeys::NotIn
    }

    /// Whether its rows become final where those of its inputs do.
    pub fn ends(&self) -> bool {
        let ends = |within: &Within| match self.kind {
            JoinKind::Inner | JoinKind::Semi => true,
            JoinKind::Left | JoinKind::Anti => within.upper_ns < i64::MAX,
            JoinKind::Right => within.lower_ns > i64::MIN,
            JoinKind::Full => within.lower_ns > i64::MIN && within.upper_ns < i64::MAX,
            JoinKind::Mark => false,
        };
        match &self.within {
            Some(within) => ends(within),
            None => matches!(self.kind, JoinKind::Inner | JoinKind::Semi),
        }
    }

    /// Whether the rows of a side without a partner are told of, or those with one.
    pub fn judges(&self) -> [bool; 2] {
        match self.kind {
            JoinKind::Inner => [false, false],
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => [true, false],
            JoinKind::Right => [false, true],
            JoinKind::Full => [true, true],
        }
    }

    fn gives_pairs(&self) -> bool {
        matches!(self.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full)
    }

    /// The columns by which rows go to the worker that holds their key.
    pub fn exchanged_by(&self) -> Vec<usize> {
        match self.nulls {
            NullKeys::NotIn => Vec::new(),
            NullKeys::MatchNothing | NullKeys::MatchEachOther => (0..self.keys).collect(),
        }
    }
}

impl fmt::Display for JoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Join {:?} by {} {:?}", self.kind, self.keys, self.nulls)?;
        write!(f, " {} {}", self.left_retracts, self.right_retracts)?;
        if let Some(within) = &self.within {
            write!(f, " within {within:?}")?;
        }
        match &self.filter {
            Some(filter) => write!(f, " where {filter}"),
            None => Ok(()),
        }
    }
}
