//! ADWIN: the mean of a window that is as long as the series has been one and the same (Bifet & Gavaldà, "Learning from
//! time-changing data with adaptive windowing", SDM 2007). Where the older part of it has another mean than the younger,
//! by more than chance makes, the older part goes.
//!
//! Rows lie in buckets that hold twice as many each [`SAME`] buckets, so that a window of n rows takes O(log n) of them. Of
//! no use to raise an alarm: it tells when what was learnt holds no more.

use super::codec::{Codec, Coded};

/// Buckets of one size.
const SAME: usize = 5;
/// The probability that a window is cut though nothing has changed.
const DELTA: f64 = 0.002;
/// Every so many rows a cut is looked for.
const EVERY: u8 = 16;
/// A part of a window has at least so many rows.
const ROWS: u32 = 16;
/// Buckets of all sizes: windows of more than ten million rows forget the oldest.
const BUCKETS: usize = 100;

/// Some rows that follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    rows: u32,
    mean: f64,
    /// The sum of the squares of the distances from it.
    squares: f64,
}

/// The window.
#[derive(Clone, Debug, Default)]
pub(super) struct Adwin {
    /// The oldest first; none is smaller than those behind it.
    buckets: Vec<Bucket>,
    since: u8,
}

impl Bucket {
    /// Both (Chan, Golub & LeVeque, 1979).
    fn and(self, other: Bucket) -> Bucket {
        let rows = self.rows.saturating_add(other.rows);
        if rows == 0 {
            return self;
        }
        let (n, m) = (f64::from(self.rows), f64::from(other.rows));
        let off = other.mean - self.mean;
        let squares = self.squares + other.squares + off * off * n * m / (n + m);
        Bucket { rows, mean: self.mean + off * m / (n + m), squares }
    }

    fn variance(self) -> f64 {
        self.squares / f64::from(self.rows.max(1))
    }
}

impl Adwin {
    /// Takes in `x`; whether the window was cut: what lies before it holds no more.
    pub fn observe(&mut self, x: f64) -> bool {
        self.buckets.push(Bucket { rows: 1, mean: x, squares: 0.0 });
        self.put_together();
        self.since += 1;
        if self.since < EVERY {
            return false;
        }
        self.since = 0;
        let cut = self.cut();
        self.buckets.drain(..cut);
        cut > 0
    }

    /// Rows, mean and variance of the window.
    pub fn window(&self) -> (u32, f64, f64) {
        let all = self.buckets.iter().copied().fold(Bucket::default(), Bucket::and);
        (all.rows, all.mean, all.variance())
    }

    /// Two buckets of a size become one where there are more than [`SAME`]: the oldest of their size.
    fn put_together(&mut self) {
        let mut end = self.buckets.len();
        while end > 0 {
            let rows = self.buckets[end - 1].rows;
            let from = self.buckets[..end].partition_point(|bucket| bucket.rows > rows);
            if end - from <= SAME {
                break;
            }
            self.buckets[from] = self.buckets[from].and(self.buckets[from + 1]);
            self.buckets.remove(from + 1);
            end = from + 1;
        }
        if self.buckets.len() > BUCKETS {
            self.buckets.remove(0);
        }
    }

    /// How many of the oldest buckets have another mean than the rest.
    fn cut(&self) -> usize {
        let all = self.buckets.iter().copied().fold(Bucket::default(), Bucket::and);
        // The logarithm for as many places as a cut is looked for at.
        let log = (2.0 * f64::from(all.rows).ln().max(1.0) / DELTA).ln();
        let deviation = all.variance().sqrt();
        let (mut old, mut cut) = (Bucket::default(), 0);
        for (at, bucket) in self.buckets.iter().enumerate() {
            old = old.and(*bucket);
            let young = all.rows - old.rows;
            if old.rows < ROWS || young < ROWS {
                continue;
            }
            let (n, m) = (f64::from(old.rows), f64::from(young));
            let young_mean = (all.mean * (n + m) - old.mean * n) / m;
            let harmonic = 1.0 / (1.0 / n + 1.0 / m);
            // The bound of the paper, whose values lie between 0 and 1, in standard deviations: six of them are the range.
            let bound = deviation * ((2.0 / harmonic * log).sqrt() + 4.0 / harmonic * log);
            if (old.mean - young_mean).abs() > bound {
                cut = at + 1;
            }
        }
        cut
    }

    pub fn bytes(&self) -> usize {
        size_of::<Bucket>() * self.buckets.capacity()
    }
}

impl Coded for Adwin {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.u8(&mut self.since);
        codec.list(&mut self.buckets, BUCKETS + 1, |codec, bucket| {
            codec.u32(&mut bucket.rows);
            codec.f64(&mut bucket.mean);
            codec.f64(&mut bucket.squares);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;
    use proptest::prelude::*;

    #[test]
    fn the_window_begins_where_the_series_became_another() {
        let mut window = Adwin::default();
        let cuts = (0..4_000).filter(|row| window.observe(10.0 + noise(*row))).count();
        assert_eq!(cuts, 0);
        assert_eq!(window.window().0, 4_000);
        let cuts: Vec<u64> = (4_000..4_600).filter(|row| window.observe(10.8 + noise(*row))).collect();
        assert!(cuts.first().is_some_and(|row| *row < 4_200), "{cuts:?}");
        let (rows, mean, _) = window.window();
        assert!((300..700).contains(&rows) && (mean - 10.8).abs() < 0.1, "{rows} rows of {mean}");
        assert!(window.buckets.len() < 60, "{}", window.buckets.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn it_knows_rows_mean_and_variance_of_what_it_holds(values in prop::collection::vec(-50i32..50, 1..400)) {
            let mut window = Adwin::default();
            values.iter().for_each(|x| { window.observe(f64::from(*x)); });
            let (rows, mean, variance) = window.window();
            let held: Vec<f64> = values[values.len() - rows as usize..].iter().map(|x| f64::from(*x)).collect();
            let expected = held.iter().sum::<f64>() / held.len() as f64;
            let spread = held.iter().map(|x| (x - expected).powi(2)).sum::<f64>() / held.len() as f64;
            prop_assert!((mean - expected).abs() < 1e-9 && (variance - spread).abs() < 1e-6);
            prop_assert!(window.buckets.windows(2).all(|pair| pair[0].rows >= pair[1].rows));
        }
    }
}
