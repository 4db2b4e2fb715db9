//! `state_ttl`: which keys of an operator nothing has touched for so long that their state goes.
//!
//! Time is the engine's clock, which is the epochs: so what goes when is in the epoch log, and a replay forgets the same
//! keys in the same epochs. Times are kept in stretches of a sixty-fourth of the limit: a key is touched anew in its
//! books only once a stretch, and goes no sooner than the limit says and at most one stretch later.

use crate::aggregate::Part;
use crate::aggregate::keyed::{KeyedRows, Keys};
use crate::state::Section;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// So many stretches there are in the time for which a key is kept.
const STRETCHES: i64 = 64;

/// What the section of a checkpoint is called that says when keys were touched.
pub(crate) const TOUCHED: &str = "touched";

/// When each key of an operator was last touched, and which are due to go. Keys are numbered by the operator's `Keys`;
/// a key that is noted here must be held there.
pub struct Lifetimes {
    ttl_ns: i64,
    tick_ns: i64,
    stretch_ns: i64,
    /// The stretch in which each key was last touched.
    touched: KeyedRows,
    /// The keys to look at when a stretch has become too old. A key may have been touched again since, or be gone.
    due: BTreeMap<i64, BTreeSet<u32>>,
}

impl Lifetimes {
    /// Keys go that nothing touched for `ttl_ns`; an epoch is `tick_ns` long.
    pub fn new(ttl_ns: i64, tick_ns: i64) -> Lifetimes {
        Lifetimes {
            ttl_ns,
            tick_ns: tick_ns.max(1),
            stretch_ns: (ttl_ns / STRETCHES).max(1),
            touched: KeyedRows::new(vec![DataType::Int64]),
            due: BTreeMap::new(),
        }
    }

    /// Notes that something came for these keys, each of which may be named more than once.
    pub(crate) fn touch(&mut self, epoch: Epoch, numbers: &[u32]) -> Result<()> {
        let stretch = self.time_ns(epoch).div_euclid(self.stretch_ns);
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let known = self.touched.part_of(&numbers)?;
        let mut current = BTreeSet::new();
        for (number, last) in known.numbers.iter().zip(stretches(&known)?.values()) {
            if *last >= stretch {
                current.insert(*number);
            }
        }
        numbers.retain(|number| !current.contains(number));
        if numbers.is_empty() {
            return Ok(());
        }
        let new = numbers.iter().copied().filter(|number| !self.touched.contains(*number));
        self.due.entry(stretch).or_default().extend(new);
        let states = vec![Arc::new(Int64Array::from(vec![stretch; numbers.len()])) as _];
        self.touched.put(Part { numbers, states })
    }

    /// The keys that nothing touched for too long as of `epoch`, in the order of their numbers; they are forgotten here.
    pub(crate) fn expired(&mut self, epoch: Epoch) -> Result<Vec<u32>> {
        let (now, mut gone) = (self.time_ns(epoch), Vec::new());
        while let Some((&stretch, _)) = self.due.first_key_value()
            && self.goes_at(stretch) <= now
        {
            let numbers: Vec<u32> = self.due.remove(&stretch).into_iter().flatten().collect();
            let known = self.touched.part_of(&numbers)?;
            for (number, last) in known.numbers.iter().zip(stretches(&known)?.values()) {
                match *last <= stretch {
                    true => gone.push(*number),
                    false => drop(self.due.entry(*last).or_default().insert(*number)),
                }
            }
        }
        self.touched.remove(&gone);
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }

    /// Keys are gone for another reason.
    pub(crate) fn forget(&mut self, numbers: &[u32]) {
        self.touched.remove(numbers);
    }

    /// The epoch in which keys may go though nothing comes.
    pub(crate) fn wake_at(&self) -> Option<Epoch> {
        let at = self.goes_at(*self.due.first_key_value()?.0);
        let epoch = at.saturating_add(self.tick_ns - 1).div_euclid(self.tick_ns);
        Some(Epoch(u64::try_from(epoch).unwrap_or(0)))
    }

    /// Renames all keys; those without a name are gone.
    pub(crate) fn rename(&mut self, renamed: &[Option<u32>]) {
        self.touched.rename(renamed);
        for numbers in self.due.values_mut() {
            *numbers = numbers.iter().filter_map(|number| renamed[*number as usize]).collect();
        }
        self.due.retain(|_, numbers| !numbers.is_empty());
    }

    /// When each key was touched, as sections called [`TOUCHED`].
    pub(crate) fn sections(&mut self, keys: &Keys) -> Result<Vec<Section>> {
        let stretch_ns = self.stretch_ns;
        // As times: a run with another limit has other stretches.
        let in_ns = |Section { label, id, keys, rows }| {
            let rows = move || rescaled(&rows()?, |stretch| stretch.saturating_mul(stretch_ns));
            Section { label, id, keys, rows: Box::new(rows) }
        };
        Ok(keys.sections(TOUCHED, &mut self.touched)?.into_iter().map(in_ns).collect())
    }

    /// Takes in the rows of such a section.
    pub(crate) fn restore(&mut self, keys: &mut Keys, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = rescaled(rows, |time_ns| time_ns.div_euclid(self.stretch_ns))?;
        keys.restore(&rows, &mut self.touched)?;
        self.due.clear();
        let all = self.touched.all()?;
        for (number, stretch) in all.numbers.iter().zip(stretches(&all)?.values()) {
            self.due.entry(*stretch).or_default().insert(*number);
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> usize {
        self.touched.size() + self.due.values().map(|numbers| 8 * numbers.len() + 64).sum::<usize>()
    }

    /// When keys go that were last touched in a stretch.
    fn goes_at(&self, stretch: i64) -> i64 {
        stretch.saturating_add(1).saturating_mul(self.stretch_ns).saturating_add(self.ttl_ns)
    }

    fn time_ns(&self, epoch: Epoch) -> i64 {
        i64::try_from(epoch.0).unwrap_or(i64::MAX).saturating_mul(self.tick_ns)
    }
}

fn stretches(part: &Part) -> Result<&Int64Array> {
    part.states.first().and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(damaged)
}

/// The rows of a section with another last column.
fn rescaled(rows: &RecordBatch, scale: impl Fn(i64) -> i64) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    let times = columns.pop().ok_or_else(damaged)?;
    let times = times.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
    columns.push(Arc::new(Int64Array::from_iter_values(times.values().iter().map(|time| scale(*time)))));
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

fn damaged() -> Error {
    Error::bug("the times at which keys were touched are not as they were written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::table::Grouping;
    use arrow::array::ArrayRef;
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    const TTL: i64 = 64 * 10;

    fn keys() -> Keys {
        Keys::new(Grouping::by(Schema::new(vec![Field::new("k", DataType::Int64, false)])).unwrap()).unwrap()
    }

    fn number(keys: &mut Keys, key: i64) -> u32 {
        keys.number(&[Arc::new(Int64Array::from(vec![key])) as ArrayRef], 1).unwrap()[0]
    }

    #[test]
    fn a_key_goes_after_the_limit_and_no_later_than_a_stretch_after_it() {
        let mut lives = Lifetimes::new(TTL, 1);
        lives.touch(Epoch(5), &[0, 0]).unwrap();
        assert_eq!(lives.wake_at(), Some(Epoch(650)));
        assert_eq!(lives.expired(Epoch(649)).unwrap(), Vec::<u32>::new());
        assert_eq!(lives.expired(Epoch(650)).unwrap(), vec![0]);
        assert_eq!(lives.wake_at(), None);
    }

    proptest! {
        /// Keys that are touched, taken out and told to go, against a list of when each was touched; and all of it once
        /// more through a checkpoint.
        #[test]
        fn keys_go_when_nothing_touches_them(
            steps in prop::collection::vec((0..200u64, 0..6u32, prop::bool::weighted(0.1)), 1..80),
            restored_at in 0..80usize,
        ) {
            let (mut keys, mut lives) = (keys(), Lifetimes::new(TTL, 1));
            let mut model: BTreeMap<i64, u64> = BTreeMap::new();
            let mut epoch = 0;
            for (at, (later, key, taken_out)) in steps.into_iter().enumerate() {
                epoch += later;
                let number = number(&mut keys, key.into());
                match taken_out {
                    true => {
                        lives.forget(&[number]);
                        model.remove(&i64::from(key));
                    }
                    false => {
                        lives.touch(Epoch(epoch), &[number]).unwrap();
                        model.insert(key.into(), epoch);
                    }
                }
                if at == restored_at {
                    let mut again = (super::tests::keys(), Lifetimes::new(TTL, 1));
                    for section in lives.sections(&keys).unwrap() {
                        again.1.restore(&mut again.0, &(section.rows)().unwrap()).unwrap();
                    }
                    (keys, lives) = again;
                }
                let gone = lives.expired(Epoch(epoch)).unwrap();
                let gone: BTreeSet<i64> =
                    keys.values(&gone).unwrap()[0].as_primitive::<Int64Type>().values().iter().copied().collect();
                for key in gone {
                    let idle = model.remove(&key).map(|touched| epoch - touched);
                    prop_assert!(idle.is_some_and(|idle| idle as i64 >= TTL), "{key} went after {idle:?}");
                }
                let oldest = model.values().min().map_or(0, |touched| epoch - touched);
                prop_assert!((oldest as i64) < TTL + TTL / STRETCHES, "a key stays for {oldest}");
            }
        }
    }
}
