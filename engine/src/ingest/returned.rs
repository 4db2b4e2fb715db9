//! Taking dead letters in again: through the source's decoder, as rows of now, each of which is a row or a letter again.
//!
//! They bring no watermark: their times lie where the stream has been already.

use super::conform::Facts;
use super::{Ingest, Intake};
use crate::archive::letter::{Form, Letter, Returned};
use crate::archive::returns::Group;
use crate::durability::record::Entry;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use thalweg_operators::rows::Rows;
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::format::{BadRecord, Decoded, RAW_BYTES_MAX};
use thalweg_schemas::messages::{Message, Messages};

impl Ingest {
    /// The dead letters that are to be taken in next, by whichever worker has a share of the source that goes on.
    pub(super) fn next_returned(&mut self) -> Option<Group> {
        self.held_letters.take().or_else(|| self.book().returns.next())
    }

    /// Takes a group in, noted in `entry` before, if there is one.
    pub(super) fn take_back(&mut self, group: Group, now_ns: i64, entry: Option<&mut Entry>) -> Result<Intake> {
        let Some(first) = group.letters.first().map(|returned| &returned.letter) else { return Ok(Intake::Nothing) };
        let form = first.form.clone();
        let partition = first.partition.clone();
        // Where the offset of a row is not known it is taken to be the first.
        let offset = first.offset.unwrap_or_default();
        let messages = messages_of(&group.letters);
        let decoded = match self.decode_again(&form, &messages) {
            Ok(decoded) => decoded,
            Err(error) if error.kind == ErrorKind::Retry => {
                self.held_letters = Some(group);
                return self.pause(error, now_ns);
            }
            // The source is not what it was: a format without a decoder, another header.
            Err(error) => return self.refuse(group, &error, now_ns, entry),
        };
        if let Some(entry) = entry {
            entry.take_returned(self.source, &group.letters)?;
        }
        let facts = Facts { source: &self.plan.name, partition: &partition, start: offset, now_ns };
        let (mut bad, rows_in) = (decoded.bad.clone(), decoded.rows.num_rows() + decoded.bad.len());
        let undecoded = bad.len();
        let rows = self.conform.decoded(decoded, Some(&messages), facts, &mut bad)?;
        let rows = self.event_time.judge(rows, None, now_ns, facts, &mut bad)?;
        let (book, bytes) = (self.book(), messages.byte_len() as u64);
        book.rows_in.fetch_add(rows_in as u64, Ordering::AcqRel);
        book.rows_out.fetch_add(rows.num_rows() as u64, Ordering::AcqRel);
        book.bytes.fetch_add(bytes, Ordering::AcqRel);
        assert_eq!(rows_in, rows.num_rows() + bad.len(), "every record is a row or a dead letter");
        self.settle(group, letters_again(bad, undecoded), now_ns)?;
        if rows.num_rows() == 0 {
            return Ok(Intake::Nothing);
        }
        Ok(Intake::Rows(Rows::new(self.conform.batch(rows), self.event_time.bound())))
    }

    /// What the letters of one form come to.
    fn decode_again(&mut self, form: &Form, messages: &Messages) -> Result<Decoded> {
        let decoder = match form {
            Form::Record(surroundings) => {
                let decoder = match &surroundings.format {
                    Some(format) => self.decoders.of(format)?,
                    None => self.decoders.own()?,
                };
                if let Some(header) = super::letters::header(surroundings) {
                    decoder.header(&header)?;
                }
                decoder
            }
            Form::Row => self.decoders.rows()?,
            Form::Apart | Form::Cut => return Err(Error::bug("such a letter cannot be taken in again")),
        };
        messages.iter().for_each(|message| decoder.message(message));
        decoder.finish()
    }

    /// All of a group are letters again, for the same reason.
    fn refuse(&mut self, group: Group, error: &Error, now_ns: i64, entry: Option<&mut Entry>) -> Result<Intake> {
        if let Some(entry) = entry {
            entry.take_returned(self.source, &group.letters)?;
        }
        let number = group.letters.len();
        self.book().rows_in.fetch_add(number as u64, Ordering::AcqRel);
        let again = group.letters.iter().map(|returned| Again {
            offset: returned.letter.offset.unwrap_or_default(),
            form: None,
            raw: None,
            reason: error.to_string(),
        });
        let again = again.collect();
        self.settle(group, again, now_ns)?;
        Ok(Intake::Nothing)
    }

    /// Enters what became of a group in the books: its letters are gone, those of `again` are new ones.
    fn settle(&self, group: Group, again: Vec<Again>, now_ns: i64) -> Result<()> {
        let Group { letters, ticket } = group;
        let (number, dead) = (letters.len() as u64, again.len() as u64);
        self.book().replayed.fetch_add(number, Ordering::AcqRel);
        let epoch = self.ledger.epoch_at(now_ns);
        self.ledger.dead.returned(epoch, letters.iter().map(|returned| returned.id.clone()));
        let by_offset: BTreeMap<u64, &Letter> =
            letters.iter().map(|returned| (returned.letter.offset.unwrap_or_default(), &returned.letter)).collect();
        let again = again.into_iter().filter_map(|again| {
            let before = by_offset.get(&again.offset)?;
            Some(Letter {
                reason: again.reason,
                attempts: before.attempts + 1,
                form: again.form.unwrap_or_else(|| before.form.clone()),
                raw: again.raw.unwrap_or_else(|| before.raw.clone()),
                ..(*before).clone()
            })
        });
        self.bury(again.collect(), now_ns)?;
        ticket.dead.fetch_add(dead, Ordering::AcqRel);
        ticket.epoch.fetch_max(epoch, Ordering::AcqRel);
        ticket.taken.fetch_add(number, Ordering::AcqRel);
        self.book().returns.taken();
        Ok(())
    }
}

/// A letter that was no row once more; form and bytes only where they are others than before.
struct Again {
    offset: u64,
    form: Option<Form>,
    raw: Option<Vec<u8>>,
    reason: String,
}

/// What was bad again, of which the first `undecoded` come from the decoder.
fn letters_again(bad: Vec<BadRecord>, undecoded: usize) -> Vec<Again> {
    let again = bad.into_iter().enumerate().map(|(position, BadRecord { offset, raw, reason })| {
        let form = match position < undecoded {
            true => None,
            false if raw.len() >= RAW_BYTES_MAX => Some(Form::Cut),
            false => Some(Form::Row),
        };
        Again { offset, raw: form.is_some().then_some(raw), form, reason }
    });
    again.collect()
}

/// Letters as the messages that they are to a decoder: each with the offset that its record had.
fn messages_of(letters: &[Returned]) -> Messages {
    let bytes = letters.iter().map(|returned| returned.letter.raw.len()).sum();
    let mut messages = Messages::with_capacity(letters.len(), bytes);
    for Returned { letter, .. } in letters {
        let offset = letter.offset.unwrap_or_default();
        match &letter.form {
            Form::Record(around) => {
                let value = (!around.tombstone).then_some(letter.raw.as_slice());
                messages.push(Message { offset, key: around.key.as_deref(), value });
                around.headers.iter().for_each(|(name, value)| messages.push_header(name, value));
            }
            Form::Row | Form::Apart | Form::Cut => {
                messages.push(Message { offset, key: None, value: Some(&letter.raw) });
            }
        }
    }
    messages
}
