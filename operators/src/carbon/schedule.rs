//! When and where to run a job so that it emits least, from a forecast of intensity. A mean over a step function is least
//! at a window that begins or ends at a step, so only those are looked at; prefix sums make each a look-up.

use super::slots::Slot;

/// Means that differ by less are the same: they are differences of long sums, which differ in their last digits.
const ROUNDING: f64 = 1e-12;

/// Where a job of constant power is best put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// When it begins.
    pub start: i64,
    /// The mean intensity while it runs.
    pub g_per_kwh: f64,
    /// The mean intensity if it begins at once; not known where the forecast begins later or has a hole there.
    pub now_g_per_kwh: Option<f64>,
}

impl Window {
    /// What waiting saves, as a share of beginning at once; nothing where that emits nothing already.
    pub fn saving(&self) -> Option<f64> {
        self.now_g_per_kwh.map(|now| if now > 0.0 { 1.0 - self.g_per_kwh / now } else { 0.0 })
    }
}

/// A forecast without holes, with sums to look means up in.
struct Run<'a> {
    slots: &'a [Slot],
    /// The integral of the intensity from the run's start to the start of each slot, in g/kWh times nanoseconds.
    before: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(slots: &'a [Slot]) -> Run<'a> {
        let mut before = Vec::with_capacity(slots.len() + 1);
        before.push(0.0);
        for slot in slots {
            before.push(before[before.len() - 1] + slot.g_per_kwh * (slot.end - slot.start) as f64);
        }
        Run { slots, before }
    }

    fn start(&self) -> i64 {
        self.slots[0].start
    }

    fn end(&self) -> i64 {
        self.slots[self.slots.len() - 1].end
    }

    fn integral(&self, until: i64) -> f64 {
        let at = self.slots.partition_point(|slot| slot.end <= until);
        let rest = self.slots.get(at).map_or(0.0, |slot| slot.g_per_kwh * (until - slot.start) as f64);
        self.before[at] + rest
    }

    /// Whether a mean is less than another, and not only by how it was rounded.
    fn is_less(&self, mean: f64, than: f64) -> bool {
        let greatest = self.slots.iter().map(|slot| slot.g_per_kwh.abs()).fold(0.0, f64::max);
        mean < than - ROUNDING * self.slots.len() as f64 * greatest
    }

    fn mean(&self, start: i64, duration: i64) -> Option<f64> {
        let end = start.checked_add(duration)?;
        let covered = self.start() <= start && end <= self.end();
        covered.then(|| (self.integral(end) - self.integral(start)) / duration as f64)
    }
}

/// The stretches of `slots` (in order, none overlapping) without holes.
fn runs(slots: &[Slot]) -> impl Iterator<Item = Run<'_>> {
    slots.chunk_by(|a, b| a.end == b.start).map(Run::new)
}

/// The best time to begin a job of `duration` nanoseconds, not before `now` and done by `deadline`. Of equally good ones the
/// first. `None` where the forecast has no room for it.
pub fn best_window(slots: &[Slot], duration: i64, now: i64, deadline: i64) -> Option<Window> {
    if duration <= 0 {
        return None;
    }
    let mut best: Option<(f64, i64)> = None;
    let mut at_once = None;
    for run in runs(slots) {
        at_once = at_once.or(run.mean(now, duration));
        let steps = run.slots.iter().flat_map(|slot| [slot.start, slot.end.saturating_sub(duration)]);
        let fits = |at: &i64| *at >= now && at.saturating_add(duration) <= deadline;
        let mut starts: Vec<i64> = steps.chain([now]).filter(fits).collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            let less = |mean: &f64| best.is_none_or(|(least, _)| run.is_less(*mean, least));
            if let Some(mean) = run.mean(start, duration).filter(less) {
                best = Some((mean, start));
            }
        }
    }
    best.map(|(g_per_kwh, start)| Window { start, g_per_kwh, now_g_per_kwh: at_once })
}

/// The best of several regions, each with its forecast and the PUE of its building: by intensity times PUE. Of equally good
/// ones the first.
pub fn best_region<'a>(
    regions: &[(&'a str, &[Slot], f64)],
    duration: i64,
    now: i64,
    deadline: i64,
) -> Option<(&'a str, Window)> {
    let windows = regions.iter().filter_map(|(name, slots, pue)| {
        let window = best_window(slots, duration, now, deadline)?;
        Some((*name, window, window.g_per_kwh * pue))
    });
    let best = windows.reduce(|best, other| if other.2 < best.2 * (1.0 - ROUNDING) { other } else { best });
    best.map(|(name, window, _)| (name, window))
}
