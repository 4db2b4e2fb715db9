//! The series that are known, by the numbers of their keys.
//!
//! They lie in chunks that a checkpoint shares: a chunk is copied when a row changes it while the checkpoint is still being
//! written, and one that no row changed since the last is not written again.

use super::Watched;
use crate::aggregate::keyed::Keys;
use crate::state::{Section, fresh_id, unnamed};
use arrow::array::{ArrayRef, BinaryArray};
use std::sync::Arc;

/// Series in a chunk.
const CHUNK: usize = 1_024;

/// The label of their sections.
pub(super) const SERIES: &str = "series";

struct Chunk<S> {
    /// None where a number has no series.
    series: Arc<Vec<Option<S>>>,
    id: u64,
    changed: bool,
}

/// Series by number.
pub(super) struct Held<S> {
    chunks: Vec<Chunk<S>>,
    len: usize,
}

impl<S: Watched> Held<S> {
    pub fn new() -> Held<S> {
        Held { chunks: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, number: u32) -> bool {
        let chunk = self.chunks.get(number as usize / CHUNK);
        chunk.is_some_and(|chunk| chunk.series[number as usize % CHUNK].is_some())
    }

    /// The series of a number, to be changed; `new` where there is none.
    pub fn entry(&mut self, number: u32, new: impl FnOnce() -> S) -> &mut S {
        let (chunk, place) = (number as usize / CHUNK, number as usize % CHUNK);
        while self.chunks.len() <= chunk {
            let series = Arc::new(vec![None; CHUNK]);
            self.chunks.push(Chunk { series, id: fresh_id(), changed: false });
        }
        let chunk = &mut self.chunks[chunk];
        chunk.changed = true;
        let slot = &mut Arc::make_mut(&mut chunk.series)[place];
        self.len += usize::from(slot.is_none());
        slot.get_or_insert_with(new)
    }

    /// Takes out the series for which `gone` holds; gives their numbers.
    pub fn remove(&mut self, gone: impl Fn(&S) -> bool) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (at, chunk) in self.chunks.iter_mut().enumerate() {
            let leaving = |slot: &Option<S>| slot.as_ref().is_some_and(&gone);
            if !chunk.series.iter().any(leaving) {
                continue;
            }
            chunk.changed = true;
            for (place, slot) in Arc::make_mut(&mut chunk.series).iter_mut().enumerate() {
                if leaving(slot) {
                    *slot = None;
                    numbers.push((at * CHUNK + place) as u32);
                }
            }
        }
        self.len -= numbers.len();
        numbers
    }

    /// Takes out those that have been silent for longest, so that `left` are left; gives their numbers.
    pub fn keep(&mut self, left: usize) -> Vec<u32> {
        let leaving = self.len.saturating_sub(left);
        if leaving == 0 {
            return Vec::new();
        }
        let slots = self.chunks.iter().flat_map(|chunk| chunk.series.iter()).enumerate();
        let mut ages: Vec<(i64, u32)> =
            slots.filter_map(|(number, slot)| Some((slot.as_ref()?.last_ns(), number as u32))).collect();
        ages.select_nth_unstable(leaving - 1);
        let mut numbers: Vec<u32> = ages[..leaving].iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        for number in &numbers {
            let chunk = &mut self.chunks[*number as usize / CHUNK];
            chunk.changed = true;
            Arc::make_mut(&mut chunk.series)[*number as usize % CHUNK] = None;
        }
        self.len -= numbers.len();
        numbers
    }

    /// Renames all numbers.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let chunks = std::mem::take(&mut self.chunks);
        self.len = 0;
        let slots = chunks.iter().flat_map(|chunk| chunk.series.iter());
        for (slot, new) in slots.zip(renamed) {
            if let (Some(series), Some(new)) = (slot, new) {
                self.entry(*new, || series.clone());
            }
        }
    }

    /// All series with their keys, a section a chunk.
    pub fn sections(&mut self, keys: &Keys, key_columns: usize) -> Vec<Section> {
        let section = |(at, chunk): (usize, &mut Chunk<S>)| {
            if std::mem::take(&mut chunk.changed) {
                chunk.id = fresh_id();
            }
            let (series, reader) = (chunk.series.clone(), keys.reader());
            let rows = move || {
                let there = series.iter().enumerate().filter_map(|(place, slot)| Some((place, slot.as_ref()?)));
                let (numbers, states): (Vec<u32>, Vec<Vec<u8>>) =
                    there.map(|(place, series)| ((at * CHUNK + place) as u32, series.encode())).unzip();
                let mut columns = reader.get(&numbers)?;
                columns.push(Arc::new(BinaryArray::from_iter_values(states)) as ArrayRef);
                unnamed(columns, numbers.len())
            };
            Section { label: SERIES.into(), id: chunk.id, keys: key_columns, rows: Box::new(rows) }
        };
        self.chunks.iter_mut().enumerate().map(section).collect()
    }

    /// Bytes, estimated from the series of the first chunk.
    pub fn bytes(&self) -> usize {
        let known = self.chunks.first().into_iter().flat_map(|chunk| chunk.series.iter().flatten());
        let one = known.take(16).map(S::bytes).max().unwrap_or(0);
        self.len * one + self.chunks.len() * CHUNK * size_of::<Option<S>>().saturating_sub(size_of::<S>())
    }
}
