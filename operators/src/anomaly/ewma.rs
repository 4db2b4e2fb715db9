//! `ewma`: distance from an exponentially weighted mean, in exponentially weighted standard deviations.
//!
//! d = x - μ; μ ← μ + αd; v ← (1 - α)(v + αd²) with α no less than 1/(n+1), so that the first rows are a plain mean
//! (West, "Updating mean and variance estimates", CACM 1979). What is learnt of one row is at most [`CLIP`] standard
//! deviations, so that a spike does not blind the model.

use super::codec::{Codec, Coded};
use super::incident::Settled;
use super::{Estimate, WARM_UP};

/// How far a row can pull the model, in standard deviations.
pub(super) const CLIP: f64 = 6.0;

/// Exponentially weighted mean and variance.
#[derive(Clone, Debug, Default)]
pub(super) struct Ewma {
    pub mean: f64,
    /// The root of the variance. Seven digits are more than an estimate of it has.
    scale: f32,
    pub rows: u32,
}

impl Ewma {
    /// What is expected next; `None` before the first row.
    pub fn expect(&self) -> Option<Estimate> {
        (self.rows > 0).then(|| Estimate::new(self.mean, f64::from(self.scale)))
    }

    /// The exponentially weighted variance.
    pub fn variance(&self) -> f64 {
        f64::from(self.scale).powi(2)
    }

    /// Begins anew with what is known from elsewhere, worth so many rows.
    pub fn restart(&mut self, rows: u32, mean: f64, variance: f64) {
        *self = Ewma { mean, scale: variance.sqrt() as f32, rows };
    }

    /// The level is another one. Of a series that goes to and fro between two it is the middle, from which both are as far.
    pub fn settle(&mut self, settled: Settled) {
        let Settled { off, to_and_fro } = settled;
        if to_and_fro {
            self.mean += off / 2.0;
            self.scale = self.scale.max((off / 2.0).abs() as f32);
        } else {
            self.mean += off;
        }
    }

    /// Learns `x`: it counts for `alpha` of what is known.
    pub fn learn(&mut self, x: f64, alpha: f64) {
        let alpha = alpha.max(1.0 / (f64::from(self.rows) + 1.0));
        let mut d = x - self.mean;
        let scale = f64::from(self.scale);
        if self.rows >= WARM_UP && scale > 0.0 {
            let clip = CLIP * scale;
            d = d.clamp(-clip, clip);
        }
        self.mean += alpha * d;
        self.scale = ((1.0 - alpha) * (scale * scale + alpha * d * d)).sqrt() as f32;
        self.rows = self.rows.saturating_add(1);
    }
}

impl Coded for Ewma {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64(&mut self.mean);
        let mut variance = self.variance();
        codec.f64(&mut variance);
        self.scale = variance.sqrt() as f32;
        codec.u32(&mut self.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_a_plain_mean_and_variance() {
        let values = [3.0, 5.0, 4.0, 8.0, 0.0];
        let mut model = Ewma::default();
        values.iter().for_each(|x| model.learn(*x, 0.001));
        let mean = values.iter().sum::<f64>() / 5.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0;
        let estimate = model.expect().unwrap();
        assert!((estimate.expected - mean).abs() < 1e-12);
        assert!((estimate.scale - variance.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_spike_pulls_no_further_than_the_clip() {
        let mut model = Ewma::default();
        (0..100).for_each(|i| model.learn(f64::from(i % 2), 0.01));
        let before = model.clone();
        model.learn(1e9, 0.01);
        assert!(model.mean - before.mean <= 0.01 * CLIP * f64::from(before.scale) + 1e-12);
    }
}
