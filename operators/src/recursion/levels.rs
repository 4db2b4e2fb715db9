//! Which iterations make each row how often, and by that which rows are there.
//!
//! Changes of an iteration are final when its turn comes: nothing that is still on its way can reach back to it. So each
//! row is judged in an iteration once an epoch, by what made it before the epoch and what makes it now. With UNION it is
//! of the first iteration that makes it. One that loses its first maker is not moved to the next one at once, whose turn
//! has not come: rows of a circle would hand each other on for ever. It is judged anew in that iteration, when it is known
//! whether that one still makes it.

use super::{COPIES_MAX, RecursionSpec};
use crate::aggregate::Part;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::Grouping;
use crate::evaluate::row_to_json;
use crate::operator::{DeadRow, Output, StateSize};
use crate::recursion::iterate::{Iterated, Iteration};
use crate::recursion::links::with_iteration;
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// The port of the rows of the recursion.
pub(super) const RESULT: usize = 1;

/// The rows that a recursion has found. Its rows are exchanged by all of their columns.
pub(super) struct Levels {
    schema: SchemaRef,
    found_schema: SchemaRef,
    distinct: bool,
    retracts: bool,
    iterations_max: u64,
    keys: Keys,
    /// For each row its [`Makers`], as bytes.
    rows: KeyedRows,
    /// The rows that something was said of in the current epoch.
    touched: BTreeMap<u32, Touched>,
    /// The rows to be judged, by iteration.
    due: BTreeMap<u64, BTreeSet<u32>>,
}

/// A row in the current epoch.
struct Touched {
    before: Makers,
    now: Makers,
    /// How many copies more there are than before.
    more: i64,
}

/// The iterations that make a row, in order, and how often each does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Makers(Vec<(u64, i64)>);

impl Makers {
    fn add(&mut self, iteration: u64, copies: i64) {
        match self.0.binary_search_by_key(&iteration, |(at, _)| *at) {
            Ok(at) if self.0[at].1 + copies == 0 => drop(self.0.remove(at)),
            Ok(at) => self.0[at].1 += copies,
            Err(_) if copies == 0 => {}
            Err(at) => self.0.insert(at, (iteration, copies)),
        }
    }

    /// The first iteration that makes it.
    fn first(&self) -> Option<u64> {
        self.0.iter().find(|(_, copies)| *copies > 0).map(|(iteration, _)| *iteration)
    }

    fn copies(&self, iteration: u64) -> i64 {
        let at = self.0.binary_search_by_key(&iteration, |(at, _)| *at);
        at.map_or(0, |at| self.0[at].1)
    }

    /// Sixteen bytes an iteration: its number and the copies, least byte first.
    fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(at, copies)| [at.to_le_bytes(), copies.to_le_bytes()]).flatten().collect()
    }

    fn from_bytes(bytes: &[u8]) -> Makers {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        Makers(bytes.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..]) as i64)).collect())
    }
}

impl Levels {
    pub fn new(spec: &RecursionSpec) -> Result<Levels> {
        let fields = spec.schema.fields().iter();
        let key = fields.map(|field| Field::new(field.name(), field.data_type().clone(), true));
        Ok(Levels {
            schema: spec.schema.clone(),
            found_schema: with_iteration(&spec.schema),
            distinct: spec.distinct,
            retracts: spec.retracts,
            iterations_max: u64::from(spec.iterations_max),
            keys: Keys::new(Grouping::by(Schema::new(key.collect::<Vec<_>>()))?)?,
            rows: KeyedRows::new(vec![DataType::Binary]),
            touched: BTreeMap::new(),
            due: BTreeMap::new(),
        })
    }

    /// Notes what `iteration` makes more or less. Only the leading columns are the row.
    fn take_in(&mut self, iteration: u64, batch: &Batch) -> Result<()> {
        let columns = &batch.rows.columns()[..self.schema.fields().len()];
        let numbers = self.keys.number(columns, batch.num_rows())?;
        self.touch(&numbers)?;
        let due = self.due.entry(iteration).or_default();
        for (row, number) in numbers.iter().enumerate() {
            due.insert(*number);
            if let Some(touched) = self.touched.get_mut(number) {
                touched.now.add(iteration, batch.diff(row));
            }
        }
        Ok(())
    }

    /// Sees to it that all of `numbers` are among the touched.
    fn touch(&mut self, numbers: &[u32]) -> Result<()> {
        let new: BTreeSet<u32> = numbers.iter().copied().filter(|number| !self.touched.contains_key(number)).collect();
        let known = self.rows.part_of(&new.iter().copied().collect::<Vec<_>>())?;
        let makers = known.states[0].as_binary::<i32>();
        let mut known: BTreeMap<u32, Makers> = known
            .numbers
            .iter()
            .enumerate()
            .map(|(at, number)| (*number, Makers::from_bytes(makers.value(at))))
            .collect();
        for number in new {
            let before = known.remove(&number).unwrap_or_default();
            self.touched.insert(number, Touched { now: before.clone(), before, more: 0 });
        }
        Ok(())
    }

    /// How often a row is of `iteration`.
    fn shown(&self, makers: &Makers, iteration: u64) -> i64 {
        match self.distinct {
            true => i64::from(makers.first() == Some(iteration)),
            false => makers.copies(iteration).clamp(0, COPIES_MAX),
        }
    }

    /// What becomes of the rows that are due in `iteration`: by how much more or less each is of it.
    fn judge(&mut self, iteration: u64) -> Judged {
        let mut judged = Judged::default();
        for number in self.due.remove(&iteration).unwrap_or_default() {
            let Some(touched) = self.touched.get(&number) else { continue };
            let (before, now) = (self.shown(&touched.before, iteration), self.shown(&touched.now, iteration));
            let too_many = !self.distinct
                && touched.before.copies(iteration) <= COPIES_MAX
                && touched.now.copies(iteration) > COPIES_MAX;
            let firsts = [touched.before.first(), touched.now.first()];
            if iteration > self.iterations_max {
                judged.too_far.extend((before <= 0 && now > 0).then_some(number));
                continue;
            }
            if now != before {
                judged.changes.push((number, now - before));
            }
            judged.too_many.extend(too_many.then_some(number));
            if self.distinct && firsts[0] != firsts[1] {
                for later in firsts.into_iter().flatten().filter(|first| *first > iteration) {
                    self.due.entry(later).or_default().insert(number);
                }
            }
        }
        for (number, more) in &judged.changes {
            self.touched.entry(*number).and_modify(|touched| touched.more += more);
        }
        judged
    }

    fn batch(&self, numbers: &[u32], schema: &SchemaRef, more: Option<ArrayRef>) -> Result<RecordBatch> {
        let columns = self.keys.values(numbers)?.into_iter().chain(more);
        Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
    }

    fn dead(&self, numbers: &[u32], reason: &str, dead: &mut Vec<DeadRow>) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let rows = self.batch(numbers, &self.schema, None)?;
        let of = |row| DeadRow { row: row_to_json(&rows, row), reason: reason.to_string() };
        dead.extend((0..numbers.len()).map(of));
        Ok(())
    }

    /// The rows that the epoch added and took away.
    fn said(&self) -> Result<Option<Batch>> {
        let changed = self.touched.iter().filter(|(_, touched)| touched.more != 0);
        if self.retracts {
            let (numbers, diffs): (Vec<u32>, Vec<i64>) = changed.map(|(number, t)| (*number, t.more)).unzip();
            let batch = || Ok(Batch::changes(self.batch(&numbers, &self.schema, None)?, Int64Array::from(diffs)));
            return (!numbers.is_empty()).then(batch).transpose();
        }
        let mut numbers = Vec::new();
        for (number, touched) in changed {
            let copies = usize::try_from(touched.more);
            let copies = copies.map_err(|_| Error::bug("a recursion over rows that only come takes a row back"))?;
            numbers.extend(std::iter::repeat_n(*number, copies));
        }
        let batch = || Ok(Batch::append(self.batch(&numbers, &self.schema, None)?));
        (!numbers.is_empty()).then(batch).transpose()
    }

    /// Keeps what the epoch left.
    fn keep(&mut self) -> Result<()> {
        let (mut kept, mut makers, mut new, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, touched) in std::mem::take(&mut self.touched) {
            match (touched.before.0.is_empty(), touched.now.0.is_empty()) {
                _ if touched.before == touched.now => continue,
                (_, true) => {
                    gone.push(number);
                    continue;
                }
                (true, false) => new.push(number),
                (false, false) => {}
            }
            kept.push(number);
            makers.push(touched.now.to_bytes());
        }
        self.keys.hold(&new);
        self.rows.remove(&gone);
        self.keys.release(&gone);
        if !kept.is_empty() {
            let makers = Arc::new(BinaryArray::from_iter_values(makers)) as ArrayRef;
            self.rows.put(Part { numbers: kept, states: vec![makers] })?;
        }
        if let Some(renamed) = self.keys.compact()? {
            self.rows.rename(&renamed);
        }
        Ok(())
    }
}

/// What becomes of the rows that are due in an iteration.
#[derive(Default)]
struct Judged {
    /// By how much more or less a row is of it.
    changes: Vec<(u32, i64)>,
    /// Rows that one iteration more than there may be would add.
    too_far: Vec<u32>,
    /// Rows that it makes more often than is counted.
    too_many: Vec<u32>,
}

impl Iterated for Levels {
    fn iterate(&mut self, _epoch: Epoch, iteration: u64, rows: [Vec<Rows>; 2], output: &mut Iteration) -> Result<()> {
        for batch in rows.into_iter().flatten().filter_map(Rows::into_batch) {
            self.take_in(iteration, &batch)?;
        }
        let judged = self.judge(iteration);
        let too_far = format!("the recursion does not end within {} iterations (recursion_limit)", self.iterations_max);
        self.dead(&judged.too_far, &too_far, &mut output.dead)?;
        let too_many = format!("an iteration of the recursion makes this row more than {COPIES_MAX} times");
        self.dead(&judged.too_many, &too_many, &mut output.dead)?;
        if !judged.changes.is_empty() {
            let (numbers, diffs): (Vec<u32>, Vec<i64>) = judged.changes.into_iter().unzip();
            let iterations = Arc::new(Int64Array::from(vec![iteration as i64; numbers.len()]));
            let found = self.batch(&numbers, &self.found_schema, Some(iterations))?;
            output.send(iteration, Rows::unbounded(Batch::changes(found, Int64Array::from(diffs))));
        }
        output.again = self.due.keys().next().copied();
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, output: &mut Output) -> Result<()> {
        if let Some(batch) = self.said()? {
            output.send(RESULT, Rows::unbounded(batch));
        }
        self.keep()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.keys.sections(ROWS, &mut self.rows)
    }

    fn restore(&mut self, sections: Vec<Restored>) -> Result<()> {
        for section in sections {
            if section.label != ROWS {
                return Err(section.unknown());
            }
            let new = self.keys.restore(&section.rows, &mut self.rows)?;
            self.keys.hold(&new);
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        StateSize { rows: self.rows.len() as u64, bytes: (self.keys.size() + self.rows.size()) as u64 }
    }
}

/// What its section of a checkpoint is called.
const ROWS: &str = "rows";
