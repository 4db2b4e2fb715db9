//! What is said in one epoch: the events, and what becomes of each key's state.

use super::held::Held;
use super::machine::{Said, Transition};
use super::pending::Key;
use super::process::{Alert, EVENTS, STATE};
use super::voice::Told;
use crate::operator::Output;
use crate::rows::Rows;
use arrow::array::{Int64Array, RecordBatch, new_null_array};
use std::collections::BTreeSet;
use thalweg_schemas::alert_event::{self, AlertEvent, Kind, Reason, State};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;
use thalweg_schemas::labels::Labels;

/// How many events are made at a time: while they are, each takes many times the room of its row.
const EVENTS_TOGETHER: usize = 4_096;

/// What is said in one epoch.
pub(super) struct Turn {
    mute_before: i64,
    pub told: Vec<Told>,
    /// The keys of which something was said already.
    spoken_of: BTreeSet<Key>,
    /// The keys at which somebody looked.
    pub touched: BTreeSet<Key>,
}

impl Turn {
    /// Receivers are not told of what happened before `mute_before`.
    pub fn new(mute_before: i64) -> Turn {
        Turn { mute_before, told: Vec::new(), spoken_of: BTreeSet::new(), touched: BTreeSet::new() }
    }

    /// What is to be said of one key.
    pub fn begin(&self) -> Said {
        Said { mute_before: self.mute_before, transitions: Vec::new() }
    }

    /// Notes what was said of a key, by the row that it has now or, if that is `gone`, has had.
    pub fn note(&mut self, key: &Key, held: &Held, said: Said, rows: i64, gone: bool) {
        self.touched.insert(key.clone());
        for transition in said.transitions {
            // Silence has no row.
            let gone = gone || silent(&transition);
            let rows = if gone { 0 } else { rows };
            let (row, behind) = (held.row.clone(), held.behind.clone().filter(|_| !gone));
            self.told.push(Told { key: key.clone(), transition, row, before: None, rows, behind, gone });
        }
    }
}

/// Whether it happened because nothing came.
fn silent(transition: &Transition) -> bool {
    matches!(transition.reason, Reason::NoData | Reason::Evicted)
}

impl Alert {
    /// Says what has happened so far, if that is much.
    pub(super) fn speak_of_many(&self, turn: &mut Turn, output: &mut Output) -> Result<()> {
        if turn.told.len() < EVENTS_TOGETHER { Ok(()) } else { self.say(turn, output) }
    }

    fn say(&self, turn: &mut Turn, output: &mut Output) -> Result<()> {
        for told in std::mem::take(&mut turn.told).chunks(EVENTS_TOGETHER) {
            let events = alert_event::to_rows(&self.voice.events(told)?)?;
            if self.emit_state {
                let diffs = Int64Array::from_value(1, events.num_rows());
                output.send(STATE, Rows::unbounded(Batch::changes(without_samples(&events)?, diffs)));
            }
            if self.emit_events {
                output.send(EVENTS, Rows::unbounded(Batch::append(events)));
            }
            turn.spoken_of.extend(told.iter().map(|told| told.key.clone()));
        }
        Ok(())
    }

    /// Says what happened, and which keys show nothing any more.
    pub(super) fn speak(&mut self, mut turn: Turn, output: &mut Output) -> Result<()> {
        self.say(&mut turn, output)?;
        // What is cleared in the epoch in which it was pending is not shown at all.
        let mut gone = turn.spoken_of;
        for key in &turn.touched {
            let Some(held) = self.held.get_mut(key) else { continue };
            let shows = held.instance.state() != State::Normal;
            if shows {
                gone.remove(key);
            } else if held.shown {
                gone.insert(key.clone());
            }
            held.shown = shows;
            self.settle(key);
        }
        if self.emit_state && !gone.is_empty() {
            let gone = self.voice.key_texts(gone.iter())?.into_iter().map(|key| removal(&self.spec.name, key));
            let rows = alert_event::to_rows(&gone.collect::<Vec<_>>())?;
            let diffs = Int64Array::from_value(-1, rows.num_rows());
            output.send(STATE, Rows::unbounded(Batch::changes(rows, diffs)));
        }
        Ok(())
    }
}

/// Events as the rows of the state: what rows are behind one is for the events, since the state is kept for every key, in
/// several places.
fn without_samples(events: &RecordBatch) -> Result<RecordBatch> {
    let fields = events.schema_ref().fields().iter().zip(events.columns());
    let columns = fields.map(|(field, column)| match field.name() == alert_event::SAMPLE {
        true => new_null_array(field.data_type(), column.len()),
        false => column.clone(),
    });
    Ok(RecordBatch::try_new(events.schema(), columns.collect())?)
}

/// The row that takes the state of a key away: only its key counts.
fn removal(alert: &str, key: String) -> AlertEvent {
    AlertEvent {
        alert: alert.to_string(),
        key,
        incident_id: String::new(),
        seq: 0,
        kind: Kind::Cleared,
        state: State::Normal,
        severity: None,
        previous_severity: None,
        reason: Reason::ConditionCleared,
        event_time_ns: 0,
        starts_at_ns: 0,
        fired_at_ns: None,
        ends_at_ns: None,
        labels: Labels::new(),
        annotations: Labels::new(),
        values: String::new(),
        previous_values: None,
        threshold: None,
        row: None,
        rows: 0,
        input_rows: None,
        sample: None,
        revision: 0,
        muted: None,
    }
}
