//! The operator: changes of both sides in, changes of the join out, once an epoch.
//!
//! A batch of one side meets what the other side holds and is then held itself, so that each pair is met once, by
//! whichever row comes later. Retractions come after the insertions of both sides: nothing is ever less than not there.

use super::arrived::Arrived;
use super::forget::{Forgetting, known};
use super::held::{Alike, Held, Incoming, Notes, copies_of, keys_of};
use super::output::{Filter, PAIRS_AT_ONCE, Pairs, without_null};
use super::shared::Member;
use super::{JoinKind, JoinSpec, NullKeys, Within};
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::event_time::{EventTimes, times_or_never};
use crate::exchange::hash_rows;
use crate::horizon::Horizon;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::plan::Read;
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::not;
use arrow::datatypes::SchemaRef;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::Result;

/// The left side's position, and the right side's.
pub(super) const LEFT: usize = 0;
pub(super) const RIGHT: usize = 1;

/// Carries out a [`JoinSpec`]. Port 0: its changes, or its finals.
pub struct Join {
    pub(super) schema: SchemaRef,
    pub(super) schemas: [SchemaRef; 2],
    pub(super) kind: JoinKind,
    pub(super) width: usize,
    nulls: NullKeys,
    pub(super) filter: Option<Filter>,
    pub(super) within: Option<Within>,
    pub(super) horizons: [Option<Horizon>; 2],
    /// Whether pairs are given.
    pub(super) pairs: bool,
    /// The sides of which each row is judged by whether it has a partner.
    pub(super) judged: [bool; 2],
    /// Whether a key alone does not say that two rows are partners.
    pub(super) matched: bool,
    /// How many leading columns decide which worker holds a row.
    pub(super) exchanged_by: usize,
    /// The sides that take rows back.
    retracts: [bool; 2],
    /// Whether only what is final is said: then nothing is ever taken back.
    pub(super) finals: bool,
    /// Whether what it says is only rows that come.
    pub(super) appends: bool,
    /// Whether it is to report rows that come too late or that the filter fails for.
    pub(super) reports: bool,
    pub(super) keys: Keys,
    pub(super) held: [Held; 2],
    /// The number of the key that is NULL, of a [`NullKeys::NotIn`].
    pub(super) null_key: Option<u32>,
    /// The set of a [`NullKeys::NotIn`] as the last epoch left it.
    pub(super) set_before: Set,
    /// Rows whose standing may have changed in this epoch.
    pub(super) touched: [Vec<u32>; 2],
    pub(super) forgetting: Forgetting,
    /// Where one side lies that other joins hold as well.
    pub(super) shared: Option<Member>,
    arrived: Arrived,
    watermark: Watermark,
}

/// What decides of all rows at once whether they are not in a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether anything is in it.
    any: bool,
    /// Whether a NULL is in it.
    null: bool,
}

impl Set {
    /// Whether a value that equals nothing in the set is not in it: of a NULL that is not known, unless nothing is.
    pub fn lets_pass(self, is_null: bool) -> bool {
        !self.any || !self.null && !is_null
    }
}

/// Rows of one side that all come or all go.
pub(super) struct Part {
    pub side: usize,
    pub retracted: bool,
    /// The rows without differences.
    pub batch: Batch,
    pub copies: Vec<u32>,
    pub numbers: Vec<u32>,
    pub times: Vec<i64>,
    /// How many partners each row has met.
    pub met: Vec<u32>,
}

impl Join {
    /// The operator that `spec` asks for, over the streams `read` of its inputs and for that stream of its own. Where
    /// both are built one of them `reports` what is late or dead.
    pub fn new(spec: &JoinSpec, read: Read, reports: bool) -> Result<Join> {
        let schemas = [spec.left.schema(), spec.right.schema()];
        let implied = spec.within.as_ref().is_none_or(|within| within.follows_from_keys(spec.keys));
        let finals = read == Read::Finals;
        let retracts = [spec.left_retracts && !finals, spec.right_retracts && !finals];
        let judged = spec.judges();
        let matched = spec.filter.is_some() || !implied;
        let held = [LEFT, RIGHT].map(|side| {
            // Of a side that only decides whether others have a partner a key is held once.
            let decides = side == RIGHT && !spec.gives_pairs() && schemas[side].fields().len() == spec.keys;
            let alike = match (retracts[side], decides) {
                (true, _) => Alike::Counted,
                (false, true) => Alike::Once,
                (false, false) => Alike::Apart,
            };
            let within = spec.within.as_ref().map(|within| within.upper_ns.saturating_sub(within.lower_ns));
            let held_ns = within.or(spec.horizons[side].as_ref().map(|horizon| horizon.keep_ns));
            let notes = Notes { alike, held_ns, judged: judged[side], matched: matched && judged[side] };
            Held::beside_key(&schemas[side], spec.keys, notes)
        });
        Ok(Join {
            schema: spec.schema.clone(),
            kind: spec.kind,
            width: spec.keys,
            nulls: spec.nulls,
            filter: spec.filter.as_ref().map(|filter| Filter::new(filter, &schemas)).transpose()?,
            within: spec.within.clone(),
            horizons: spec.horizons.clone(),
            pairs: spec.gives_pairs(),
            judged,
            matched,
            exchanged_by: spec.exchanged_by().len(),
            retracts,
            finals,
            appends: finals || spec.appends(),
            reports,
            null_key: None,
            set_before: Set::default(),
            keys: keys_of(&schemas[LEFT], spec.keys)?,
            held,
            touched: [Vec::new(), Vec::new()],
            forgetting: Forgetting::default(),
            shared: None,
            arrived: Arrived::default(),
            watermark: Watermark::MIN,
            schemas,
        })
    }

    /// Takes in the rows of `batch`, all coming or all going; those that are `held` already only meet the other side.
    fn take_in(
        &mut self,
        side: usize,
        batch: Batch,
        (retracted, held): (bool, bool),
        output: &mut Output,
    ) -> Result<()> {
        let keys = match self.nulls {
            NullKeys::MatchNothing => 0..self.width,
            NullKeys::MatchEachOther | NullKeys::NotIn => 0..0,
        };
        let batch = self.without_null(side, self.time_column(side), batch, output)?;
        let batch = self.in_time(side, batch, output)?;
        let batch = self.without_null(side, keys, batch, output)?;
        let batch = match retracted {
            true if self.forgetting.forgets() => known(&mut self.keys, &mut self.held[side], self.width, batch)?,
            _ => batch,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let rows = batch.num_rows();
        let numbers = self.keys.number(&batch.rows.columns()[..self.width], rows)?;
        if self.not_in() && batch.rows.column(0).null_count() > 0 {
            self.null_key = (0..rows).find(|row| batch.rows.column(0).is_null(*row)).map(|row| numbers[row]);
        }
        self.forgetting.note(&numbers);
        let copies = copies_of(&batch);
        let times = times_of(self.timed_by()[side], batch.rows.columns())?;
        let mut part = Part { side, retracted, batch, copies, numbers, times, met: vec![0; rows] };
        if self.pairs || self.matched && (self.judged[LEFT] || self.judged[RIGHT]) {
            self.meet(&mut part, output)?;
        }
        if held {
            self.touch_others(&part, |_| true);
            return Ok(());
        }
        self.hold(&part)
    }

    /// The rows that do not come too late for any partner.
    fn in_time(&self, side: usize, batch: Batch, output: &mut Output) -> Result<Batch> {
        let Some(time) = self.time_column(side) else { return Ok(batch) };
        let times = EventTimes::new(batch.rows.column(time))?;
        if times.bounds().is_none_or(|(earliest, _)| earliest >= self.watermark.0) {
            return Ok(batch);
        }
        let in_time: BooleanArray = times.iter().map(|time| Some(time >= self.watermark.0)).collect();
        if self.reports {
            output.late.push(batch.filter(&not(&in_time)?)?.rows);
        }
        Ok(batch.filter(&in_time)?)
    }

    /// The rows without a NULL in `columns`. The others can have no partner: that is told at once where it is told of
    /// any row.
    fn without_null(
        &self,
        side: usize,
        columns: impl IntoIterator<Item = usize>,
        batch: Batch,
        output: &mut Output,
    ) -> Result<Batch> {
        let (there, alone) = without_null(&batch, columns.into_iter())?;
        if let Some(alone) = alone.filter(|_| self.judged[side] && self.kind != JoinKind::Semi) {
            self.send_alone(side, &alone, output)?;
        }
        Ok(there)
    }

    pub(super) fn time_column(&self, side: usize) -> Option<usize> {
        self.within.as_ref().map(|within| if side == LEFT { within.left } else { within.right })
    }

    /// The times by which rows of each side are found or go, among their columns.
    pub(super) fn timed_by(&self) -> [Option<usize>; 2] {
        [LEFT, RIGHT].map(|side| self.time_column(side).or(self.horizons[side].as_ref().map(|horizon| horizon.column)))
    }

    /// Lets the rows of `part` meet those that the other side holds.
    pub(super) fn meet(&mut self, part: &mut Part, output: &mut Output) -> Result<()> {
        let (mut pairs, mut met) = (Pairs::default(), Vec::new());
        for at in 0..part.numbers.len() {
            let within = self.within.as_ref().filter(|_| self.matched).map(|w| (w.lower_ns, w.upper_ns));
            let [left, right] = &mut self.held;
            let other = if part.side == LEFT { right } else { left };
            if other.total(part.numbers[at]) == 0 {
                continue;
            }
            met.clear();
            other.walk(part.numbers[at], |row| met.push(row));
            if let Some((lower, upper)) = within {
                met.retain(|row| {
                    let (own, its) = (part.times[at], other.times[*row as usize]);
                    let apart = if part.side == LEFT { its.saturating_sub(own) } else { own.saturating_sub(its) };
                    lower <= apart && apart <= upper
                });
            }
            for &row in &met {
                pairs.push(at as u32, row);
                if pairs.len() >= PAIRS_AT_ONCE {
                    self.settle_pairs(part, std::mem::take(&mut pairs), output)?;
                }
            }
        }
        self.settle_pairs(part, pairs, output)
    }

    /// Holds the rows of `part`, or holds them no more.
    fn hold(&mut self, part: &Part) -> Result<()> {
        let side = part.side;
        let hashes = match self.held[side].finds_by_contents() {
            false => Vec::new(),
            true => hash_rows(part.batch.rows.columns(), part.batch.num_rows()).map_err(fault)?,
        };
        let touches = self.touches_others(side);
        let totals = |held: &Held| match touches {
            true => part.numbers.iter().map(|number| held.total(*number) > 0).collect(),
            false => Vec::new(),
        };
        let before = totals(&self.held[side]);
        let incoming = Incoming {
            columns: &part.batch.rows.columns()[self.width..],
            numbers: &part.numbers,
            hashes: &hashes,
            times: &part.times,
            copies: &part.copies,
        };
        let rows = if part.retracted {
            self.held[side].retract(&incoming)?
        } else {
            let first = self.held[side].columns.len();
            let rows = self.held[side].insert(&incoming, &mut self.keys)?;
            if self.judged[side] && self.matched {
                self.met(part, &rows, first);
            }
            rows
        };
        if self.judged[side] {
            self.touched[side].extend(&rows);
        }
        let after = totals(&self.held[side]);
        self.touch_others(part, |at| before[at] != after[at]);
        Ok(())
    }

    /// Whether rows of the other side may stand otherwise when a key comes to be there on this one, or is not any more.
    fn touches_others(&self, side: usize) -> bool {
        self.judged[1 - side] && !self.matched
    }

    /// The rows of the other side may stand otherwise that have the keys of those rows of `part` for which it has `flipped`
    /// whether there are any.
    fn touch_others(&mut self, part: &Part, flipped: impl Fn(usize) -> bool) {
        let other = 1 - part.side;
        if self.touches_others(part.side) {
            let touched = &mut self.touched[other];
            for at in (0..part.numbers.len()).filter(|at| flipped(*at)) {
                self.held[other].walk(part.numbers[at], |row| touched.push(row));
            }
        }
    }

    /// Notes how many partners the rows have that are held since `first`.
    fn met(&mut self, part: &Part, rows: &[u32], first: u32) {
        let held = &mut self.held[part.side];
        for (row, met) in rows.iter().zip(&part.met).filter(|(row, met)| **row >= first && **met > 0) {
            held.matches[*row as usize] = *met;
            held.columns.note(*row);
        }
    }

    /// Lets go of rows that no partner can come for any more.
    fn expire(&mut self, watermark: Watermark, output: &mut Output) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        let Some(within) = &self.within else { return Ok(()) };
        let now = self.watermark.0;
        // Until its own time has passed a row may be taken back.
        let [upper, lower] = [within.upper_ns, within.lower_ns];
        let upper = if self.retracts[LEFT] { upper.max(0) } else { upper };
        let lower = if self.retracts[RIGHT] { lower.min(0) } else { lower };
        let bounds = [now.saturating_sub(upper), now.saturating_add(lower)];
        // The end of all sources is the end of all rows, whatever the bound.
        let bounds = if now == Watermark::MAX.0 { [i64::MAX; 2] } else { bounds };
        let expired = [LEFT, RIGHT].map(|side| self.held[side].expired(bounds[side]));
        // First all rows are judged: a partner may go in the same moment.
        for side in [LEFT, RIGHT] {
            if self.finals && self.judged[side] {
                self.settle(side, &expired[side], true, output)?;
            }
        }
        for side in [LEFT, RIGHT] {
            self.held[side].drop_rows(&expired[side]);
        }
        Ok(())
    }

    /// Forgets the rows behind the horizon: what was said of them stays.
    fn leave_behind(&mut self, reached: Watermark) {
        for side in [LEFT, RIGHT] {
            if let Some(horizon) = &self.horizons[side] {
                let behind = self.held[side].expired(horizon.bound(reached).saturating_add(1));
                self.held[side].drop_rows(&behind);
            }
        }
    }

    /// Takes in what came in an epoch. What a shared side holds is as of its end, so that the changes of that side meet
    /// what the other one held before, and those of the other one what is there now.
    fn take_in_all(&mut self, shared: Option<usize>, output: &mut Output) -> Result<()> {
        let Some(side) = shared else {
            for part in self.arrived.parts()? {
                self.take_in(part.side, part.rows, (part.retracted, false), output)?;
            }
            return Ok(());
        };
        for (side, held) in [(side, true), (1 - side, false)] {
            for part in self.arrived.of(side)? {
                self.take_in(side, part.rows, (part.retracted, held), output)?;
            }
        }
        Ok(())
    }

    /// Gives memory back.
    fn compact(&mut self) -> Result<()> {
        for held in &mut self.held {
            if let Some(compacted) = held.compact()? {
                self.keys.release(&compacted.dropped);
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.held.iter_mut().for_each(|held| held.rename(&renamed));
            self.null_key = self.null_key.and_then(|number| renamed[number as usize]);
            self.forgetting.rename(&renamed);
        }
        Ok(())
    }

    pub(super) fn not_in(&self) -> bool {
        self.nulls == NullKeys::NotIn
    }

    pub(super) fn is_null(&self, number: u32) -> bool {
        self.null_key == Some(number)
    }

    pub(super) fn set(&self) -> Set {
        let set = &self.held[RIGHT];
        Set { any: set.len() > 0, null: self.null_key.is_some_and(|number| set.total(number) > 0) }
    }
}

/// The times in column `timed_by`, none where there is none.
pub(super) fn times_of(timed_by: Option<usize>, columns: &[ArrayRef]) -> Result<Vec<i64>> {
    timed_by.map_or(Ok(Vec::new()), |time| times_or_never(&columns[time]))
}

impl Operator for Join {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(LEFT, rows);
        Ok(())
    }

    fn process_second(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.add(RIGHT, rows);
        Ok(())
    }

    fn finish_epoch(&mut self, epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        self.in_turn(|join, shared| {
            join.take_in_all(shared, output)?;
            for side in [LEFT, RIGHT] {
                let mut touched = std::mem::take(&mut join.touched[side]);
                touched.sort_unstable();
                touched.dedup();
                join.settle(side, &touched, false, output)?;
            }
            join.expire(times.now, output)?;
            join.leave_behind(times.reached);
            join.let_go(epoch, output)?;
            // What is shared gives memory back by itself.
            if shared.is_some() { Ok(()) } else { join.compact() }
        })
    }

    fn is_through(&mut self, before: Epoch) {
        self.tell_through(before.0);
    }

    fn wake_at(&self) -> Option<Epoch> {
        self.forgetting.wake_at()
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        self.in_turn(|join, _| {
            let mut sections = join.sections();
            join.forgetting.sections(&join.keys, &mut sections)?;
            Ok(sections)
        })
    }

    fn restore(&mut self, sections: Vec<Restored>, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        let rows = self.forgetting.restore(&mut self.keys, sections)?;
        self.restore_sections(rows)?;
        self.share_restored()
    }

    fn state(&self) -> StateSize {
        let own = self.own_state();
        StateSize { bytes: own.bytes + self.forgetting.size() as u64, ..own }
    }
}
