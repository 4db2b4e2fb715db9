//! As-of joins: each row of the left side with the one row of the right side that is nearest to it in an order, of those
//! with its key that are not beyond it.
//!
//! Both sides are held in order by key. A row of the right side that comes, changes or goes, however late, corrects the
//! rows of the left side between it and the next. Of right rows that stand at the same place one is chosen by a hash of its
//! contents, so that the answer does not hang on which came first.

#[cfg(test)]
mod tests;

use super::arrived::Arrived;
use super::forget::{Forgetting, known};
use super::held::{Alike, Held, Incoming, Notes, Shown, copies_of, keys_of, picked};
use super::output::{beside_nulls, gathered, record_batch, spread, without_null};
use super::process::{LEFT, RIGHT};
use super::snapshot;
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::horizon::Horizon;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::Plan;
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// `left ASOF JOIN right ON key AND right.at <= left.at`.
#[derive(Clone, Debug)]
pub struct AsofJoinSpec {
    /// The rows that are given; the first [`keys`](Self::keys) columns are the key.
    pub left: Box<Plan>,
    /// The versions that are looked up; their first columns are the key too, of the same types.
    pub right: Box<Plan>,
    /// Whether `left` takes rows back.
    pub left_retracts: bool,
    /// Whether `right` takes rows back.
    pub right_retracts: bool,
    /// How many columns are the key.
    pub keys: usize,
    /// The column of `left` that is compared: a timestamp, a date or an integer.
    pub left_at: usize,
    /// The column of `right` that is compared, of the same type.
    pub right_at: usize,
    /// On which side of a row its match is.
    pub nearest: Nearest,
    /// Whether a row without a match is given with NULLs.
    pub outer: bool,
    /// How long after [`left_at`](Self::left_at) a row of the left side is forgotten, with nothing taken back; a version goes
    /// when no row can come any more that it is the nearest to. Only where the nearest is before.
    pub horizon: Option<Horizon>,
    /// After how long without a row of it a key is forgotten, in nanoseconds.
    pub state_ttl_ns: Option<i64>,
    /// The columns of `left`, then those of `right`.
    pub schema: SchemaRef,
}

/// On which side of a row its match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nearest {
    /// `right < left`: the latest before it.
    Before,
    /// `right <= left`: the latest before it, or at the same place.
    AtOrBefore,
    /// `right > left`: the earliest behind it.
    After,
    /// `right >= left`: the earliest behind it, or at the same place.
    AtOrAfter,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Nearest::Before => "<",
            Nearest::AtOrBefore => "<=",
            Nearest::After => ">",
            Nearest::AtOrAfter => ">=",
        })
    }
}

impl fmt::Display for AsofJoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer = if self.outer { "left " } else { "" };
        write!(f, "AsofJoin {outer}by {}: {} {} {}", self.keys, self.right_at, self.nearest, self.left_at)?;
        write!(f, " {} {}", self.left_retracts, self.right_retracts)
    }
}

/// Carries out an [`AsofJoinSpec`]. Port 0: every change.
pub struct AsofJoin {
    schema: SchemaRef,
    schemas: [SchemaRef; 2],
    width: usize,
    at: [usize; 2],
    nearest: Nearest,
    outer: bool,
    keys: Keys,
    pub(super) held: [Held; 2],
    /// The rows of the left side in order: key, place, row.
    pub(super) waiting: BTreeSet<(u32, i64, u32)>,
    /// The versions in order: key, place, hash of the contents, row.
    pub(super) versions: BTreeSet<(u32, i64, u64, u32)>,
    /// The version that each row of the left side is shown with.
    matched: Vec<Option<u32>>,
    /// When rows go, with the nanoseconds in a step of their places.
    horizon: Option<(Horizon, i64)>,
    pub(super) touched: BTreeSet<u32>,
    pub(super) forgetting: Forgetting,
    arrived: Arrived,
}

impl AsofJoin {
    /// The operator that `spec` asks for.
    pub fn new(spec: &AsofJoinSpec) -> Result<AsofJoin> {
        let schemas = [spec.left.schema(), spec.right.schema()];
        let retracts = [spec.left_retracts, spec.right_retracts];
        let unit = |horizon: &Horizon| unit_ns(schemas[LEFT].field(horizon.column).data_type());
        let horizon = spec.horizon.clone().map(|horizon| Ok::<_, Error>((unit(&horizon)?, horizon))).transpose()?;
        let held_ns = horizon.as_ref().map(|(unit_ns, horizon)| horizon.keep_ns / unit_ns);
        let held = [LEFT, RIGHT].map(|side| {
            let alike = if retracts[side] { Alike::Counted } else { Alike::Apart };
            let notes = Notes { alike, held_ns, judged: side == LEFT, matched: false };
            Held::beside_key(&schemas[side], spec.keys, notes)
        });
        Ok(AsofJoin {
            schema: spec.schema.clone(),
            width: spec.keys,
            at: [spec.left_at, spec.right_at],
            nearest: spec.nearest,
            outer: spec.outer,
            keys: keys_of(&schemas[LEFT], spec.keys)?,
            held,
            waiting: BTreeSet::new(),
            versions: BTreeSet::new(),
            matched: Vec::new(),
            horizon: horizon.map(|(unit_ns, horizon)| (horizon, unit_ns)),
            touched: BTreeSet::new(),
            forgetting: Forgetting::default(),
            arrived: Arrived::default(),
            schemas,
        })
    }

    fn take_in(&mut self, side: usize, batch: Batch, retracted: bool, output: &mut Output) -> Result<()> {
        let batch = self.without_null(side, batch, output)?;
        let batch = match retracted {
            true if self.horizon.is_some() || self.forgetting.forgets() => {
                known(&mut self.keys, &mut self.held[side], self.width, batch)?
            }
            _ => batch,
        };
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let columns = batch.rows.columns();
        let numbers = self.keys.number(&columns[..self.width], rows)?;
        self.forgetting.note(&numbers);
        let hashes = hash_rows(columns, rows).map_err(fault)?;
        let times = places(&columns[self.at[side]], side, self.nearest)?;
        let copies = copies_of(&batch);
        let incoming = Incoming {
            columns: &columns[self.width..],
            numbers: &numbers,
            hashes: &hashes,
            times: &times,
            copies: &copies,
        };
        let held = match retracted {
            true => self.held[side].retract(&incoming)?,
            false => self.held[side].insert(&incoming, &mut self.keys)?,
        };
        for (at, row) in held.into_iter().enumerate() {
            let gone = self.held[side].counts[row as usize] == 0;
            let (number, time) = (numbers[at], times[at]);
            if side == LEFT {
                match gone {
                    true => self.waiting.remove(&(number, time, row)),
                    false => self.waiting.insert((number, time, row)),
                };
                self.touched.insert(row);
            } else {
                match gone {
                    true => self.versions.remove(&(number, time, hashes[at], row)),
                    false => self.versions.insert((number, time, hashes[at], row)),
                };
                self.touch(number, time);
            }
        }
        self.matched.resize(self.held[LEFT].counts.len(), None);
        Ok(())
    }

    /// The rows that have a key and a place. Of the others a left one is shown alone, if such are.
    fn without_null(&self, side: usize, batch: Batch, output: &mut Output) -> Result<Batch> {
        let (keyed, alone) = without_null(&batch, (0..self.width).chain([self.at[side]]))?;
        let Some(alone) = alone else { return Ok(keyed) };
        if side == LEFT && self.outer && !alone.is_empty() {
            let rows = beside_nulls(&self.schema, &alone.rows, &self.schemas[RIGHT])?;
            let diffs = Int64Array::from_iter_values((0..alone.num_rows()).map(|row| alone.diff(row)));
            output.send(0, Rows::unbounded(Batch::changes(rows, diffs)));
        }
        Ok(keyed)
    }

    /// The rows may have another match for which a version at `time` is the nearest.
    fn touch(&mut self, number: u32, time: i64) {
        let here = Bound::Excluded((number, time, u64::MAX, u32::MAX));
        let end = match self.versions.range((here, Bound::Unbounded)).next() {
            Some(&(of, time, ..)) if of == number => (number, time, 0),
            _ => (number.saturating_add(1), i64::MIN, 0),
        };
        self.touched.extend(self.waiting.range((number, time, 0)..end).map(|(_, _, row)| *row));
    }

    /// The version that is nearest to a row.
    fn nearest(&self, number: u32, time: i64) -> Option<u32> {
        let last = self.versions.range(..=(number, time, u64::MAX, u32::MAX)).next_back()?;
        (last.0 == number).then_some(last.3)
    }

    /// Brings the rows that were touched to what should be shown of them.
    pub(super) fn settle(&mut self, output: &mut Output) -> Result<()> {
        let (mut told, mut later) = (Vec::new(), Vec::new());
        for row in std::mem::take(&mut self.touched) {
            let at = row as usize;
            let before = (self.held[LEFT].shown[at].copies, self.matched[at]);
            let now = self.standing(row);
            let (retracted, inserted) = match before.1 == now.1 {
                true => (before.0.saturating_sub(now.0), now.0.saturating_sub(before.0)),
                false => (before.0, now.0),
            };
            told.extend(std::iter::repeat_n((row, before.1), retracted as usize));
            later.extend(std::iter::repeat_n((row, now.1), inserted as usize));
            self.held[LEFT].shown[at] = Shown { copies: now.0, mark: false };
            self.matched[at] = now.1;
        }
        let diffs = std::iter::repeat_n(-1, told.len()).chain(std::iter::repeat_n(1, later.len()));
        let diffs = Int64Array::from_iter_values(diffs);
        told.extend(later);
        if told.is_empty() {
            return Ok(());
        }
        let left: Vec<u32> = told.iter().map(|(row, _)| *row).collect();
        let right: Vec<Option<u32>> = told.into_iter().map(|(_, version)| version).collect();
        let mut columns = self.columns_of(LEFT, &left)?;
        columns.extend(self.versions_of(&right)?);
        let rows = record_batch(&self.schema, columns, left.len())?;
        output.send(0, Rows::unbounded(Batch::changes(rows, diffs)));
        Ok(())
    }

    /// How often a row is to be shown, and with which version.
    fn standing(&self, row: u32) -> (u32, Option<u32>) {
        let held = &self.held[LEFT];
        let count = held.counts[row as usize];
        let version = match count {
            0 => None,
            _ => self.nearest(held.numbers[row as usize], held.times[row as usize]),
        };
        if version.is_some() || self.outer { (count, version) } else { (0, None) }
    }

    fn columns_of(&self, side: usize, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.schemas[side].fields().len()).collect();
        gathered(&self.keys, &self.held[side], self.width, rows, &all)
    }

    fn versions_of(&self, rows: &[Option<u32>]) -> Result<Vec<ArrayRef>> {
        let there: Vec<u32> = rows.iter().flatten().copied().collect();
        spread(self.columns_of(RIGHT, &there)?, rows)
    }

    /// Forgets the rows behind the horizon, and the versions that only they could be shown with: what was said stays.
    fn leave_behind(&mut self, reached: Watermark) {
        let Some((horizon, unit_ns)) = &self.horizon else { return };
        let bound = horizon.bound(reached).div_euclid(*unit_ns);
        let last = if self.nearest == Nearest::Before { bound.saturating_sub(1) } else { bound };
        let rows = self.held[LEFT].expired(last.saturating_add(1));
        for &row in &rows {
            let held = &self.held[LEFT];
            self.waiting.remove(&(held.numbers[row as usize], held.times[row as usize], row));
        }
        self.held[LEFT].drop_rows(&rows);
        // Of the versions up to there the last of each key is still what the next row may be shown with.
        let passed = self.held[RIGHT].expired(last.saturating_add(1));
        let keys: BTreeSet<u32> = passed.iter().map(|row| self.held[RIGHT].numbers[*row as usize]).collect();
        for number in keys {
            let until = (number, last, u64::MAX, u32::MAX);
            let mut behind: Vec<_> = self.versions.range((number, i64::MIN, 0, 0)..=until).copied().collect();
            behind.pop();
            for version in &behind {
                self.versions.remove(version);
            }
            self.held[RIGHT].drop_rows(&behind.into_iter().map(|(.., row)| row).collect::<Vec<_>>());
        }
    }

    /// Gives memory back.
    fn compact(&mut self) -> Result<()> {
        for side in [LEFT, RIGHT] {
            let rows = self.held[side].counts.len();
            let Some(compacted) = self.held[side].compact()? else { continue };
            self.keys.release(&compacted.dropped);
            let mut moved = vec![None; rows];
            for (now, before) in (0..).zip(&compacted.remaining) {
                moved[*before as usize] = Some(now);
            }
            let moved = |row: u32| moved[row as usize];
            if side == LEFT {
                self.matched = picked(&self.matched, &compacted.remaining);
                let waiting = std::mem::take(&mut self.waiting).into_iter();
                self.waiting = waiting.filter_map(|(number, time, row)| Some((number, time, moved(row)?))).collect();
            } else {
                // A version that is gone is not shown any more: its rows were settled before.
                self.matched.iter_mut().for_each(|version| *version = version.and_then(&moved));
                let versions = std::mem::take(&mut self.versions).into_iter();
                self.versions =
                    versions.filter_map(|(n, time, hash, row)| Some((n, time, hash, moved(row)?))).collect();
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.held.iter_mut().for_each(|held| held.rename(&renamed));
            self.forgetting.rename(&renamed);
            let number = |number: u32| renamed[number as usize];
            let waiting = std::mem::take(&mut self.waiting).into_iter();
            self.waiting = waiting.filter_map(|(n, time, row)| Some((number(n)?, time, row))).collect();
            let versions = std::mem::take(&mut self.versions).into_iter();
            self.versions = versions.filter_map(|(n, time, hash, row)| Some((number(n)?, time, hash, row))).collect();
        }
        Ok(())
    }

    /// Finds rows and versions again that a checkpoint brought.
    fn index(&mut self) -> Result<()> {
        for row in 0..self.held[LEFT].counts.len() as u32 {
            let held = &self.held[LEFT];
            self.waiting.insert((held.numbers[row as usize], held.times[row as usize], row));
        }
        let versions: Vec<u32> = (0..self.held[RIGHT].counts.len() as u32).collect();
        let columns = self.columns_of(RIGHT, &versions)?;
        let hashes = hash_rows(&columns, versions.len()).map_err(fault)?;
        for row in versions {
            let (held, at) = (&self.held[RIGHT], row as usize);
            self.versions.insert((held.numbers[at], held.times[at], hashes[at], row));
        }
        for row in 0..self.held[LEFT].counts.len() as u32 {
            let (copies, version) = self.standing(row);
            self.held[LEFT].shown[row as usize] = Shown { copies, mark: false };
            self.matched.push(version);
        }
        Ok(())
    }
}

/// Where rows of a side stand in an order in which the match of a row is always the last that is not behind it.
fn places(column: &ArrayRef, side: usize, nearest: Nearest) -> Result<Vec<i64>> {
    let column = cast(column, &DataType::Int64)?;
    let values = column.as_primitive::<Int64Type>().values().iter();
    let place = |value: &i64| match (nearest, side) {
        (Nearest::AtOrBefore, _) | (Nearest::Before, RIGHT) => *value,
        (Nearest::Before, _) => value.saturating_sub(1),
        (Nearest::AtOrAfter, _) | (Nearest::After, RIGHT) => value.saturating_neg(),
        (Nearest::After, _) => value.saturating_neg().saturating_sub(1),
    };
    Ok(values.map(place).collect())
}

/// The nanoseconds in a step of a time.
fn unit_ns(data_type: &DataType) -> Result<i64> {
    match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => Ok(1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(1),
        other => Err(Error::bug(format!("a horizon by {other}, which is no timestamp"))),
    }
}

impl Operator for AsofJoin {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(LEFT, rows);
        Ok(())
    }

    fn process_second(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(RIGHT, rows);
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        for part in self.arrived.parts()? {
            self.take_in(part.side, part.rows, part.retracted, output)?;
        }
        self.settle(output)?;
        self.let_go(epoch, output)?;
        self.leave_behind(times.reached);
        self.compact()
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.forgetting.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = snapshot::sections(&self.keys, &mut self.held, self.width);
        self.forgetting.sections(&self.keys, &mut sections)?;
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        let sections = self.forgetting.restore(&mut self.keys, sections)?;
        let (at, nearest) = (self.at, self.nearest);
        let times = |side: usize, columns: &[ArrayRef]| places(&columns[at[side]], side, nearest);
        snapshot::restore(&mut self.keys, &mut self.held, self.width, &sections, times)?;
        self.index()
    }

    fn state(&self) -> StateSize {
        let [left, right] = &self.held;
        let index = self.waiting.len() * 24 + self.versions.len() * 36 + self.matched.capacity() * 8;
        let bytes = left.size() + right.size() + self.keys.size() + index + self.forgetting.size();
        StateSize { rows: (left.len() + right.len()) as u64, bytes: bytes as u64 }
    }
}
