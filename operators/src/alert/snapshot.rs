//! An alert's state as sections of a checkpoint, and back.
//!
//! `keys`: the key, the state machine as JSON, whether a row is known, that row. `standing` and `pending`: the key, the
//! time, how often the row is there, the row. What the conditions say of a row is in the row. `expected`: the key, how many rows
//! say it, whether it waits for the alert's time to begin. `behind`: the key, how many rows are behind its row, some of them
//! as JSON (NULL: its row alone). `groups`: the key, the time, the same of a group that waits, the columns that tell it apart.
//!
//! Of what there is for every key a snapshot is a copy of the few words of its machine, some thousand keys together; the
//! texts and columns are made of it by who writes them, one section after the other.

use super::behind::{Behind, Shown};
use super::held::Held;
use super::machine::Instance;
use super::pending::Key;
use super::process::Alert;
use super::sample::{Counted, Row};
use super::voice::Voice;
use crate::state::{Restored, Section, fresh_id, unnamed};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// A key's state besides its rows.
#[derive(Serialize, Deserialize)]
struct Kept {
    instance: Instance,
    live: i64,
    sampled_at: i64,
    shown: bool,
}

/// How many keys are in a section.
const KEYS_TOGETHER: usize = 8_192;

/// What makes the rows of a section.
type Rows = Box<dyn FnOnce() -> Result<RecordBatch> + Send>;

impl Alert {
    pub(super) fn sections(&mut self) -> Result<Vec<Section>> {
        let standing = self.held.iter().flat_map(|(key, held)| {
            held.standing.iter().flat_map(move |standing| standing.rows.iter().map(move |row| (key, row)))
        });
        let standing: Vec<_> = standing.map(|(key, (row, counted))| (0, key, row, *counted)).collect();
        let pending: Vec<_> = self.pending.iter().collect();
        let made = |rows: RecordBatch| -> Rows { Box::new(move || Ok(rows)) };
        let mut sections: Vec<(&str, Rows)> = self.keys().map(|rows| ("keys", rows)).collect();
        sections.push(("standing", made(self.rows(&standing)?)));
        sections.push(("pending", made(self.rows(&pending)?)));
        sections.push(("expected", made(self.expected_keys()?)));
        sections.extend(self.rows_behind().map(|rows| ("behind", rows)));
        sections.push(("groups", made(self.waiting_groups()?)));
        let keys = self.spec.keys.len();
        // What has not changed is of as many sections as it was.
        self.ids.resize_with(sections.len(), fresh_id);
        let section =
            |((label, rows), id): ((&str, Rows), &u64)| Section { label: label.to_string(), id: *id, keys, rows };
        Ok(sections.into_iter().zip(&self.ids).map(section).collect())
    }

    fn keys(&self) -> impl Iterator<Item = Rows> {
        let kept = self.held.iter().map(|(key, held)| {
            let Held { sampled_at, shown, .. } = **held;
            let live = held.standing.as_ref().map_or(0, |standing| standing.live);
            (key.clone(), Kept { instance: held.instance.clone(), live, sampled_at, shown }, held.row.clone())
        });
        together(kept).map(|keys| -> Rows {
            let voice = self.voice.clone();
            Box::new(move || rows_of_keys(&voice, &keys))
        })
    }

    fn rows_behind(&self) -> impl Iterator<Item = Rows> {
        let known = self.held.iter();
        let known = known.filter_map(|(key, held)| Some((key.clone(), held.row.clone(), held.behind.clone()?)));
        together(known).map(|known| -> Rows {
            let voice = self.voice.clone();
            Box::new(move || rows_of_behind(&voice, &known))
        })
    }

    fn expected_keys(&self) -> Result<RecordBatch> {
        let mut columns = self.voice.decode_keys(self.expected.iter().map(|(key, ..)| key))?.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(self.expected.iter().map(|(_, rows, _)| rows))));
        columns.push(Arc::new(self.expected.iter().map(|(.., waits)| Some(waits)).collect::<BooleanArray>()));
        unnamed(columns, self.expected.len())
    }

    fn waiting_groups(&self) -> Result<RecordBatch> {
        let waiting: Vec<_> = self.groups.iter().collect();
        let samples = self.voice.samples(waiting.iter().map(|(_, behind)| (None, Some(*behind))))?;
        let mut columns = self.voice.decode_keys(waiting.iter().map(|((_, key, _), _)| key))?.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(waiting.iter().map(|((t, ..), _)| *t))));
        columns.push(Arc::new(Int64Array::from_iter_values(waiting.iter().map(|(_, behind)| behind.of))));
        columns.push(Arc::new(StringArray::from(samples)));
        columns.extend(self.voice.decode_groups(waiting.iter().map(|((.., group), _)| group))?);
        unnamed(columns, waiting.len())
    }

    fn rows(&self, rows: &[(i64, &Key, &Row, Counted)]) -> Result<RecordBatch> {
        let mut columns = self.voice.decode_keys(rows.iter().map(|(_, key, _, _)| *key))?.columns().to_vec();
        let numbers = |of: &dyn Fn(&(i64, &Key, &Row, Counted)) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
        };
        columns.push(numbers(&|(t, ..)| *t));
        columns.push(numbers(&|(_, _, _, counted)| counted.times));
        columns.extend_from_slice(self.voice.decode(rows.iter().map(|(_, _, row, _)| *row))?.columns());
        unnamed(columns, rows.len())
    }

    pub(super) fn take_on(&mut self, section: &Restored) -> Result<()> {
        match section.label.as_str() {
            "keys" => self.take_on_keys(&section.rows),
            "standing" => {
                for (_, key, row, counted) in self.rows_of(&section.rows)? {
                    if let Some(held) = self.held.get_mut(&key) {
                        *held.standing().rows.entry(row) = counted;
                    }
                }
                Ok(())
            }
            "pending" => {
                for (t, key, row, counted) in self.rows_of(&section.rows)? {
                    self.pending.add(t, key, row, counted);
                }
                Ok(())
            }
            "expected" => self.take_on_expected(&section.rows),
            "behind" => self.take_on_behind(&section.rows),
            "groups" => self.take_on_groups(&section.rows),
            _ => Err(section.unknown()),
        }
    }

    fn take_on_expected(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, rest) = rows.columns().split_at(self.spec.keys.len());
        let [counts, waits] = rest else { return Err(Error::bug("expected keys without a count")) };
        let (counts, waits) = (counts.as_primitive::<Int64Type>(), waits.as_boolean());
        for (at, key) in self.voice.encode_keys(keys, rows.num_rows())?.into_iter().enumerate() {
            self.expected.take_on(key, counts.value(at), waits.value(at));
        }
        Ok(())
    }

    fn take_on_behind(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, rest) = rows.columns().split_at(self.spec.keys.len());
        let [of, texts] = rest else { return Err(Error::bug("rows behind an alert's without a count")) };
        let (of, texts) = (of.as_primitive::<Int64Type>(), texts.as_string::<i32>());
        for (at, key) in self.voice.encode_keys(keys, rows.num_rows())?.into_iter().enumerate() {
            if let Some(held) = self.held.get_mut(&key) {
                let shown = match texts.is_null(at) {
                    true => Shown::Rows(Vec::new()),
                    false => Shown::Json(texts.value(at).into()),
                };
                held.behind = Some(match (of.value(at), shown) {
                    (1, Shown::Rows(_)) => self.alone.clone(),
                    (of, shown) => Arc::new(Behind { of, shown }),
                });
            }
        }
        Ok(())
    }

    fn take_on_groups(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, rest) = rows.columns().split_at(self.spec.keys.len());
        let [times, of, texts, columns @ ..] = rest else {
            return Err(Error::bug("groups behind an alert without a time"));
        };
        let (times, of) = (times.as_primitive::<Int64Type>(), of.as_primitive::<Int64Type>());
        let texts = texts.as_string::<i32>();
        let keys = self.voice.encode_keys(keys, rows.num_rows())?;
        let groups = self.voice.encode_groups(columns, rows.num_rows())?;
        for (at, (key, group)) in keys.into_iter().zip(groups).enumerate() {
            let behind = Behind { of: of.value(at), shown: Shown::Json(texts.value(at).into()) };
            self.groups.put(times.value(at), key, group, behind);
        }
        Ok(())
    }

    fn take_on_keys(&mut self, rows: &RecordBatch) -> Result<()> {
        let (keys, rest) = rows.columns().split_at(self.spec.keys.len());
        let [texts, has_row, columns @ ..] = rest else {
            return Err(Error::bug("the keys of an alert without a state"));
        };
        let keys = self.voice.encode_keys(keys, rows.num_rows())?;
        let encoded = self.voice.encode_rows(columns)?;
        for (at, (key, row)) in keys.into_iter().zip(encoded).enumerate() {
            let kept: Kept = serde_json::from_str(texts.as_string::<i32>().value(at)).map_err(|error| {
                Error::user(format!("the checkpoint holds a state of alert \"{}\" that this version cannot read", self.spec.name))
                    .with_detail(format!("In the state of a key: {error}."))
                    .with_hint(
                        "It was written by another version of Thalweg: run that one, or give the alert another name, and it begins anew.",
                    )
            })?;
            let mut held = Held::new(&self.spec.rule, kept.sampled_at);
            (held.instance, held.shown) = (kept.instance, kept.shown);
            if kept.live != 0 {
                held.standing().live = kept.live;
            }
            held.row = has_row.as_boolean().value(at).then_some(row);
            self.hold(key, held);
        }
        Ok(())
    }

    fn rows_of(&self, rows: &RecordBatch) -> Result<Vec<(i64, Key, Row, Counted)>> {
        let (keys, rest) = rows.columns().split_at(self.spec.keys.len());
        let [t, times, columns @ ..] = rest else { return Err(Error::bug("the rows of an alert without a count")) };
        let (t, times) = (t.as_primitive::<Int64Type>(), times.as_primitive::<Int64Type>());
        let keys = self.voice.encode_keys(keys, rows.num_rows())?;
        let whole = unnamed(columns.to_vec(), rows.num_rows())?;
        let judged = self.judgements(&whole);
        let encoded = self.voice.encode_rows(columns)?;
        let rows = keys.into_iter().zip(encoded).zip(judged).enumerate();
        Ok(rows
            .map(|(at, ((key, row), judged))| (t.value(at), key, row, Counted { times: times.value(at), judged }))
            .collect())
    }
}

/// Some thousand of `all`, then the next.
fn together<T>(mut all: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        Some(all.by_ref().take(KEYS_TOGETHER).collect()).filter(|some: &Vec<T>| !some.is_empty())
    })
}

fn rows_of_keys(voice: &Voice, keys: &[(Key, Kept, Option<Row>)]) -> Result<RecordBatch> {
    let mut columns = voice.decode_keys(keys.iter().map(|(key, ..)| key))?.columns().to_vec();
    let mut texts = StringBuilder::new();
    for (_, kept, _) in keys {
        let text = serde_json::to_string(kept).map_err(|error| Error::bug(format!("an alert's state: {error}")))?;
        texts.append_value(text);
    }
    columns.push(Arc::new(texts.finish()));
    columns.push(Arc::new(keys.iter().map(|(.., row)| Some(row.is_some())).collect::<BooleanArray>()));
    let rows = voice.decode(keys.iter().filter_map(|(.., row)| row.as_ref()))?;
    let mut next = 0..;
    let places: UInt64Array = keys.iter().map(|(.., row)| row.as_ref().and_then(|_| next.next())).collect();
    for column in rows.columns() {
        columns.push(take(column, &places, None)?);
    }
    unnamed(columns, keys.len())
}

fn rows_of_behind(voice: &Voice, known: &[(Key, Option<Row>, Arc<Behind>)]) -> Result<RecordBatch> {
    let alone = |behind: &Behind| matches!(&behind.shown, Shown::Rows(others) if others.is_empty());
    let told = known.iter().map(|(_, row, behind)| (row.as_ref(), Some(&**behind).filter(|behind| !alone(behind))));
    let samples = voice.samples(told)?;
    let mut columns = voice.decode_keys(known.iter().map(|(key, ..)| key))?.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_iter_values(known.iter().map(|(.., behind)| behind.of))));
    columns.push(Arc::new(StringArray::from(samples)));
    unnamed(columns, known.len())
}
