//! Intervals of energy cut at the boundaries of an intensity: split, then multiply. Power is taken as constant within an
//! interval, so a part has the share of the energy that it has of the time. Multiplying by the intensity at the end of the
//! interval instead is the classical mistake.

/// Nanoseconds of a second.
pub(super) const NANOSECONDS: f64 = 1e9;
/// Into how many parts an interval may be cut: a year of five minutes, and some.
pub const PARTS_MAX: i64 = 131_072;

/// A part of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Its first nanosecond.
    pub start: i64,
    /// The one behind its last.
    pub end: i64,
    /// Its share of the interval.
    pub share: f64,
}

/// The interval from `since` to `until` cut at those of `boundaries` (in order) that lie inside it. An interval without
/// length is one part; one that runs backwards has none.
pub fn cut(since: i64, until: i64, boundaries: impl IntoIterator<Item = i64>) -> Vec<Part> {
    let mut parts = Vec::new();
    cut_into(&mut parts, since, until, boundaries);
    parts
}

/// The same, behind what `parts` has.
fn cut_into(parts: &mut Vec<Part>, since: i64, until: i64, boundaries: impl IntoIterator<Item = i64>) {
    if until == since {
        parts.push(Part { start: since, end: until, share: 1.0 });
    }
    if until <= since {
        return;
    }
    let inside = boundaries.into_iter().filter(|at| *at > since && *at < until);
    let mut start = since;
    for end in inside.chain([until]) {
        if end > start {
            let share = (end - start) as f64 / (until - since) as f64;
            parts.push(Part { start, end, share });
            start = end;
        }
    }
}

/// The interval cut on a grid of `size` nanoseconds from 1970 on, in UTC. Every publisher's slots begin on the grid of five
/// minutes. `None` if `size` is not positive or there are more than [`PARTS_MAX`] parts.
pub fn on_grid(since: i64, until: i64, size: i64) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    on_grid_into(&mut parts, since, until, size).map(|()| parts)
}

/// The same, behind what `parts` has.
pub(super) fn on_grid_into(parts: &mut Vec<Part>, since: i64, until: i64, size: i64) -> Option<()> {
    if size <= 0 || until.checked_sub(since)? / size > PARTS_MAX {
        return None;
    }
    let first = since.div_euclid(size).checked_add(1)?.checked_mul(size)?;
    let boundaries = std::iter::successors(Some(first), |at| at.checked_add(size)).take_while(|at| *at < until);
    cut_into(parts, since, until, boundaries);
    Some(())
}

/// The start of the slot of `size` nanoseconds that `time` lies in.
pub fn start_of(time: i64, size: i64) -> i64 {
    time.div_euclid(size) * size
}

/// An intensity and for how long it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// From here on, in nanoseconds.
    pub start: i64,
    /// Until here, exclusive.
    pub end: i64,
    /// The mean over the slot.
    pub g_per_kwh: f64,
}

/// Grams of `kwh` used evenly from `since` to `until` under period means (`slots` in order), and the share of the interval
/// that they cover. No grams are known of what is not covered; `None` if nothing is.
pub fn grams(kwh: f64, since: i64, until: i64, slots: &[Slot]) -> Option<(f64, f64)> {
    let boundaries: Vec<i64> = slots.iter().flat_map(|slot| [slot.start, slot.end]).collect();
    let (mut grams, mut covered) = (0.0, 0.0);
    for part in cut(since, until, boundaries) {
        let slot = slots.iter().rev().find(|slot| slot.start <= part.start && part.start < slot.end);
        if let Some(slot) = slot {
            grams += kwh * part.share * slot.g_per_kwh;
            covered += part.share;
        }
    }
    (covered > 0.0).then_some((grams, covered))
}

/// The intensity at `time` where it runs straight from one instant to the next; `None` outside of them.
pub fn between(time: i64, (start, low): (i64, f64), (end, high): (i64, f64)) -> Option<f64> {
    if time == end {
        return Some(high);
    }
    (start <= time && time < end).then(|| low + (high - low) * (time - start) as f64 / (end - start) as f64)
}

/// The same under a series of instants between which the intensity runs straight. Right for instants only: publishers'
/// values are means of periods, and reading their labels as instants is wrong by half a period.
pub fn grams_linear(kwh: f64, since: i64, until: i64, knots: &[(i64, f64)]) -> Option<f64> {
    let at = |time: i64| {
        let next = knots.iter().position(|knot| knot.0 >= time)?;
        if knots[next].0 == time {
            return Some(knots[next].1);
        }
        between(time, *knots.get(next.checked_sub(1)?)?, knots[next])
    };
    let parts = cut(since, until, knots.iter().map(|knot| knot.0));
    parts.into_iter().map(|part| Some(kwh * part.share * (at(part.start)? + at(part.end)?) / 2.0)).sum()
}
