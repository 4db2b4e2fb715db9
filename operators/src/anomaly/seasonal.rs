//! `seasonal`: what is usual at this time of the season, each time with a mean and a deviation of its own.
//!
//! A season of a day has 48 half hours of a working day and 48 of Saturday and Sunday; another season has 96 equal
//! parts. A time that was seen c times counts for c/(c+2), what holds for all times for the rest, so that the second
//! season can be judged already.

use super::Estimate;
use super::codec::{Codec, Coded};

const DAY_NS: i64 = 86_400_000_000_000;
const SLOTS: usize = 96;
/// How much of a slot is new each time.
const GAIN: f64 = 0.1;
/// How much of what holds for all times is new each row.
const OVERALL: f64 = 0.002;
/// How far a row can pull a slot, in scales.
const CLIP: f64 = 6.0;
const NORMAL: f64 = 1.2533;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    mean: f32,
    deviation: f32,
    times: u16,
}

/// A mean and a mean absolute deviation for each time of the season.
#[derive(Clone, Debug, Default)]
pub(super) struct Seasonal {
    length_ns: i64,
    begun_ns: i64,
    slots: Vec<Slot>,
    mean: f64,
    deviation: f64,
    rows: u32,
}

impl Seasonal {
    pub fn new(length_ns: i64) -> Seasonal {
        Seasonal { length_ns, slots: vec![Slot::default(); SLOTS], ..Seasonal::default() }
    }

    fn slot(&self, at: i64) -> usize {
        let within =
            |slots: i128| (i128::from(at.rem_euclid(self.length_ns)) * slots / i128::from(self.length_ns)) as usize;
        if self.length_ns != DAY_NS {
            return within(SLOTS as i128);
        }
        // 1970-01-01 was a Thursday.
        let weekend = matches!(at.div_euclid(DAY_NS).rem_euclid(7), 2 | 3);
        within(SLOTS as i128 / 2) + if weekend { SLOTS / 2 } else { 0 }
    }

    pub fn expect(&self, at: i64) -> Option<Estimate> {
        if self.rows == 0 {
            return None;
        }
        let slot = self.slots[self.slot(at)];
        let weight = f64::from(slot.times) / (f64::from(slot.times) + 2.0);
        let blend = |own: f32, all: f64| weight * f64::from(own) + (1.0 - weight) * all;
        Some(Estimate::new(blend(slot.mean, self.mean), NORMAL * blend(slot.deviation, self.deviation)))
    }

    /// Whether two whole seasons have passed since the first row.
    pub fn seen(&self, at: i64) -> bool {
        self.rows > 0 && at.saturating_sub(self.begun_ns) >= self.length_ns.saturating_mul(2)
    }

    pub fn learn(&mut self, at: i64, x: f64) {
        let estimate = self.expect(at);
        if self.rows == 0 {
            (self.begun_ns, self.mean) = (at, x);
        }
        let x = match estimate {
            Some(e) if self.slots[self.slot(at)].times > 2 => {
                x.clamp(e.expected - CLIP * e.scale, e.expected + CLIP * e.scale)
            }
            _ => x,
        };
        let alpha = OVERALL.max(1.0 / (f64::from(self.rows) + 1.0));
        self.mean += alpha * (x - self.mean);
        let off = estimate.map_or(0.0, |e| (x - e.expected).abs());
        self.deviation += alpha * (off - self.deviation);
        let at = self.slot(at);
        let slot = &mut self.slots[at];
        let gain = GAIN.max(1.0 / (f64::from(slot.times) + 1.0));
        slot.mean += (gain * (x - f64::from(slot.mean))) as f32;
        slot.deviation += (gain * (off - f64::from(slot.deviation))) as f32;
        slot.times = slot.times.saturating_add(1);
        self.rows = self.rows.saturating_add(1);
    }

    pub fn bytes(&self) -> usize {
        size_of::<Slot>() * self.slots.len()
    }
}

impl Coded for Seasonal {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.i64(&mut self.length_ns);
        codec.i64(&mut self.begun_ns);
        codec.f64(&mut self.mean);
        codec.f64(&mut self.deviation);
        codec.u32(&mut self.rows);
        codec.list(&mut self.slots, SLOTS, |codec, slot| {
            codec.f32(&mut slot.mean);
            codec.f32(&mut slot.deviation);
            codec.u16(&mut slot.times);
        });
        if let Codec::Read(_, damaged) = codec {
            *damaged |= self.slots.len() != SLOTS || self.length_ns <= 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saturday_is_not_a_friday() {
        let mut model = Seasonal::new(DAY_NS);
        let hour = DAY_NS / 24;
        let value = |at: i64| if matches!(at.div_euclid(DAY_NS).rem_euclid(7), 2 | 3) { 5.0 } else { 50.0 };
        (0..24 * 28).for_each(|h| model.learn(h * hour, value(h * hour)));
        for day in [28, 30] {
            let at = day * DAY_NS + 9 * hour;
            let expected = model.expect(at).unwrap().expected;
            assert!((expected - value(at)).abs() < 12.0, "{expected} on day {day}");
        }
    }
}
