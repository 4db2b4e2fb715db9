//! From a counter that only grows to what was counted between two readings: a wrap is told from a reset.
//!
//! RAPL counts microjoules up to `max_energy_range_uj` and begins at 0 again (kernel, `Documentation/power/powercap`); a
//! reboot or a new driver begins at 0 too. A drop is taken for a wrap only where the range is known and what it would have
//! counted is plausible; otherwise the interval is a gap. Nothing is ever negative, and the first reading is no energy.

/// What a reading was, beside the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none before it: it only says where counting begins.
    First,
    /// It went up, or stayed.
    Counted,
    /// It went over its range once.
    Wrapped,
    /// It began anew, at a time that nobody knows.
    Reset,
    /// It is no reading: negative, or not a number.
    Invalid,
}

impl Step {
    /// The word for it in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Step::First => "first",
            Step::Counted => "counted",
            Step::Wrapped => "wrapped",
            Step::Reset => "reset",
            Step::Invalid => "invalid",
        }
    }
}

/// What a counter can be known to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// It begins at 0 again after this; unknown for counters that do not wrap.
    pub range: Option<f64>,
    /// More than this cannot have been counted between the two readings (twice the thermal design power times the time is
    /// a fair bound).
    pub most: Option<f64>,
}

/// What was counted from `before` to `now`, in the counter's unit, and how it is known. `None` where it is not known.
///
/// Without a bound [`Limits::most`] a drop counts as a wrap if at most half the range was counted by it: a counter that is
/// far from its end and drops has been reset.
pub fn delta(before: Option<f64>, now: f64, limits: Limits) -> (Step, Option<f64>) {
    let valid = |reading: f64| reading.is_finite() && reading >= 0.0;
    if !valid(now) {
        return (Step::Invalid, None);
    }
    let Some(before) = before.filter(|before| valid(*before)) else { return (Step::First, None) };
    if now >= before {
        let counted = now - before;
        return match limits.most {
            Some(most) if counted > most => (Step::Reset, None),
            _ => (Step::Counted, Some(counted)),
        };
    }
    let Some(range) = limits.range.filter(|range| *range >= before) else { return (Step::Reset, None) };
    let counted = (range - before) + now;
    if counted > limits.most.unwrap_or(range / 2.0) { (Step::Reset, None) } else { (Step::Wrapped, Some(counted)) }
}
