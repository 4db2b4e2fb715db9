//! The groups of the sessions of a worker: their names, their states, and what was said of them.
//!
//! A group is named by its keys and the start of its session. Which groups a session has is known to whoever keeps the
//! sessions; here is what becomes of groups, however sessions are found.

use super::SessionAggregateSpec;
use crate::aggregate::emitted::{Change, Emitted};
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::aggregate::table::Grouping;
use crate::aggregate::{Part, States};
use crate::event_time::timestamps;
use crate::operator::{CHANGES, FINALS, Output};
use crate::rows::Rows;
use crate::state::Section;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// A session by the number of its partition and its start.
pub(super) type Name = (u32, i64);

/// The groups of sessions that are not final.
pub(super) struct Groups {
    pub spec: SessionAggregateSpec,
    /// The keys, the start, the end, the results: as they are put together here.
    inner: SchemaRef,
    pub states: States,
    emit_changes: bool,
    emit_finals: bool,
    /// The partitions that sessions are of.
    pub partitions: Keys,
    /// The keys of each group, then the start of its session.
    pub names: Keys,
    /// For each group a number, and its states.
    pub held: KeyedRows,
    /// For each group the end of its session and the results last said.
    pub emitted: Emitted,
}

impl Groups {
    /// Those of `spec`, with the streams that somebody reads.
    pub fn new(spec: &SessionAggregateSpec, emit_changes: bool, emit_finals: bool) -> Result<Groups> {
        let grouping = Grouping::new(&spec.keys, &spec.aggregates, &spec.input.schema())?;
        let key_fields = grouping.key_schema.fields();
        let start = Arc::new(Field::new("start", DataType::Int64, false));
        let named: Vec<_> = key_fields.iter().cloned().chain([start.clone()]).collect();
        let (fields, results) = spec.schema.fields().split_at(2 + spec.keys.len());
        let inner = fields[2..].iter().chain([&start, &fields[1]]).chain(results).cloned().collect::<Vec<_>>();
        let mut held = vec![DataType::Int64];
        held.extend(grouping.states.types()?);
        let said = fields[1..2].iter().chain(results).map(|field| field.data_type().clone());
        Ok(Groups {
            inner: Arc::new(Schema::new(inner)),
            states: grouping.states.clone(),
            emit_changes,
            emit_finals,
            partitions: Keys::new(Grouping::by(Schema::new(key_fields[..spec.partition].to_vec()))?)?,
            names: Keys::new(Grouping::by(Schema::new(named))?)?,
            held: KeyedRows::new(held),
            emitted: Emitted::new(said.collect()),
            spec: spec.clone(),
        })
    }

    /// The ends of sessions and the results of their groups, of sessions given by their ends and groups.
    fn results<'a>(&self, sessions: impl Iterator<Item = (i64, &'a [u32])>) -> Result<Part> {
        let (mut numbers, mut ends) = (Vec::new(), Vec::new());
        for (end, groups) in sessions {
            ends.extend(std::iter::repeat_n(end, groups.len()));
            numbers.extend(groups);
        }
        // Not every aggregate can say what it makes of no group.
        if numbers.is_empty() {
            return Ok(Part::default());
        }
        let mut columns = vec![timestamps(ends, self.spec.schema.field(1).data_type())?];
        if !self.spec.aggregates.is_empty() {
            let mut part = self.held.part_of(&numbers)?;
            part.states.remove(0);
            columns.extend(self.states.evaluate(&part)?);
        }
        Ok(Part { numbers, states: columns })
    }

    /// Says what changed in `sessions`, each given by its end and its groups; the groups `gone` are no more.
    pub fn revise<'a>(
        &mut self,
        sessions: impl Iterator<Item = (i64, &'a [u32])>,
        gone: &[u32],
        output: &mut Output,
    ) -> Result<()> {
        if !self.emit_changes {
            return Ok(());
        }
        let withdrawn = self.emitted.withdraw(gone)?;
        self.send(withdrawn, output)?;
        let Part { numbers, states } = self.results(sessions)?;
        if numbers.is_empty() {
            return Ok(());
        }
        let replaced = self.emitted.replace(numbers, states)?;
        self.send(replaced, output)
    }

    fn send(&self, change: Change, output: &mut Output) -> Result<()> {
        if let Some(batch) = change.into_batch(&self.inner, |numbers| self.names.values(numbers))? {
            let rows = self.spec.shown(batch.rows.columns())?;
            output.send(CHANGES, Rows::unbounded(Batch { rows, diffs: batch.diffs }));
        }
        Ok(())
    }

    /// Says the final results of `sessions`, each given by its end and its groups, and forgets these.
    pub fn close<'a>(
        &mut self,
        sessions: impl Iterator<Item = (i64, &'a [u32])> + Clone,
        output: &mut Output,
    ) -> Result<()> {
        let groups: Vec<u32> = sessions.clone().flat_map(|(_, groups)| groups).copied().collect();
        if self.emit_finals && !groups.is_empty() {
            let Part { numbers, states } = match self.emit_changes {
                true => self.emitted.rows().part_of(&groups)?,
                false => self.results(sessions)?,
            };
            let columns = [self.names.values(&numbers)?, states].concat();
            output.send(FINALS, Rows::unbounded(Batch::append(self.spec.shown(&columns)?)));
        }
        self.let_go(&groups);
        self.emitted.rows_mut().remove(&groups);
        Ok(())
    }

    /// Forgets the states of groups; what was said of them stays to be taken back.
    pub fn let_go(&mut self, groups: &[u32]) {
        self.held.remove(groups);
        self.names.release(groups);
    }

    /// Forgets the names of groups that are gone; gives the new numbers if they changed.
    pub fn compact(&mut self) -> Result<Option<Vec<Option<u32>>>> {
        let Some(renamed) = self.names.compact()? else { return Ok(None) };
        self.held.rename(&renamed);
        self.emitted.rename(&renamed);
        Ok(Some(renamed))
    }

    /// Sections of what was said of each group.
    pub fn said(&mut self) -> Result<Vec<Section>> {
        self.names.sections("result", self.emitted.rows_mut())
    }

    /// Takes in the rows of such a section.
    pub fn restore_said(&mut self, rows: &RecordBatch) -> Result<()> {
        self.names.restore(rows, self.emitted.rows_mut()).map(drop)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.names.size() + self.partitions.size() + self.held.size() + self.emitted.rows().size()
    }
}
