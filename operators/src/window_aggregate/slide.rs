//! Windows that share slices: each state of a slice is merged a few times, however many windows hold it.
//!
//! Time is cut into blocks as long as a window. A window begins in one block and ends in the next (or fills one), so it
//! is the end of the one and the beginning of the other. The ends of a block grow slice by slice from its last slice
//! backwards, the beginnings from its first onwards; a window costs one merge of two. (M. van Herk; J. Gil and
//! M. Werman, for sliding minima.) Windows that begin together need the beginnings alone.

use crate::aggregate::keyed::KeyedRows;
use crate::aggregate::{Part, States};
use crate::window::Window;
use arrow::array::ArrayRef;
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;

/// The results of one window.
pub(super) struct WindowResults {
    /// Its end.
    pub end: i64,
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
    /// The results of the windows that end at `ends`, in growing order; of each slice what `choose` takes of it.
    pub fn results(&self, ends: &[i64], choose: impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<WindowResults>> {
        match self.window {
            Window::Tumble { .. } | Window::Hop { .. } => self.sliding(ends, choose),
            Window::Cumulate { .. } => self.growing(ends, choose),
        }
    }

    fn sliding(&self, ends: &[i64], choose: impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<WindowResults>> {
        let (size, offset) = (self.window.size_ns(), self.window.offset_ns());
        let starts: Vec<i64> = ends.iter().map(|end| self.window.start_of(*end)).collect();
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
                beginning = self.grown(beginning, reached, until, &choose)?;
                reached = until;
                all.extend(self.result(until, &[end, beginning.clone()])?);
            }
        }
        Ok(all)
    }

    fn growing(&self, ends: &[i64], choose: impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<WindowResults>> {
        let mut all = Vec::with_capacity(ends.len());
        for ends in ends.chunk_by(|a, b| self.window.start_of(*a) == self.window.start_of(*b)) {
            let (mut beginning, mut reached) = (Part::default(), self.window.start_of(ends[0]));
            for &end in ends {
                beginning = self.grown(beginning, reached, end, &choose)?;
                reached = end;
                all.extend(self.result(end, std::slice::from_ref(&beginning))?);
            }
        }
        Ok(all)
    }

    /// `beginning` with the slices from `reached` until `until`.
    fn grown(
        &self,
        beginning: Part,
        reached: i64,
        until: i64,
        choose: &impl Fn(&KeyedRows) -> Result<Part>,
    ) -> Result<Part> {
        let mut parts = vec![beginning];
        parts.extend(self.parts(reached, until, choose)?);
        self.states.merge_states(parts)
    }

    /// The results of the window that ends at `end` and is made of `parts`; `None` without any keys.
    fn result(&self, end: i64, parts: &[Part]) -> Result<Option<WindowResults>> {
        let Part { numbers, states: results } = self.states.merge(parts)?.results()?;
        Ok((!numbers.is_empty()).then_some(WindowResults { end, numbers, results }))
    }

    fn parts(&self, from: i64, until: i64, choose: &impl Fn(&KeyedRows) -> Result<Part>) -> Result<Vec<Part>> {
        self.slices.range(from..until.max(from)).map(|(_, held)| choose(held)).collect()
    }
}
