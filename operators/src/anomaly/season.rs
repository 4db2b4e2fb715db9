//! The times of a season: what each adds to the level.

use super::codec::{Codec, Coded};

/// Times of a season that are told apart: five minutes of a day, half an hour of a week.
const SLOTS: usize = 288;

/// A value for each time of the season; nothing where there is no season.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    length_ns: i64,
    values: Vec<f32>,
    /// How often each was learnt, as far as it matters.
    times: Vec<u8>,
    begun_ns: i64,
    /// The time that was turned to, and where it is: asked for several times a row.
    turned: (i64, usize),
}

impl Slots {
    pub fn new(length_ns: i64) -> Slots {
        let slots = if length_ns > 0 { SLOTS } else { 0 };
        Slots { length_ns, values: vec![0.0; slots], times: vec![0; slots], begun_ns: i64::MIN, turned: (i64::MIN, 0) }
    }

    /// The row that is looked at is of the time `at`.
    pub fn turn_to(&mut self, at: i64) {
        self.turned = (i64::MIN, 0);
        if let Some(slot) = self.slot(at) {
            self.turned = (at, slot);
        }
    }

    fn slot(&self, at: i64) -> Option<usize> {
        if self.length_ns <= 0 {
            return None;
        }
        let (turned, slot) = self.turned;
        if turned == at && at != i64::MIN {
            return Some(slot);
        }
        let within = i128::from(at.rem_euclid(self.length_ns));
        Some((within * SLOTS as i128 / i128::from(self.length_ns)) as usize)
    }

    /// What the time `at` adds.
    pub fn value(&self, at: i64) -> f64 {
        self.slot(at).map_or(0.0, |slot| f64::from(self.values[slot]))
    }

    /// Whether `seasons` whole seasons have passed since the first row.
    pub fn seen(&self, at: i64, seasons: i64) -> bool {
        self.length_ns > 0
            && self.begun_ns > i64::MIN
            && at.saturating_sub(self.begun_ns) >= self.length_ns.saturating_mul(seasons)
    }

    /// Learns that the time `at` was off by `error`: of it counts `gain`, more in the first seasons.
    pub fn learn(&mut self, at: i64, error: f64, gain: f64) {
        let Some(slot) = self.slot(at) else { return };
        if self.begun_ns == i64::MIN {
            self.begun_ns = at;
        }
        let gain = gain.max(1.0 / (f64::from(self.times[slot]) + 1.0));
        self.values[slot] += (gain * error) as f32;
        self.times[slot] = self.times[slot].saturating_add(1);
    }

    pub fn bytes(&self) -> usize {
        5 * self.values.len()
    }
}

impl Coded for Slots {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.i64(&mut self.length_ns);
        codec.i64(&mut self.begun_ns);
        codec.list(&mut self.values, SLOTS, |codec, value| codec.f32(value));
        codec.list(&mut self.times, SLOTS, |codec, times| codec.u8(times));
        if let Codec::Read(_, damaged) = codec {
            let slots = if self.length_ns > 0 { SLOTS } else { 0 };
            *damaged |= self.values.len() != slots || self.times.len() != slots;
        }
    }
}
