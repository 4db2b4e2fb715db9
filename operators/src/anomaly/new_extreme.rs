//! `new_extreme`: a value beyond all that was seen, by a share of what lay between the least and the greatest.
//!
//! The rule inside Numenta's detector for the NAB benchmark (Lavin & Ahmad, ICMLA 2015), with two changes: the bounds move
//! towards each other by a small share of the range each row, so that a record of long ago is forgotten; and what is
//! beyond counts by how far.

use super::Estimate;
use super::codec::{Codec, Coded};

/// Rows before anything is beyond.
const WARM: u32 = 20;

/// How far beyond counts, and how fast the bounds forget.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// A share of the range from which on it counts.
    pub from: f64,
    /// A share of the range at which it counts in full.
    pub full: f64,
    /// The share of the range by which each bound moves inwards a row.
    pub decay: f64,
}

impl Margins {
    /// The share of the range beyond which a value counts as `beyond`, from 0 to 1.
    pub(super) fn share(self, beyond: f64) -> f64 {
        self.from + (self.full - self.from) * beyond.min(1.0)
    }
}

/// The margins of the detector.
pub const MARGINS: Margins = Margins { from: 0.03, full: 0.06, decay: 5e-5 };
/// The published rule: beyond by five hundredths of the range, never forgotten.
pub const PUBLISHED: Margins = Margins { from: 0.05, full: 0.05, decay: 0.0 };

/// The least and the greatest value.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub least: f64,
    pub greatest: f64,
}

/// The least and the greatest of so many rows.
#[derive(Clone, Debug, Default)]
pub struct NewExtreme {
    pub(super) seen: Seen,
    pub(super) rows: u32,
}

impl Seen {
    /// How much `x` counts as beyond what was seen in `rows` rows, from 0 to 1.
    pub fn beyond(&self, x: f64, margins: Margins, rows: u32) -> f64 {
        let range = self.greatest - self.least;
        let beyond = (x - self.greatest).max(self.least - x);
        if rows <= WARM || beyond <= 0.0 {
            return 0.0;
        }
        if range <= 0.0 {
            return 1.0;
        }
        match beyond / range {
            share if share <= margins.from => 0.0,
            share if share >= margins.full => 1.0,
            share => (share - margins.from) / (margins.full - margins.from),
        }
    }

    /// Takes `x` into what was seen; `first` says that nothing was.
    pub fn learn(&mut self, x: f64, margins: Margins, first: bool) {
        if first {
            (self.least, self.greatest) = (x, x);
        }
        let inwards = margins.decay * (self.greatest - self.least);
        self.least = (self.least + inwards).min(x);
        self.greatest = (self.greatest - inwards).max(x);
    }
}

impl NewExtreme {
    /// How much `x` counts as beyond, from 0 to 1.
    pub fn beyond(&self, x: f64, margins: Margins) -> f64 {
        self.seen.beyond(x, margins, self.rows)
    }

    /// The middle of what was seen, on the scale of half of the range.
    pub(super) fn expect(&self) -> Option<Estimate> {
        let Seen { least, greatest } = self.seen;
        (self.rows > 0).then(|| Estimate::new(f64::midpoint(least, greatest), (greatest - least) / 2.0))
    }

    /// Takes `x` into what was seen.
    pub fn learn(&mut self, x: f64, margins: Margins) {
        self.seen.learn(x, margins, self.rows == 0);
        self.rows = self.rows.saturating_add(1);
    }
}

impl Coded for Seen {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64(&mut self.least);
        codec.f64(&mut self.greatest);
    }
}

impl Coded for NewExtreme {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.seen.fields(codec);
        codec.u32(&mut self.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_is_counted_in_ranges() {
        let mut model = NewExtreme::default();
        (0..=100).for_each(|x| model.learn(f64::from(x), PUBLISHED));
        assert_eq!(model.beyond(50.0, PUBLISHED), 0.0);
        assert_eq!(model.beyond(104.9, PUBLISHED), 0.0);
        assert_eq!(model.beyond(-5.1, PUBLISHED), 1.0);
        assert!((model.beyond(104.5, MARGINS) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_range_forgets_what_was_long_ago() {
        let mut model = NewExtreme::default();
        model.learn(1_000.0, MARGINS);
        (0..60_000).for_each(|i| model.learn(f64::from(i % 11), MARGINS));
        assert!(model.seen.greatest < 100.0, "{}", model.seen.greatest);
    }
}
