//! Values in order, each with how often it is there: the values of a group, the rows of a partition.
//!
//! Most have few, which lie in one list. Many lie in lists of some length, which a copy shares until one of them changes: so
//! a snapshot costs by the number of lists, and what changes after it by the length of one.

use crate::aggregate::keyed::KeyReader;
use crate::blocks::Block;
use crate::state::unnamed;
use arrow::array::{Int64Array, RecordBatch};
use arrow::row::RowConverter;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// The values of one group, as bytes that sort as they do.
#[derive(Clone, Debug)]
pub(crate) enum Counted {
    Few(Vec<(ValueBytes, i64)>),
    Many(Box<Lists>),
}

/// Lists that follow each other, none of them empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    lists: Vec<Arc<Vec<(ValueBytes, i64)>>>,
    len: usize,
}

/// Values in a list: few enough to be moved for one that comes between them.
const LIST_VALUES: usize = if cfg!(test) { 4 } else { 128 };

impl Default for Counted {
    fn default() -> Counted {
        Counted::Few(Vec::new())
    }
}

impl Counted {
    /// One value.
    pub fn one(value: &[u8], times: i64) -> Counted {
        let mut one = Counted::default();
        one.change(value, times);
        one
    }

    /// `value` is there `diff` times more than before; gives how often it was there and how often it is.
    pub fn change(&mut self, value: &[u8], diff: i64) -> (i64, i64) {
        match self {
            Counted::Few(list) => {
                let times = change_in(list, value, diff);
                if list.len() > LIST_VALUES {
                    let behind = list.split_off(list.len() / 2);
                    let len = list.len() + behind.len();
                    let lists = vec![Arc::new(std::mem::take(list)), Arc::new(behind)];
                    *self = Counted::Many(Box::new(Lists { lists, len }));
                }
                times
            }
            Counted::Many(lists) => {
                let times = lists.change(value, diff);
                self.settle();
                times
            }
        }
    }

    /// Takes the last value out.
    pub fn pop_last(&mut self) -> Option<(ValueBytes, i64)> {
        match self {
            Counted::Few(list) => list.pop(),
            Counted::Many(lists) => {
                let last = lists.pop_last();
                self.settle();
                last
            }
        }
    }

    /// Makes one list of lists of which only one is left.
    fn settle(&mut self) {
        if let Counted::Many(lists) = self
            && lists.lists.len() < 2
        {
            let one = lists.lists.pop().map_or_else(Vec::new, Arc::unwrap_or_clone);
            *self = Counted::Few(one);
        }
    }

    /// How often `value` is there.
    pub fn times(&self, value: &[u8]) -> i64 {
        let list = match self {
            Counted::Few(list) => list,
            Counted::Many(lists) => &lists.lists[lists.place(value)],
        };
        find(list, value).map_or(0, |at| list[at].1)
    }

    /// The first value.
    pub fn first(&self) -> Option<&ValueBytes> {
        self.iter().next().map(|(value, _)| value)
    }

    /// The last value.
    pub fn last(&self) -> Option<&ValueBytes> {
        let list = match self {
            Counted::Few(list) => list,
            Counted::Many(lists) => lists.lists.last()?,
        };
        list.last().map(|(value, _)| value)
    }

    /// How many different values there are.
    pub fn len(&self) -> usize {
        match self {
            Counted::Few(list) => list.len(),
            Counted::Many(lists) => lists.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in order, each with how often it is there.
    pub fn iter(&self) -> impl Iterator<Item = (&ValueBytes, i64)> {
        let (few, many) = match self {
            Counted::Few(list) => (Some(list), None),
            Counted::Many(lists) => (None, Some(lists.lists.iter().map(Arc::as_ref))),
        };
        let lists = few.into_iter().chain(many.into_iter().flatten());
        lists.flatten().map(|(value, times)| (value, *times))
    }

    /// Bytes beside its own, estimated from the first value.
    pub fn size(&self) -> usize {
        let one = size_of::<(ValueBytes, i64)>();
        let places = match self {
            Counted::Few(list) => list.capacity() * one,
            Counted::Many(lists) => lists.lists.iter().map(|list| list.capacity() * one + 48).sum(),
        };
        places + self.len() * self.first().map_or(0, ValueBytes::size)
    }
}

impl Lists {
    /// The list that `value` is in or belongs into.
    fn place(&self, value: &[u8]) -> usize {
        self.lists.partition_point(|list| *list[0].0 <= *value).saturating_sub(1)
    }

    fn change(&mut self, value: &[u8], diff: i64) -> (i64, i64) {
        let at = self.place(value);
        let list = Arc::make_mut(&mut self.lists[at]);
        let before = list.len();
        let times = change_in(list, value, diff);
        self.len = self.len + list.len() - before;
        if list.len() > LIST_VALUES {
            // Where values come in order, lists stay full.
            let appended =
                at + 1 == self.lists.len() && self.lists[at].last().is_some_and(|(last, _)| **last == *value);
            let list = Arc::make_mut(&mut self.lists[at]);
            let kept = if appended { list.len() - 1 } else { list.len() / 2 };
            let behind = list.split_off(kept);
            self.lists.insert(at + 1, Arc::new(behind));
        } else if list.len() < before {
            self.close_up(at);
        }
        times
    }

    fn pop_last(&mut self) -> Option<(ValueBytes, i64)> {
        let last = Arc::make_mut(self.lists.last_mut()?).pop()?;
        self.len -= 1;
        self.close_up(self.lists.len() - 1);
        Some(last)
    }

    /// Puts a list that has become short together with one beside it.
    fn close_up(&mut self, at: usize) {
        if self.lists[at].is_empty() {
            self.lists.remove(at);
        }
        for first in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            if let Some([one, behind, ..]) = self.lists.get_mut(first..)
                && one.len() + behind.len() <= LIST_VALUES / 2
            {
                Arc::make_mut(one).extend(behind.iter().cloned());
                self.lists.remove(first + 1);
            }
        }
    }
}

fn find(list: &[(ValueBytes, i64)], value: &[u8]) -> Result<usize, usize> {
    list.binary_search_by(|(own, _)| (**own).cmp(value))
}

fn change_in(list: &mut Vec<(ValueBytes, i64)>, value: &[u8], diff: i64) -> (i64, i64) {
    match find(list, value) {
        Ok(at) => {
            let before = list[at].1;
            list[at].1 += diff;
            if list[at].1 == 0 {
                list.remove(at);
                if list.len() * 4 <= list.capacity() {
                    list.shrink_to(list.len() * 2);
                }
            }
            (before, before + diff)
        }
        Err(_) if diff == 0 => (0, 0),
        Err(at) => {
            if list.is_empty() {
                // Most stay alone.
                list.reserve_exact(1);
            }
            list.insert(at, (value.into(), diff));
            (0, diff)
        }
    }
}

/// Bytes that are not changed; few of them lie where the value itself is.
#[derive(Clone)]
pub(crate) struct ValueBytes(Place);

#[derive(Clone)]
enum Place {
    Here(u8, [u8; HERE]),
    Shared(Arc<[u8]>),
}

/// So many are not worth an allocation: three numbers and what stands before each.
const HERE: usize = 30;

impl ValueBytes {
    /// Bytes beside its own.
    pub fn size(&self) -> usize {
        match &self.0 {
            Place::Here(..) => 0,
            Place::Shared(bytes) => bytes.len() + 24,
        }
    }
}

impl From<&[u8]> for ValueBytes {
    fn from(bytes: &[u8]) -> ValueBytes {
        let mut here = [0; HERE];
        ValueBytes(match here.get_mut(..bytes.len()) {
            Some(own) => {
                own.copy_from_slice(bytes);
                Place::Here(bytes.len() as u8, here)
            }
            None => Place::Shared(bytes.into()),
        })
    }
}

impl Deref for ValueBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here(len, bytes) => &bytes[..*len as usize],
            Place::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for ValueBytes {
    fn eq(&self, other: &ValueBytes) -> bool {
        **self == **other
    }
}

impl Eq for ValueBytes {}

impl PartialOrd for ValueBytes {
    fn partial_cmp(&self, other: &ValueBytes) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ValueBytes {
    fn cmp(&self, other: &ValueBytes) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for ValueBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A block of groups with the values or rows of each, and what makes columns of them.
pub(crate) struct CountedBlock {
    pub converter: Arc<RowConverter>,
    pub groups: Block<Counted>,
    /// How many bytes behind each value are none of the converter's.
    pub behind: usize,
}

impl CountedBlock {
    /// The values or rows of its groups: the groups' keys, the columns, how often each is there.
    pub fn rows(&self, keys: &KeyReader) -> Result<RecordBatch> {
        let all = || self.groups.groups().flat_map(|(number, group)| group.iter().map(move |value| (number, value)));
        let numbers: Vec<u32> = all().map(|(number, _)| number).collect();
        let parser = self.converter.parser();
        let values = all().map(|(_, (value, _))| parser.parse(&value[..value.len() - self.behind]));
        let mut columns = keys.get(&numbers)?;
        columns.extend(self.converter.convert_rows(values)?);
        columns.push(Arc::new(Int64Array::from_iter_values(all().map(|(_, (_, times))| times))));
        unnamed(columns, numbers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A short value and a long one, in the order of the number.
    fn bytes(value: u8) -> Vec<u8> {
        [vec![value / 2], vec![value % 2; if value.is_multiple_of(2) { 1 } else { 40 }]].concat()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change(u8, i64),
        PopLast,
        Share,
    }

    fn step() -> impl Strategy<Value = Step> {
        let change = (0u8..60, -2i64..4).prop_map(|(value, diff)| Step::Change(value, diff));
        prop_oneof![12 => change, 1 => Just(Step::PopLast), 1 => Just(Step::Share)]
    }

    fn said(counted: &Counted) -> Vec<(Vec<u8>, i64)> {
        counted.iter().map(|(value, times)| (value.to_vec(), times)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_counts_of_which_a_copy_does_not_change(steps in prop::collection::vec(step(), 0..200)) {
            let (mut counted, mut model) = (Counted::default(), BTreeMap::<Vec<u8>, i64>::new());
            let mut shared = Vec::new();
            for step in steps {
                match step {
                    Step::Change(value, diff) => {
                        let value = bytes(value);
                        let before = model.get(&value).copied().unwrap_or(0);
                        prop_assert_eq!(counted.times(&value), before);
                        prop_assert_eq!(counted.change(&value, diff), (before, before + diff));
                        *model.entry(value).or_default() += diff;
                        model.retain(|_, times| *times != 0);
                    }
                    Step::PopLast => {
                        let last = counted.pop_last().map(|(value, times)| (value.to_vec(), times));
                        prop_assert_eq!(last, model.pop_last());
                    }
                    Step::Share => shared.push((counted.clone(), said(&counted))),
                }
                prop_assert_eq!(said(&counted), model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(counted.len(), model.len());
                prop_assert_eq!(counted.first().map(|value| value.to_vec()), model.keys().next().cloned());
                prop_assert_eq!(counted.last().map(|value| value.to_vec()), model.keys().next_back().cloned());
                if let Counted::Many(lists) = &counted {
                    prop_assert!(lists.lists.iter().all(|list| (1..=LIST_VALUES).contains(&list.len())));
                    prop_assert!(lists.lists.len() <= 1 + 2 * counted.len() / (LIST_VALUES / 2 + 1));
                }
            }
            for (counted, before) in shared {
                prop_assert_eq!(said(&counted), before);
            }
        }
    }
}
