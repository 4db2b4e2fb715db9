//! From a distance in scales to a probability: the tail of each series' own distances.
//!
//! Distances of heavy-tailed series are large all the time; a threshold that is common to all series would be crossed by
//! those alone. So each series keeps the distance that [`SHARE`] of its rows exceed, by a step up for each row beyond and a
//! small step down for every other (Robbins & Monro, 1951), the mean excess over it and how much excesses differ. Beyond,
//! the tail is a generalised Pareto one (peaks over threshold): p = SHARE · (1 + γ(z - u)/σ)^(-1/γ), and SHARE · e^(-(z - u)/σ)
//! where γ is 0, with γ and σ by the method of moments (Hosking & Wallis, Technometrics 1987). The shape γ lies between 0 and
//! ½: a support that ends would make every new maximum impossible, and beyond ½ there are no moments. All begin with what
//! normal values would give, with some room, and each excess that is learnt is clipped.

use super::codec::{Codec, Coded};

/// The share of rows beyond `u`.
const SHARE: f64 = 0.02;
/// After so many rows the tail follows no slower.
const MEMORY: f64 = 4_000.0;
/// So many rows are what is assumed at first worth.
const PRIOR_ROWS: f64 = 200.0;
const PRIOR_THRESHOLD: f64 = 2.5;
const LEAST_THRESHOLD: f64 = 1.5;
const PRIOR_EXCESS: f64 = 1.0;
const LEAST_EXCESS: f64 = 0.3;
/// How much of the mean excess is new each row beyond.
const EXCESS_GAIN: f64 = 0.02;
/// What one row can say of the mean excess, in mean excesses.
const EXCESS_CLIP: f64 = 6.0;
/// The heaviest tail.
const SHAPE_MAX: f64 = 0.5;
/// The parts in which the mean square of excesses is counted; it is at most [`EXCESS_CLIP`] squared.
const SQUARE_PARTS: f64 = 1_024.0;
/// The mean square of excesses in squares of their mean, where the tail is exponential.
const PRIOR_SQUARE: f64 = 2.0;
/// The surprise of a score of one half: once in a thousand rows.
const EVEN: f64 = 3.0;

/// -log10 of a probability as a score from 0 to 1, which it never reaches: s²/(s² + 9).
pub(super) fn score(surprise: f64) -> f64 {
    let square = surprise * surprise;
    square / (square + EVEN * EVEN)
}

/// The tail of the distances of one series.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    threshold: f32,
    excess: f32,
    /// The mean square of excesses, each in the mean of its time, in parts of [`SQUARE_PARTS`].
    square: u16,
    /// Rows that were learnt, as far as it matters.
    rows: u16,
}

/// A tail that is heavier than an exponential one. It is computed apart: most series have none.
struct Heavy {
    shape: f64,
    scale: f64,
}

impl Heavy {
    /// The negated logarithm of how many of the excesses are as large.
    #[inline(never)]
    fn nats(&self, excess: f64) -> f64 {
        (self.shape * excess / self.scale).ln_1p() / self.shape
    }

    /// The excess that is as rare.
    #[inline(never)]
    fn excess(&self, nats: f64) -> f64 {
        (self.shape * nats).exp_m1() / self.shape * self.scale
    }
}

impl Default for Tail {
    fn default() -> Tail {
        let square = (PRIOR_SQUARE * SQUARE_PARTS) as u16;
        Tail { threshold: PRIOR_THRESHOLD as f32, excess: PRIOR_EXCESS as f32, square, rows: 0 }
    }
}

impl Tail {
    /// -log10 of the probability of a distance of `z` or more.
    pub fn surprise(&self, z: f64) -> f64 {
        let (at_threshold, threshold) = self.begin();
        if z <= threshold {
            return at_threshold * z / threshold;
        }
        let excess = z - threshold;
        let nats = self.heavy().map_or_else(|| excess / f64::from(self.excess), |tail| tail.nats(excess));
        at_threshold + nats * std::f64::consts::LOG10_E
    }

    /// The distance that has this surprise.
    pub fn distance(&self, surprise: f64) -> f64 {
        let (at_threshold, threshold) = self.begin();
        if surprise <= at_threshold {
            return threshold * surprise / at_threshold;
        }
        let nats = (surprise - at_threshold) / std::f64::consts::LOG10_E;
        threshold + self.heavy().map_or_else(|| nats * f64::from(self.excess), |tail| tail.excess(nats))
    }

    /// The surprise at which the tail begins, and the distance.
    fn begin(&self) -> (f64, f64) {
        (-SHARE.log10(), f64::from(self.threshold))
    }

    /// The tail, where excesses differ more than those of an exponential one do: γ = ½(1 - ȳ²/s²), σ = ȳ(1 - γ).
    fn heavy(&self) -> Option<Heavy> {
        let square = f64::from(self.square) / SQUARE_PARTS;
        (square > PRIOR_SQUARE).then(|| {
            let shape = (0.5 * (1.0 - 1.0 / (square - 1.0))).min(SHAPE_MAX);
            Heavy { shape, scale: f64::from(self.excess) * (1.0 - shape) }
        })
    }

    pub fn learn(&mut self, z: f64) {
        if z <= 0.0 {
            return;
        }
        self.rows = self.rows.saturating_add(1);
        let (threshold, excess) = (f64::from(self.threshold), f64::from(self.excess));
        let step = 0.1 * threshold / (f64::from(self.rows) + PRIOR_ROWS).min(MEMORY);
        if z > threshold {
            let threshold = threshold + step * (1.0 - SHARE) / SHARE;
            let beyond = (z - threshold).clamp(0.0, EXCESS_CLIP * excess);
            let square = f64::from(self.square) / SQUARE_PARTS;
            let square = square + EXCESS_GAIN * ((beyond / excess).powi(2) - square);
            self.threshold = threshold as f32;
            self.excess = (excess + EXCESS_GAIN * (beyond - excess)).max(LEAST_EXCESS) as f32;
            self.square = (square * SQUARE_PARTS).round() as u16;
        } else {
            self.threshold = (threshold - step).max(LEAST_THRESHOLD) as f32;
        }
    }
}

impl Coded for Tail {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64_of(&mut self.threshold);
        codec.f64_of(&mut self.excess);
        codec.u16(&mut self.square);
        codec.u16(&mut self.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exponential distances of mean `scale`, by their quantiles in an order that mixes them.
    fn exponential(rows: u32, scale: f64) -> impl Iterator<Item = f64> {
        (0..rows).map(move |i| {
            let u = (f64::from(i) * 0.618_033_988_749_895).fract();
            -scale * (1.0 - u).ln()
        })
    }

    #[test]
    fn it_says_how_often_a_distance_is_exceeded() {
        let mut tail = Tail::default();
        exponential(60_000, 2.0).for_each(|z| tail.learn(z));
        // P(z > 20) = e^-10 = 4.5e-5.
        let surprise = tail.surprise(20.0);
        assert!((surprise - 4.34).abs() < 0.7, "{surprise}");
    }

    #[test]
    fn a_heavy_tail_is_known_by_how_much_its_excesses_differ() {
        // P(z > x) = x^-3 from 1 on: once in 50 rows beyond 3.68, once in 100,000 beyond 46.4.
        let pareto = |rows: u32| exponential(rows, 1.0 / 3.0).map(f64::exp);
        let mut tail = Tail::default();
        pareto(60_000).for_each(|z| tail.learn(z));
        let surprise = tail.surprise(46.4);
        assert!((surprise - 5.0).abs() < 0.8, "{surprise}");
        assert!(tail.heavy().is_some_and(|tail| tail.shape > 0.1));
    }

    #[test]
    fn distance_and_surprise_are_each_others_inverse() {
        let (mut light, mut heavy) = (Tail::default(), Tail::default());
        exponential(3_000, 1.3).for_each(|z| light.learn(z));
        exponential(3_000, 0.4).for_each(|z| heavy.learn(z.exp()));
        for tail in [light, heavy] {
            for surprise in [0.5, 1.0, 1.7, 2.0, 5.0, 11.0] {
                assert!((tail.surprise(tail.distance(surprise)) - surprise).abs() < 1e-9);
            }
        }
    }
}
