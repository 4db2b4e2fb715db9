//! What the series of a group are like, for those of which too little is known: a host that has just come is like the other
//! hosts of its region.

use super::VALUE_MAX;
use super::codec::{Codec, Coded, decode, encode};
use super::ewma::Ewma;
use super::new_extreme::{MARGINS, NewExtreme};

/// How much of the mean of a group is new each row.
const ALPHA: f64 = 0.001;
/// What is known of the group counts for so many rows of a series of its own.
const PRIOR_ROWS: u32 = 5;
/// Rows before a group is known.
const KNOWN: u32 = 100;

/// The rows of all series of a group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    level: Ewma,
    extreme: NewExtreme,
}

impl Group {
    /// Whether enough is known of it.
    pub(super) fn known(&self) -> bool {
        self.level.rows >= KNOWN
    }

    /// Mean and variance for a series that begins, worth a few rows.
    pub(super) fn prior(&self) -> Ewma {
        let mut prior = Ewma::default();
        prior.restart(PRIOR_ROWS, self.level.mean, self.level.variance());
        prior
    }

    /// How much `x` is beyond all that was seen in the group, from 0 to 1.
    pub(super) fn beyond(&self, x: f64) -> f64 {
        if self.known() { self.extreme.beyond(x, MARGINS) } else { 0.0 }
    }

    /// Takes in a row of a series that is known.
    pub(super) fn learn(&mut self, x: f64) {
        self.level.learn(x, ALPHA);
        self.extreme.learn(x.clamp(-VALUE_MAX, VALUE_MAX), MARGINS);
    }

    /// Its state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The group whose state are these bytes.
    pub fn decode(bytes: &[u8]) -> Option<Group> {
        decode(Group::default(), bytes)
    }
}

impl Coded for Group {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.level.fields(codec);
        self.extreme.fields(codec);
    }
}
