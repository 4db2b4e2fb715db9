//! A join's state in a checkpoint: for each side its chunks, which are immutable and written once, and beside each chunk
//! the rows of it of which more is known than that they are there once.
//!
//! ```text
//! left:ID         key columns, position in the chunk, other columns
//! left notes:ID   key columns, position in chunk ID, how often the row is there (0: gone), how many partners it has
//! ```

use super::held::{Held, Restoring};
use super::process::{Join, LEFT, RIGHT, times_of};
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::state::{Restored, Section, fresh_id, unnamed};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt32Type;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

const CHUNKS: [&str; 2] = ["left", "right"];
const NOTES: [&str; 2] = ["left notes", "right notes"];

/// By chunk and position in it: how often a row is there, and how many partners it has.
type Notes = BTreeMap<(i64, u32), (u32, u32)>;

impl Join {
    pub(super) fn sections(&mut self) -> Vec<Section> {
        sections(&self.keys, &mut self.held, self.exchanged_by)
    }

    pub(super) fn restore_sections(&mut self, sections: Vec<Restored>) -> Result<()> {
        let timed_by = self.timed_by();
        let times = |side: usize, columns: &[ArrayRef]| times_of(timed_by[side], columns);
        restore(&mut self.keys, &mut self.held, self.width, &sections, times)?;
        if self.not_in() {
            self.find_null_key()?;
            self.set_before = self.set();
        }
        for side in [LEFT, RIGHT] {
            for row in 0..self.held[side].shown.len() as u32 {
                // What was to be shown for the last time went with its row.
                self.held[side].shown[row as usize] = self.standing(side, row, false);
            }
        }
        Ok(())
    }

    fn find_null_key(&mut self) -> Result<()> {
        let numbers: Vec<u32> = (0..self.keys.len() as u32).collect();
        let values = self.keys.values(&numbers)?;
        self.null_key = numbers.into_iter().find(|number| values[0].is_null(*number as usize));
        Ok(())
    }
}

/// Takes rows in that an earlier run held; `times` are what they are found or go by.
pub(super) fn restore(
    keys: &mut Keys,
    held: &mut [Held; 2],
    width: usize,
    sections: &[Restored],
    times: impl Fn(usize, &[ArrayRef]) -> Result<Vec<i64>>,
) -> Result<()> {
    for side in [LEFT, RIGHT] {
        let mut notes = Notes::new();
        for section in sections.iter().filter(|section| is(section, NOTES[side])) {
            let chunk = section.number_after(NOTES[side])?;
            let [positions, counts, matches] = numbers(&section.rows, width)?;
            for row in 0..positions.len() {
                notes.insert((chunk, positions.value(row)), (counts.value(row), matches.value(row)));
            }
        }
        for section in sections.iter().filter(|section| is(section, CHUNKS[side])) {
            let chunk = section.number_after(CHUNKS[side])?;
            let times = |columns: &[ArrayRef]| times(side, columns);
            restore_chunk(keys, &mut held[side], width, &section.rows, (chunk, &notes), times)?;
        }
    }
    let known = |section: &Restored| CHUNKS.iter().chain(&NOTES).any(|kind| is(section, kind));
    match sections.iter().find(|section| !known(section)) {
        Some(section) => Err(section.unknown()),
        None => Ok(()),
    }
}

fn restore_chunk(
    keys: &mut Keys,
    held: &mut Held,
    width: usize,
    rows: &RecordBatch,
    (chunk, notes): (i64, &Notes),
    times: impl Fn(&[ArrayRef]) -> Result<Vec<i64>>,
) -> Result<()> {
    let positions = |rows: &RecordBatch| {
        let positions = rows.column(width).as_primitive_opt::<UInt32Type>().ok_or_else(damaged)?;
        Ok::<_, Error>(positions.clone())
    };
    let note = |position: u32| notes.get(&(chunk, position)).copied().unwrap_or((1, 0));
    let there: BooleanArray = positions(rows)?.values().iter().map(|at| Some(note(*at).0 > 0)).collect();
    let rows = filter_record_batch(rows, &there)?;
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let noted: Vec<(u32, u32)> = positions(&rows)?.values().iter().map(|at| note(*at)).collect();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.remove(width);
    let numbers = keys.number(&columns[..width], rows.num_rows())?;
    let times = times(&columns)?;
    let hashes = hash_rows(&columns, rows.num_rows()).map_err(fault)?;
    keys.hold(&numbers);
    let columns = columns.split_off(width);
    held.restore(Restoring { columns, numbers, hashes, times, noted })
}

fn is(section: &Restored, kind: &str) -> bool {
    section.label.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':'))
}

fn damaged() -> Error {
    Error::bug("a section of a join does not have the columns that it was written with")
}

fn numbers(rows: &RecordBatch, from: usize) -> Result<[&UInt32Array; 3]> {
    let column = |at: usize| rows.columns().get(from + at)?.as_primitive_opt::<UInt32Type>();
    match (column(0), column(1), column(2)) {
        (Some(positions), Some(counts), Some(matches)) => Ok([positions, counts, matches]),
        _ => Err(damaged()),
    }
}

/// What a checkpoint keeps of both sides, whose rows belong to a worker by `owned_by` columns.
pub(super) fn sections(keys: &Keys, held: &mut [Held; 2], owned_by: usize) -> Vec<Section> {
    let [left, right] = held;
    let mut all = sections_of(keys, left, LEFT, owned_by);
    all.extend(sections_of(keys, right, RIGHT, owned_by));
    all
}

fn sections_of(keys: &Keys, held: &mut Held, side: usize, owned_by: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    for chunk in held.columns.all() {
        let rows = chunk.first as usize..(chunk.first + chunk.rows) as usize;
        if std::mem::take(&mut chunk.notes_changed) {
            chunk.notes_id = Some(fresh_id());
        }
        let (values, numbers, columns) = (keys.reader(), held.numbers[rows.clone()].to_vec(), chunk.columns.clone());
        let whole = move || {
            let mut all = values.get(&numbers)?;
            all.push(Arc::new(UInt32Array::from_iter_values(0..numbers.len() as u32)) as ArrayRef);
            all.extend(columns);
            unnamed(all, numbers.len())
        };
        let label = format!("{}:{}", CHUNKS[side], chunk.id);
        sections.push(Section { label, id: chunk.id, keys: owned_by, rows: Box::new(whole) });
        let Some(id) = chunk.notes_id else { continue };
        let matches = |row: usize| held.matches.get(row).copied().unwrap_or(0);
        let noted = |row: &usize| held.counts[*row] != 1 || matches(*row) > 0;
        let noted: Vec<usize> = rows.clone().filter(noted).collect();
        let positions: Vec<u32> = noted.iter().map(|row| (row - rows.start) as u32).collect();
        let counts: Vec<u32> = noted.iter().map(|row| held.counts[*row]).collect();
        let matches: Vec<u32> = noted.iter().map(|row| matches(*row)).collect();
        let (values, numbers) = (keys.reader(), noted.iter().map(|row| held.numbers[*row]).collect::<Vec<_>>());
        let notes = move || {
            let mut all = values.get(&numbers)?;
            all.extend([positions, counts, matches].map(|column| Arc::new(UInt32Array::from(column)) as ArrayRef));
            unnamed(all, numbers.len())
        };
        let label = format!("{}:{}", NOTES[side], chunk.id);
        sections.push(Section { label, id, keys: owned_by, rows: Box::new(notes) });
    }
    sections
}
