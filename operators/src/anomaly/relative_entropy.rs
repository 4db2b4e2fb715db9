//! `relative_entropy`: whether the last rows are distributed as rows have been before.
//!
//! The last W rows are counted in bins; each distribution that was seen is a hypothesis, and 2W·KL(now ‖ hypothesis) is
//! chi-squared with bins - 1 degrees of freedom where it holds (Wang, Viswanathan et al., "Statistical techniques for
//! online anomaly detection in data centers", IM 2011). Where all are refused, now is a new one. So regimes that recur are
//! known, whatever their order. The bins lie between the least and the greatest of the first rows, with one below and one above:
//! nothing is known of rows to come.

use super::codec::{Codec, Coded};

/// Rows that are compared at a time.
const WINDOW: usize = 52;
/// Every so many rows a distribution is learnt: windows that overlap more would make their own explanations.
const EVERY: u8 = 26;
/// Between the least and the greatest of the first rows.
const INNER: usize = 5;
const BINS: usize = INNER + 2;
/// Rows that the bins are made of.
const FIRST: u32 = 100;
/// Distributions that are remembered; the one that was used least gives way.
const HYPOTHESES: usize = 32;
/// A hypothesis is refused where the surprise is greater: the quantile 0.99.
const REFUSED: f64 = 2.0;

#[derive(Clone, Copy, Debug, Default)]
struct Hypothesis {
    counts: [u8; BINS],
    times: u32,
}

/// The distributions that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct RelativeEntropy {
    least: f64,
    greatest: f64,
    rows: u32,
    /// The bins of the last rows, the oldest at `next` once there are enough.
    recent: Vec<u8>,
    next: u8,
    /// Rows since a distribution was learnt.
    since: u8,
    seen: Vec<Hypothesis>,
}

impl RelativeEntropy {
    /// Whether the bins are made and filled.
    pub fn ready(&self) -> bool {
        self.rows >= FIRST && self.recent.len() == WINDOW
    }

    fn bin(&self, x: f64) -> u8 {
        let range = self.greatest - self.least;
        if x < self.least {
            return 0;
        }
        if x > self.greatest {
            return BINS as u8 - 1;
        }
        let share = if range > 0.0 { (x - self.least) / range } else { 0.0 };
        1 + ((share * INNER as f64) as u8).min(INNER as u8 - 1)
    }

    /// Takes in `x`; -log10 of the probability of the last rows under what fits them best.
    pub fn observe(&mut self, x: f64) -> f64 {
        if self.rows < FIRST {
            if self.rows == 0 {
                (self.least, self.greatest) = (x, x);
            }
            (self.least, self.greatest) = (self.least.min(x), self.greatest.max(x));
            self.rows += 1;
            return 0.0;
        }
        let bin = self.bin(x);
        if self.recent.len() < WINDOW {
            self.recent.push(bin);
        } else {
            self.recent[usize::from(self.next)] = bin;
            self.next = (self.next + 1) % WINDOW as u8;
        }
        if self.recent.len() < WINDOW {
            return 0.0;
        }
        let mut counts = [0u8; BINS];
        self.recent.iter().for_each(|bin| counts[usize::from(*bin)] += 1);
        self.judge(counts)
    }

    fn judge(&mut self, counts: [u8; BINS]) -> f64 {
        let of = |hypothesis: &Hypothesis| statistic(&counts, &hypothesis.counts);
        let best = (0..self.seen.len()).min_by(|a, b| of(&self.seen[*a]).total_cmp(&of(&self.seen[*b])));
        let surprise = best.map_or(0.0, |best| surprise(of(&self.seen[best])));
        self.since += 1;
        if self.since < EVERY && !self.seen.is_empty() {
            return surprise;
        }
        self.since = 0;
        match best {
            Some(best) if surprise <= REFUSED => self.seen[best].times = self.seen[best].times.saturating_add(1),
            _ => {
                if self.seen.len() == HYPOTHESES
                    && let Some(least) = (0..HYPOTHESES).min_by_key(|at| self.seen[*at].times)
                {
                    self.seen.swap_remove(least);
                }
                self.seen.push(Hypothesis { counts, times: 1 });
            }
        }
        surprise
    }

    pub fn bytes(&self) -> usize {
        self.recent.capacity() + size_of::<Hypothesis>() * self.seen.capacity()
    }
}

/// 2W·KL(now ‖ before), with half a row more in every bin of what was before, so that an empty bin is improbable and not
/// impossible.
fn statistic(now: &[u8; BINS], before: &[u8; BINS]) -> f64 {
    let total = WINDOW as f64 + 0.5 * BINS as f64;
    let term = |(n, b): (&u8, &u8)| {
        let (p, q) = (f64::from(*n) / WINDOW as f64, (f64::from(*b) + 0.5) / total);
        if *n == 0 { 0.0 } else { p * (p / q).ln() }
    };
    (2.0 * WINDOW as f64 * now.iter().zip(before).map(term).sum::<f64>()).max(0.0)
}

/// -log10 of the probability that chi-squared with six degrees of freedom is greater: e^(-x/2)·(1 + x/2 + x²/8).
fn surprise(statistic: f64) -> f64 {
    const { assert!(BINS == 7, "the tail is that of six degrees of freedom") };
    let half = statistic / 2.0;
    half * std::f64::consts::LOG10_E - (1.0 + half + half * half / 2.0).log10()
}

impl Coded for RelativeEntropy {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64(&mut self.least);
        codec.f64(&mut self.greatest);
        codec.u32(&mut self.rows);
        codec.u8(&mut self.next);
        codec.u8(&mut self.since);
        codec.list(&mut self.recent, WINDOW, |codec, bin| codec.u8(bin));
        codec.list(&mut self.seen, HYPOTHESES, |codec, hypothesis| {
            hypothesis.counts.iter_mut().for_each(|count| codec.u8(count));
            codec.u32(&mut hypothesis.times);
        });
        if let Codec::Read(_, damaged) = codec {
            *damaged |= usize::from(self.next) >= WINDOW || self.recent.iter().any(|bin| usize::from(*bin) >= BINS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;

    #[test]
    fn the_tail_is_that_of_chi_squared() {
        // Quantiles of six degrees of freedom: 0.99 at 16.812, 0.999 at 22.458.
        assert!((surprise(16.812) - 2.0).abs() < 1e-3);
        assert!((surprise(22.458) - 3.0).abs() < 1e-3);
    }

    #[test]
    fn a_regime_that_recurs_is_known() {
        let mut model = RelativeEntropy::default();
        let mut worst = [0.0f64; 8];
        for row in 0..1_600u64 {
            let busy = row / 200 % 2 == 1;
            let x = if busy { 8.0 + noise(row) } else { 2.0 + noise(row) };
            let surprise = model.observe(x);
            worst[row as usize / 200] = worst[row as usize / 200].max(surprise);
        }
        assert!(worst[1] > 5.0, "{worst:?}");
        assert!(worst[5] < 0.7 * worst[1] && worst[7] < 0.7 * worst[1], "{worst:?}");
    }
}
