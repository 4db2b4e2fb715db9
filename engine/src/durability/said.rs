//! What an earlier run had said of its watermarks, and what one that goes on from it may promise.

use super::record::EpochRecord;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::epoch::Watermark;

/// The last word of every worker on its share of every source.
pub(crate) struct Said {
    peers: usize,
    sources: BTreeMap<u32, Vec<WatermarkUpdate>>,
}

impl Said {
    /// Nothing yet, to be gone on from by `peers` workers.
    pub fn new(peers: usize) -> Said {
        Said { peers, sources: BTreeMap::new() }
    }

    /// What a checkpoint says of the source at this position in the plan.
    pub fn restore(&mut self, source: u32, said: Vec<WatermarkUpdate>) {
        self.sources.insert(source, said.into_iter().map(|said| WatermarkUpdate { source, ..said }).collect());
    }

    /// What was said after that, by as many workers as go on.
    pub fn follow(&mut self, records: &[Arc<EpochRecord>]) {
        for update in records.iter().flat_map(|record| &record.entries).flat_map(|entry| &entry.said) {
            let source = update.source;
            let said = self.sources.entry(source).or_insert_with(|| {
                (0..self.peers as u32).map(|worker| WatermarkUpdate { source, worker, ..UNSAID }).collect()
            });
            match said.iter_mut().find(|said| said.worker == update.worker) {
                Some(said) => *said = *update,
                None => said.push(*update),
            }
        }
    }

    /// What this worker said.
    pub fn by(&self, worker: usize) -> Vec<WatermarkUpdate> {
        self.sources.values().flatten().filter(|said| said.worker as usize == worker).copied().collect()
    }

    /// What this worker may promise of its shares: what all had promised together. What one was reading when the run ended,
    /// any other may be the one to go on with.
    pub fn promises(&self, worker: usize) -> Vec<WatermarkUpdate> {
        let promises = self.sources.values().filter_map(|said| promise(said));
        promises.map(|promise| WatermarkUpdate { worker: worker as u32, ..promise }).collect()
    }
}

const UNSAID: WatermarkUpdate = WatermarkUpdate { source: 0, worker: 0, watermark_ns: Watermark::MIN.0, idle: false };

/// The least that was said of a source. A share that had ended says nothing of the others, and one that rests only where
/// all do: then, as for those who followed them, one that never brought a row says nothing either.
fn promise(said: &[WatermarkUpdate]) -> Option<WatermarkUpdate> {
    let open = || said.iter().filter(|said| said.watermark_ns != Watermark::MAX.0);
    let time = |said: &&WatermarkUpdate| said.watermark_ns;
    let active = open().filter(|said| !said.idle).min_by_key(time);
    let rested = || open().filter(|said| said.watermark_ns > Watermark::MIN.0).min_by_key(time);
    active.or_else(rested).or_else(|| open().next()).or(said.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durability::record::Entry;

    fn said(worker: u32, watermark_ns: i64, idle: bool) -> WatermarkUpdate {
        WatermarkUpdate { source: 3, worker, watermark_ns, idle }
    }

    fn promised(words: &[(i64, bool)]) -> (i64, bool) {
        let words: Vec<_> = words.iter().zip(0..).map(|((time, idle), worker)| said(worker, *time, *idle)).collect();
        let promise = promise(&words).unwrap();
        (promise.watermark_ns, promise.idle)
    }

    #[test]
    fn the_slowest_share_that_is_awake_decides() {
        const END: i64 = i64::MAX;
        assert_eq!(promised(&[(70, false), (50, false), (30, true), (END, false)]), (50, false));
        assert_eq!(promised(&[(i64::MIN, false), (50, false)]), (i64::MIN, false));
        assert_eq!(promised(&[(70, true), (50, true), (i64::MIN, true)]), (50, true));
        assert_eq!(promised(&[(END, false), (END, false)]), (END, false));
    }

    #[test]
    fn the_log_says_more_than_the_checkpoint_and_who_said_nothing_promised_nothing() {
        let record = |update: WatermarkUpdate| {
            let entry = Entry { worker: update.worker as usize, said: vec![update], ..Entry::default() };
            Arc::new(EpochRecord { entries: vec![entry], ..EpochRecord::default() })
        };
        let mut past = Said::new(2);
        past.follow(&[record(said(1, 50, false))]);
        assert_eq!(past.promises(0), vec![said(0, i64::MIN, false)]);
        let mut past = Said::new(2);
        past.restore(3, vec![WatermarkUpdate { source: 0, ..said(0, 10, false) }, said(1, 20, false)]);
        assert_eq!((past.by(1), past.promises(1)), (vec![said(1, 20, false)], vec![said(1, 10, false)]));
        past.follow(&[record(said(0, 40, false)), record(said(1, 50, false))]);
        assert_eq!(past.promises(1), vec![said(1, 40, false)]);
    }
}
