//! Event time at the source: the watermark of each partition, which of them are idle, and times not to be believed.

use super::conform::Facts;
use super::raw_of;
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
use thalweg_schemas::source::Outlook;

/// The event time of one worker's share of a source.
pub(super) struct EventTime {
    plan: Option<WatermarkPlan>,
    partitions: BTreeMap<u32, Partition>,
    /// What was said last: the watermark and whether the share is idle.
    said: (Watermark, bool),
    /// Whether the share has ever been idle: then the others went on without it.
    was_idle: bool,
    ended: bool,
}

struct Partition {
    name: Arc<str>,
    watermark: Watermark,
    last_row_ns: i64,
}

impl EventTime {
    pub fn new(plan: Option<WatermarkPlan>) -> EventTime {
        EventTime { plan, partitions: BTreeMap::new(), said: (Watermark::MIN, false), was_idle: false, ended: false }
    }

    /// No row will come any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// A bound on the watermark by which rows taken in now are judged late. What this worker said before the current
    /// epoch bounds the minimum over all workers, unless the others were let go on without it.
    pub fn bound(&self) -> Watermark {
        if self.was_idle { Watermark::MAX } else { self.said.0 }
    }

    /// Takes the partition's event time from `rows`; those too far in the future become bad records.
    pub fn judge(
        &mut self,
        rows: RecordBatch,
        partition: u32,
        name: &Arc<str>,
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
        let entry = self.partitions.entry(partition).or_insert_with(|| Partition {
            name: name.clone(),
            watermark: Watermark::MIN,
            last_row_ns: now_ns,
        });
        entry.watermark = entry.watermark.max(Watermark(latest.saturating_sub(plan.lateness_ns)));
        entry.last_row_ns = now_ns;
        Ok(rows)
    }

    /// What is to be said at the end of an epoch, if it is news.
    pub fn end_of_epoch(&mut self, now_ns: i64, outlook: Outlook) -> Option<(Watermark, bool)> {
        let next = if self.ended {
            (Watermark::MAX, false)
        } else if outlook == Outlook::MoreToCome {
            // Whatever has been read, the next partition may begin where this one began.
            self.said
        } else if outlook == Outlook::LastOne {
            let current = self.partitions.last_key_value().map_or(Watermark::MIN, |(_, current)| current.watermark);
            (current.max(self.said.0), false)
        } else {
            let idle_after = self.plan.as_ref()?.idle_timeout_ns;
            let active = self.partitions.values().filter(|p| now_ns.saturating_sub(p.last_row_ns) < idle_after);
            match active.map(|p| p.watermark).min() {
                Some(watermark) => (watermark.max(self.said.0), false),
                None if self.partitions.is_empty() => self.said,
                None => (self.said.0, true),
            }
        };
        self.was_idle |= next.1;
        (next != self.said).then(|| {
            self.said = next;
            next
        })
    }

    /// Enters the partitions' watermarks in the books.
    pub fn show(&self, book: &SourceBook, worker: usize) {
        let mut shown = lock(&book.watermarks);
        for partition in self.partitions.values() {
            let watermark = if self.ended { Watermark::MAX } else { partition.watermark };
            shown.insert((worker, partition.name.to_string()), (watermark, self.said.1));
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
            event_time.judge(rows, *partition, &name, 0, facts, &mut Vec::new()).unwrap();
        }
        event_time.end_of_epoch(10, outlook)
    }

    #[test]
    fn partitions_side_by_side_wait_for_the_slowest() {
        assert_eq!(after(&[(0, 100), (1, 50)], Outlook::Open), Some((Watermark(45), false)));
    }

    #[test]
    fn partitions_one_after_the_other_promise_nothing_before_the_last() {
        assert_eq!(after(&[(0, 100)], Outlook::MoreToCome), None);
        assert_eq!(after(&[(0, 100), (1, 50)], Outlook::LastOne), Some((Watermark(45), false)));
        assert_eq!(after(&[(0, 50), (1, 100)], Outlook::LastOne), Some((Watermark(95), false)));
    }
}
