//! `spot`: the tail of the distances from a moving mean, by a generalized Pareto distribution (DSPOT).
//!
//! Of the first rows the 98 % quantile of the distances is the threshold t. What exceeds it is described by its mean and
//! variance, and the distribution by the method of moments: γ = ½(1 - ȳ²/s²), σ = ½ȳ(ȳ²/s² + 1); then
//! P(X > x) = (N_t/n)(1 + γ(x - t)/σ)^(-1/γ) (Siffer et al., "Anomaly detection in streams with extreme value theory",
//! KDD 2017, after the paper and not its code). γ stays between 0 and 0.5: below 0 the support would end, and every new
//! maximum would be equally impossible. A row that is an anomaly is not learnt.

use super::Estimate;
use super::codec::{Codec, Coded};
use std::collections::VecDeque;

/// Rows of the moving mean.
const DEPTH: usize = 20;
/// Distances that the threshold is made of.
const FIRST: usize = 300;
/// The share of rows below the threshold.
const LEVEL: f64 = 0.98;
/// A peak counts for so much of what is known of peaks, at least.
const GAIN: f64 = 0.01;

/// A moving mean, and the tail of the distances from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spot {
    recent: VecDeque<f64>,
    /// The first distances; empty once the threshold is there.
    first: Vec<f32>,
    threshold: f64,
    rows: u32,
    peaks: u32,
    mean: f64,
    square: f64,
}

impl Spot {
    pub fn ready(&self) -> bool {
        self.peaks > 0
    }

    /// The moving mean. Distances are in units of the threshold.
    pub fn expect(&self) -> Option<Estimate> {
        if self.recent.is_empty() {
            return None;
        }
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        Some(Estimate::new(mean, if self.ready() { self.threshold } else { 0.0 }))
    }

    /// -log10 of the probability of a row as far off as `x`.
    pub fn surprise(&self, x: f64) -> f64 {
        let Some(estimate) = self.expect().filter(|_| self.ready()) else { return 0.0 };
        let beyond = (x - estimate.expected).abs() - self.threshold;
        let share = f64::from(self.peaks) / f64::from(self.rows);
        if beyond <= 0.0 {
            return -share.log10() * (1.0 + beyond / self.threshold.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        }
        let (shape, scale) = self.tail();
        let log = match shape {
            shape if shape < 1e-6 => beyond / scale,
            shape => (1.0 + shape * beyond / scale).ln() / shape,
        };
        log * std::f64::consts::LOG10_E - share.log10()
    }

    /// The distance that has this surprise.
    pub fn distance(&self, surprise: f64) -> Option<f64> {
        if !self.ready() {
            return None;
        }
        let share = f64::from(self.peaks) / f64::from(self.rows);
        let log = (surprise + share.log10()) / std::f64::consts::LOG10_E;
        let (shape, scale) = self.tail();
        let beyond = match shape {
            _ if log <= 0.0 => 0.0,
            shape if shape < 1e-6 => log * scale,
            shape => ((shape * log).exp() - 1.0) * scale / shape,
        };
        Some(self.threshold + beyond)
    }

    /// γ and σ.
    fn tail(&self) -> (f64, f64) {
        let variance = (self.square - self.mean * self.mean).max(1e-12 * self.square).max(f64::MIN_POSITIVE);
        let ratio = self.mean * self.mean / variance;
        let shape = (0.5 * (1.0 - ratio)).clamp(0.0, 0.5);
        // Where γ was moved to 0 the distribution is exponential, whose σ is its mean.
        let scale = if shape > 0.0 { 0.5 * self.mean * (ratio + 1.0) } else { self.mean };
        (shape, scale.max(1e-9))
    }

    pub fn learn(&mut self, x: f64) {
        if let Some(estimate) = self.expect().filter(|_| self.recent.len() == DEPTH) {
            self.learn_distance((x - estimate.expected).abs());
        }
        if self.recent.len() == DEPTH {
            self.recent.pop_front();
        }
        self.recent.push_back(x);
    }

    fn learn_distance(&mut self, distance: f64) {
        if !self.ready() {
            self.first.push(distance as f32);
            if self.first.len() == FIRST {
                let mut first = std::mem::take(&mut self.first);
                first.sort_by(f32::total_cmp);
                let at = (LEVEL * FIRST as f64) as usize;
                self.threshold = f64::from(first[at - 1]).max(1e-9);
                self.rows = at as u32;
                first[at..].iter().for_each(|distance| self.learn_distance_beyond(f64::from(*distance)));
            }
            return;
        }
        if distance > self.threshold {
            self.learn_distance_beyond(distance);
        } else {
            self.rows = self.rows.saturating_add(1);
        }
    }

    fn learn_distance_beyond(&mut self, distance: f64) {
        let beyond = distance - self.threshold;
        self.rows = self.rows.saturating_add(1);
        self.peaks = self.peaks.saturating_add(1);
        let gain = GAIN.max(1.0 / f64::from(self.peaks));
        self.mean += gain * (beyond - self.mean);
        self.square += gain * (beyond * beyond - self.square);
    }

    pub fn bytes(&self) -> usize {
        8 * self.recent.capacity() + 4 * self.first.capacity()
    }
}

impl Coded for Spot {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        let mut recent: Vec<f64> = self.recent.iter().copied().collect();
        codec.list(&mut recent, DEPTH, |codec, x| codec.f64(x));
        if let Codec::Read(..) = codec {
            self.recent = recent.into();
        }
        codec.list(&mut self.first, FIRST, |codec, distance| codec.f32(distance));
        codec.f64(&mut self.threshold);
        codec.u32(&mut self.rows);
        codec.u32(&mut self.peaks);
        codec.f64(&mut self.mean);
        codec.f64(&mut self.square);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;

    #[test]
    fn it_says_how_often_a_distance_is_exceeded() {
        let mut model = Spot::default();
        // Exponential steps to either side of a level that does not move.
        let value = |row: u64| {
            let u = f64::midpoint(noise(row), 1.0).min(1.0 - 1e-12);
            -(1.0 - u).ln() * noise(row + 1_000_000).signum()
        };
        (0..20_000).for_each(|row| model.learn(value(row)));
        let expected = model.expect().unwrap().expected;
        // P(|x| > 10) = e^-10, about 4.3 in -log10.
        let surprise = model.surprise(expected + 10.0);
        assert!((surprise - 4.3).abs() < 1.0, "{surprise}");
        let distance = model.distance(surprise).unwrap();
        assert!((distance - 10.0).abs() < 1e-6, "{distance}");
    }
}
