//! A horizon in event time: what lies behind it is final, and nothing is remembered of it.
//!
//! A view that corrects what it said must hold what it made it from. With a horizon it does so for rows whose time is not
//! further back than so much before what event time has reached. What is behind is forgotten by all operators of the view in
//! one epoch, and what was said of it stays. A row that comes for it later is late, here, where the view's rows come in: so
//! no operator behind is ever told of a time that it has forgotten.

use crate::event_time::times_or_never;
use crate::operator::{Operator, Output, Times};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::state::Restored;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::not;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// For how long what has a time is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The time: a column of the rows or of the key that go by it. What has none stays.
    pub column: usize,
    /// For how long after it, in event time and in nanoseconds.
    pub keep_ns: i64,
    /// By which watermarks event time is told.
    pub origin: TimeOrigin,
}

impl Horizon {
    /// The latest time that is behind the horizon when event time has come to `reached`.
    pub(crate) fn bound(&self, reached: Watermark) -> i64 {
        match reached {
            Watermark::MIN => i64::MIN,
            reached => reached.0.saturating_sub(self.keep_ns),
        }
    }
}

/// Of each row of a column of times, whether it is up to `bound`.
pub fn behind(times: &ArrayRef, bound: i64) -> Result<BooleanArray> {
    Ok(times_or_never(times)?.into_iter().map(|time| Some(time <= bound)).collect())
}

/// The earliest time of a column; `None` where there is none.
pub fn earliest(times: &ArrayRef) -> Result<Option<i64>> {
    Ok(times_or_never(times)?.into_iter().min().filter(|time| *time < i64::MAX))
}

/// How far a horizon has come as of which epochs.
#[derive(Clone, Default)]
pub struct Bounds(Rc<RefCell<BTreeMap<Epoch, i64>>>);

impl Bounds {
    /// The latest time that is behind as of `epoch`; it is not asked for an earlier one any more.
    pub fn as_of(&self, epoch: Epoch) -> i64 {
        let mut bounds = self.0.borrow_mut();
        let bound = bounds.range(..=epoch).next_back().map_or(i64::MIN, |(_, bound)| *bound);
        bounds.retain(|known, _| *known > epoch);
        bounds.insert(epoch, bound);
        bound
    }
}

/// Hands rows on as they are, and tells how far a horizon has come.
pub(crate) struct WatchHorizon {
    horizon: Horizon,
    bounds: Bounds,
    bound: i64,
}

impl WatchHorizon {
    pub fn new(horizon: &Horizon) -> (WatchHorizon, Bounds) {
        let bounds = Bounds::default();
        (WatchHorizon { horizon: horizon.clone(), bounds: bounds.clone(), bound: i64::MIN }, bounds)
    }

    fn reach(&mut self, epoch: Epoch, watermark: Watermark) {
        let bound = self.horizon.bound(watermark);
        if bound > self.bound {
            self.bound = bound;
            self.bounds.0.borrow_mut().insert(epoch, bound);
        }
    }
}

impl Operator for WatchHorizon {
    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        output.send(0, rows);
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, _output: &mut Output) -> Result<()> {
        self.reach(epoch, times.reached);
        Ok(())
    }

    fn restore(&mut self, sections: Vec<Restored>, watermark: Watermark) -> Result<()> {
        if watermark != Watermark::MAX {
            self.reach(Epoch(0), watermark);
        }
        match sections.first() {
            None => Ok(()),
            Some(section) => Err(section.unknown()),
        }
    }
}

/// The rows of `input` that are not behind the horizon when they come.
#[derive(Clone, Debug)]
pub struct WithinSpec {
    /// What is held up.
    pub input: Box<Plan>,
    /// By which of its columns, and how long.
    pub horizon: Horizon,
}

impl fmt::Display for WithinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Within the horizon by {}", self.input.schema().field(self.horizon.column).name())
    }
}

/// Carries out a [`WithinSpec`].
pub struct WithinHorizon {
    horizon: Horizon,
    /// Times up to here were behind the horizon after the epoch before.
    bound: i64,
    /// Whether it is to report the rows that come too late.
    reports: bool,
}

impl WithinHorizon {
    /// The operator that `spec` asks for. Where both streams of a relation are built one of them `reports` what is late.
    pub fn new(spec: &WithinSpec, reports: bool) -> WithinHorizon {
        WithinHorizon { horizon: spec.horizon.clone(), bound: i64::MIN, reports }
    }
}

impl Operator for WithinHorizon {
    fn process(&mut self, _epoch: Epoch, rows: Rows, output: &mut Output) -> Result<()> {
        let late_bound = rows.late_bound();
        let Some(batch) = rows.into_batch() else { return Ok(()) };
        let times = times_or_never(batch.rows.column(self.horizon.column))?;
        if times.iter().all(|time| *time > self.bound) {
            output.send(0, Rows::new(batch, late_bound));
            return Ok(());
        }
        let within: BooleanArray = times.iter().map(|time| Some(*time > self.bound)).collect();
        if self.reports {
            // What is taken back was told of when it came.
            let late = batch.filter(&not(&within)?)?;
            let came: BooleanArray = (0..late.num_rows()).map(|row| Some(late.diff(row) > 0)).collect();
            let came = late.filter(&came)?.rows;
            output.late.extend((came.num_rows() > 0).then_some(came));
        }
        output.send(0, Rows::new(batch.filter(&within)?, late_bound));
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, _output: &mut Output) -> Result<()> {
        self.bound = self.bound.max(self.horizon.bound(times.reached));
        Ok(())
    }

    fn restore(&mut self, sections: Vec<Restored>, watermark: Watermark) -> Result<()> {
        // At the end of all sources it is not known any more where they stopped.
        if watermark != Watermark::MAX {
            self.bound = self.horizon.bound(watermark);
        }
        match sections.first() {
            None => Ok(()),
            Some(section) => Err(section.unknown()),
        }
    }
}
