//! Joins: their sides, and what several of them share.

use super::{Demand, Rendered, Renderer};
use crate::exchange::by_key;
use crate::host::host;
use crate::join::{
    AsofJoin, AsofJoinSpec, HOLDS, Join, JoinSpec, LookupJoin, LookupJoinSpec, SharedSide, SharedSides, index_side,
};
use crate::plan::{Plan, Read};
use crate::rows::Rows;
use std::cell::RefCell;
use std::collections::BTreeMap;
use thalweg_schemas::error::Result;
use timely::dataflow::Stream;

/// The sides that joins share.
#[derive(Default)]
pub struct Sharing<'scope> {
    sides: SharedSides,
    /// Those that were built, by what tells them apart, with the changes that the joins read in step with them.
    built: RefCell<BTreeMap<String, (SharedSide, Stream<'scope, u64, Rows>)>>,
}

impl<'scope> Sharing<'scope> {
    /// None of which is built.
    pub fn of(sides: SharedSides) -> Sharing<'scope> {
        Sharing { sides, built: RefCell::default() }
    }
}

impl<'scope> Renderer<'scope> {
    pub(super) fn join(&self, view: &str, spec: &JoinSpec, demand: Demand) -> Result<Rendered<'scope>> {
        let demand = if spec.appends() { Demand::of(Read::Finals) } else { demand };
        let left = self.render(view, &spec.left, demand)?;
        let right = self.render(view, &spec.right, demand)?;
        let build = |read: Read, name: &str, reports: bool| -> Result<Stream<'scope, u64, Rows>> {
            let mut streams = [left.stream(view, read)?, right.stream(view, read)?];
            let mut join = Join::new(spec, read, reports)?.forgetting(self.lifetimes(spec.state_ttl_ns));
            if let Some((side, key)) = self.sharing.sides.side_of(spec) {
                let (index, changes) = self.indexed(spec, side, (key, read), streams[side].clone())?;
                streams[side] = changes;
                join = join.sharing(&index, side);
            }
            let rows = streams.into_iter().map(|rows| (rows, by_key(spec.exchanged_by()))).collect();
            let origin = spec.goes_by().cloned().unwrap_or_default();
            Ok(self.host_all(view, name, join, rows, 1, &origin).swap_remove(0))
        };
        let below = left.below.clone();
        if spec.appends() {
            return Ok(Rendered { below, ..Rendered::append(build(Read::Finals, "Join", true)?) });
        }
        let changes = demand.changes.then(|| build(Read::Changes, "Join", true)).transpose()?;
        let finals = demand.finals.then(|| build(Read::Finals, "JoinFinals", !demand.changes)).transpose()?;
        Ok(Rendered { changes, finals, below, ..Rendered::default() })
    }

    /// A side of a join that others share, built where it was not: from `rows`.
    fn indexed(
        &self,
        spec: &JoinSpec,
        side: usize,
        (key, read): (String, Read),
        rows: Stream<'scope, u64, Rows>,
    ) -> Result<(SharedSide, Stream<'scope, u64, Rows>)> {
        let mut indexes = self.sharing.built.borrow_mut();
        let key = format!("{read:?} {key}");
        if let Some(built) = indexes.get(&key) {
            return Ok(built.clone());
        }
        let index = SharedSide::new(spec, side, read)?;
        let relation = self.sharing.sides.told(spec).map_or_else(String::new, |(relation, _)| relation);
        let changes = index_side(self.scope, &relation, rows, spec.exchanged_by(), &index, self.observer.clone())?;
        indexes.insert(key, (index.clone(), changes.clone()));
        Ok((index, changes))
    }

    pub(super) fn asof_join(&self, view: &str, spec: &AsofJoinSpec) -> Result<Rendered<'scope>> {
        let side = |plan: &Plan| -> Result<_> {
            Ok((self.input(view, plan, Read::Changes)?, by_key((0..spec.keys).collect())))
        };
        let rows = vec![side(&spec.left)?, side(&spec.right)?];
        let join = AsofJoin::new(spec)?.forgetting(self.lifetimes(spec.state_ttl_ns));
        let origin = spec.horizon.as_ref().map(|horizon| horizon.origin.clone()).unwrap_or_default();
        let changes = self.host_all(view, "AsofJoin", join, rows, 1, &origin);
        Ok(Rendered { changes: changes.into_iter().next(), ..Rendered::default() })
    }

    /// Where the left side takes rows back their results go with them; of windows what is final is looked up, once.
    pub(super) fn lookup_join(&self, view: &str, spec: &LookupJoinSpec) -> Result<Rendered<'scope>> {
        let key = || by_key((0..spec.keys).collect());
        let read = if spec.left_retracts { Read::Changes } else { Read::Finals };
        let left = (self.input(view, &spec.left, read)?, key());
        let right = (self.input(view, &spec.right, Read::Changes)?, key());
        let (rows, join) = (vec![left, right], LookupJoin::new(spec)?);
        let asked = spec.asked.as_ref().zip(spec.right.projected_source().and_then(|table| self.questions.get(table)));
        let mut outputs = match asked {
            Some((asked, questions)) => {
                let join = join.asking(asked, questions.clone(), self.peers, self.tick_ns);
                let mut outputs = self.host_all(view, "LookupJoin", join, rows, 2, &asked.origin);
                self.holds.add(self.scope, view, outputs.swap_remove(HOLDS));
                outputs
            }
            // Who waits for a table to be read waits for nobody else.
            None => {
                let inputs = self.inputs(rows, &spec.waits_for);
                host(self.scope, (view, "LookupJoin"), join, inputs, 1, self.observer.clone())
            }
        };
        let rows = outputs.swap_remove(0);
        Ok(if spec.left_retracts { Rendered::changes(rows) } else { Rendered::append(rows) })
    }
}
