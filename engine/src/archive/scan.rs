//! Reading an archive, a segment at a time.

use super::Archive;
use super::letter::{Form, Frame, Letter, LetterId};
use super::shelf::Contents;
use crate::ledger::lock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thalweg_schemas::error::Result;

/// The letters that are there at a moment, segment by segment, oldest first unless told otherwise.
pub(crate) struct Scan {
    lineage: Arc<str>,
    generation: u32,
    contents: Contents,
    next: usize,
    /// The last epoch that readers see.
    complete: u64,
    newest_first: bool,
}

impl Scan {
    /// The same letters the other way round, so that the first ones are found without reading all.
    pub fn newest_first(mut self) -> Scan {
        self.contents.segments.reverse();
        self.newest_first = true;
        self
    }
}

/// A letter with what is known of whoever wrote it.
pub(crate) struct Found {
    pub id: LetterId,
    pub letter: Letter,
    pub writer: Writer,
}

/// Who wrote a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// This run, or one that it goes on from.
    Own,
    /// The same pipeline, which has begun anew since.
    Before,
    /// Another pipeline.
    Other,
}

impl Archive {
    /// The letters that are there as of the last epoch that readers see: while a run takes in its log once more, what was
    /// written of later epochs is not seen yet.
    pub fn scan(&self) -> Result<Scan> {
        let complete = self.complete.load(Ordering::Acquire);
        let mut shelf = lock(&self.shelf);
        let (lineage, generation, contents) = (shelf.lineage(), shelf.generation, shelf.contents()?);
        Ok(Scan { lineage, generation, contents, next: 0, complete, newest_first: false })
    }

    /// How many bytes lie in the archive, and how many letters were removed for want of room, by origin.
    pub fn room(&self) -> (u64, BTreeMap<String, u64>) {
        let shelf = lock(&self.shelf);
        (shelf.bytes(), shelf.removed().clone())
    }
}

impl Iterator for Scan {
    type Item = Result<Vec<Found>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let segment = self.contents.segments.get(self.next)?.clone();
            self.next += 1;
            let storage = &segment.place.storage;
            let mut bytes = match storage.read(&segment.name) {
                Ok(bytes) => bytes,
                // Another process, or room for newer ones, took it away.
                Err(_) if storage.list().is_ok_and(|names| !names.contains(&segment.name)) => continue,
                Err(error) => return Some(Err(error)),
            };
            // What was appended since belongs to a later look.
            bytes.truncate(segment.bytes as usize);
            let own = segment.place.lineage == self.lineage;
            let mut found = Vec::new();
            for frame in Frame::read_all(&bytes).0 {
                let writer = match own {
                    true if frame.generation == self.generation => Writer::Own,
                    true => Writer::Before,
                    false => Writer::Other,
                };
                if writer == Writer::Own && frame.epoch > self.complete {
                    continue;
                }
                let letters = frame.into_letters(&segment.place.lineage);
                let gone = |id: &LetterId| self.contents.returned.get(id).is_some_and(|epoch| *epoch <= self.complete);
                let there = letters.filter(|(id, _)| !gone(id));
                found.extend(there.map(|(id, letter)| Found { id, letter, writer }));
            }
            if self.newest_first {
                found.reverse();
            }
            if !found.is_empty() {
                return Some(Ok(found));
            }
        }
    }
}

/// Letters in groups that are alike enough to be decoded at once.
pub(crate) fn groups(letters: Vec<Found>) -> Vec<Vec<Found>> {
    let mut groups: Vec<Vec<Found>> = Vec::new();
    let mut bytes = 0;
    for found in letters {
        bytes += found.letter.raw.len();
        match groups.last_mut() {
            Some(group) if bytes < GROUP_BYTES && group.last().is_some_and(|last| alike(last, &found)) => {
                group.push(found);
            }
            _ => {
                bytes = found.letter.raw.len();
                groups.push(vec![found]);
            }
        }
    }
    groups
}

/// How many bytes are decoded at once, about.
const GROUP_BYTES: usize = 256 << 10;

/// Whether `next` can be decoded in one go with the letter before it: offsets must rise, so that each is found again.
fn alike(last: &Found, next: &Found) -> bool {
    let (a, b) = (&last.letter, &next.letter);
    let same_form = match (&a.form, &b.form) {
        (Form::Record(a), Form::Record(b)) => a.format == b.format && a.header == b.header,
        (a, b) => a == b,
    };
    same_form && a.partition == b.partition && a.offset < b.offset
}
