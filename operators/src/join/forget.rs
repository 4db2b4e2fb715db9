//! `state_ttl` of a join: the rows of both sides go together when nothing has come for their key in too long.
//!
//! What a join has said that takes rows back goes with them. A join whose rows only come has said what is final: that
//! stays, and only its state goes. A row that is taken back after its key went is no row of the join any more.

use super::asof::AsofJoin;
use super::held::{Held, Incoming, copies_of, picked};
use super::output::{gathered, record_batch};
use super::process::{Join, LEFT, Part, RIGHT};
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::hash_rows;
use crate::operator::Output;
use crate::state::{Restored, Section};
use crate::state_ttl::{Lifetimes, TOUCHED};
use arrow::array::BooleanArray;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// When the keys of a join go, if they do.
#[derive(Default)]
pub(super) struct Forgetting {
    lifetimes: Option<Lifetimes>,
    /// The keys that something came for in this epoch.
    alive: Vec<u32>,
}

impl Forgetting {
    pub fn by(lifetimes: Option<Lifetimes>) -> Forgetting {
        Forgetting { lifetimes, alive: Vec::new() }
    }

    /// Something came for these keys.
    pub fn note(&mut self, numbers: &[u32]) {
        if self.lifetimes.is_some() {
            self.alive.extend(numbers);
        }
    }

    /// Whether keys ever go.
    pub fn forgets(&self) -> bool {
        self.lifetimes.is_some()
    }

    /// The keys that go as of `epoch`.
    fn expired(&mut self, held: &[Held; 2], epoch: Epoch) -> Result<Vec<u32>> {
        let Some(lifetimes) = &mut self.lifetimes else { return Ok(Vec::new()) };
        let alive = std::mem::take(&mut self.alive).into_iter();
        let (alive, gone): (Vec<u32>, Vec<u32>) =
            alive.partition(|number| held.iter().any(|held| held.total(*number) > 0));
        lifetimes.forget(&gone);
        lifetimes.touch(epoch, &alive)?;
        lifetimes.expired(epoch)
    }

    pub fn wake_at(&self) -> Option<Epoch> {
        self.lifetimes.as_ref()?.wake_at()
    }

    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        self.lifetimes.iter_mut().for_each(|lifetimes| lifetimes.rename(renamed));
    }

    /// Adds what a checkpoint keeps of it to `sections`.
    pub fn sections(&mut self, keys: &Keys, sections: &mut Vec<Section>) -> Result<()> {
        if let Some(lifetimes) = &mut self.lifetimes {
            sections.extend(lifetimes.sections(keys)?);
        }
        Ok(())
    }

    /// Takes what is its own out of `sections`; gives the others.
    pub fn restore(&mut self, keys: &mut Keys, sections: Vec<Restored>) -> Result<Vec<Restored>> {
        let (own, others): (Vec<_>, Vec<_>) = sections.into_iter().partition(|section| section.label == TOUCHED);
        for section in own {
            self.lifetimes.as_mut().ok_or_else(|| section.unknown())?.restore(keys, &section.rows)?;
        }
        Ok(others)
    }

    pub fn size(&self) -> usize {
        self.lifetimes.as_ref().map_or(0, Lifetimes::size)
    }
}

/// Of rows that are taken back those that are there: others went when they were forgotten.
pub(super) fn known(keys: &mut Keys, held: &mut Held, width: usize, batch: Batch) -> Result<Batch> {
    if batch.is_empty() {
        return Ok(batch);
    }
    let (columns, rows) = (batch.rows.columns(), batch.num_rows());
    let numbers = keys.number(&columns[..width], rows)?;
    let hashes = hash_rows(columns, rows).map_err(fault)?;
    let copies = copies_of(&batch);
    let incoming =
        Incoming { columns: &columns[width..], numbers: &numbers, hashes: &hashes, times: &[], copies: &copies };
    let there = BooleanArray::from(held.holds(&incoming)?);
    Ok(if there.true_count() == rows { batch } else { batch.filter(&there)? })
}

impl Join {
    /// Forgets keys by `lifetimes`.
    pub fn forgetting(mut self, lifetimes: Option<Lifetimes>) -> Join {
        self.forgetting = Forgetting::by(lifetimes);
        self
    }

    /// Lets go of the rows of keys that nothing came for in too long, and takes back what was said of them.
    pub(super) fn let_go(&mut self, epoch: Epoch, output: &mut Output) -> Result<()> {
        let expired = self.forgetting.expired(&self.held, epoch)?;
        if expired.is_empty() {
            return Ok(());
        }
        let rows = [LEFT, RIGHT].map(|side| {
            let mut rows = Vec::new();
            expired.iter().for_each(|number| self.held[side].walk(*number, |row| rows.push(row)));
            rows
        });
        if self.pairs && !self.appends {
            self.take_back_pairs(&rows[LEFT], output)?;
        }
        for side in [LEFT, RIGHT] {
            self.held[side].drop_rows(&rows[side]);
        }
        for side in [LEFT, RIGHT] {
            self.touched[side].clear();
            if self.judged[side] && !self.appends {
                self.settle(side, &rows[side], false, output)?;
            }
        }
        Ok(())
    }

    /// Takes back the pairs of held rows of the left side.
    fn take_back_pairs(&mut self, rows: &[u32], output: &mut Output) -> Result<()> {
        let held = &self.held[LEFT];
        let all: Vec<usize> = (0..self.schemas[LEFT].fields().len()).collect();
        let columns = gathered(&self.keys, held, self.width, rows, &all)?;
        let mut part = Part {
            side: LEFT,
            retracted: true,
            batch: Batch::append(record_batch(&self.schemas[LEFT], columns, rows.len())?),
            copies: picked(&held.counts, rows),
            numbers: picked(&held.numbers, rows),
            times: picked(&held.times, rows),
            met: vec![0; rows.len()],
        };
        self.meet(&mut part, output)
    }
}

impl AsofJoin {
    /// Forgets keys by `lifetimes`.
    pub fn forgetting(mut self, lifetimes: Option<Lifetimes>) -> AsofJoin {
        self.forgetting = Forgetting::by(lifetimes);
        self
    }

    /// Lets go of the rows of keys that nothing came for in too long, and takes back what was said of them.
    pub(super) fn let_go(&mut self, epoch: Epoch, output: &mut Output) -> Result<()> {
        for number in self.forgetting.expired(&self.held, epoch)? {
            let next = number.saturating_add(1);
            let left: Vec<_> = self.waiting.range((number, i64::MIN, 0)..(next, i64::MIN, 0)).copied().collect();
            let right = self.versions.range((number, i64::MIN, 0, 0)..(next, i64::MIN, 0, 0));
            let right: Vec<_> = right.copied().collect();
            for row in &left {
                self.waiting.remove(row);
            }
            for row in &right {
                self.versions.remove(row);
            }
            let left: Vec<u32> = left.into_iter().map(|(_, _, row)| row).collect();
            self.held[LEFT].drop_rows(&left);
            self.held[RIGHT].drop_rows(&right.into_iter().map(|(.., row)| row).collect::<Vec<_>>());
            self.touched.extend(left);
        }
        self.settle(output)
    }
}
