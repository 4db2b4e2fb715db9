//! `page_hinkley`: sums of small deviations to one side, which find a shift of the level that no single row shows.
//!
//! S⁺ ← max(0, S⁺ + z - δ), S⁻ ← max(0, S⁻ - z - δ) (Page, Biometrika 1954), with z the distance from a slowly moving
//! mean in its standard deviations, clipped at ±3, so that no spike is a shift. At λ the level has shifted: from where it
//! was to the mean of the rows since the sum began to grow, which the model takes for the level from then on. Independent
//! values would want λ near 5; telemetry swings for hours, so λ is 50, and three times the greatest sum that came to nothing.
//! A shift that goes back to where the level was came to nothing too: a series that goes to and fro is told a few times.

use super::WARM_UP;
use super::codec::{Codec, Coded};
use super::ewma::Ewma;
use super::incident::returns;

/// What a row must be off for the sum to grow, in standard deviations.
const DELTA: f64 = 1.5;
/// The sum at which the level has shifted, at least.
const LAMBDA: f64 = 50.0;
/// How much greater it must be than any sum before.
const RECORDS: f64 = 3.0;
/// How much of that record is forgotten each row.
const FORGOTTEN: f64 = 1e-4;
const CLIP: f64 = 3.0;
/// How much of the mean is new each row.
const ALPHA: f64 = 0.002;
/// Rows before anything is a shift.
const ROWS: u32 = 100;

/// A shift of the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    pub from: f64,
    pub to: f64,
}

/// A sum to one side, and the rows since it began to grow.
#[derive(Clone, Debug, Default)]
struct Side {
    sum: f32,
    /// The greatest it was.
    peak: f32,
    /// How far the rows were from the level when it began: their sum.
    off: f32,
    /// How far the level has come since.
    drift: f32,
    rows: u32,
}

/// Both sums.
#[derive(Clone, Debug, Default)]
pub(super) struct PageHinkley {
    pub level: Ewma,
    up: Side,
    down: Side,
    /// The greatest sum that came to nothing.
    record: f32,
    /// How far it is back to the level before the last shift.
    back: f32,
}

impl Side {
    /// Adds a row; `record` takes note of a sum that has come to nothing.
    fn add(&mut self, x: f64, z: f64, level: f64, record: &mut f32) {
        if self.sum <= 0.0 {
            *self = Side::default();
        }
        self.peak = self.peak.max(self.sum);
        self.sum = (self.sum + (z - DELTA) as f32).max(0.0);
        if self.sum <= 0.0 {
            *record = record.max(self.peak);
        }
        self.off += (x - (level - f64::from(self.drift))) as f32;
        self.rows = self.rows.saturating_add(1);
    }

    fn shift(&self, lambda: f64, level: f64) -> Option<Shift> {
        if f64::from(self.sum) < lambda {
            return None;
        }
        let from = level - f64::from(self.drift);
        Some(Shift { from, to: from + f64::from(self.off) / f64::from(self.rows) })
    }
}

impl PageHinkley {
    fn lambda(&self) -> f64 {
        LAMBDA.max(RECORDS * f64::from(self.record))
    }

    /// How near the larger sum is to λ, from 0 to 1.
    pub fn share(&self) -> f64 {
        (f64::from(self.up.sum.max(self.down.sum)) / self.lambda()).min(1.0)
    }

    /// Takes in `x`; the shift, if this row shows one.
    pub fn observe(&mut self, x: f64) -> Option<Shift> {
        let estimate = self.level.expect();
        let mut shift = None;
        if let Some(estimate) = estimate.filter(|_| self.level.rows >= WARM_UP) {
            let z = ((x - estimate.expected) / estimate.scale).clamp(-CLIP, CLIP);
            self.record *= 1.0 - FORGOTTEN as f32;
            self.up.add(x, z, self.level.mean, &mut self.record);
            self.down.add(x, -z, self.level.mean, &mut self.record);
            let lambda = self.lambda();
            let level = self.level.mean;
            shift = self.up.shift(lambda, level).or(self.down.shift(lambda, level)).filter(|_| self.level.rows >= ROWS);
        }
        let before = self.level.mean;
        self.level.learn(x, ALPHA);
        let step = (self.level.mean - before) as f32;
        (self.up.drift, self.down.drift) = (self.up.drift + step, self.down.drift + step);
        if let Some(shift) = shift {
            self.level.mean = shift.to;
            let way = shift.to - shift.from;
            if returns(way, self.back) {
                // Back where it was: what was a shift came to nothing.
                self.record = self.record.max(self.lambda() as f32);
            }
            self.back = -way as f32;
            (self.up, self.down) = (Side::default(), Side::default());
        }
        shift
    }
}

impl Coded for PageHinkley {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.level.fields(codec);
        for side in [&mut self.up, &mut self.down] {
            codec.f32(&mut side.sum);
            codec.f32(&mut side.peak);
            codec.f32(&mut side.off);
            codec.f32(&mut side.drift);
            codec.u32(&mut side.rows);
        }
        codec.f32(&mut self.record);
        codec.f32(&mut self.back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_and_fro_is_no_shift_before_long() {
        let mut model = PageHinkley::default();
        let value = |i: i32| if i / 300 % 2 == 0 { 10.0 } else { 20.0 } + f64::from(i * 7 % 11) / 11.0;
        let shifts: Vec<i32> = (0..6_000).filter(|i| model.observe(value(*i)).is_some()).collect();
        assert!(!shifts.is_empty() && shifts.iter().all(|at| *at < 1_500), "{shifts:?}");
    }

    #[test]
    fn it_names_both_levels() {
        let mut model = PageHinkley::default();
        let wave = |i: i32| f64::from(i * 7 % 11) / 11.0;
        let mut shifts: Vec<Shift> = (0..500).filter_map(|i| model.observe(10.0 + wave(i))).collect();
        assert_eq!(shifts, []);
        shifts.extend((0..300).filter_map(|i| model.observe(12.0 + wave(i))));
        let [shift] = shifts.as_slice() else { panic!("{shifts:?}") };
        assert!((shift.from - 10.5).abs() < 0.3 && (shift.to - 12.5).abs() < 0.3, "{shift:?}");
    }
}
