//! From a gauge of watts to energy. A reading is held until the next one, but never longer than `hold`: what lies beyond is
//! a gap, not zero.

use super::slots::NANOSECONDS;

/// What dcgm and hwmon say where they know nothing: `u32::MAX` milliwatts (Kepler issue 1049).
const SENTINEL_WATTS: f64 = 4_294_967.295;

/// Energy of an interval, and how much of the interval it is known for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Of the covered seconds.
    pub joules: f64,
    /// For how many seconds the power is known.
    pub covered_s: f64,
}

/// Watts that a machine can draw: finite, not negative, at most `most`, and no sentinel.
pub fn plausible_watts(watts: f64, most: f64) -> Option<f64> {
    let sentinel = (watts - SENTINEL_WATTS).abs() < 1.0;
    (watts.is_finite() && (0.0..=most).contains(&watts) && !sentinel).then_some(watts)
}

/// The seconds from `since` to `until` (nanoseconds), at most `hold_ns` of them; `None` if they run backwards.
pub fn held_seconds(since: i64, until: i64, hold_ns: i64) -> Option<f64> {
    let length = until.checked_sub(since)?;
    (length >= 0).then(|| length.min(hold_ns.max(0)) as f64 / NANOSECONDS)
}

/// `watts` held from `since` until the next reading at `until`: the last observation carried forward.
pub fn held(watts: f64, since: i64, until: i64, hold_ns: i64) -> Option<Held> {
    let covered_s = held_seconds(since, until, hold_ns)?;
    let plausible = watts.is_finite() && watts >= 0.0;
    plausible.then_some(Held { joules: watts * covered_s, covered_s })
}

/// The mean of two readings over the time between them. Where that is longer than the hold, the first one is held.
pub fn trapezoid(first: f64, second: f64, since: i64, until: i64, hold_ns: i64) -> Option<Held> {
    if until.checked_sub(since)? > hold_ns {
        return held(first, since, until, hold_ns);
    }
    let plausible = second.is_finite() && second >= 0.0;
    held((first + second) / 2.0, since, until, hold_ns).filter(|_| plausible && first >= 0.0)
}
