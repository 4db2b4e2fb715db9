//! The times of a season: what each adds to the level.
//!
//! What is learnt of one row is clipped, and so a season that has changed would be learnt in months, and a spike in a time
//! that was seen once would stay for as long. So what is far off to one side at the same time of three seasons in a row is
//! what that time adds: it is learnt anew.

use super::codec::{Codec, Coded};

/// Times of a season that are told apart: five minutes of a day, half an hour of a week.
const SLOTS: usize = 288;

/// In so many seasons in a row off to the same side, and a time of the season is learnt anew.
const STRIKES: u8 = 3;
const COUNT: u8 = 0b0011;
const ABOVE: u8 = 0b0100;
const ODD: u8 = 0b1000;

/// A value for each time of the season; nothing where there is no season.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    length_ns: i64,
    values: Vec<f32>,
    learnt: Vec<Learnt>,
    begun_ns: i64,
    /// The time that was turned to, and where it is: asked for several times a row.
    turned: (i64, usize),
}

/// How well a time of the season is known.
#[derive(Clone, Copy, Debug, Default)]
struct Learnt {
    /// How often it was learnt, as far as it matters.
    times: u8,
    /// Seasons in a row in which it was far off: how many, to which side, and whether the last was an odd one.
    struck: u8,
}

impl Learnt {
    /// Takes note that it was far off in a season; whether that is so for the third season in a row and to the same side.
    fn strikes(&mut self, above: bool, odd: bool) -> bool {
        let (side, parity) = (u8::from(above) * ABOVE, u8::from(odd) * ODD);
        if self.struck == 0 || self.struck & ABOVE != side {
            self.struck = 1 | side | parity;
        } else if self.struck & ODD != parity {
            self.struck = ((self.struck & COUNT) + 1) | side | parity;
        }
        self.struck & COUNT >= STRIKES
    }
}

impl Slots {
    pub fn new(length_ns: i64) -> Slots {
        let slots = if length_ns > 0 { SLOTS } else { 0 };
        Slots {
            length_ns,
            values: vec![0.0; slots],
            learnt: vec![Learnt::default(); slots],
            begun_ns: i64::MIN,
            turned: (i64::MIN, 0),
        }
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

    /// How often the time `at` was learnt, as far as it matters.
    pub fn times(&self, at: i64) -> Option<u8> {
        self.slot(at).map(|slot| self.learnt[slot].times)
    }

    /// Learns in the first seasons that the time `at` was off by `error`. Of two values that are further apart than `clip` one
    /// is an outlier, and nobody knows which: the one that adds less is taken.
    pub fn begin(&mut self, at: i64, error: f64, clip: f64) {
        let Some(slot) = self.slot(at) else { return };
        if self.begun_ns == i64::MIN {
            self.begun_ns = at;
        }
        let (learnt, value) = (&mut self.learnt[slot], &mut self.values[slot]);
        let other = f64::from(*value) + error;
        if learnt.times > 0 && error.abs() > clip {
            *value = if other.abs() < f64::from(value.abs()) { other as f32 } else { *value };
            return;
        }
        *value += (error / (f64::from(learnt.times) + 1.0)) as f32;
        learnt.times = learnt.times.saturating_add(1);
    }

    /// Learns that the time `at` was off by `error`: of it counts `gain`, more in the first seasons, and no more than `clip`
    /// unless it was off to that side in each of the last seasons.
    pub fn learn(&mut self, at: i64, error: f64, clip: f64, gain: f64) {
        let Some(slot) = self.slot(at) else { return };
        let season = at.div_euclid(self.length_ns);
        let (learnt, value) = (&mut self.learnt[slot], &mut self.values[slot]);
        if error.abs() <= clip {
            learnt.struck = 0;
        } else if learnt.strikes(error > 0.0, season % 2 != 0) {
            *learnt = Learnt::default();
        }
        let error = if learnt.times == 0 { error } else { error.clamp(-clip, clip) };
        *value += (gain.max(1.0 / (f64::from(learnt.times) + 1.0)) * error) as f32;
        learnt.times = learnt.times.saturating_add(1);
    }

    pub fn bytes(&self) -> usize {
        (size_of::<f32>() + size_of::<Learnt>()) * self.values.len()
    }
}

impl Coded for Slots {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.i64(&mut self.length_ns);
        codec.i64(&mut self.begun_ns);
        codec.list(&mut self.values, SLOTS, |codec, value| codec.f32(value));
        codec.list(&mut self.learnt, SLOTS, |codec, learnt| {
            codec.u8(&mut learnt.times);
            codec.u8(&mut learnt.struck);
        });
        if let Codec::Read(_, damaged) = codec {
            let slots = if self.length_ns > 0 { SLOTS } else { 0 };
            *damaged |= self.values.len() != slots || self.learnt.len() != slots;
        }
    }
}
