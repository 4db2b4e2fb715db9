//! From a distance in scales to a probability: the tail of each series' own distances.
//!
//! Distances of heavy-tailed series are large all the time; a threshold that is common to all series would be crossed by
//! those alone. So each series keeps the distance that [`SHARE`] of its rows exceed, by a step up for each row beyond and a
//! small step down for every other (Robbins & Monro, 1951), and the mean excess over it. Beyond, the tail is
//! exponential: p = SHARE · e^(-(z - u)/b), the peaks-over-threshold tail of shape 0, whose support is never bounded. Both
//! begin with what normal values would give, with some room, and each excess that is learnt is clipped.

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
    rows: u32,
}

impl Default for Tail {
    fn default() -> Tail {
        Tail { threshold: PRIOR_THRESHOLD as f32, excess: PRIOR_EXCESS as f32, rows: 0 }
    }
}

impl Tail {
    /// -log10 of the probability of a distance of `z` or more.
    pub fn surprise(&self, z: f64) -> f64 {
        let (at_threshold, threshold, excess) = self.shape();
        if z > threshold {
            at_threshold + (z - threshold) / excess * std::f64::consts::LOG10_E
        } else {
            at_threshold * z / threshold
        }
    }

    /// The distance that has this surprise.
    pub fn distance(&self, surprise: f64) -> f64 {
        let (at_threshold, threshold, excess) = self.shape();
        if surprise > at_threshold {
            threshold + (surprise - at_threshold) * excess / std::f64::consts::LOG10_E
        } else {
            threshold * surprise / at_threshold
        }
    }

    /// The surprise at the threshold, the threshold, and the mean of what is beyond.
    fn shape(&self) -> (f64, f64, f64) {
        (-SHARE.log10(), f64::from(self.threshold), f64::from(self.excess))
    }

    pub fn learn(&mut self, z: f64) {
        if z <= 0.0 {
            return;
        }
        self.rows = self.rows.saturating_add(1);
        let (_, threshold, excess) = self.shape();
        let step = 0.1 * threshold / (f64::from(self.rows) + PRIOR_ROWS).min(MEMORY);
        if z > threshold {
            let threshold = threshold + step * (1.0 - SHARE) / SHARE;
            let beyond = (z - threshold).clamp(0.0, EXCESS_CLIP * excess);
            self.threshold = threshold as f32;
            self.excess = (excess + EXCESS_GAIN * (beyond - excess)).max(LEAST_EXCESS) as f32;
        } else {
            self.threshold = (threshold - step).max(LEAST_THRESHOLD) as f32;
        }
    }
}

impl Coded for Tail {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64_of(&mut self.threshold);
        codec.f64_of(&mut self.excess);
        codec.u32(&mut self.rows);
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
    fn distance_and_surprise_are_each_others_inverse() {
        let mut tail = Tail::default();
        exponential(3_000, 1.3).for_each(|z| tail.learn(z));
        for surprise in [0.5, 1.0, 1.7, 2.0, 5.0, 11.0] {
            assert!((tail.surprise(tail.distance(surprise)) - surprise).abs() < 1e-9);
        }
    }
}
