//! The answers of left rows that may be taken back: each is kept with its row, so that a retraction takes back what was
//! given, and not what would be found now.
//!
//! Rows that are alike have one answer, that of the first of them, until all of them are gone. It costs what the left side
//! costs that can be taken back, and what was found beside it; nothing is kept of the table.

#[cfg(test)]
mod tests;

use super::super::held::{Alike, Held, Incoming, Notes, keys_of};
use super::super::process::RIGHT;
use super::super::snapshot;
use crate::aggregate::keyed::Keys;
use crate::state::{Restored, Section};
use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// What the labels of its sections begin with.
const LABEL: &str = "given ";

pub(super) struct Given {
    /// The left rows, whole.
    rows: Keys,
    /// Under the number of its row, what was found for it, each as often as the row is there: the right columns beside the
    /// key, and whether there was anything. The first of the two has no rows: sections are of two sides.
    answers: [Held; 2],
    /// How many columns the left side has, and how many are the key.
    width: (usize, usize),
}

/// Left rows, by whether they have an answer.
pub(super) struct Split {
    /// The rows that have one: which, as a number, and how often each comes or goes.
    pub known: Vec<(u32, u32)>,
    /// The others, each once, with how often it comes or goes in its differences.
    pub new: Batch,
}

/// Answers given once more, or taken back: the left columns, the right ones, and how often each.
pub(super) struct Answers {
    pub columns: Vec<ArrayRef>,
    pub copies: Vec<u32>,
}

impl Given {
    pub fn new(left: &SchemaRef, right: &SchemaRef, keys: usize) -> Result<Given> {
        let width = left.fields().len();
        let types = right.fields()[keys..].iter().map(|field| field.data_type().clone()).chain([DataType::Boolean]);
        let notes = Notes { alike: Alike::Apart, held_ns: None, judged: false, matched: false };
        let answers = [Held::new(Vec::new(), notes), Held::new(types.collect(), notes)];
        Ok(Given { rows: keys_of(left, width)?, answers, width: (width, keys) })
    }

    /// Tells rows that have an answer from those that have none; `copies` is how often each comes or goes.
    pub fn split(&mut self, batch: &Batch, copies: &[u32]) -> Result<Split> {
        let numbers = self.rows.number(batch.rows.columns(), batch.num_rows())?;
        let (mut known, mut new): (BTreeMap<u32, u32>, BTreeMap<u32, (u64, i64)>) = Default::default();
        for (row, (number, copies)) in (0..).zip(numbers.iter().zip(copies)) {
            if self.answers[RIGHT].total(*number) > 0 {
                *known.entry(*number).or_default() += copies;
            } else {
                new.entry(*number).or_insert((row, 0)).1 += i64::from(*copies);
            }
        }
        let (at, diffs): (Vec<u64>, Vec<i64>) = new.into_values().unzip();
        let new = Batch::append(batch.rows.clone()).take(&at.into())?;
        Ok(Split { known: known.into_iter().collect(), new: Batch::changes(new.rows, diffs.into()) })
    }

    /// The answers of rows of which so many more come, or go. With `outer` those are given too that found nothing.
    pub fn again(&mut self, rows: &[(u32, u32)], retracted: bool, outer: bool) -> Result<Answers> {
        let (mut held, mut gone, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        let answers = &mut self.answers[RIGHT];
        for (number, times) in rows {
            let first = held.len();
            answers.walk(*number, |row| held.push(row));
            for row in &held[first..] {
                // More than there are cannot go.
                let before = answers.counts[*row as usize];
                let times = if retracted { before.min(*times) } else { *times };
                copies.push(times);
                match retracted {
                    true if times == before => gone.push(*row),
                    true => answers.recount(*row, before - times)?,
                    false => answers.recount(*row, before.saturating_add(times))?,
                }
            }
        }
        let columns = self.columns(&held)?;
        self.answers[RIGHT].drop_rows(&gone);
        let found = self.answers[RIGHT].columns.gather(self.found(), &held)?;
        let found = found.as_boolean();
        if outer || found.true_count() == found.len() {
            return Ok(Answers { columns, copies });
        }
        let columns = columns.iter().map(|column| arrow::compute::filter(column, found));
        let mut keep = found.values().iter();
        copies.retain(|_| keep.next().is_some_and(|keep| keep));
        Ok(Answers { columns: columns.collect::<Result<_, _>>()?, copies })
    }

    /// Keeps what left rows found: `own` says which of the left rows each is of, `copies` how often that is there, `right`
    /// are the columns of what was found, and `found` whether it is anything.
    pub fn keep(
        &mut self,
        left: &[ArrayRef],
        own: &UInt32Array,
        copies: &[u32],
        right: &[ArrayRef],
        found: Vec<bool>,
    ) -> Result<()> {
        let rows: Vec<ArrayRef> = left.iter().map(|column| take(column, own, None)).collect::<Result<_, _>>()?;
        let numbers = self.rows.number(&rows, own.len())?;
        let mut columns = right[self.width.1..].to_vec();
        columns.push(Arc::new(BooleanArray::from(found)));
        let incoming = Incoming { columns: &columns, numbers: &numbers, hashes: &[], times: &[], copies };
        self.answers[RIGHT].insert(&incoming, &mut self.rows).map(drop)
    }

    /// Where among the columns of an answer it says whether anything was found.
    fn found(&self) -> usize {
        self.answers[RIGHT].columns.width() - 1
    }

    /// The left columns of answers, then the right ones: the key of these is that of the left row, where anything was found.
    fn columns(&self, held: &[u32]) -> Result<Vec<ArrayRef>> {
        let answers = &self.answers[RIGHT];
        let numbers: Vec<u32> = held.iter().map(|row| answers.numbers[*row as usize]).collect();
        let mut columns = self.rows.values(&numbers)?;
        let found = answers.columns.gather(self.found(), held)?;
        let at: UInt32Array = (0..).zip(found.as_boolean().values()).map(|(row, found)| found.then_some(row)).collect();
        let keys: Vec<ArrayRef> =
            columns[..self.width.1].iter().map(|column| take(column, &at, None)).collect::<Result<_, _>>()?;
        columns.extend(keys);
        for column in 0..self.found() {
            columns.push(answers.columns.gather(column, held)?);
        }
        Ok(columns)
    }

    /// Gives memory back.
    pub fn compact(&mut self) -> Result<()> {
        if let Some(compacted) = self.answers[RIGHT].compact()? {
            self.rows.release(&compacted.dropped);
        }
        if let Some(renamed) = self.rows.compact()? {
            self.answers[RIGHT].rename(&renamed);
        }
        Ok(())
    }

    pub fn sections(&mut self) -> Vec<Section> {
        let sections = snapshot::sections(&self.rows, &mut self.answers, self.width.1);
        sections.into_iter().map(|section| Section { label: format!("{LABEL}{}", section.label), ..section }).collect()
    }

    /// Takes on those of `sections` that are its own; gives the others.
    pub fn restore(&mut self, sections: Vec<Restored>) -> Result<Vec<Restored>> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for section in sections {
            match section.label.strip_prefix(LABEL).map(str::to_string) {
                Some(label) => own.push(Restored { label, ..section }),
                None => others.push(section),
            }
        }
        snapshot::restore(&mut self.rows, &mut self.answers, self.width.0, &own, |_, _| Ok(Vec::new()))?;
        Ok(others)
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.answers[RIGHT].len()
    }

    pub fn size(&self) -> usize {
        self.rows.size() + self.answers[RIGHT].size()
    }
}
