//! `poisson` and `beta`: tails of counts and of shares, which standard deviations get wrong: five errors where one in ten
//! minutes is usual are out of the ordinary, and 99.99 % where 99.9 % is usual are not.
//!
//! -ln of the probability is bounded by the rate function of the distribution (Chernoff 1952), which no value is too
//! far off for, and which is e^-μ exactly where nothing came. Counts: x·ln(x/μ) - x + μ of the Poisson distribution;
//! where the series spreads more, x·ln(x/μ) - (x + r)·ln((x + r)/(μ + r)) of the negative binomial one with r = μ²/(v -
//! μ). Shares: n·(x·ln(x/p) + (1 - x)·ln((1 - x)/(1 - p))), where n = p(1 - p)/v trials would spread as the series does,
//! which is what the beta distribution of its mean and variance stands for. Mean and variance are exponentially weighted;
//! when the window of ADWIN is cut, the series has become another, and they begin anew with what is in it.

use super::adwin::Adwin;
use super::codec::{Codec, Coded};
use super::ewma::Ewma;
use super::incident::Settled;
use super::{DISTANCE_MAX, Estimate};

/// How much of mean and variance is new each row.
const ALPHA: f64 = 0.002;
/// The greatest surprise: a probability of one in 10³⁰.
const SURPRISE_MAX: f64 = 30.0;
/// Steps towards the value that has a given probability.
const STEPS: usize = 24;

/// What the values are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    /// Whole numbers from 0 on.
    Counts,
    /// Parts of a whole, between two bounds.
    Shares {
        /// None of it.
        least: f64,
        /// All of it.
        greatest: f64,
    },
}

/// Mean and variance of such values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    family: Family,
    mean: f64,
    variance: f64,
    /// Of a share: how many trials would spread as the series does.
    trials: f64,
}

/// A series of counts or of shares.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pub family: Family,
    pub level: Ewma,
    recent: Adwin,
}

impl Rate {
    /// What `level` knows of values of a `family`. Half an event is taken to have come, and half a one not to have, so
    /// that what never came is rare and not impossible.
    pub fn of(family: Family, level: &Ewma) -> Rate {
        let rows = f64::from(level.rows).max(1.0);
        match family {
            Family::Counts => {
                let mean = (level.mean.max(0.0) * rows + 0.5) / (rows + 1.0);
                Rate { family, mean, variance: level.variance(), trials: 0.0 }
            }
            Family::Shares { least, greatest } => {
                let width = greatest - least;
                let (mean, variance) =
                    (((level.mean - least) / width).clamp(0.0, 1.0), level.variance() / (width * width));
                // No share is known to be steadier than a thousandth of what it is, or of what it is not.
                let steady = (1e-3 * mean.min(1.0 - mean)).max(1e-6);
                let trials = (mean * (1.0 - mean) / variance.max(steady * steady)).max(1.0);
                let all = trials * rows;
                Rate { family, mean: (mean * all + 0.5) / (all + 1.0), variance, trials }
            }
        }
    }

    /// -ln of the probability of what is as far off as `x`, to its side.
    pub fn rate(&self, x: f64) -> f64 {
        let (mean, log) = (self.mean, |x: f64, of: f64| if x > 0.0 { x * (x / of).ln() } else { 0.0 });
        let rate = match self.family {
            Family::Counts if x < 0.0 => f64::INFINITY,
            Family::Counts if self.variance > 1.05 * mean => {
                let r = mean * mean / (self.variance - mean);
                log(x, mean) - log(x + r, mean + r)
            }
            Family::Counts => log(x, mean) - x + mean,
            Family::Shares { least, greatest } => {
                let share = (x - least) / (greatest - least);
                match (0.0..=1.0).contains(&share) {
                    true => self.trials * (log(share, mean) + log(1.0 - share, 1.0 - mean)),
                    false => f64::INFINITY,
                }
            }
        };
        rate.clamp(0.0, SURPRISE_MAX * std::f64::consts::LN_10)
    }

    /// -log10 of that probability.
    pub fn surprise(&self, x: f64) -> f64 {
        (self.rate(x) * std::f64::consts::LOG10_E).min(SURPRISE_MAX)
    }

    /// The distance in standard deviations that is as improbable.
    pub fn distance(&self, x: f64) -> f64 {
        (2.0 * self.rate(x)).sqrt().min(DISTANCE_MAX)
    }

    /// The least and the greatest value that surprise no more than `surprise`.
    pub fn band(&self, surprise: f64) -> (f64, f64) {
        let (from, to, mean) = match self.family {
            Family::Counts => (0.0, f64::INFINITY, self.mean),
            Family::Shares { least, greatest } => (least, greatest, least + self.mean * (greatest - least)),
        };
        let far = match to.is_finite() {
            true => to,
            // Each doubling at least doubles the rate from there on.
            false => (0..64)
                .map(|n| mean + (mean + 1.0) * f64::from(1u32 << n.min(30)))
                .find(|x| self.surprise(*x) > surprise)
                .unwrap_or(f64::MAX),
        };
        (self.edge(mean, from, surprise), self.edge(mean, far, surprise))
    }

    /// Between `mean` and `far`, the last value that surprises no more than `surprise`.
    fn edge(&self, mean: f64, far: f64, surprise: f64) -> f64 {
        if self.surprise(far) <= surprise {
            return far;
        }
        let (mut near, mut far) = (mean, far);
        for _ in 0..STEPS {
            let middle = f64::midpoint(near, far);
            if self.surprise(middle) <= surprise { near = middle } else { far = middle }
        }
        near
    }
}

impl Rates {
    pub fn new(family: Family) -> Rates {
        Rates { family, level: Ewma::default(), recent: Adwin::default() }
    }

    pub fn expect(&self) -> Option<Estimate> {
        let deviation = match self.family {
            Family::Counts => self.level.variance().max(self.level.mean).sqrt(),
            Family::Shares { .. } => self.level.variance().sqrt(),
        };
        (self.level.rows > 0).then(|| Estimate::new(self.level.mean, deviation))
    }

    pub fn rate(&self) -> Rate {
        Rate::of(self.family, &self.level)
    }

    /// Learns `x`; `settled` says where the level is that the series has had for long enough.
    pub fn learn(&mut self, x: f64, settled: Option<Settled>) {
        if let Some(settled) = settled {
            self.level.settle(settled);
        }
        self.level.learn(x, ALPHA);
        if self.recent.observe(x) {
            let (rows, mean, variance) = self.recent.window();
            self.level.restart(rows, mean, variance);
        }
    }

    pub fn bytes(&self) -> usize {
        self.recent.bytes()
    }
}

impl Coded for Rates {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.level.fields(codec);
        self.recent.fields(codec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(mean: f64, variance: f64) -> Ewma {
        let mut level = Ewma::default();
        level.restart(1_000_000, mean, variance);
        level
    }

    #[test]
    fn a_tail_is_bounded_and_not_by_much() {
        let rate = Rate::of(Family::Counts, &level(0.1, 0.1));
        // P(X >= 5) of a Poisson variable of mean 0.1 is 7.67e-8.
        let surprise = rate.surprise(5.0);
        assert!((5.5..=7.12).contains(&surprise), "{surprise}");
        // Nothing came though 10 were usual: e^-10.
        let nothing = Rate::of(Family::Counts, &level(10.0, 10.0)).surprise(0.0);
        assert!((nothing - 10.0 * std::f64::consts::LOG10_E).abs() < 1e-3, "{nothing}");
        // What spreads more surprises less.
        assert!(Rate::of(Family::Counts, &level(0.1, 0.5)).surprise(5.0) < 0.6 * surprise);
        // 900 of 1,000 where 99 % are usual: P(X <= 900) of a binomial variable is below 10^-50.
        let share = Family::Shares { least: 0.0, greatest: 1.0 };
        let rate = Rate::of(share, &level(0.99, 0.99 * 0.01 / 1_000.0));
        assert!(
            rate.surprise(0.90) > 25.0 && rate.surprise(0.995) < 2.0,
            "{} {}",
            rate.surprise(0.9),
            rate.surprise(0.995)
        );
        assert_eq!(rate.surprise(1.01), SURPRISE_MAX);
    }

    #[test]
    fn the_band_is_where_the_surprise_is() {
        for rate in [
            Rate::of(Family::Counts, &level(3.0, 3.0)),
            Rate::of(Family::Counts, &level(300.0, 2_000.0)),
            Rate::of(Family::Shares { least: 0.0, greatest: 100.0 }, &level(40.0, 9.0)),
        ] {
            let (lower, upper) = rate.band(3.0);
            assert!(lower < upper);
            for edge in [lower, upper] {
                assert!(edge == 0.0 || (rate.surprise(edge) - 3.0).abs() < 1e-2, "{edge}: {}", rate.surprise(edge));
            }
        }
    }
}
