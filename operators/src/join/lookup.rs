//! Lookup joins: each row of the left side with the rows of the right side that have its key as of the epoch in which it
//! comes. What was looked up is never corrected.
//!
//! Only the right side is held, so nothing grows with the left one. The changes of an epoch come before its lookups,
//! whatever the order in which the two arrive. Where the right side is a table outside, left rows wait here until it has
//! been read once ([`LookupJoinSpec::waits_for`]); they are state like the rest, and count against the memory budget.

#[cfg(test)]
mod tests;

use super::arrived::{Arrived, Part};
use super::held::{Alike, Held, Incoming, Notes, copies_of, keys_of};
use super::output::{Filter, PAIRS_AT_ONCE, beside_nulls, gathered, record_batch, spread, without_null};
use super::process::{LEFT, RIGHT};
use super::snapshot;
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::{Plan, TimeOrigin};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// `left JOIN right FOR SYSTEM_TIME AS OF .. ON key`.
#[derive(Clone, Debug)]
pub struct LookupJoinSpec {
    /// The rows that are given, none of which is ever taken back; the first [`keys`](Self::keys) columns are the key.
    pub left: Box<Plan>,
    /// The rows that are looked up; their first columns are the key too, of the same types.
    pub right: Box<Plan>,
    /// Whether `right` takes rows back.
    pub right_retracts: bool,
    /// How many columns are the key: one at least.
    pub keys: usize,
    /// Whether a row that nothing is found for is given with NULLs.
    pub outer: bool,
    /// What else must be true of a pair: over the columns of `left`, then those of `right`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The tables that must have been read once before anything is looked up: each promises the end of time when it has.
    pub waits_for: TimeOrigin,
    /// The columns of `left` and of `right`.
    pub schema: SchemaRef,
}

impl fmt::Display for LookupJoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer = if self.outer { "left " } else { "" };
        write!(f, "LookupJoin {outer}by {} {}", self.keys, self.right_retracts)?;
        match &self.filter {
            Some(filter) => write!(f, " where {filter}"),
            None => Ok(()),
        }
    }
}

/// Carries out a [`LookupJoinSpec`]. Port 0: rows that are never taken back.
pub struct LookupJoin {
    schema: SchemaRef,
    schemas: [SchemaRef; 2],
    width: usize,
    outer: bool,
    waits: bool,
    filter: Option<Filter>,
    keys: Keys,
    /// The left rows that wait, and what is looked up.
    held: [Held; 2],
    /// What came for the right side in the current epoch, and what for the left.
    changes: Arrived,
    arrived: Vec<Batch>,
}

impl LookupJoin {
    /// The operator that `spec` asks for.
    pub fn new(spec: &LookupJoinSpec) -> Result<LookupJoin> {
        let schemas = [spec.left.schema(), spec.right.schema()];
        let alike = if spec.right_retracts { Alike::Counted } else { Alike::Apart };
        Ok(LookupJoin {
            schema: spec.schema.clone(),
            width: spec.keys,
            outer: spec.outer,
            waits: !spec.waits_for.sources.is_empty(),
            filter: spec.filter.as_ref().map(|filter| Filter::new(filter, &schemas)).transpose()?,
            keys: keys_of(&schemas[LEFT], spec.keys)?,
            held: [holder(&schemas[LEFT], spec.keys, Alike::Apart), holder(&schemas[RIGHT], spec.keys, alike)],
            changes: Arrived::default(),
            arrived: Vec::new(),
            schemas,
        })
    }

    /// Takes in what changed of the right side.
    fn change(&mut self, part: Part) -> Result<()> {
        let (batch, _) = self.with_key(&part.rows)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let columns = batch.rows.columns();
        let numbers = self.keys.number(&columns[..self.width], rows)?;
        let hashes = hash_rows(columns, rows).map_err(fault)?;
        let copies = copies_of(&batch);
        let incoming = Incoming {
            columns: &columns[self.width..],
            numbers: &numbers,
            hashes: &hashes,
            times: &[],
            copies: &copies,
        };
        let held = &mut self.held[RIGHT];
        let first = held.columns.len();
        match part.retracted {
            true => held.retract(&incoming)?,
            false => held.insert(&incoming)?,
        };
        self.keys.hold(&held.numbers[first as usize..]);
        Ok(())
    }

    /// The rows that have a key, and those that have none.
    fn with_key(&self, batch: &Batch) -> Result<(Batch, Option<Batch>)> {
        without_null(batch, 0..self.width)
    }

    /// Keeps left rows until there is something to look them up in.
    fn wait(&mut self, batch: &Batch) -> Result<()> {
        let rows = batch.num_rows();
        let columns = batch.rows.columns();
        let numbers = self.keys.number(&columns[..self.width], rows)?;
        let incoming = Incoming {
            columns: &columns[self.width..],
            numbers: &numbers,
            hashes: &[],
            times: &[],
            copies: &vec![1; rows],
        };
        self.keys.hold(&numbers);
        self.held[LEFT].insert(&incoming)?;
        Ok(())
    }

    /// The left rows that waited, which wait no longer.
    fn released(&mut self) -> Result<Option<Batch>> {
        let waiting = &self.held[LEFT];
        let rows: Vec<u32> = (0..waiting.counts.len() as u32).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let all: Vec<usize> = (0..self.schemas[LEFT].fields().len()).collect();
        let columns = gathered(&self.keys, waiting, self.width, &rows, &all)?;
        self.keys.release(&waiting.numbers);
        self.held[LEFT] = holder(&self.schemas[LEFT], self.width, Alike::Apart);
        Ok(Some(Batch::append(record_batch(&self.schemas[LEFT], columns, rows.len())?)))
    }

    /// Gives left rows with what is found for them now.
    fn look_up(&mut self, batch: &Batch, output: &mut Output) -> Result<()> {
        let columns = batch.rows.columns();
        let numbers = self.keys.number(&columns[..self.width], batch.num_rows())?;
        let (mut own, mut found) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (row, number) in (0..).zip(&numbers) {
            self.held[RIGHT].walk(*number, |held| {
                own.push(row);
                found.push(held);
            });
            if own.len() >= PAIRS_AT_ONCE || row as usize + 1 == numbers.len() {
                let pairs = (std::mem::take(&mut own), std::mem::take(&mut found));
                self.send(columns, first..row + 1, pairs, output)?;
                first = row + 1;
            }
        }
        Ok(())
    }

    /// Gives the left `rows` with the held rows that `pairs` name, as far as the condition lets them.
    fn send(
        &self,
        left: &[ArrayRef],
        rows: std::ops::Range<u32>,
        pairs: (Vec<u32>, Vec<u32>),
        output: &mut Output,
    ) -> Result<()> {
        let keep = self.allowed(left, &pairs, output)?;
        let kept = (0..pairs.0.len()).filter(|at| keep.as_ref().is_none_or(|keep| keep.value(*at)));
        let mut kept = kept.map(|at| (pairs.0[at], pairs.1[at])).peekable();
        let (mut own, mut found) = (Vec::new(), Vec::new());
        for row in rows {
            let before = own.len();
            while let Some((_, held)) = kept.next_if(|(of, _)| *of == row) {
                let copies = self.held[RIGHT].counts[held as usize] as usize;
                own.extend(std::iter::repeat_n(row, copies));
                found.extend(std::iter::repeat_n(Some(held), copies));
            }
            if self.outer && own.len() == before {
                own.push(row);
                found.push(None);
            }
        }
        let rows = own.len();
        let own = UInt32Array::from(own);
        let mut columns: Vec<ArrayRef> = left.iter().map(|c| take(c, &own, None)).collect::<Result<_, _>>()?;
        columns.extend(self.found(&found)?);
        output.send(0, Rows::unbounded(Batch::append(record_batch(&self.schema, columns, rows)?)));
        Ok(())
    }

    /// For each pair whether the condition holds; `None` where there is none.
    fn allowed(
        &self,
        left: &[ArrayRef],
        (own, held): &(Vec<u32>, Vec<u32>),
        output: &mut Output,
    ) -> Result<Option<BooleanArray>> {
        let Some(filter) = self.filter.as_ref().filter(|_| !own.is_empty()) else { return Ok(None) };
        let rows = UInt32Array::from(own.clone());
        let of_left = filter.columns[LEFT].iter().map(|at| take(&left[*at], &rows, None));
        let mut columns: Vec<ArrayRef> = of_left.collect::<Result<_, _>>()?;
        columns.extend(gathered(&self.keys, &self.held[RIGHT], self.width, held, &filter.columns[RIGHT])?);
        Ok(Some(filter.holds(columns, own.len(), Some(&mut output.dead))?))
    }

    /// The columns of held rows, NULL where there is none.
    fn found(&self, rows: &[Option<u32>]) -> Result<Vec<ArrayRef>> {
        let there: Vec<u32> = rows.iter().flatten().copied().collect();
        let all: Vec<usize> = (0..self.schemas[RIGHT].fields().len()).collect();
        spread(gathered(&self.keys, &self.held[RIGHT], self.width, &there, &all)?, rows)
    }

    /// Gives left rows that have no key: nothing is found for them.
    fn send_alone(&self, alone: Option<Batch>, output: &mut Output) -> Result<()> {
        let Some(alone) = alone.filter(|alone| self.outer && !alone.is_empty()) else { return Ok(()) };
        let rows = beside_nulls(&self.schema, &alone.rows, &self.schemas[RIGHT])?;
        output.send(0, Rows::unbounded(Batch::append(rows)));
        Ok(())
    }

    /// Gives memory back: of rows that are gone, and of keys that were asked for and are not there.
    fn compact(&mut self) -> Result<()> {
        if let Some(compacted) = self.held[RIGHT].compact()? {
            self.keys.release(&compacted.dropped);
        }
        if let Some(renamed) = self.keys.compact()? {
            self.held.iter_mut().for_each(|held| held.rename(&renamed));
        }
        Ok(())
    }
}

fn holder(schema: &SchemaRef, keys: usize, alike: Alike) -> Held {
    Held::beside_key(schema, keys, Notes { alike, held_ns: None, judged: false, matched: false })
}

impl Operator for LookupJoin {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn process_second(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.changes.add(RIGHT, rows);
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        for part in self.changes.parts()? {
            self.change(part)?;
        }
        let ready = !self.waits || times.now == Watermark::MAX;
        if ready && let Some(waited) = self.released()? {
            self.look_up(&waited, output)?;
        }
        for batch in std::mem::take(&mut self.arrived) {
            let (batch, alone) = self.with_key(&batch)?;
            self.send_alone(alone, output)?;
            match ready {
                true => self.look_up(&batch, output)?,
                false => self.wait(&batch)?,
            }
        }
        self.compact()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        Ok(snapshot::sections(&self.keys, &mut self.held, self.width))
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        snapshot::restore(&mut self.keys, &mut self.held, self.width, &sections, |_, _| Ok(Vec::new()))
    }

    fn state(&self) -> StateSize {
        let [waiting, right] = &self.held;
        let bytes = waiting.size() + right.size() + self.keys.size();
        StateSize { rows: (waiting.len() + right.len()) as u64, bytes: bytes as u64 }
    }
}
