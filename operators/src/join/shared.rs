//! One side of several joins, held once: an index of its rows by the key that all of them join by.
//!
//! The joins take turns with the index: each gets it, and what belongs to it alone, for as long as it works on an epoch. So
//! the index must not run ahead of any of them. [`index_side`] puts an epoch's changes into it when every join is through
//! with the epochs before, and lets them go on to the joins only then; so in a join's turn the index is as of that epoch,
//! and what changed meets what the other side held before. To a checkpoint each join is one that shares nothing: it hands
//! over the shared rows as its own, under the ids that they have for the others too, and at a restart, in whatever company,
//! it shares them again if they are the same as those of the others.

#[cfg(test)]
mod tests;

use super::arrived::Arrived;
use super::held::{Alike, Held, Incoming, Notes, copies_of, keys_of};
use super::output::{gathered, without_null};
use super::process::{Join, LEFT, RIGHT};
use super::{JoinKind, JoinSpec, NullKeys};
use crate::aggregate::keyed::Keys;
use crate::evaluate::fault;
use crate::exchange::{by_key, hash_rows};
use crate::observer::Observer;
use crate::operator::StateSize;
use crate::plan::{Dataflow, Plan, Read};
use crate::ports::Ports;
use crate::project::ProjectSpec;
use crate::rows::Rows;
use datafusion_physical_expr::expressions::Column;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use thalweg_schemas::error::{Error, Result};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

/// An index of rows by their key, on one worker, and the joins that share it.
#[derive(Clone)]
pub struct SharedSide(Rc<RefCell<Index>>);

struct Index {
    /// The numbers of the keys, of both sides of all joins.
    keys: Keys,
    held: Held,
    width: usize,
    /// What belongs to each join alone: the rows of its other side.
    others: Vec<Held>,
    /// Before which epoch each join is through with all.
    through: Vec<u64>,
    /// What an earlier run held, as the first join that went on said it.
    restored: Option<Digest>,
    activator: Option<Activator>,
}

/// A multiset of rows, to be compared with another: how many, and the sum of their hashes.
type Digest = (u64, u64);

const NO_ROWS: Digest = (0, 0);

/// A join's part in a shared side.
pub(super) struct Member {
    index: SharedSide,
    number: usize,
    /// Which of its sides is shared.
    side: usize,
    /// Whether it holds that side itself after all, since it began with other rows.
    apart: bool,
    /// Whether that is decided.
    settled: bool,
}

/// What tells the sides of joins apart that can be shared; `None` for one that cannot: its rows are told for themselves, or
/// go by time, or stand behind more than a choice of columns.
fn shareable(spec: &JoinSpec, side: usize) -> Option<String> {
    let plain = spec.keys > 0
        && spec.nulls == NullKeys::MatchNothing
        && spec.within.is_none()
        && !spec.has_horizon()
        && spec.state_ttl_ns.is_none()
        && matches!(spec.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right)
        && !spec.judges()[side];
    let plan = if side == LEFT { &spec.left } else { &spec.right };
    (plain && relation_of(plan).is_some()).then(|| format!("{} {plan:?}", spec.keys))
}

/// The relation that `plan` picks columns of.
fn relation_of(plan: &Plan) -> Option<&str> {
    let picks = |spec: &ProjectSpec| spec.exprs.iter().all(|expr| expr.downcast_ref::<Column>().is_some());
    match plan {
        Plan::Source { name, .. } | Plan::View { name, .. } => Some(name),
        Plan::Project(spec) if picks(spec) => relation_of(&spec.input),
        _ => None,
    }
}

/// The sides that several joins of a dataflow can share, with how many do.
#[derive(Clone, Debug, Default)]
pub struct SharedSides(BTreeMap<String, usize>);

impl SharedSides {
    /// Of the joins of `dataflow`, but for those of the views `apart`, which begin with rows of their own.
    pub fn of(dataflow: &Dataflow, apart: &BTreeSet<String>) -> SharedSides {
        let views = dataflow.views.iter().map(|view| (&view.name, &view.plan));
        let plans = views.chain(dataflow.sinks.iter().map(|sink| (&sink.name, &sink.plan)));
        let mut joins = Vec::new();
        plans.filter(|(name, _)| !apart.contains(*name)).for_each(|(_, plan)| joins_of(plan, &mut joins));
        let mut candidates = SharedSides::default();
        for key in joins.iter().flat_map(|spec| [LEFT, RIGHT].into_iter().filter_map(|side| shareable(spec, side))) {
            *candidates.0.entry(key).or_default() += 1;
        }
        candidates.0.retain(|_, joins| *joins > 1);
        // A join shares one of its sides.
        let mut shared = SharedSides::default();
        for (_, key) in joins.iter().filter_map(|spec| candidates.side_of(spec)) {
            *shared.0.entry(key).or_default() += 1;
        }
        shared.0.retain(|_, joins| *joins > 1);
        shared
    }

    /// Which side of the join is shared, and what tells it from others: the right one, where both could be.
    pub fn side_of(&self, spec: &JoinSpec) -> Option<(usize, String)> {
        let of = |side| Some((side, shareable(spec, side).filter(|key| self.0.contains_key(key))?));
        of(RIGHT).or_else(|| of(LEFT))
    }

    /// The relation whose rows are shared, and by how many joins, where one side of the join is.
    pub fn told(&self, spec: &JoinSpec) -> Option<(String, usize)> {
        let (side, key) = self.side_of(spec)?;
        let plan = if side == LEFT { &spec.left } else { &spec.right };
        Some((relation_of(plan)?.to_string(), *self.0.get(&key)?))
    }
}

fn joins_of<'a>(plan: &'a Plan, joins: &mut Vec<&'a JoinSpec>) {
    if let Plan::Join(spec) = plan {
        joins.push(spec);
    }
    // Joins of a recursion run in a time of their own.
    if !matches!(plan, Plan::Recursion(_)) {
        plan.inputs().into_iter().for_each(|input| joins_of(input, joins));
    }
}

impl SharedSide {
    /// An index of the rows of `side` of the join, read as that stream.
    pub(crate) fn new(spec: &JoinSpec, side: usize, read: Read) -> Result<SharedSide> {
        let (schema, retracts) = match side {
            LEFT => (spec.left.schema(), spec.left_retracts),
            _ => (spec.right.schema(), spec.right_retracts),
        };
        let alike = if retracts && read == Read::Changes { Alike::Counted } else { Alike::Apart };
        let notes = Notes { alike, held_ns: None, judged: false, matched: false };
        Ok(SharedSide(Rc::new(RefCell::new(Index {
            keys: keys_of(&schema, spec.keys)?,
            held: Held::beside_key(&schema, spec.keys, notes),
            width: spec.keys,
            others: Vec::new(),
            through: Vec::new(),
            restored: None,
            activator: None,
        }))))
    }
}

impl Index {
    /// Takes in the changes of an epoch: what comes before what goes.
    fn change(&mut self, batches: Vec<Rows>) -> Result<()> {
        let mut arrived = Arrived::default();
        batches.into_iter().for_each(|rows| arrived.add(RIGHT, rows));
        for part in arrived.of(RIGHT)? {
            let (batch, _) = without_null(&part.rows, 0..self.width)?;
            let (columns, rows) = (batch.rows.columns(), batch.num_rows());
            let numbers = self.keys.number(&columns[..self.width], rows)?;
            let hashes = match self.held.columns.width() {
                0 => Vec::new(),
                _ => hash_rows(columns, rows).map_err(fault)?,
            };
            let copies = copies_of(&batch);
            let columns = &columns[self.width..];
            let incoming = Incoming { columns, numbers: &numbers, hashes: &hashes, times: &[], copies: &copies };
            match part.retracted {
                true => self.held.retract(&incoming)?,
                false => self.held.insert(&incoming, &mut self.keys)?,
            };
        }
        self.compact()
    }

    /// Gives memory back; nobody works with it.
    fn compact(&mut self) -> Result<()> {
        for held in self.others.iter_mut().chain([&mut self.held]) {
            if let Some(compacted) = held.compact()? {
                self.keys.release(&compacted.dropped);
            }
        }
        if let Some(renamed) = self.keys.compact()? {
            self.others.iter_mut().chain([&mut self.held]).for_each(|held| held.rename(&renamed));
        }
        Ok(())
    }

    /// Whether every join is through with all epochs before this one.
    fn may_go_on(&self, epoch: u64) -> bool {
        self.through.iter().all(|through| *through >= epoch)
    }

    fn state(&self) -> StateSize {
        StateSize { rows: self.held.len() as u64, bytes: (self.held.size() + self.keys.size()) as u64 }
    }
}

/// What a join leaves where something of its own was.
const NOTHING: Notes = Notes { alike: Alike::Apart, held_ns: None, judged: false, matched: false };

impl Join {
    /// The same, with one side shared.
    pub fn sharing(mut self, index: &SharedSide, side: usize) -> Join {
        let mut shared = index.0.borrow_mut();
        let number = shared.others.len();
        shared.others.push(Held::new(Vec::new(), NOTHING));
        shared.through.push(0);
        self.shared = Some(Member { index: index.clone(), number, side, apart: false, settled: false });
        self
    }

    /// Carries out `act` with what is shared in the join's hands; it is told which side that is.
    pub(super) fn in_turn<T>(&mut self, act: impl FnOnce(&mut Join, Option<usize>) -> Result<T>) -> Result<T> {
        let Some(mut member) = self.shared.take() else { return act(self, None) };
        if !std::mem::replace(&mut member.settled, true) {
            // An earlier run left rows to the others, and none to this join: it begins later than they did.
            member.apart = member.index.0.borrow().restored.is_some_and(|restored| restored != NO_ROWS);
            if !member.apart {
                self.swap_other(&member);
            }
        }
        let result = if member.apart {
            act(self, None)
        } else {
            self.swap(&member);
            let result = act(self, Some(member.side));
            self.swap(&member);
            let compacted = member.index.0.borrow_mut().compact();
            result.and_then(|result| compacted.map(|()| result))
        };
        self.shared = Some(member);
        result
    }

    /// Takes what is shared into its hands, or gives it back, with what is its own.
    fn swap(&mut self, member: &Member) {
        let index = &mut *member.index.0.borrow_mut();
        std::mem::swap(&mut self.keys, &mut index.keys);
        std::mem::swap(&mut self.held[member.side], &mut index.held);
        std::mem::swap(&mut self.held[1 - member.side], &mut index.others[member.number]);
    }

    fn swap_other(&mut self, member: &Member) {
        std::mem::swap(&mut self.held[1 - member.side], &mut member.index.0.borrow_mut().others[member.number]);
    }

    /// Shares what an earlier run left to the join, if it is what that left to the others.
    pub(super) fn share_restored(&mut self) -> Result<()> {
        let Some(mut member) = self.shared.take() else { return Ok(()) };
        let digest = self.digest(member.side)?;
        let first = member.index.0.borrow().restored;
        member.settled = true;
        member.apart = first.is_some_and(|first| first != digest);
        if first.is_none() {
            member.index.0.borrow_mut().restored = Some(digest);
            self.swap(&member);
        } else if !member.apart {
            let index = &mut *member.index.0.borrow_mut();
            let all: Vec<u32> = (0..self.keys.len() as u32).collect();
            let numbers = index.keys.number(&self.keys.values(&all)?, all.len())?;
            let mut other = std::mem::replace(&mut self.held[1 - member.side], Held::new(Vec::new(), NOTHING));
            other.rename(&numbers.into_iter().map(Some).collect::<Vec<_>>());
            index.keys.hold(&other.numbers);
            index.others[member.number] = other;
            self.held[member.side] = Held::new(Vec::new(), NOTHING);
            self.keys = keys_of(&self.schemas[member.side], self.width)?;
        }
        self.shared = Some(member);
        Ok(())
    }

    /// What tells the rows of a side from others.
    fn digest(&self, side: usize) -> Result<Digest> {
        let held = &self.held[side];
        let rows: Vec<u32> = (0..held.counts.len() as u32).filter(|row| held.counts[*row as usize] > 0).collect();
        let all: Vec<usize> = (0..self.schemas[side].fields().len()).collect();
        let columns = gathered(&self.keys, held, self.width, &rows, &all)?;
        let hashes = hash_rows(&columns, rows.len()).map_err(fault)?;
        let one = |sum: Digest, (row, hash): (&u32, u64)| {
            let count = u64::from(held.counts[*row as usize]);
            (sum.0 + count, sum.1.wrapping_add(hash.wrapping_mul(count)))
        };
        Ok(rows.iter().zip(hashes).fold(NO_ROWS, one))
    }

    /// Tells the others that it is through with all epochs before this one.
    pub(super) fn tell_through(&self, before: u64) {
        let Some(member) = &self.shared else { return };
        let mut index = member.index.0.borrow_mut();
        let before = if member.apart { u64::MAX } else { before };
        if std::mem::replace(&mut index.through[member.number], before) != before
            && let Some(activator) = &index.activator
        {
            activator.activate();
        }
    }

    /// What the join holds for itself alone.
    pub(super) fn own_state(&self) -> StateSize {
        let of = |held: &Held| StateSize { rows: held.len() as u64, bytes: held.size() as u64 };
        match self.shared.as_ref().filter(|member| member.settled && !member.apart) {
            Some(member) => of(&member.index.0.borrow().others[member.number]),
            None => {
                let [left, right] = self.held.each_ref().map(of);
                StateSize { rows: left.rows + right.rows, bytes: left.bytes + right.bytes + self.keys.size() as u64 }
            }
        }
    }
}

/// Keeps an index of `rows`, exchanged by `key`, in step with the joins that share it: they read what comes out.
pub(crate) fn index_side<'scope>(
    scope: Scope<'scope, u64>,
    relation: &str,
    rows: Stream<'scope, u64, Rows>,
    key: Vec<usize>,
    shared: &SharedSide,
    observer: Rc<dyn Observer>,
) -> Result<Stream<'scope, u64, Rows>> {
    let mut builder = OperatorBuilder::new("Index".to_string(), scope);
    let meter = observer.operator(relation, "Index");
    let (mut ports, mut streams) = Ports::new(&mut builder, vec![(rows, by_key(key))], 1, meter.clone());
    shared.0.borrow_mut().activator = Some(scope.activator_for(builder.operator_info().address));
    let index = shared.0.clone();
    let mut pending: BTreeMap<u64, (Capability<u64>, Vec<Rows>)> = BTreeMap::new();
    builder.build(move |_capabilities| {
        move |frontiers: &[MutableAntichain<u64>]| {
            let began = observer.nanos();
            ports.take_in(|capability, _, rows| {
                let epoch = pending.entry(*capability.time());
                epoch.or_insert_with(|| (capability.retain(0), Vec::new())).1.push(rows);
            });
            let mut index = index.borrow_mut();
            let mut sent = Vec::new();
            while let Some(entry) = pending.first_entry() {
                if frontiers[0].less_equal(entry.key()) || !index.may_go_on(*entry.key()) {
                    break;
                }
                let (capability, rows) = entry.remove();
                if let Err(error) = index.change(rows.clone()) {
                    observer.fail(error);
                }
                sent.extend(rows.into_iter().map(|rows| (0, capability.clone(), rows)));
            }
            ports.send(sent);
            meter.holds(index.state());
            meter.worked(observer.nanos().saturating_sub(began));
        }
    });
    streams.pop().ok_or_else(|| Error::bug("an index was built without an output"))
}
