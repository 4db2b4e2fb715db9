//! Lookup joins: each row of the left side with the rows of the right side that have its key as of the epoch in which it
//! comes. What was looked up is never corrected.
//!
//! Only the right side is held, so nothing grows with the left one; but where that takes rows back, each keeps its answer
//! (`given.rs`). The changes of an epoch come before its lookups, whatever the order in which the two arrive. Left rows wait
//! here where a table outside has not been read yet ([`LookupJoinSpec::waits_for`]), or where its row of a key has been
//! asked for and has not come (`asked.rs`); they are state like the rest, and count against the memory budget.

mod asked;
mod given;
#[cfg(test)]
mod tests;

pub use asked::AskedSpec;
pub(crate) use asked::HOLDS;

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
use arrow::array::{ArrayRef, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::{not, take};
use arrow::datatypes::SchemaRef;
use asked::Asked;
use datafusion_physical_expr::PhysicalExpr;
use given::{Answers, Given};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;
use thalweg_schemas::questions::Questions;

/// `left JOIN right FOR SYSTEM_TIME AS OF .. ON key`.
#[derive(Clone, Debug)]
pub struct LookupJoinSpec {
    /// The rows that are given; the first [`keys`](Self::keys) columns are the key.
    pub left: Box<Plan>,
    /// The rows that are looked up; their first columns are the key too, of the same types.
    pub right: Box<Plan>,
    /// Whether `left` takes rows back: then what was given for one goes with it.
    pub left_retracts: bool,
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
    /// How `right` is asked for the rows of keys, where it is a table that is not read whole.
    pub asked: Option<AskedSpec>,
    /// The columns of `left` and of `right`.
    pub schema: SchemaRef,
}

impl fmt::Display for LookupJoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer = if self.outer { "left " } else { "" };
        write!(f, "LookupJoin {outer}by {} {}", self.keys, self.right_retracts)?;
        if self.left_retracts {
            write!(f, " of a changelog")?;
        }
        if let Some(asked) = &self.asked {
            write!(f, " asking, {} for {}", asked.rows, asked.ttl_ns)?;
        }
        match &self.filter {
            Some(filter) => write!(f, " where {filter}"),
            None => Ok(()),
        }
    }
}

/// Carries out a [`LookupJoinSpec`]. Port 0: rows that are never taken back where the left side takes none back, and
/// changes where it does. Port 1, where a table is asked: since when rows that wait hold the watermark.
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
    asked: Option<Asked>,
    given: Option<Given>,
    /// What came in the current epoch.
    arrived: Arrived,
}

impl LookupJoin {
    /// The operator that `spec` asks for, over a right side that is read whole.
    pub fn new(spec: &LookupJoinSpec) -> Result<LookupJoin> {
        let schemas = [spec.left.schema(), spec.right.schema()];
        let counted = |retracts: bool| if retracts { Alike::Counted } else { Alike::Apart };
        let given = || Given::new(&schemas[LEFT], &schemas[RIGHT], spec.keys);
        Ok(LookupJoin {
            schema: spec.schema.clone(),
            width: spec.keys,
            outer: spec.outer,
            waits: !spec.waits_for.sources.is_empty(),
            filter: spec.filter.as_ref().map(|filter| Filter::new(filter, &schemas)).transpose()?,
            keys: keys_of(&schemas[LEFT], spec.keys)?,
            held: [
                holder(&schemas[LEFT], spec.keys, counted(spec.left_retracts)),
                holder(&schemas[RIGHT], spec.keys, counted(spec.right_retracts)),
            ],
            asked: None,
            given: spec.left_retracts.then(given).transpose()?,
            arrived: Arrived::default(),
            schemas,
        })
    }

    /// The same over a table whose rows come as they are asked for, on one of `peers` workers.
    pub fn asking(self, spec: &AskedSpec, questions: Arc<Questions>, peers: usize, tick_ns: i64) -> LookupJoin {
        // Of a key there is one row, the one that was answered last.
        let right = holder(&self.schemas[RIGHT], self.width, Alike::Apart);
        let [left, _] = self.held;
        LookupJoin { asked: Some(Asked::new(spec, questions, peers, tick_ns)), held: [left, right], ..self }
    }

    /// Takes in what changed of the right side.
    fn change(&mut self, part: Part) -> Result<()> {
        let (batch, _) = self.with_key(&part.rows)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let numbers = self.numbers(&batch)?;
        let columns = batch.rows.columns();
        let hashes = hash_rows(columns, rows).map_err(fault)?;
        let copies = copies_of(&batch);
        let incoming = Incoming {
            columns: &columns[self.width..],
            numbers: &numbers,
            hashes: &hashes,
            times: &[],
            copies: &copies,
        };
        let right = &mut self.held[RIGHT];
        match part.retracted {
            true => right.retract(&incoming),
            false => right.insert(&incoming, &mut self.keys),
        }
        .map(drop)
    }

    /// Takes in answers: the last of each key in an epoch counts, and none where one is held that may still be used. Gives
    /// the keys that were answered.
    fn learn(&mut self, answers: Vec<Batch>, epoch: Epoch) -> Result<Vec<u32>> {
        let mut last: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
        for (at, batch) in answers.iter().enumerate() {
            last.extend(self.numbers(batch)?.into_iter().zip((0..).map(|row| (at, row))));
        }
        if let Some(asked) = &self.asked {
            last.retain(|number, _| !asked.is_of_use(*number, epoch));
        }
        let numbers: Vec<u32> = last.keys().copied().collect();
        self.forget(&numbers);
        let Some(asked) = &mut self.asked else { return Ok(Vec::new()) };
        asked.answered(&numbers, epoch, &mut self.keys)?;
        for (at, batch) in answers.iter().enumerate() {
            let there = last.iter().filter(|(_, (of, row))| *of == at && batch.diff(*row as usize) > 0);
            let (numbers, rows): (Vec<u32>, Vec<u64>) = there.map(|(number, (_, row))| (*number, *row)).unzip();
            let found = Batch::append(batch.rows.clone()).take(&rows.into())?;
            let columns = &found.rows.columns()[self.width..];
            let copies = vec![1; numbers.len()];
            let incoming = Incoming { columns, numbers: &numbers, hashes: &[], times: &[], copies: &copies };
            self.held[RIGHT].insert(&incoming, &mut self.keys)?;
        }
        Ok(numbers)
    }

    /// What is held of the right side under these keys goes.
    fn forget(&mut self, numbers: &[u32]) {
        let mut gone = Vec::new();
        numbers.iter().for_each(|number| self.held[RIGHT].walk(*number, |row| gone.push(row)));
        self.held[RIGHT].drop_rows(&gone);
    }

    /// The rows that have a key, and those that have none.
    fn with_key(&self, batch: &Batch) -> Result<(Batch, Option<Batch>)> {
        without_null(batch, 0..self.width)
    }

    /// Takes in left rows that come or go.
    fn take_in(&mut self, part: Part, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let (mut batch, alone) = self.with_key(&part.rows)?;
        self.send_alone(alone, output)?;
        if let Some(given) = &mut self.given {
            let split = given.split(&batch, &copies_of(&batch))?;
            let again = given.again(&split.known, part.retracted, self.outer)?;
            self.send_again(again, part.retracted, output)?;
            batch = split.new;
        }
        match part.retracted {
            _ if batch.is_empty() => Ok(()),
            true => {
                let numbers = self.numbers(&batch)?;
                self.waiting(&batch, &numbers, |held, _, incoming| held.retract(incoming))
            }
            false => self.come(&batch, epoch, times, output),
        }
    }

    /// Looks up rows that come, or lets them wait.
    fn come(&mut self, batch: &Batch, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let numbers = self.numbers(batch)?;
        let Some(asked) = &mut self.asked else {
            let ready = self.is_ready(times);
            return if ready { self.look_up(batch, &numbers, output) } else { self.wait(batch, &numbers) };
        };
        let (known, old) = asked.known(&numbers, epoch, &mut self.keys);
        self.forget(&old);
        if known.true_count() == known.len() {
            return self.look_up(batch, &numbers, output);
        }
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for (number, known) in numbers.into_iter().zip(known.values()) {
            if known { &mut found } else { &mut unknown }.push(number);
        }
        self.look_up(&batch.filter(&known)?, &found, output)?;
        self.wait(&batch.filter(&not(&known)?)?, &unknown)?;
        match &mut self.asked {
            Some(asked) => asked.ask(&unknown, times.before, &mut self.keys),
            None => Ok(()),
        }
    }

    /// The numbers of the rows' keys.
    fn numbers(&mut self, batch: &Batch) -> Result<Vec<u32>> {
        self.keys.number(&batch.rows.columns()[..self.width], batch.num_rows())
    }

    fn is_ready(&self, times: Times) -> bool {
        !self.waits || times.now == Watermark::MAX
    }

    /// Keeps left rows until there is something to look them up in.
    fn wait(&mut self, batch: &Batch, numbers: &[u32]) -> Result<()> {
        self.waiting(batch, numbers, |held, keys, incoming| held.insert(incoming, keys))
    }

    /// Changes what waits by left rows, whose keys have these numbers.
    fn waiting(
        &mut self,
        batch: &Batch,
        numbers: &[u32],
        change: impl FnOnce(&mut Held, &mut Keys, &Incoming) -> Result<Vec<u32>>,
    ) -> Result<()> {
        let (columns, rows) = (batch.rows.columns(), batch.num_rows());
        let hashes = match self.given {
            Some(_) => hash_rows(columns, rows).map_err(fault)?,
            None => Vec::new(),
        };
        let copies = copies_of(batch);
        let columns = &columns[self.width..];
        let incoming = Incoming { columns, numbers, hashes: &hashes, times: &[], copies: &copies };
        change(&mut self.held[LEFT], &mut self.keys, &incoming).map(drop)
    }

    /// The left rows that waited and wait no longer: those of these keys, or all.
    fn released(&mut self, numbers: Option<&[u32]>) -> Result<Option<Batch>> {
        let waiting = &mut self.held[LEFT];
        let mut rows = Vec::new();
        match numbers {
            Some(numbers) => numbers.iter().for_each(|number| waiting.walk(*number, |row| rows.push(row))),
            None => rows.extend((0..waiting.counts.len() as u32).filter(|row| waiting.counts[*row as usize] > 0)),
        }
        // In the order in which they came.
        rows.sort_unstable();
        if rows.is_empty() {
            return Ok(None);
        }
        let all: Vec<usize> = (0..self.schemas[LEFT].fields().len()).collect();
        let columns = gathered(&self.keys, waiting, self.width, &rows, &all)?;
        let copies = rows.iter().map(|row| i64::from(waiting.counts[*row as usize])).collect::<Vec<_>>();
        waiting.drop_rows(&rows);
        let batch = record_batch(&self.schemas[LEFT], columns, rows.len())?;
        Ok(Some(if self.given.is_some() { Batch::changes(batch, copies.into()) } else { Batch::append(batch) }))
    }

    /// Gives left rows with what is found for them now.
    fn look_up(&mut self, batch: &Batch, numbers: &[u32], output: &mut Output) -> Result<()> {
        let (mut own, mut found) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (row, number) in (0..).zip(numbers) {
            self.held[RIGHT].walk(*number, |held| {
                own.push(row);
                found.push(held);
            });
            if own.len() >= PAIRS_AT_ONCE || row as usize + 1 == numbers.len() {
                let pairs = (std::mem::take(&mut own), std::mem::take(&mut found));
                self.send(batch, first..row + 1, pairs, output)?;
                first = row + 1;
            }
        }
        Ok(())
    }

    /// Gives the left `rows` with the held rows that `pairs` name, as far as the condition lets them.
    fn send(
        &mut self,
        left: &Batch,
        rows: std::ops::Range<u32>,
        pairs: (Vec<u32>, Vec<u32>),
        output: &mut Output,
    ) -> Result<()> {
        let columns = left.rows.columns();
        let keep = self.allowed(columns, &pairs, output)?;
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
            // What was not found is an answer as well, and may be taken back.
            if own.len() == before && (self.outer || self.given.is_some()) {
                own.push(row);
                found.push(None);
            }
        }
        let own = UInt32Array::from(own);
        let right = self.found(&found)?;
        let Some(given) = &mut self.given else { return self.emit(columns, &own, right, None, output) };
        let copies: Vec<i64> = own.values().iter().map(|row| left.diff(*row as usize)).collect();
        let times: Vec<u32> = copies.iter().map(|copies| u32::try_from(*copies).unwrap_or(u32::MAX)).collect();
        let is_found: Vec<bool> = found.iter().map(Option::is_some).collect();
        given.keep(columns, &own, &times, &right, is_found.clone())?;
        if self.outer {
            return self.emit(columns, &own, right, Some(copies), output);
        }
        let keep = BooleanArray::from(is_found);
        let filtered = |column: &dyn arrow::array::Array| arrow::compute::filter(column, &keep);
        let right = right.iter().map(|column| filtered(column.as_ref())).collect::<Result<_, _>>()?;
        let own = own.values().iter().zip(&found).filter_map(|(row, found)| found.map(|_| *row));
        let copies = copies.into_iter().zip(&found).filter_map(|(copies, found)| found.map(|_| copies));
        self.emit(columns, &own.collect(), right, Some(copies.collect()), output)
    }

    /// Sends the left rows `own` beside `right`, as changes where it says how often each.
    fn emit(
        &self,
        left: &[ArrayRef],
        own: &UInt32Array,
        right: Vec<ArrayRef>,
        copies: Option<Vec<i64>>,
        output: &mut Output,
    ) -> Result<()> {
        let mut columns: Vec<ArrayRef> = left.iter().map(|c| take(c, own, None)).collect::<Result<_, _>>()?;
        columns.extend(right);
        let rows = record_batch(&self.schema, columns, own.len())?;
        let batch = match copies {
            Some(copies) => Batch::changes(rows, Int64Array::from(copies)),
            None => Batch::append(rows),
        };
        output.send(0, Rows::unbounded(batch));
        Ok(())
    }

    /// Sends answers that were given before, once more, or takes them back.
    fn send_again(&self, again: Answers, retracted: bool, output: &mut Output) -> Result<()> {
        let sign = if retracted { -1 } else { 1 };
        let diffs: Vec<i64> = again.copies.iter().map(|copies| sign * i64::from(*copies)).collect();
        if diffs.is_empty() {
            return Ok(());
        }
        let rows = record_batch(&self.schema, again.columns, diffs.len())?;
        output.send(0, Rows::unbounded(Batch::changes(rows, diffs.into())));
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
        let alone = if self.given.is_some() { alone.into_changes() } else { alone };
        output.send(0, Rows::unbounded(Batch { rows, diffs: alone.diffs }));
        Ok(())
    }

    /// Gives memory back: of rows that are gone, and of keys that were asked for and are not there.
    fn compact(&mut self) -> Result<()> {
        for held in &mut self.held {
            if let Some(compacted) = held.compact()? {
                self.keys.release(&compacted.dropped);
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.held.iter_mut().for_each(|held| held.rename(&renamed));
            self.asked.iter_mut().for_each(|asked| asked.rename(&renamed));
        }
        self.given.as_mut().map_or(Ok(()), Given::compact)
    }
}

fn holder(schema: &SchemaRef, keys: usize, alike: Alike) -> Held {
    Held::beside_key(schema, keys, Notes { alike, held_ns: None, judged: false, matched: false })
}

impl Operator for LookupJoin {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(LEFT, rows);
        Ok(())
    }

    fn process_second(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(RIGHT, rows);
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        let released = if self.asked.is_some() {
            let answers = self.arrived.whole(RIGHT);
            let answered = self.learn(answers, epoch)?;
            self.released(Some(&answered))?
        } else {
            for part in self.arrived.of(RIGHT)? {
                self.change(part)?;
            }
            if self.is_ready(times) { self.released(None)? } else { None }
        };
        if let Some(released) = released {
            let numbers = self.numbers(&released)?;
            self.look_up(&released, &numbers, output)?;
        }
        for part in self.arrived.of(LEFT)? {
            self.take_in(part, epoch, times, output)?;
        }
        if let Some(asked) = &mut self.asked {
            let surplus = asked.surplus(&mut self.keys);
            asked.say(output)?;
            self.forget(&surplus);
        }
        self.compact()
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.asked.as_ref().filter(|asked| !asked.has_said()).map(|_| Epoch(0))
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let mut sections = snapshot::sections(&self.keys, &mut self.held, self.width);
        sections.extend(self.asked.iter().map(|asked| asked.section(&self.keys, self.width)));
        sections.extend(self.given.iter_mut().flat_map(Given::sections));
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        let sections = match &mut self.given {
            Some(given) => given.restore(sections)?,
            None => sections,
        };
        let sections = match &mut self.asked {
            Some(asked) => asked.restore(sections, &mut self.keys, self.width)?,
            None => sections,
        };
        snapshot::restore(&mut self.keys, &mut self.held, self.width, &sections, |_, _| Ok(Vec::new()))
    }

    fn state(&self) -> StateSize {
        let [waiting, right] = &self.held;
        let (given, asked) = (self.given.as_ref(), self.asked.as_ref());
        let beside = given.map_or(0, Given::size) + asked.map_or(0, Asked::size);
        // That there is no row is an answer as well.
        let right_rows = asked.map_or(right.len(), Asked::answers);
        let rows = waiting.len() + right_rows + given.map_or(0, Given::len);
        let bytes = waiting.size() + right.size() + self.keys.size() + beside;
        StateSize { rows: rows as u64, bytes: bytes as u64 }
    }

    fn evicted(&self) -> u64 {
        self.asked.as_ref().map_or(0, Asked::evicted)
    }
}
