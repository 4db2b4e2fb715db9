//! A table that is asked key by key: which answers are known, since when, and which keys rows wait for.
//!
//! An answer is what the table's reader brought in some epoch, so it is in the epoch log, and a run that takes that in once
//! more finds the same. Who goes first when there are too many answers is decided by the epoch in which each was used last
//! and then by the key's hash: never by the order in which rows of an epoch came. Rows that wait hold the watermark of
//! whatever reads the join's rows at the promise by which they came, so that none is late when it goes on.

#[cfg(test)]
mod tests;

use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::operator::Output;
use crate::plan::TimeOrigin;
use crate::rows::Rows;
use crate::state::{Restored, Section, fresh_id, unnamed};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::questions::Questions;

/// The port by which it says up to when its rows hold the watermark.
pub(crate) const HOLDS: usize = 1;
/// The label of its section.
const LABEL: &str = "keys";

/// How a table is asked for the rows of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedSpec {
    /// How many answers are kept, over all workers.
    pub rows: u64,
    /// For how long an answer is used, in nanoseconds.
    pub ttl_ns: i64,
    /// By which watermarks the event time of the left side is told, each promise as it is said.
    pub origin: TimeOrigin,
}

pub(super) struct Asked {
    questions: Arc<Questions>,
    asker: u32,
    /// How many answers this worker keeps.
    rows_max: usize,
    /// For how many epochs an answer is used.
    ttl: u64,
    /// By the number of its key.
    keys: BTreeMap<u32, State>,
    /// The answers, those first that were used least lately: epoch, hash of the key, its number.
    by_use: BTreeSet<(u64, u64, u32)>,
    /// How many keys are waited for since each watermark.
    waits: BTreeMap<i64, usize>,
    /// Since when what waits holds the watermark, as it was said last; `None`: it was not said yet.
    said: Option<Option<i64>>,
    evicted: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Rows have waited for it since this watermark.
    Waiting { before_ns: i64 },
    /// It was answered in this epoch, and used in that one last.
    Known { since: u64, used: u64, hash: u64 },
}

impl Asked {
    pub fn new(spec: &AskedSpec, questions: Arc<Questions>, peers: usize, tick_ns: i64) -> Asked {
        let share = usize::try_from(spec.rows).unwrap_or(usize::MAX).div_ceil(peers.max(1));
        Asked {
            asker: questions.asker(),
            questions,
            rows_max: share.max(1),
            ttl: u64::try_from(spec.ttl_ns / tick_ns.max(1)).unwrap_or(0),
            keys: BTreeMap::new(),
            by_use: BTreeSet::new(),
            waits: BTreeMap::new(),
            said: None,
            evicted: 0,
        }
    }

    /// Whether an answer for this key is held that may still be used. It stands then, whatever else is heard: a question that
    /// the answer in the log settles may have gone out once more while the log was taken in.
    pub fn is_of_use(&self, number: u32, epoch: Epoch) -> bool {
        let Some(State::Known { since, .. }) = self.keys.get(&number) else { return false };
        !is_old(*since, epoch, self.ttl)
    }

    /// Which of these keys have an answer that may still be used; those are used now. Of answers that are too old the
    /// numbers are given beside: what they say is to be forgotten.
    pub fn known(&mut self, numbers: &[u32], epoch: Epoch, keys: &mut Keys) -> (BooleanArray, Vec<u32>) {
        let mut old = Vec::new();
        let mut is_known = |number: u32| {
            let Some(State::Known { since, used, hash }) = self.keys.get(&number).copied() else { return false };
            let is_old = is_old(since, epoch, self.ttl);
            if !is_old && used == epoch.0 {
                return true;
            }
            self.by_use.remove(&(used, hash, number));
            if is_old {
                self.keys.remove(&number);
                old.push(number);
            } else {
                self.keys.insert(number, State::Known { since, used: epoch.0, hash });
                self.by_use.insert((epoch.0, hash, number));
            }
            !is_old
        };
        let known: Vec<bool> = numbers.iter().map(|number| is_known(*number)).collect();
        keys.release(&old);
        let known = BooleanArray::from(known);
        self.questions.count(known.true_count() as u64, (known.len() - known.true_count()) as u64);
        (known, old)
    }

    /// Rows wait for these keys since the watermark `before`: asks for those that nobody waited for.
    pub fn ask(&mut self, numbers: &[u32], before: Watermark, keys: &mut Keys) -> Result<()> {
        let before_ns = before.0;
        let mut new = Vec::new();
        for number in numbers {
            if self.keys.contains_key(number) {
                continue;
            }
            self.keys.insert(*number, State::Waiting { before_ns });
            *self.waits.entry(before_ns).or_default() += 1;
            new.push(*number);
        }
        keys.hold(&new);
        if new.is_empty() { Ok(()) } else { self.questions.ask(self.asker, &keys.values(&new)?) }
    }

    /// These keys, each once, are answered in `epoch`.
    pub fn answered(&mut self, numbers: &[u32], epoch: Epoch, keys: &mut Keys) -> Result<()> {
        let values = keys.values(numbers)?;
        let hashes = hash_rows(&values, numbers.len()).map_err(fault)?;
        self.questions.answered(self.asker, &values)?;
        for (number, hash) in numbers.iter().zip(hashes) {
            match self.keys.insert(*number, State::Known { since: epoch.0, used: epoch.0, hash }) {
                Some(State::Waiting { before_ns }) => self.waits_no_more(before_ns),
                Some(State::Known { used, hash, .. }) => drop(self.by_use.remove(&(used, hash, *number))),
                None => keys.hold(&[*number]),
            }
            self.by_use.insert((epoch.0, hash, *number));
        }
        Ok(())
    }

    fn waits_no_more(&mut self, before_ns: i64) {
        if let Some(count) = self.waits.get_mut(&before_ns) {
            *count -= 1;
            if *count == 0 {
                self.waits.remove(&before_ns);
            }
        }
    }

    /// The answers that are too many, which are forgotten: those that were used least lately.
    pub fn surplus(&mut self, keys: &mut Keys) -> Vec<u32> {
        let mut gone = Vec::new();
        while self.by_use.len() > self.rows_max
            && let Some((_, _, number)) = self.by_use.pop_first()
        {
            self.keys.remove(&number);
            gone.push(number);
        }
        keys.release(&gone);
        self.evicted += gone.len() as u64;
        gone
    }

    /// Says since when what waits holds the watermark, if that is news.
    pub fn say(&mut self, output: &mut Output) -> Result<()> {
        let holds = self.waits.keys().next().copied();
        if self.said == Some(holds) {
            return Ok(());
        }
        self.said = Some(holds);
        let fields = vec![Field::new("holds_ns", DataType::Int64, true)];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(Int64Array::from(vec![holds]))])?;
        output.send(HOLDS, Rows::unbounded(Batch::append(rows)));
        Ok(())
    }

    /// Whether it has said whether anything waits: until then nobody downstream goes on.
    pub fn has_said(&self) -> bool {
        self.said.is_some()
    }

    /// The keys have other numbers now.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let new = |number: u32| renamed.get(number as usize).copied().flatten();
        let keys = std::mem::take(&mut self.keys).into_iter();
        self.keys = keys.filter_map(|(number, state)| Some((new(number)?, state))).collect();
        let by_use = std::mem::take(&mut self.by_use).into_iter();
        self.by_use = by_use.filter_map(|(used, hash, number)| Some((used, hash, new(number)?))).collect();
    }

    /// What is known of each key, of which `width` columns are the key.
    pub fn section(&self, keys: &Keys, width: usize) -> Section {
        let (numbers, states): (Vec<u32>, Vec<State>) = self.keys.iter().map(|(n, state)| (*n, *state)).unzip();
        let values = keys.reader();
        let rows = move || {
            let mut columns = values.get(&numbers)?;
            columns.truncate(width);
            let parts = states.iter().map(|state| match *state {
                State::Waiting { before_ns } => (Some(before_ns), (None, None)),
                State::Known { since, used, .. } => (None, (Some(since), Some(used))),
            });
            let (waits, (since, used)): (Vec<_>, (Vec<_>, Vec<_>)) = parts.unzip();
            columns.push(Arc::new(Int64Array::from(waits)) as ArrayRef);
            columns.extend([since, used].map(|epochs| Arc::new(UInt64Array::from(epochs)) as ArrayRef));
            unnamed(columns, numbers.len())
        };
        Section { label: LABEL.to_string(), id: fresh_id(), keys: width, rows: Box::new(rows) }
    }

    /// Takes on those of `sections` that are its own, and asks again for what was waited for; gives the others.
    pub fn restore(&mut self, sections: Vec<Restored>, keys: &mut Keys, width: usize) -> Result<Vec<Restored>> {
        let (own, others): (Vec<Restored>, Vec<Restored>) = sections.into_iter().partition(|s| s.label == LABEL);
        for Restored { rows, .. } in own.into_iter().filter(|section| section.rows.num_rows() > 0) {
            let (columns, states) = rows.columns().split_at(width);
            let numbers = keys.number(columns, rows.num_rows())?;
            let hashes = hash_rows(columns, rows.num_rows()).map_err(fault)?;
            let column = |at: usize| states.get(at).ok_or_else(damaged);
            let waits = column(0)?.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            let since = column(1)?.as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
            let used = column(2)?.as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
            for (row, number) in numbers.iter().enumerate() {
                if waits.is_valid(row) {
                    self.ask(&[*number], Watermark(waits.value(row)), keys)?;
                } else {
                    let (since, used, hash) = (since.value(row), used.value(row), hashes[row]);
                    self.keys.insert(*number, State::Known { since, used, hash });
                    self.by_use.insert((used, hash, *number));
                    keys.hold(&[*number]);
                }
            }
        }
        Ok(others)
    }

    /// How many answers it keeps.
    pub fn answers(&self) -> usize {
        self.by_use.len()
    }

    pub fn size(&self) -> usize {
        // A key is in two trees, of which a node is about half full.
        self.keys.len() * 2 * (size_of::<(u32, State)>() + size_of::<(u64, u64, u32)>())
    }

    /// How many answers it has forgotten because they were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// Whether an answer of the epoch `since` is too old by `epoch`. Whoever waited for it has it, however short `ttl` is.
fn is_old(since: u64, epoch: Epoch, ttl: u64) -> bool {
    epoch.0 > since && epoch.0 - since >= ttl
}

fn damaged() -> Error {
    Error::bug("a section of a lookup join does not have the columns that it was written with")
}
