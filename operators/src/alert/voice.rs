//! From transitions to events: names instead of levels, labels and annotations, the values and the row behind it.

use super::behind::{Behind, Group, Shown};
use super::machine::Transition;
use super::pending::Key;
use super::sample::Row;
use super::{AlertSpec, Part, Template};
use crate::aggregate::exemplars::short_json;
use crate::evaluate::rows_to_json;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use thalweg_schemas::alert_event::{AlertEvent, Kind};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// Turns columns into bytes and back, and speaks of them.
pub(super) struct Voice {
    spec: AlertSpec,
    keys: RowConverter,
    rows: RowConverter,
    key_schema: SchemaRef,
    /// The columns that tell apart the groups of rows behind.
    groups: RowConverter,
    group: Vec<usize>,
}

/// What happened to one key, and the row by which it did.
pub(super) struct Told {
    pub key: Key,
    pub transition: Transition,
    /// `None`: no row is known, nothing ever came.
    pub row: Option<Row>,
    /// Of a correction: the row as it was before.
    pub before: Option<Row>,
    /// How many rows were looked at.
    pub rows: i64,
    /// The rows behind the row.
    pub behind: Option<Arc<Behind>>,
    /// Whether the row was taken back, and speaks only for labels and annotations.
    pub gone: bool,
}

impl Voice {
    pub fn new(spec: &AlertSpec) -> Result<Voice> {
        let schema = spec.input.schema();
        let field = |at: &usize| SortField::new(schema.field(*at).data_type().clone());
        let keys = RowConverter::new(spec.keys.iter().map(field).collect())?;
        let rows = RowConverter::new((0..schema.fields().len()).map(|at| field(&at)).collect())?;
        let key_schema = Arc::new(schema.project(&spec.keys)?);
        let group: Vec<usize> =
            spec.exemplars.iter().flat_map(|exemplars| exemplars.group.iter().map(|(_, at)| *at)).collect();
        let groups = RowConverter::new(group.iter().map(field).collect())?;
        Ok(Voice { spec: spec.clone(), keys, rows, key_schema, groups, group })
    }

    /// The keys of the rows of `batch`, and the rows.
    pub fn encode(&self, batch: &Batch) -> Result<Vec<(Key, Row)>> {
        let rows = self.rows.convert_columns(batch.rows.columns())?;
        if self.spec.keys.is_empty() {
            let none: Key = Arc::from([]);
            return Ok(rows.iter().map(|row| (none.clone(), row.data().into())).collect());
        }
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|at| batch.rows.column(*at).clone()).collect();
        let keys = self.keys.convert_columns(&keys)?;
        Ok(keys.iter().zip(rows.iter()).map(|(key, row)| (key.data().into(), row.data().into())).collect())
    }

    /// The columns of rows.
    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Result<RecordBatch> {
        let parser = self.rows.parser();
        let mut count = 0;
        let columns = self.rows.convert_rows(rows.inspect(|_| count += 1).map(|row| parser.parse(row)))?;
        with_columns(&lax(&self.spec.input.schema()), columns, count)
    }

    /// The columns of keys.
    pub fn decode_keys<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<RecordBatch> {
        let mut count = 0;
        let keys = keys.inspect(|_| count += 1);
        if self.spec.keys.is_empty() {
            keys.for_each(drop);
            return with_columns(&self.key_schema, Vec::new(), count);
        }
        let parser = self.keys.parser();
        let columns = self.keys.convert_rows(keys.map(|key| parser.parse(key)))?;
        with_columns(&lax(&self.key_schema), columns, count)
    }

    /// The bytes of rows, and of keys, as a checkpoint has them.
    pub fn encode_rows(&self, columns: &[ArrayRef]) -> Result<Vec<Row>> {
        Ok(self.rows.convert_columns(columns)?.iter().map(|row| row.data().into()).collect())
    }

    /// As [`encode_rows`](Self::encode_rows).
    pub fn encode_keys(&self, columns: &[ArrayRef], count: usize) -> Result<Vec<Key>> {
        if columns.is_empty() {
            return Ok(vec![Arc::from([]); count]);
        }
        Ok(self.keys.convert_columns(columns)?.iter().map(|key| key.data().into()).collect())
    }

    /// Groups by the columns that tell them apart, as bytes.
    pub fn encode_groups(&self, columns: &[ArrayRef], count: usize) -> Result<Vec<Group>> {
        if columns.is_empty() {
            return Ok(vec![Group::default(); count]);
        }
        Ok(self.groups.convert_columns(columns)?.iter().map(|group| group.data().into()).collect())
    }

    /// The columns of groups.
    pub fn decode_groups<'a>(&self, groups: impl Iterator<Item = &'a Group>) -> Result<Vec<ArrayRef>> {
        let parser = self.groups.parser();
        if self.group.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.groups.convert_rows(groups.map(|group| parser.parse(group)))?)
    }

    /// The group behind a row.
    pub fn group_of(&self, row: &Row) -> Result<Group> {
        let columns = self.decode(std::iter::once(row))?.project(&self.group)?;
        Ok(self.encode_groups(columns.columns(), 1)?.swap_remove(0))
    }

    /// What is shown of the rows behind each of `rows`, as JSON; `None` where none is known.
    pub fn samples<'a>(
        &self,
        rows: impl Iterator<Item = (Option<&'a Row>, Option<&'a Behind>)>,
    ) -> Result<Vec<Option<String>>> {
        let rows: Vec<_> = rows.collect();
        let own = |(row, behind): &(Option<&'a Row>, Option<&'a Behind>)| -> Vec<&'a Row> {
            match behind.map(|behind| &behind.shown) {
                Some(Shown::Rows(others)) => row.iter().copied().chain(others).collect(),
                _ => Vec::new(),
            }
        };
        let width: Vec<usize> = (0..self.spec.width).collect();
        let mut own_rows = short_json(&self.decode(rows.iter().flat_map(own))?.project(&width)?).into_iter();
        let sample = |one: &(Option<&'a Row>, Option<&'a Behind>)| match &one.1?.shown {
            Shown::Json(text) => Some(text.to_string()),
            Shown::Rows(_) => {
                let shown: Vec<String> = own_rows.by_ref().take(own(one).len()).collect();
                Some(format!("[{}]", shown.join(",")))
            }
        };
        Ok(rows.iter().map(sample).collect())
    }

    /// The events, in order.
    pub fn events(&self, told: &[Told]) -> Result<Vec<AlertEvent>> {
        let keys = self.decode_keys(told.iter().map(|told| &told.key))?;
        let rows = self.decode(told.iter().filter_map(|told| told.row.as_ref()))?;
        let samples = self.samples(told.iter().map(|told| (told.row.as_ref(), told.behind.as_deref())))?;
        let before = self.decode(told.iter().filter_map(|told| told.before.as_ref()))?;
        let (key_texts, row_texts) = (texts(&keys)?, texts(&rows)?);
        let width: Vec<usize> = (0..self.spec.width).collect();
        let mut wholes = rows_to_json(&rows.project(&width)?).into_iter();
        let mut values = rows_to_json(&rows.project(&self.spec.values)?).into_iter();
        let mut values_before = rows_to_json(&before.project(&self.spec.values)?).into_iter();
        let mut known = 0..;
        let mut events = Vec::with_capacity(told.len());
        for (((at, one), sample), key) in told.iter().enumerate().zip(samples).zip(self.key_json(&keys)) {
            let own = one.row.as_ref().and_then(|_| Some((known.next()?, wholes.next()?, values.next()?)));
            let previous_values = one.before.as_ref().and_then(|_| values_before.next());
            let text = |column: usize| own.as_ref().and_then(|(row, ..)| row_texts[column][*row].as_deref());
            let severity = self.severity(one.transition.level);
            let fill = |template: &Template| self.fill(template, severity.as_deref(), &text);
            let of_key = keys.schema_ref().fields().iter().zip(&key_texts);
            let of_key = of_key.filter_map(|(field, texts)| Some((field.name(), texts[at].clone()?)));
            let labels = of_key.chain(self.spec.labels.iter().map(|(name, template)| (name, fill(template)))).collect();
            let annotations = self.spec.annotations.iter().map(|(name, template)| (name, fill(template))).collect();
            let (row, values) = own.filter(|_| !one.gone).map(|(_, row, values)| (row, values)).unzip();
            let Transition { kind, state, level, previous, reason, at: time, incident, ends_at, muted } =
                one.transition.clone();
            events.push(AlertEvent {
                incident_id: incident_id(&self.spec.name, &key, incident.starts_at),
                alert: self.spec.name.clone(),
                seq: incident.seq,
                kind,
                state,
                severity: severity.clone(),
                previous_severity: self.severity(previous),
                reason,
                event_time_ns: time,
                starts_at_ns: incident.starts_at,
                fired_at_ns: incident.fired_at,
                ends_at_ns: ends_at,
                labels,
                annotations,
                values: values.unwrap_or_else(|| "{}".to_string()),
                previous_values: previous_values.filter(|_| kind == Kind::Revised),
                threshold: level.checked_sub(1).map(|at| self.spec.severities[at].condition.clone()),
                row,
                rows: one.rows,
                input_rows: one.behind.as_ref().map(|behind| behind.of),
                sample,
                revision: incident.revision,
                muted,
                key,
            });
        }
        Ok(events)
    }

    /// Keys as events say them.
    pub fn key_texts<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<Vec<String>> {
        Ok(self.key_json(&self.decode_keys(keys)?))
    }

    fn key_json(&self, keys: &RecordBatch) -> Vec<String> {
        if self.spec.keys.is_empty() { vec!["{}".to_string(); keys.num_rows()] } else { rows_to_json(keys) }
    }

    /// Whether two rows have the same values where the conditions look.
    pub fn same_values(&self, a: &Row, b: &Row) -> Result<bool> {
        let rows = self.decode([a, b].into_iter())?.project(&self.spec.values)?;
        Ok(rows.slice(0, 1) == rows.slice(1, 1))
    }

    fn severity(&self, level: usize) -> Option<String> {
        level.checked_sub(1).map(|at| self.spec.severities[at].name.clone())
    }

    fn fill<'a>(&self, template: &Template, severity: Option<&str>, text: &dyn Fn(usize) -> Option<&'a str>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Column(at, formats) => text(*at).map_or_else(String::new, |value| {
                formats.iter().fold(value.to_string(), |value, format| format.apply(&value))
            }),
            Part::Alert => self.spec.name.clone(),
            Part::Severity => severity.unwrap_or_default().to_string(),
        };
        template.0.iter().map(part).collect()
    }
}

/// The identity of an incident: of the alert, its key and the event time at which its condition first held.
fn incident_id(alert: &str, key: &str, starts_at: i64) -> String {
    let mut hash = Sha256::new();
    // Lengths before the texts: no two triples are written alike.
    hash.update((alert.len() as u64).to_le_bytes());
    hash.update(alert);
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(starts_at.to_le_bytes());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// All values as text, by column; `None` where they are NULL.
fn texts(rows: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default();
    let column = |column: &ArrayRef| -> Result<Vec<Option<String>>> {
        let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
        Ok((0..column.len()).map(|row| (!column.is_null(row)).then(|| shown.value(row).to_string())).collect())
    };
    rows.columns().iter().map(column).collect()
}

fn lax(schema: &Schema) -> SchemaRef {
    let lax = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(lax).collect::<Vec<_>>()))
}

fn with_columns(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
