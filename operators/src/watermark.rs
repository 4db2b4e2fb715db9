//! How watermarks travel: one small message for each worker and source when it moves, heard by every worker.

use crate::plan::TimeOrigin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thalweg_schemas::epoch::Watermark;

/// One worker's watermark of one source, as of the epoch that the message is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkUpdate {
    /// The source's position in the plan.
    pub source: u32,
    /// The worker that reads this share of it.
    pub worker: u32,
    /// Nanoseconds since 1970, as [`Watermark`].
    pub watermark_ns: i64,
    /// Whether nothing has come for so long that the share no longer holds the others back.
    pub idle: bool,
}

/// What an operator knows of the watermarks it depends on.
#[derive(Debug)]
pub struct WatermarkTracker {
    /// By source: how much weaker the promise is here, and what each worker said last.
    sources: BTreeMap<u32, (i64, Vec<Option<WatermarkUpdate>>)>,
    current: Watermark,
    /// The latest that any share has said, the end left out.
    latest: Watermark,
}

impl WatermarkTracker {
    /// Follows the sources of `origin`, whose positions `source_ids` knows, read by `peers` workers.
    ///
    /// An origin without sources promises nothing until it ends, which nobody can say: its watermark stays at the
    /// beginning. The planner gives no windows to such relations.
    pub fn new(origin: &TimeOrigin, source_ids: &BTreeMap<String, u32>, peers: usize) -> WatermarkTracker {
        let known = origin.sources.iter().filter_map(|(name, delay)| Some((*source_ids.get(name)?, *delay)));
        let sources = known.map(|(id, delay)| (id, (delay, vec![None; peers]))).collect();
        WatermarkTracker { sources, current: Watermark::MIN, latest: Watermark::MIN }
    }

    /// The same, held as well by those who let rows wait, each of whom speaks as if it were a source of one of `ids`: what
    /// it promises is weaker here by as much as the weakest promise of a source.
    pub fn held_by(mut self, ids: impl IntoIterator<Item = u32>, peers: usize) -> WatermarkTracker {
        let delay = self.sources.values().map(|(delay, _)| *delay).max().unwrap_or(0);
        self.sources.extend(ids.into_iter().map(|id| (id, (delay, vec![None; peers]))));
        self
    }

    /// Takes in one message.
    pub fn update(&mut self, update: WatermarkUpdate) {
        if let Some((delay, workers)) = self.sources.get_mut(&update.source)
            && let Some(slot) = workers.get_mut(update.worker as usize)
        {
            *slot = Some(update);
            if update.watermark_ns != Watermark::MAX.0 {
                self.latest = self.latest.max(Watermark(update.watermark_ns).delayed(*delay));
            }
        }
    }

    /// Goes on from a watermark of an earlier run.
    pub fn restore(&mut self, watermark: Watermark) {
        self.current = self.current.max(watermark);
        if watermark != Watermark::MAX {
            self.latest = self.latest.max(watermark);
        }
    }

    /// How far event time has come: the watermark, or, where all has ended, the latest that anybody said before.
    pub fn reached(&mut self) -> Watermark {
        match self.current() {
            Watermark::MAX => self.latest,
            current => current,
        }
    }

    /// The watermark by all messages taken in; never less than it was.
    pub fn current(&mut self) -> Watermark {
        let (mut least, mut rested): (Option<Watermark>, Option<Watermark>) = (None, None);
        for (delay, workers) in self.sources.values() {
            let ended = |update: &WatermarkUpdate| update.watermark_ns == Watermark::MAX.0;
            let source = if workers.iter().all(|w| w.as_ref().is_some_and(ended)) {
                Some(Watermark::MAX)
            } else {
                let active = workers.iter().filter(|w| !w.is_some_and(|u| u.idle || ended(&u)));
                active.map(|w| w.map_or(Watermark::MIN, |u| Watermark(u.watermark_ns))).min()
            };
            // A source of which all shares are idle or ended, but not all ended, leaves the others to decide. The end of
            // one share is no promise for another that only rests.
            let (kind, source) = match source {
                Some(source) => (&mut least, Some(source)),
                None => (&mut rested, promised(workers)),
            };
            if let Some(source) = source {
                let here = source.delayed(*delay);
                *kind = Some(kind.map_or(here, |l| l.min(here)));
            }
        }
        self.current = self.current.max(least.or(rested).unwrap_or(self.current));
        self.current
    }
}

/// What idle shares had promised, but for those that never brought a row: had these been idle first, it would have been
/// said.
fn promised(workers: &[Option<WatermarkUpdate>]) -> Option<Watermark> {
    let idle = workers.iter().flatten().filter(|update| update.idle);
    idle.map(|update| Watermark(update.watermark_ns)).filter(|watermark| *watermark > Watermark::MIN).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(sources: &[(&str, i64)], peers: usize) -> WatermarkTracker {
        let origin = TimeOrigin { sources: sources.iter().map(|(s, d)| (s.to_string(), *d)).collect() };
        let ids = BTreeMap::from([("a".to_string(), 0), ("b".to_string(), 1)]);
        WatermarkTracker::new(&origin, &ids, peers)
    }

    fn said(source: u32, worker: u32, watermark_ns: i64) -> WatermarkUpdate {
        WatermarkUpdate { source, worker, watermark_ns, idle: false }
    }

    #[test]
    fn the_slowest_worker_decides_and_nothing_goes_back() {
        let mut t = tracker(&[("a", 0)], 2);
        t.update(said(0, 0, 100));
        assert_eq!(t.current(), Watermark::MIN);
        t.update(said(0, 1, 50));
        assert_eq!(t.current(), Watermark(50));
        t.update(said(0, 1, 40));
        assert_eq!(t.current(), Watermark(50));
        t.update(said(0, 1, i64::MAX));
        assert_eq!(t.current(), Watermark(100));
    }

    #[test]
    fn the_end_is_told_from_the_time_that_was_reached() {
        let mut t = tracker(&[("a", 10)], 2);
        t.update(said(0, 0, 100));
        t.update(said(0, 1, 50));
        assert_eq!((t.current(), t.reached()), (Watermark(40), Watermark(40)));
        t.update(said(0, 0, i64::MAX));
        t.update(said(0, 1, i64::MAX));
        assert_eq!((t.current(), t.reached()), (Watermark::MAX, Watermark(90)));
    }

    #[test]
    fn idle_shares_hold_nobody_back() {
        let mut t = tracker(&[("a", 0), ("b", 10)], 1);
        t.update(said(0, 0, 100));
        t.update(said(1, 0, 30));
        assert_eq!(t.current(), Watermark(20));
        t.update(WatermarkUpdate { idle: true, ..said(1, 0, 30) });
        assert_eq!(t.current(), Watermark(100));
        t.update(WatermarkUpdate { idle: true, ..said(0, 0, 100) });
        assert_eq!(t.current(), Watermark(100));
    }

    #[test]
    fn shares_that_rest_together_keep_what_they_promised() {
        let idle = |worker, watermark_ns| WatermarkUpdate { idle: true, ..said(0, worker, watermark_ns) };
        let mut t = tracker(&[("a", 0)], 3);
        t.update(said(0, 0, 100));
        t.update(said(0, 1, 70));
        assert_eq!(t.current(), Watermark::MIN);
        t.update(idle(0, 100));
        t.update(idle(1, 70));
        t.update(idle(2, i64::MIN));
        assert_eq!(t.current(), Watermark(70));
    }

    #[test]
    fn the_end_of_one_share_does_not_close_what_an_idle_one_may_still_bring() {
        let mut t = tracker(&[("a", 0)], 2);
        t.update(said(0, 0, 100));
        t.update(said(0, 1, 50));
        assert_eq!(t.current(), Watermark(50));
        t.update(said(0, 0, i64::MAX));
        t.update(WatermarkUpdate { idle: true, ..said(0, 1, 50) });
        assert_eq!(t.current(), Watermark(50));
        t.update(said(0, 1, i64::MAX));
        assert_eq!(t.current(), Watermark::MAX);
    }

    #[test]
    fn who_lets_rows_wait_holds_it_only_while_some_do() {
        let mut t = tracker(&[("a", 10)], 1).held_by([7], 1);
        let holds = |watermark_ns| WatermarkUpdate { idle: watermark_ns == i64::MIN, ..said(7, 0, watermark_ns) };
        t.update(said(0, 0, 100));
        assert_eq!(t.current(), Watermark::MIN, "it has not said anything yet");
        t.update(holds(i64::MIN));
        assert_eq!(t.current(), Watermark(90));
        t.update(holds(100));
        t.update(said(0, 0, 200));
        assert_eq!(t.current(), Watermark(90));
        t.update(said(0, 0, i64::MAX));
        assert_eq!(t.current(), Watermark(90));
        t.update(holds(i64::MIN));
        assert_eq!(t.current(), Watermark::MAX);
    }

    #[test]
    fn the_end_stays_the_end_however_it_is_delayed() {
        let mut t = tracker(&[("a", 1_000)], 1);
        t.update(said(0, 0, i64::MAX));
        assert_eq!(t.current(), Watermark::MAX);
    }
}
