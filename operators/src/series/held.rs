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
    slots: Slots<S>,
    id: u64,
    changed: bool,
}

/// None where a number has no series. Whether a checkpoint looks at them is seen without counting who does, which would
/// cost each row an atomic operation.
struct Slots<S> {
    /// Empty while they are shared.
    own: Vec<Option<S>>,
    /// What a checkpoint has, or had.
    shared: Option<Arc<Vec<Option<S>>>>,
}

impl<S: Clone> Slots<S> {
    fn get(&self) -> &[Option<S>] {
        self.shared.as_deref().unwrap_or(&self.own)
    }

    /// To be changed: copied if the checkpoint is still being written.
    fn own(&mut self) -> &mut [Option<S>] {
        if let Some(shared) = self.shared.take() {
            self.own = Arc::unwrap_or_clone(shared);
        }
        &mut self.own
    }

    fn share(&mut self) -> Arc<Vec<Option<S>>> {
        self.shared.get_or_insert_with(|| Arc::new(std::mem::take(&mut self.own))).clone()
    }
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

    /// The series of a number, to be changed, and whether it is new: `new` where there was none.
    pub fn entry(&mut self, number: u32, new: impl FnOnce() -> S) -> (&mut S, bool) {
        let (chunk, place) = (number as usize / CHUNK, number as usize % CHUNK);
        while self.chunks.len() <= chunk {
            let slots = Slots { own: vec![None; CHUNK], shared: None };
            self.chunks.push(Chunk { slots, id: fresh_id(), changed: false });
        }
        let chunk = &mut self.chunks[chunk];
        chunk.changed = true;
        let slot = &mut chunk.slots.own()[place];
        let is_new = slot.is_none();
        self.len += usize::from(is_new);
        (slot.get_or_insert_with(new), is_new)
    }

    /// Takes out the series for which `gone` holds; gives their numbers.
    pub fn remove(&mut self, gone: impl Fn(&S) -> bool) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (at, chunk) in self.chunks.iter_mut().enumerate() {
            let leaving = |slot: &Option<S>| slot.as_ref().is_some_and(&gone);
            if !chunk.slots.get().iter().any(leaving) {
                continue;
            }
            chunk.changed = true;
            for (place, slot) in chunk.slots.own().iter_mut().enumerate() {
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
        let slots = self.chunks.iter().flat_map(|chunk| chunk.slots.get()).enumerate();
        let mut ages: Vec<(i64, u32)> =
            slots.filter_map(|(number, slot)| Some((slot.as_ref()?.last_ns(), number as u32))).collect();
        ages.select_nth_unstable(leaving - 1);
        let mut numbers: Vec<u32> = ages[..leaving].iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        for number in &numbers {
            let chunk = &mut self.chunks[*number as usize / CHUNK];
            chunk.changed = true;
            chunk.slots.own()[*number as usize % CHUNK] = None;
        }
        self.len -= numbers.len();
        numbers
    }

    /// Renames all numbers.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let chunks = std::mem::take(&mut self.chunks);
        self.len = 0;
        let slots = chunks.iter().flat_map(|chunk| chunk.slots.get());
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
            let (series, reader) = (chunk.slots.share(), keys.reader());
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
        let known = self.chunks.first().into_iter().flat_map(|chunk| chunk.slots.get().iter().flatten());
        let one = known.take(16).map(S::bytes).max().unwrap_or(0);
        self.len * one + self.chunks.len() * CHUNK * size_of::<Option<S>>().saturating_sub(size_of::<S>())
    }
}
