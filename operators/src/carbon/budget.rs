//! Budgets of carbon: how fast one is used up, and where it ends at this pace.

/// How fast a budget is used beside how fast its period passes: 1 is just right, more is too fast. `elapsed` is the share
/// of the period that has passed.
pub fn pace(used: f64, budget: f64, elapsed: f64) -> Option<f64> {
    (budget > 0.0 && elapsed > 0.0).then(|| (used / budget) / elapsed)
}

/// What will have been used at the end of the period, at the pace so far.
pub fn forecast(used: f64, elapsed: f64) -> Option<f64> {
    (elapsed > 0.0).then(|| used / elapsed)
}

/// The share of the period from `start` to `end` that has passed at `now`, between 0 and 1.
pub fn elapsed(start: i64, end: i64, now: i64) -> Option<f64> {
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some((now.saturating_sub(start) as f64 / length as f64).clamp(0.0, 1.0))
}
