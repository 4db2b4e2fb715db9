//! Event time at the source: the watermark of each partition, which of them are idle, and times not to be believed.

use super::conform::Facts;
use super::raw_of;
use crate::durability::manifest::PartitionTime;
use crate::ledger::{SourceBook, lock};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::plan::WatermarkPlan;
use thalweg_schemas::epoch::Watermark;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::BadRecord;
use thalweg_schemas::source::{Outlook, Standing};

/// The event time of one worker's share of a source.
pub(super) struct EventTime {
    plan: Option<WatermarkPlan>,
    /// Whether the rows have no event time: then the watermark says whether there are any to be looked up yet.
    is_table: bool,
    partitions: BTreeMap<Arc<str>, Partition>,
    /// What an earlier run knew of partitions that have not been met in this one.
    known: BTreeMap<String, PartitionTime>,
    /// What was said last: the watermark and whether the share is idle.
    said: (Watermark, bool),
    /// No watermark of an earlier run was above this.
    floor: Watermark,
    /// Whether the share has ever been idle: then the others went on without it.
    was_idle: bool,
    /// When the reader had nothing more last: what waits to be read is not idle.
    rested_ns: i64,
    ended: bool,
}

struct Partition {
    index: u32,
    /// By the rows that this share has read since it began or went on.
    watermark: Watermark,
    /// How far it had come before that, whoever read it then.
    before: Watermark,
    last_row_ns: i64,
}

impl Partition {
    fn reached(&self) -> Watermark {
        self.watermark.max(self.before)
    }
}

impl EventTime {
    pub fn new(plan: Option<WatermarkPlan>) -> EventTime {
        EventTime {
            plan,
            is_table: false,
            partitions: BTreeMap::new(),
            known: BTreeMap::new(),
            said: (Watermark::MIN, false),
            floor: Watermark::MIN,
            was_idle: false,
            rested_ns: i64::MIN,
            ended: false,
        }
    }

    /// That of a table outside, whose rows have none.
    pub fn of_table() -> EventTime {
        EventTime { is_table: true, ..EventTime::new(None) }
    }

    /// The reader has nothing to hand over at present.
    pub fn note_rest(&mut self, now_ns: i64) {
        self.rested_ns = now_ns;
    }

    /// Goes on from an earlier run, in which no watermark was above `floor`.
    pub fn restore(&mut self, known: BTreeMap<String, PartitionTime>, floor: Watermark) {
        (self.known, self.floor) = (known, floor);
    }

    /// The event time of each partition, for a checkpoint.
    pub fn partition_times(&self) -> impl Iterator<Item = (Arc<str>, PartitionTime)> {
        let met = self.partitions.iter().map(|(name, p)| {
            let time = PartitionTime { watermark_ns: p.reached().0, last_row_ns: p.last_row_ns };
            (name.clone(), time)
        });
        met.chain(self.known.iter().map(|(name, time)| (name.as_str().into(), *time)))
    }

    /// All that an earlier run took in has been taken in: from here on the shares are dealt anew, and what was a share's of a
    /// partition that several read may now be another's. So each begins with what all of them had promised together.
    pub fn go_on(&mut self, promise: Watermark, idle: bool) {
        for partition in self.partitions.values_mut() {
            (partition.before, partition.watermark) = (partition.reached(), Watermark::MIN);
        }
        self.note_said(promise, idle);
    }

    /// This was said on behalf of the share.
    pub fn note_said(&mut self, watermark: Watermark, idle: bool) {
        self.said = (watermark, idle);
        self.was_idle |= idle;
    }

    /// What was said last.
    pub fn said(&self) -> (Watermark, bool) {
        self.said
    }

    /// The share has these partitions and no others: those that have brought nothing yet hold the watermark back until
    /// they are idle, those that are gone no longer do.
    pub fn meet(&mut self, partitions: &[Standing], now_ns: i64) {
        for Standing { partition, caught_up } in partitions {
            let met = self.partition(partition.index, &partition.name, now_ns);
            if !caught_up {
                met.last_row_ns = now_ns;
            }
        }
        // All of them are there now, so more are too many; to look for these costs their number squared.
        if self.partitions.len() > partitions.len() {
            self.partitions.retain(|name, _| partitions.iter().any(|p| p.partition.name == *name));
        }
    }

    fn partition(&mut self, index: u32, name: &Arc<str>, now_ns: i64) -> &mut Partition {
        if !self.partitions.contains_key(name) {
            let known = self.known.remove(&**name);
            let partition = Partition {
                index,
                watermark: Watermark::MIN,
                before: known.map_or(Watermark::MIN, |known| Watermark(known.watermark_ns)),
                last_row_ns: now_ns,
            };
            self.partitions.insert(name.clone(), partition);
        }
        let partition = self.partitions.get_mut(name);
        partition.expect("it was there or has just been put there")
    }

    /// No row will come any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// A bound on the watermark by which rows taken in now are judged late. What this worker said before the current
    /// epoch bounds the minimum over all workers, unless the others were let go on without it.
    pub fn bound(&self) -> Watermark {
        if self.was_idle { Watermark::MAX } else { self.said.0.max(self.floor) }
    }

    /// Takes the partition's event time from `rows`, unless they belong to none; those too far in the future become bad
    /// records.
    pub fn judge(
        &mut self,
        rows: RecordBatch,
        partition: Option<(u32, &Arc<str>)>,
        now_ns: i64,
        facts: Facts<'_>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch> {
        let Some(plan) = &self.plan else { return Ok(rows) };
        if rows.num_rows() == 0 {
            return Ok(rows);
        }
        let times = to_ns(rows.column(plan.column))?;
        let times = times.as_primitive::<Int64Type>();
        let limit = now_ns.saturating_add(plan.future_max_ns);
        let Some(mut latest) = arrow::compute::max(times) else { return Ok(rows) };
        let rows = if latest > limit {
            let (kept, kept_latest) = refuse_future(rows, times, limit, facts, bad)?;
            let Some(kept_latest) = kept_latest else { return Ok(kept) };
            latest = kept_latest;
            kept
        } else {
            rows
        };
        let Some((index, name)) = partition else { return Ok(rows) };
        let watermark = Watermark(latest.saturating_sub(plan.lateness_ns));
        let entry = self.partition(index, name, now_ns);
        entry.watermark = entry.watermark.max(watermark);
        entry.last_row_ns = now_ns;
        Ok(rows)
    }

    /// Of a share that has ended and not said so yet: how far its event time came.
    pub fn last_promise(&self) -> Option<Watermark> {
        let last = self.partitions.values().map(Partition::reached).max()?;
        (self.ended && last > self.said.0 && last != Watermark::MAX).then_some(last)
    }

    /// What is to be said at the end of an epoch, if it is news.
    pub fn end_of_epoch(&mut self, outlook: Outlook, all_met: bool) -> Option<(Watermark, bool)> {
        let next = if self.ended {
            (Watermark::MAX, false)
        } else if outlook == Outlook::MoreToCome {
            // Whatever has been read, the next partition may begin where this one began.
            self.said
        } else if self.is_table {
            (Watermark::MAX, false)
        } else if outlook == Outlook::LastOne {
            let last = self.partitions.values().max_by_key(|partition| partition.index);
            let current = last.map_or(Watermark::MIN, |current| current.watermark);
            (current.max(self.said.0), false)
        } else {
            self.plan.as_ref()?;
            let active = self.partitions.values().filter(|p| !self.is_idle(p));
            match active.map(Partition::reached).min() {
                Some(watermark) => (watermark.max(self.said.0), false),
                None if self.partitions.is_empty() && !all_met => self.said,
                // Where all rest at once, none that brought rows is waited for by one that never did.
                None => {
                    let used = self.partitions.values().map(Partition::reached).filter(|w| *w > Watermark::MIN);
                    (used.min().map_or(self.said.0, |watermark| watermark.max(self.said.0)), true)
                }
            }
        };
        self.was_idle |= next.1;
        (next != self.said).then(|| {
            self.said = next;
            next
        })
    }

    /// Whether nothing has come of a partition for so long that nobody waits for it.
    fn is_idle(&self, partition: &Partition) -> bool {
        let rested_ns = self.rested_ns.saturating_sub(partition.last_row_ns);
        self.plan.as_ref().is_some_and(|plan| rested_ns >= plan.idle_timeout_ns)
    }

    /// Enters the partitions' watermarks in the books.
    pub fn show(&self, book: &SourceBook, worker: usize) {
        let mut shown = lock(&book.watermarks);
        for (name, partition) in &self.partitions {
            let watermark = if self.ended { Watermark::MAX } else { partition.reached() };
            shown.insert((worker, name.to_string()), (watermark, self.said.1 || self.is_idle(partition)));
        }
    }
}

/// The rows whose time is at most `limit` (or NULL), and the latest time among them.
fn refuse_future(
    rows: RecordBatch,
    times: &Int64Array,
    limit: i64,
    facts: Facts<'_>,
    bad: &mut Vec<BadRecord>,
) -> Result<(RecordBatch, Option<i64>)> {
    let keep = BooleanArray::from_iter(times.iter().map(|t| Some(t.is_none_or(|t| t <= limit))));
    for row in (0..rows.num_rows()).filter(|&row| !keep.value(row)) {
        bad.push(BadRecord {
            offset: facts.start,
            raw: raw_of(&rows, row),
            reason: format!(
                "event time {} lies more than {} after the clock ({})",
                Watermark(times.value(row)),
                thalweg_operators::window::Nanos(limit - facts.now_ns),
                Watermark(facts.now_ns),
            ),
        });
    }
    let latest = arrow::compute::max(arrow::compute::filter(times, &keep)?.as_primitive::<Int64Type>());
    Ok((filter_record_batch(&rows, &keep)?, latest))
}

/// A timestamp column as nanoseconds since 1970.
fn to_ns(column: &ArrayRef) -> Result<ArrayRef> {
    let nanos = match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => column.clone(),
        DataType::Timestamp(_, zone) => cast(column, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?,
        other => return Err(Error::bug(format!("the event time column has type {other}"))),
    };
    Ok(cast(&nanos, &DataType::Int64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampNanosecondArray;
    use arrow::datatypes::{Field, Schema};
    use thalweg_schemas::source;

    /// The event time after partitions `(number, latest time)` were read one after the other.
    fn after(read: &[(u32, i64)], outlook: Outlook) -> Option<(Watermark, bool)> {
        let plan = WatermarkPlan { column: 0, lateness_ns: 5, idle_timeout_ns: 1_000, future_max_ns: 1_000_000 };
        let mut event_time = EventTime::new(Some(plan));
        for (partition, latest) in read {
            let schema = Schema::new(vec![Field::new("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), false)]);
            let times = Arc::new(TimestampNanosecondArray::from(vec![*latest, 0]));
            let rows = RecordBatch::try_new(Arc::new(schema), vec![times]).unwrap();
            let name: Arc<str> = format!("file {partition}").into();
            let facts = Facts { source: "s", partition: &name, start: 0, now_ns: 0 };
            event_time.judge(rows, Some((*partition, &name)), 0, facts, &mut Vec::new()).unwrap();
        }
        event_time.end_of_epoch(outlook, false)
    }

    #[test]
    fn partitions_side_by_side_wait_for_the_slowest() {
        assert_eq!(after(&[(0, 100), (1, 50)], Outlook::Open), Some((Watermark(45), false)));
    }

    fn standing(index: u32, caught_up: bool) -> Standing {
        let partition = source::Partition { index, name: format!("topic/{index}").into() };
        Standing { partition, caught_up }
    }

    /// The event time of a share of two partitions, the first of which has come to 100.
    fn of_two() -> EventTime {
        let plan = WatermarkPlan { column: 0, lateness_ns: 5, idle_timeout_ns: 1_000, future_max_ns: 1_000_000 };
        let mut event_time = EventTime::new(Some(plan));
        event_time.meet(&[standing(0, true), standing(1, true)], 0);
        event_time.partition(0, &"topic/0".into(), 0).watermark = Watermark(100);
        event_time
    }

    #[test]
    fn a_partition_without_rows_holds_the_watermark_until_it_is_idle_and_no_partition_is_idle_at_once() {
        let mut event_time = of_two();
        event_time.note_rest(10);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), None);
        event_time.partition(0, &"topic/0".into(), 0).last_row_ns = 900;
        event_time.note_rest(1_000);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), Some((Watermark(100), false)));
        event_time.meet(&[], 1_000);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), Some((Watermark(100), true)));
    }

    #[test]
    fn a_partition_that_waits_to_be_read_is_not_idle() {
        let mut event_time = of_two();
        // The reader always has more, of the first partition.
        event_time.partition(0, &"topic/0".into(), 0).last_row_ns = 5_000;
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), None);
        // It rests, and knows that there is more of the second.
        event_time.meet(&[standing(0, true), standing(1, false)], 5_000);
        event_time.note_rest(5_500);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), None);
        event_time.meet(&[standing(0, true), standing(1, true)], 5_600);
        event_time.note_rest(5_999);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), None);
        event_time.note_rest(6_000);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), Some((Watermark(100), true)));
    }

    #[test]
    fn a_table_says_once_that_it_has_been_read() {
        let mut event_time = EventTime::of_table();
        assert_eq!(event_time.end_of_epoch(Outlook::MoreToCome, false), None);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, false), Some((Watermark::MAX, false)));
        // Read anew after a start, it is still the one that was read before.
        assert_eq!(event_time.end_of_epoch(Outlook::MoreToCome, false), None);
    }

    #[test]
    fn of_a_partition_that_several_read_a_share_promises_only_what_it_has_read_itself() {
        let mut event_time = of_two();
        event_time.go_on(Watermark(20), false);
        event_time.note_rest(10);
        // The rest of a piece that another had begun is before what this one has read.
        assert_eq!(event_time.end_of_epoch(Outlook::LastOne, true), None);
        event_time.partition(1, &"topic/1".into(), 20).watermark = Watermark(30);
        assert_eq!(event_time.end_of_epoch(Outlook::LastOne, true), Some((Watermark(30), false)));
        // Where a partition is one share's, what was known of it holds.
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), None);
        event_time.partition(1, &"topic/1".into(), 20).watermark = Watermark(110);
        assert_eq!(event_time.end_of_epoch(Outlook::Open, true), Some((Watermark(100), false)));
    }

    #[test]
    fn partitions_one_after_the_other_promise_nothing_before_the_last() {
        assert_eq!(after(&[(0, 100)], Outlook::MoreToCome), None);
        assert_eq!(after(&[(0, 100), (1, 50)], Outlook::LastOne), Some((Watermark(45), false)));
        assert_eq!(after(&[(0, 50), (1, 100)], Outlook::LastOne), Some((Watermark(95), false)));
    }
}
