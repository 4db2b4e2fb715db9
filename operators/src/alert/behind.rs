//! The rows behind a row: what an event shows of where its values come from.
//!
//! Of a relation that groups rows these are exemplars of the group, which come from an operator beside it in the epoch in
//! which its row does, or before. They wait for the row's time; of what is judged, an alert keeps them for as long as
//! something is wrong. Of any other relation they are its own rows.

use super::pending::Key;
use super::sample::Row;
use super::voice::Voice;
use super::{AlertTime, Exemplars};
use crate::event_time::EventTimes;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// The columns that tell groups apart as bytes.
pub(super) type Group = Box<[u8]>;

/// Some of the rows behind a row, those that weigh most first.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    /// How many there are.
    pub of: i64,
    pub shown: Shown,
}

#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// The relation's own rows.
    Rows(Vec<Row>),
    /// A JSON array.
    Json(Arc<str>),
}

/// Exemplars of groups whose rows have not been judged.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: BTreeMap<(i64, Key, Group), Behind>,
    bytes: usize,
}

/// What is kept for each group besides its exemplars, roughly.
const GROUP_OVERHEAD: usize = 128;

impl Groups {
    /// Takes in exemplars as `exemplars` has them; `now` is their time where the alert goes by the clock.
    pub fn take_in(
        &mut self,
        exemplars: &Exemplars,
        time: &AlertTime,
        voice: &Voice,
        now: i64,
        batch: &Batch,
    ) -> Result<()> {
        let column = |at: usize| batch.rows.column(at).clone();
        let keys: Vec<_> = exemplars.keys.iter().map(|at| column(*at)).collect();
        let keys = voice.encode_keys(&keys, batch.num_rows())?;
        let groups = voice
            .encode_groups(&exemplars.group.iter().map(|(at, _)| column(*at)).collect::<Vec<_>>(), batch.num_rows())?;
        let times = match (time, exemplars.time) {
            (AlertTime::Event { .. }, Some(at)) => Some(EventTimes::new(&column(at))?),
            _ => None,
        };
        let [.., texts, counts] = batch.rows.columns() else { return Ok(()) };
        let (texts, counts) = (texts.as_string::<i32>(), counts.as_primitive::<Int64Type>());
        for (at, (key, group)) in keys.into_iter().zip(groups).enumerate() {
            // What is taken back has been shown, or what takes its place comes too.
            if batch.diff(at) <= 0 || texts.is_null(at) {
                continue;
            }
            let t = times.as_ref().map_or(now, |times| times.ns(at));
            self.put(t, key, group, Behind { of: counts.value(at), shown: Shown::Json(texts.value(at).into()) });
        }
        Ok(())
    }

    /// Lets exemplars of a group wait, in the place of those that there were.
    pub fn put(&mut self, t: i64, key: Key, group: Group, behind: Behind) {
        self.bytes += behind.size();
        self.bytes -= self.waiting.insert((t, key, group), behind).map_or(0, |before| before.size());
    }

    /// The exemplars of a group.
    pub fn get(&self, t: i64, key: &Key, group: Group) -> Option<Behind> {
        self.waiting.get(&(t, key.clone(), group)).cloned()
    }

    /// Forgets what has a time up to and including `until`: it has been judged.
    pub fn pass(&mut self, until: i64) -> bool {
        let before = self.waiting.len();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= until) {
            self.bytes -= entry.remove().size();
        }
        self.waiting.len() < before
    }

    /// All that waits, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&(i64, Key, Group), &Behind)> {
        self.waiting.iter()
    }

    /// Groups and bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }
}

impl Behind {
    /// One row, which is shown already.
    pub const ALONE: Behind = Behind { of: 1, shown: Shown::Rows(Vec::new()) };

    /// Bytes, roughly.
    pub fn size(&self) -> usize {
        let shown = match &self.shown {
            Shown::Rows(rows) => rows.iter().map(|row| row.len()).sum(),
            Shown::Json(text) => text.len(),
        };
        shown + GROUP_OVERHEAD
    }
}
