//! A series that stands still where it used to move: a sensor that died, a value that is repeated by a cache.
//!
//! What counts is the run of equal values: it is out of the ordinary once it is long and five times as long as any before.

use super::codec::{Codec, Coded};

/// A run is no shorter.
const RUN: u16 = 30;
/// How much longer than any before.
const TIMES: u16 = 5;
/// Changes of the value before it is known to move.
const CHANGES: u16 = 50;

/// Runs of equal values.
#[derive(Clone, Debug, Default)]
pub(super) struct Flatline {
    last: f32,
    run: u16,
    longest: u16,
    changes: u16,
}

impl Flatline {
    /// Takes in `x`; whether with it the run is out of the ordinary, which is said once a run.
    pub fn observe(&mut self, x: f64) -> bool {
        let x = x as f32;
        if x.to_bits() != self.last.to_bits() {
            self.longest = self.longest.max(self.run);
            self.changes = self.changes.saturating_add(1);
            (self.last, self.run) = (x, 0);
            return false;
        }
        self.run = self.run.saturating_add(1);
        self.changes >= CHANGES && self.run == RUN.max(self.longest.saturating_mul(TIMES))
    }
}

impl Coded for Flatline {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f32(&mut self.last);
        codec.u16(&mut self.run);
        codec.u16(&mut self.longest);
        codec.u16(&mut self.changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;

    #[test]
    fn standing_still_is_told_once_and_only_of_what_moves() {
        let mut model = Flatline::default();
        let told =
            |model: &mut Flatline, values: &mut dyn Iterator<Item = f64>| values.filter(|x| model.observe(*x)).count();
        assert_eq!(told(&mut model, &mut (0..500).map(noise)), 0);
        assert_eq!(told(&mut model, &mut (0..400).map(|_| 0.5)), 1);
        // It has been so before.
        assert_eq!(told(&mut model, &mut (0..500).map(noise)), 0);
        assert_eq!(told(&mut model, &mut (0..400).map(|_| 0.5)), 0);
        assert_eq!(told(&mut Flatline::default(), &mut (0..1_000).map(|_| 3.0)), 0);
        // Zeros with a value now and then stand still as a habit.
        let seldom = (0..5_000).map(|row| if row % 40 == 0 { f64::from(row) } else { 0.0 });
        assert_eq!(told(&mut Flatline::default(), &mut seldom.into_iter()), 0);
    }
}
