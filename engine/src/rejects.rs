//! What a running engine rejected: listed, and sent back to where it came from.

use crate::archive::letter::{Form, LetterId, Returned};
use crate::archive::returns::{Group, Ticket};
use crate::archive::scan::{Found, Writer, groups};
use crate::engine::Engine;
use crate::ledger::lock;
use crate::status::{ArchiveStatus, DeadLetter, LateRow, Replayed};
use crate::worker::Job;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};

/// How often a reader looks again whether what was rejected is written, before it reads without.
const LOOKS: u32 = 20;

impl Engine {
    /// The dead letters that are kept, newest first, some thousands at a time.
    pub fn dead_letters(&self) -> Result<impl Iterator<Item = Result<Vec<DeadLetter>>> + Send + use<>> {
        self.settle_archives();
        let known = Known::of(&self.job);
        Ok(self
            .job
            .ledger
            .dead
            .scan()?
            .newest_first()
            .map(move |found| Ok(found?.into_iter().filter(|found| known.lists(found)).map(dead_letter).collect())))
    }

    /// The late rows that are kept, newest first, some thousands at a time.
    pub fn late_rows(&self) -> Result<impl Iterator<Item = Result<Vec<LateRow>>> + Send + use<>> {
        self.settle_archives();
        let known = Known::of(&self.job);
        Ok(self
            .job
            .ledger
            .late
            .scan()?
            .newest_first()
            .map(move |found| Ok(found?.into_iter().filter(|found| known.lists(found)).map(late_row).collect())))
    }

    /// What was rejected in epochs that readers see is to be seen too; a disk that is full does not hold readers up.
    fn settle_archives(&self) {
        let looks = std::cell::Cell::new(0);
        let give_up = || looks.replace(looks.get() + 1) >= LOOKS || self.ended();
        self.job.ledger.wait_for_archives(self.epoch().0, give_up);
    }

    pub(crate) fn archive_status(&self) -> ArchiveStatus {
        let (bytes, removed) = self.job.ledger.dead.room();
        let (counts, bytes_max) = (self.job.ledger.reject_counts(), self.job.settings.dead_letters_max);
        ArchiveStatus { counts, bytes, bytes_max, removed: removed.into_iter().collect() }
    }

    /// Sends dead letters of `source` back to it, those with these ids, and waits until each is a row or a dead letter
    /// again, durably. Ids of letters that are not there any more are passed over.
    pub fn replay_dead_letters(&self, source: &str, ids: &[String]) -> Result<Replayed> {
        let position = self.replayable_position(source)?;
        let book = &self.job.ledger.sources[position];
        let wanted: BTreeSet<LetterId> = ids.iter().map(|id| id.parse()).collect::<Result<_>>()?;
        // What another request sends back is not there any more when it is done.
        let _one_at_a_time = lock(&book.replaying);
        self.wait_until_caught_up()?;
        self.settle_archives();
        let known = Known::of(&self.job);
        let ticket = Arc::new(Ticket::default());
        let (mut sent, mut left) = (0, 0);
        let over = || self.ended() || self.job.ledger.has_failed();
        let stopped = |ticket: &Ticket| {
            let taken = ticket.taken.load(Ordering::Acquire);
            Error::outside(format!("the run ended after {taken} dead letters had been taken in again"))
                .with_hint("Those that were not are still in thalweg.dead_letters: replay them when it runs again.")
        };
        for found in self.job.ledger.dead.scan()? {
            let found = found?.into_iter().filter(|found| wanted.contains(&found.id) && known.lists(found));
            let (back, stay): (Vec<_>, Vec<_>) =
                found.partition(|found| found.letter.origin == source && known.sends_back(found));
            left += stay.len() as u64;
            for group in groups(back) {
                sent += group.len() as u64;
                let letters = group.into_iter().map(|found| Returned { id: found.id, letter: found.letter }).collect();
                if !book.returns.put(Group { letters, ticket: ticket.clone() }, over) {
                    return Err(stopped(&ticket));
                }
            }
        }
        if !book.returns.wait_for(&ticket, sent, over) || !self.wait_until_left(ticket.epoch.load(Ordering::Acquire)) {
            return Err(stopped(&ticket));
        }
        Ok(Replayed { replayed: sent, dead: ticket.dead.load(Ordering::Acquire), left })
    }

    /// Waits until the run has taken in what an earlier one had: that may have sent the same letters back.
    fn wait_until_caught_up(&self) -> Result<()> {
        while self.epoch().0 < self.job.caught_up_at {
            if self.ended() {
                return Err(Error::outside("the run has ended"));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until `epoch` has left the engine and what it rejected is written; false if the run ends first.
    fn wait_until_left(&self, epoch: u64) -> bool {
        let over = || self.ended() || self.job.ledger.has_failed();
        let durable = self.job.durability.as_ref().is_none_or(|durability| durability.wait_for(epoch));
        durable && self.job.ledger.dead.wait_for(epoch, over)
    }

    fn replayable_position(&self, source: &str) -> Result<usize> {
        let position = self.job.dataflow.sources.iter().position(|plan| plan.name == source);
        let position = position.ok_or_else(|| Error::user(format!("source \"{source}\" does not exist")))?;
        if lock(&self.sources).get(position).is_some_and(|source| source.bounded()) {
            return Err(Error::user(format!("source \"{source}\" is bounded: its dead letters cannot be replayed"))
                .with_hint("A bounded run reads everything when it is run again, after the fix."));
        }
        Ok(position)
    }
}

/// What is known of the sources, to tell letters that still say something from those of records that are read anew.
struct Known {
    /// By name: whether the source keeps its records, and where this run began to read each partition.
    sources: BTreeMap<String, (bool, BTreeMap<Arc<str>, u64>)>,
}

impl Known {
    fn of(job: &Job) -> Known {
        let source = |(position, name): (usize, &String)| {
            let firsts = job.durability.as_ref().map(|d| d.journal.first_offsets(position)).unwrap_or_default();
            (name.clone(), (job.replayable[position], firsts))
        };
        let names: Vec<String> = job.dataflow.sources.iter().map(|plan| plan.name.clone()).collect();
        Known { sources: names.iter().enumerate().map(source).collect() }
    }

    /// Whether the letter stands for a record that this run has not read, and will not read, by itself.
    fn lists(&self, found: &Found) -> bool {
        let source = self.sources.get(&found.letter.origin);
        match found.writer {
            Writer::Own => true,
            // The same pipeline reads the same records once more, where they were kept.
            Writer::Before => match source {
                Some((replayable, _)) => !replayable,
                None => !self.sources.values().all(|(replayable, _)| *replayable),
            },
            Writer::Other => match (source, found.letter.offset) {
                (Some((true, firsts)), Some(offset)) => {
                    firsts.get(found.letter.partition.as_str()).is_none_or(|first| offset < *first)
                }
                _ => true,
            },
        }
    }

    /// Whether a letter that is listed can be taken in again without counting its record twice.
    fn sends_back(&self, found: &Found) -> bool {
        if !matches!(found.letter.form, Form::Record(_) | Form::Row) {
            return false;
        }
        match (found.writer, self.sources.get(&found.letter.origin)) {
            // Where this run has not begun to read a partition, it may come to this record yet.
            (Writer::Other, Some((true, firsts))) => firsts.contains_key(found.letter.partition.as_str()),
            _ => true,
        }
    }
}

fn dead_letter(Found { id, letter, .. }: Found) -> DeadLetter {
    DeadLetter {
        id: id.to_string(),
        time_ns: letter.time_ns,
        origin: letter.origin,
        partition: letter.partition,
        offset: letter.offset,
        reason: letter.reason,
        attempts: letter.attempts,
        raw: letter.raw,
    }
}

fn late_row(Found { letter, .. }: Found) -> LateRow {
    let row = String::from_utf8_lossy(&letter.raw).into_owned();
    LateRow { time_ns: letter.time_ns, view: letter.origin, row }
}
