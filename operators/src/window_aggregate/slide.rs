//! Windows that share slices: each state of a slice is merged a few times, however many windows hold it.
//!
//! Time is cut into blocks as long as a window. A window begins in one block and ends in the next (or fills one), so it
//! is the end of the one and the beginning of the other. The ends of a block grow slice by slice from its last slice
//! backwards, the beginnings from its first onwards; a window costs one merge of two. (M. van Herk; J. Gil and
//! M. Werman, for sliding minima.)

use crate::aggregate::keyed::KeyedRows;
use crate::aggregate::{Part, States};
use crate::window::Window;
use arrow::array::ArrayRef;
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;

/// The results of one window.
pub(super) struct WindowResults {
    /// Its start.
    pub start: i64,
    /// The keys that have rows in it.
    pub numbers: Vec<u32>,
    /// One row a key.
    pub results: Vec<ArrayRef>,
}

/// The slices that windows are made of.
pub(super) struct Slices<'a> {
    pub window: Window,
    pub states: &'a States,
    pub slices: &'a BTreeMap<i64, KeyedRows>,
}

impl Slices<'_> {
    /// The results of the windows that begin at `starts`, in growing order; of each slice what `choose` takes of it.
    pub fn results(&self, starts: &[i64], choose: impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<WindowResults>> {
        let (size, offset) = (self.window.size_ns(), self.window.offset_ns());
        let block = |start: &i64| (start - offset).div_euclid(size);
        let mut all = Vec::with_capacity(starts.len());
        for starts in starts.chunk_by(|a, b| block(a) == block(b)) {
            let boundary = offset + (block(&starts[0]) + 1) * size;
            let (mut ends, mut reached) = (vec![Part::default()], boundary);
            for &start in starts.iter().rev() {
                let mut parts = self.parts(start, reached, &choose)?;
                if let Some(longer) = ends.last().filter(|end| !end.numbers.is_empty()) {
                    parts.push(longer.clone());
                }
                ends.push(self.states.merge_states(parts)?);
                reached = start;
            }
            let (mut beginning, mut reached) = (Part::default(), boundary);
            for (&start, end) in starts.iter().zip(ends.into_iter().skip(1).rev()) {
                let until = start.saturating_add(size);
                let mut parts = vec![beginning];
                parts.extend(self.parts(reached, until, &choose)?);
                beginning = self.states.merge_states(parts)?;
                reached = until;
                let Part { numbers, states: results } = self.states.merge(&[end, beginning.clone()])?.results()?;
                if !numbers.is_empty() {
                    all.push(WindowResults { start, numbers, results });
                }
            }
        }
        Ok(all)
    }

    fn parts(&self, from: i64, until: i64, choose: &impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<Part>> {
        self.slices.range(from..until.max(from)).map(|(_, held)| choose(held)).collect()
    }
}
