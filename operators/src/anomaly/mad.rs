//! `mad`: distance from the median of the last rows, in their median absolute deviations.
//!
//! z = |x - median| / max(1.4826·MAD, 0.02·(max - min)): 1.4826 makes the MAD of normal values their standard deviation
//! (Hampel, JASA 1974); the floor is for series that are the same value most of the time. The window is kept in order of
//! value beside the order of time; the MAD is found by walking outwards from the median.

use super::Estimate;
use super::codec::{Codec, Coded};
use std::collections::VecDeque;

/// Rows in the window.
const WINDOW: usize = 500;

/// The last rows, in both orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Mad {
    /// In order of time.
    recent: VecDeque<f64>,
    /// In order of value.
    sorted: Vec<f64>,
}

impl Mad {
    pub fn expect(&self) -> Option<Estimate> {
        let (first, last) = (*self.sorted.first()?, *self.sorted.last()?);
        let median = middle(&self.sorted);
        let scale = (1.4826 * self.deviation(median)).max(0.02 * (last - first));
        Some(Estimate::new(median, scale))
    }

    /// The median of the distances from `median`: the distances to both sides are sorted already, so they are merged up
    /// to the middle.
    fn deviation(&self, median: f64) -> f64 {
        let split = self.sorted.partition_point(|x| *x < median);
        let (below, above) = self.sorted.split_at(split);
        let (mut left, mut right) = (below.iter().rev().peekable(), above.iter().peekable());
        let mut last = 0.0;
        for _ in 0..=self.sorted.len() / 2 {
            let (l, r) = (left.peek().map(|x| median - **x), right.peek().map(|x| **x - median));
            last = match (l, r) {
                (Some(l), r) if r.is_none_or(|r| l < r) => {
                    left.next();
                    l
                }
                (_, Some(r)) => {
                    right.next();
                    r
                }
                (_, None) => last,
            };
        }
        last
    }

    pub fn learn(&mut self, x: f64) {
        if self.recent.len() == WINDOW
            && let Some(old) = self.recent.pop_front()
        {
            self.sorted.remove(self.sorted.partition_point(|y| *y < old));
        }
        self.recent.push_back(x);
        self.sorted.insert(self.sorted.partition_point(|y| *y < x), x);
    }

    pub fn bytes(&self) -> usize {
        16 * self.recent.capacity()
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

impl Coded for Mad {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        let mut recent: Vec<f64> = self.recent.iter().copied().collect();
        codec.list(&mut recent, WINDOW, |codec, x| codec.f64(x));
        if let Codec::Read(..) = codec {
            self.sorted = recent.clone();
            self.sorted.sort_by(f64::total_cmp);
            self.recent = recent.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_recomputation_says(values in proptest::collection::vec(-50i32..50, 1..700)) {
            let mut model = Mad::default();
            values.iter().for_each(|x| model.learn(f64::from(*x)));
            let mut window: Vec<f64> =
                values[values.len().saturating_sub(WINDOW)..].iter().map(|x| f64::from(*x)).collect();
            window.sort_by(f64::total_cmp);
            let median = middle(&window);
            let mut distances: Vec<f64> = window.iter().map(|x| (x - median).abs()).collect();
            distances.sort_by(f64::total_cmp);
            let deviation = distances[window.len() / 2];
            let floor = 0.02 * (window[window.len() - 1] - window[0]);
            let estimate = model.expect().unwrap();
            prop_assert_eq!(estimate.expected, median);
            prop_assert!((estimate.scale - Estimate::new(median, (1.4826 * deviation).max(floor)).scale).abs() < 1e-9);
        }
    }
}
