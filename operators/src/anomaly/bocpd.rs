//! `bocpd`: how probable it is that the level has just changed, from all lengths that the present regime may have (Adams &
//! MacKay, "Bayesian online changepoint detection", 2007).
//!
//! Each run is a regime that may have begun some rows ago: its probability, and what a normal-gamma prior has become by
//! its rows, so that the next row is Student-t distributed: ν = 2α, scale² = β(κ + 1)/(ακ); κ + 1, μ = (κμ + x)/(κ + 1),
//! α + ½, β + κ(x - μ)²/(2(κ + 1)). The prior is the slowly moving mean and variance of the series, held loosely. A row
//! in a thousand may be anything, so that a spike alone begins no regime. What hardly can be is left out: a row costs by
//! the runs that are left.

use super::Estimate;
use super::WARM_UP;
use super::codec::{Codec, Coded};
use super::ewma::Ewma;
use super::page_hinkley::Shift;

/// The probability that a regime ends with a row.
const HAZARD: f64 = 1.0 / 500.0;
/// The probability that a row is none of its regime's.
const STRAY: f64 = 1e-3;
/// How tightly the prior holds the mean of a regime, in rows.
const KAPPA: f64 = 0.05;
/// How tightly it holds the variance.
const ALPHA: f64 = 2.0;
/// A regime of so many rows is a new one.
const NEW: u32 = 8;
/// Runs that are kept.
const RUNS: usize = 64;
/// A run that is less probable is left out.
const LEAST: f64 = 1e-9;
/// How much of the prior is new each row.
const PRIOR_GAIN: f64 = 0.002;
/// The surprise below which nothing has just changed.
const CALM: f64 = 0.3;

/// A regime that may be the present one.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    probability: f64,
    rows: u32,
    mean: f64,
    /// β.
    spread: f64,
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bocpd {
    runs: Vec<Run>,
    prior: Ewma,
    /// The mean of the regime that was there when nothing had just changed.
    calm: f64,
}

/// What a row says of the regime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outlook {
    /// -log10 of the probability that the old regime goes on.
    pub surprise: f64,
    /// From the old regime to the new one, where both are known.
    pub shift: Option<Shift>,
}

/// Γ(α + ½)/Γ(α), by Stirling's series; to 10⁻⁴ from α = 2 on.
fn gamma_ratio(alpha: f64) -> f64 {
    alpha.sqrt() * (1.0 - 1.0 / (8.0 * alpha) + 1.0 / (128.0 * alpha * alpha) + 5.0 / (1_024.0 * alpha.powi(3)))
}

impl Run {
    fn alpha(&self) -> f64 {
        ALPHA + f64::from(self.rows) / 2.0
    }

    /// The density of `x` as its next row.
    fn density(&self, x: f64) -> f64 {
        let (kappa, alpha) = (KAPPA + f64::from(self.rows), self.alpha());
        let square = self.spread * (kappa + 1.0) / (alpha * kappa);
        let nu = 2.0 * alpha;
        let z = (x - self.mean) * (x - self.mean) / square;
        gamma_ratio(alpha) / (nu * std::f64::consts::PI * square).sqrt() * (-(alpha + 0.5) * (z / nu).ln_1p()).exp()
    }

    fn learn(&mut self, x: f64) {
        let kappa = KAPPA + f64::from(self.rows);
        let off = x - self.mean;
        self.spread += kappa * off * off / (2.0 * (kappa + 1.0));
        self.mean += off / (kappa + 1.0);
        self.rows = self.rows.saturating_add(1);
    }
}

impl Bocpd {
    /// What is expected of the next row: that the most probable regime goes on.
    pub fn expect(&self) -> Option<Estimate> {
        match self.most_probable(|_| true) {
            Some(run) => Some(Estimate::new(run.mean, (run.spread / run.alpha()).sqrt())),
            None => self.prior.expect(),
        }
    }

    fn most_probable(&self, of: impl Fn(&Run) -> bool) -> Option<&Run> {
        self.runs.iter().filter(|run| of(run)).max_by(|a, b| a.probability.total_cmp(&b.probability))
    }

    /// Takes in `x`.
    pub fn observe(&mut self, x: f64) -> Outlook {
        let prior = self.prior.expect().filter(|_| self.prior.rows >= WARM_UP);
        self.prior.learn(x, PRIOR_GAIN);
        let Some(prior) = prior else { return Outlook { surprise: 0.0, shift: None } };
        let fresh = Run { probability: 1.0, rows: 0, mean: prior.expected, spread: ALPHA * prior.scale * prior.scale };
        let anything = fresh.density(x).max(f64::MIN_POSITIVE);
        // Before the first rows there is no regime that could go on.
        let hazard = if self.runs.is_empty() { 1.0 } else { HAZARD };
        for run in &mut self.runs {
            run.probability *= (1.0 - hazard) * ((1.0 - STRAY) * run.density(x) + STRAY * anything);
            run.learn(x);
        }
        let mut begun = Run { probability: hazard * anything, ..fresh };
        begun.learn(x);
        self.runs.push(begun);
        self.settle();
        let new = |run: &Run| run.rows <= NEW;
        let old: f64 = self.runs.iter().filter(|run| !new(run)).map(|run| run.probability).sum();
        if !self.runs.iter().any(|run| !new(run)) {
            // Without a regime that is old enough nothing has changed.
            return Outlook { surprise: 0.0, shift: None };
        }
        let surprise = -old.clamp(1e-12, 1.0).log10();
        if surprise < CALM
            && let Some(calm) = self.most_probable(|run| !new(run)).map(|run| run.mean)
        {
            self.calm = calm;
        }
        let shift = self.most_probable(new).map(|to| Shift { from: self.calm, to: to.mean });
        Outlook { surprise, shift }
    }

    /// Probabilities that add up to 1, without those that hardly matter.
    fn settle(&mut self) {
        let total: f64 = self.runs.iter().map(|run| run.probability).sum();
        if total <= 0.0 || !total.is_finite() {
            self.runs.drain(..self.runs.len() - 1);
            self.runs[0].probability = 1.0;
            return;
        }
        self.runs.iter_mut().for_each(|run| run.probability /= total);
        self.runs.retain(|run| run.probability >= LEAST);
        if self.runs.len() > RUNS
            && let Some(least) =
                (0..RUNS).min_by(|a, b| self.runs[*a].probability.total_cmp(&self.runs[*b].probability))
        {
            self.runs.remove(least);
        }
    }

    pub fn bytes(&self) -> usize {
        size_of::<Run>() * self.runs.capacity()
    }
}

impl Coded for Bocpd {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.prior.fields(codec);
        codec.f64(&mut self.calm);
        codec.list(&mut self.runs, RUNS + 1, |codec, run| {
            codec.f64(&mut run.probability);
            codec.u32(&mut run.rows);
            codec.f64(&mut run.mean);
            codec.f64(&mut run.spread);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;

    #[test]
    fn a_new_level_is_certain_after_some_rows_and_a_spike_is_none() {
        let mut model = Bocpd::default();
        let calm = (0..1_000).map(|row| model.observe(10.0 + noise(row)).surprise).fold(0.0, f64::max);
        assert!(calm < 1.0, "{calm}");
        let spike = model.observe(40.0).surprise;
        let after = (1_001..1_100).map(|row| model.observe(10.0 + noise(row)).surprise).fold(0.0, f64::max);
        assert!(spike < 2.5 && after < 2.5, "{spike}, then {after}");
        let outlooks: Vec<Outlook> = (1_100..1_106).map(|row| model.observe(14.0 + noise(row))).collect();
        let last = outlooks[5];
        assert!(last.surprise > 4.0, "{outlooks:?}");
        let shift = last.shift.unwrap();
        assert!((shift.from - 10.0).abs() < 0.3 && (shift.to - 14.0).abs() < 1.0, "{shift:?}");
        assert!((model.expect().unwrap().expected - 14.0).abs() < 1.0);
    }

    #[test]
    fn a_density_has_the_area_one() {
        let run = Run { probability: 1.0, rows: 3, mean: 2.0, spread: 1.5 };
        let area: f64 = (-20_000..20_000).map(|at| run.density(f64::from(at) * 0.01) * 0.01).sum();
        assert!((area - 1.0).abs() < 1e-3, "{area}");
        assert!((gamma_ratio(2.0) - 1.329_340_388).abs() < 2e-4);
    }
}
