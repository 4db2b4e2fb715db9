//! Positions by number: an array where many of the numbers are there, a hash map where few are.

use hashbrown::HashMap;

/// Where there is nothing.
const VACANT: u32 = u32::MAX;
/// An array is begun when one in so many numbers is there, and given up when fewer than half of that are.
const SPARSENESS: usize = 8;
/// So many entries an array may always have.
const ALWAYS_DENSE: usize = 1_024;

/// A position, below `u32::MAX`, for each number that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    entries: Entries,
    len: usize,
    /// How many numbers are to be expected.
    expected: usize,
}

#[derive(Clone, Debug)]
enum Entries {
    Dense(Vec<u32>),
    /// With a bound that all its numbers are below.
    Sparse(HashMap<u32, u32>, usize),
}

impl Default for Entries {
    fn default() -> Entries {
        Entries::Dense(Vec::new())
    }
}

impl Index {
    /// An index that about `expected` numbers will come into.
    pub fn expecting(expected: usize) -> Index {
        Index { expected, ..Index::default() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, number: u32) -> Option<u32> {
        match &self.entries {
            Entries::Dense(positions) => positions.get(number as usize).copied().filter(|p| *p != VACANT),
            Entries::Sparse(positions, _) => positions.get(&number).copied(),
        }
    }

    /// Puts `number` at `position`; gives the position that it had.
    pub fn insert(&mut self, number: u32, position: u32) -> Option<u32> {
        let before = std::mem::replace(self.entry(number), position);
        Some(before).filter(|before| *before != VACANT)
    }

    /// The position of each of `numbers`; what `next` gives where a number had none.
    pub fn get_or_insert_each(&mut self, numbers: &[u32], mut next: impl FnMut(u32) -> u32) -> Vec<usize> {
        if let Some(&greatest) = numbers.iter().max() {
            self.make_room(greatest as usize);
        }
        // All are looked for before any is put in: a step that depended on what was found would wait for memory each time.
        let mut found: Vec<usize> = match &self.entries {
            Entries::Dense(positions) => numbers.iter().map(|number| positions[*number as usize] as usize).collect(),
            Entries::Sparse(positions, _) => {
                numbers.iter().map(|number| positions.get(number).map_or(VACANT, |p| *p) as usize).collect()
            }
        };
        for (number, position) in numbers.iter().zip(&mut found) {
            if *position == VACANT as usize {
                let entry = self.entry(*number);
                if *entry == VACANT {
                    *entry = next(*number);
                }
                *position = *entry as usize;
            }
        }
        found
    }

    /// Takes `number` out; gives the position that it had.
    pub fn remove(&mut self, number: u32) -> Option<u32> {
        let removed = match &mut self.entries {
            Entries::Dense(positions) => positions.get_mut(number as usize).map(|p| std::mem::replace(p, VACANT)),
            Entries::Sparse(positions, _) => positions.remove(&number),
        };
        let removed = removed.filter(|position| *position != VACANT);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The entry of `number`, which will be filled if it is vacant.
    fn entry(&mut self, number: u32) -> &mut u32 {
        self.make_room(number as usize);
        let entry = match &mut self.entries {
            Entries::Dense(positions) => &mut positions[number as usize],
            Entries::Sparse(positions, bound) => {
                *bound = (*bound).max(number as usize + 1);
                positions.entry(number).or_insert(VACANT)
            }
        };
        self.len += usize::from(*entry == VACANT);
        entry
    }

    fn make_room(&mut self, number: usize) {
        let dense_below = SPARSENESS * self.len.max(self.expected).max(ALWAYS_DENSE);
        match &mut self.entries {
            Entries::Dense(positions) if number < positions.len() => {}
            Entries::Dense(positions) if number < 2 * dense_below => positions.resize(number + 1, VACANT),
            Entries::Dense(positions) => {
                let there = positions.iter().enumerate().filter(|(_, position)| **position != VACANT);
                let map = there.map(|(number, position)| (number as u32, *position)).collect();
                self.entries = Entries::Sparse(map, positions.len());
            }
            Entries::Sparse(map, bound) if (*bound).max(number + 1) < dense_below => {
                let mut positions = vec![VACANT; (*bound).max(number + 1)];
                map.iter().for_each(|(number, position)| positions[*number as usize] = *position);
                self.entries = Entries::Dense(positions);
            }
            Entries::Sparse(..) => {}
        }
    }

    /// Bytes, estimated.
    pub fn size(&self) -> usize {
        match &self.entries {
            Entries::Dense(positions) => positions.capacity() * size_of::<u32>(),
            // An entry and its byte of control, with the room that a table of 7/8 leaves.
            Entries::Sparse(positions, _) => positions.capacity() * 8 / 7 * 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(changes in proptest::collection::vec((0u32..4, 0u32..40_000, 0u32..100, any::<bool>()), 0..400)) {
            let (mut index, mut map) = (Index::default(), BTreeMap::new());
            for (zeros, number, position, insert) in changes {
                // Small numbers and great ones, so that it becomes sparse and dense again.
                let number = number >> (zeros * 4);
                if insert {
                    let kept = *map.entry(number).or_insert(position);
                    prop_assert_eq!(index.get_or_insert_each(&[number, number], |_| position), [kept as usize; 2]);
                    index.insert(number, position + 1);
                    map.insert(number, position + 1);
                } else {
                    index.remove(number);
                    map.remove(&number);
                }
                prop_assert_eq!(index.get(number), map.get(&number).copied());
                prop_assert_eq!(index.len(), map.len());
            }
            for number in 0..40_000 {
                prop_assert_eq!(index.get(number), map.get(&number).copied());
            }
        }

        #[test]
        fn it_changes_its_form_without_loss(first in 0u32..3, step in 1u32..60) {
            let mut index = Index::default();
            let numbers = || (0..3_000).map(|i| first * 50_000 + i * step).chain(0..20_000);
            let mut expected = BTreeMap::new();
            for (position, number) in numbers().enumerate() {
                index.insert(number, position as u32);
                expected.insert(number, position as u32);
            }
            prop_assert_eq!(index.len(), expected.len());
            prop_assert!(expected.iter().all(|(number, position)| index.get(*number) == Some(*position)));
        }
    }
}
