//! What is kept of groups or partitions, by their numbers, in blocks that a snapshot shares.
//!
//! A snapshot takes the blocks as they are, for another thread to write; a block that changes while somebody else holds it
//! is copied first. So nobody waits for a checkpoint, and it writes the blocks that have changed since the one before.

use crate::state::fresh_id;
use std::ops::Range;
use std::sync::Arc;

/// Groups a block: enough for a section of its own, little enough to be copied and written for one change.
const BLOCK_GROUPS: usize = 1_024;

/// What is kept of each group. Of a block in which nothing was ever kept, nothing lies in memory: of many aggregates with
/// filters most have no row in most groups.
#[derive(Clone, Default)]
pub(crate) struct Blocks<T> {
    /// The groups of each block, up to the last that something was kept of.
    blocks: Vec<Arc<Vec<T>>>,
    /// An id for each block as it is now, for a section of it; none where it has changed since one was asked for.
    ids: Vec<Option<u64>>,
    len: usize,
    /// How many groups lie in memory.
    stored: usize,
    /// What is kept of the others.
    nothing: T,
}

impl<T: Clone + Default> Blocks<T> {
    pub fn new() -> Blocks<T> {
        Blocks::default()
    }

    /// Makes room for groups with numbers below `len`.
    pub fn resize(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        if let Some(id) = self.ids.last_mut().filter(|_| !self.len.is_multiple_of(BLOCK_GROUPS)) {
            *id = None;
        }
        self.blocks.resize_with(len.div_ceil(BLOCK_GROUPS), Arc::default);
        self.ids.resize(self.blocks.len(), None);
        self.len = len;
    }

    #[inline]
    pub fn get(&self, number: u32) -> &T {
        let number = number as usize;
        self.blocks[number / BLOCK_GROUPS].get(number % BLOCK_GROUPS).unwrap_or(&self.nothing)
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        let (block, at) = (number as usize / BLOCK_GROUPS, number as usize % BLOCK_GROUPS);
        self.ids[block] = None;
        let groups = Arc::make_mut(&mut self.blocks[block]);
        if groups.len() <= at {
            let there = (self.len - block * BLOCK_GROUPS).min(BLOCK_GROUPS);
            self.stored += there - groups.len();
            groups.resize(there, T::default());
        }
        &mut groups[at]
    }

    /// Keeps nothing of a group any more.
    pub fn clear(&mut self, number: u32) {
        let (block, at) = (number as usize / BLOCK_GROUPS, number as usize % BLOCK_GROUPS);
        if at < self.blocks[block].len() {
            *self.get_mut(number) = T::default();
        }
    }

    /// A block as it is now.
    pub fn block(&mut self, at: usize) -> Block<T> {
        let id = *self.ids[at].get_or_insert_with(fresh_id);
        let len = (self.len - at * BLOCK_GROUPS).min(BLOCK_GROUPS);
        Block { first: at * BLOCK_GROUPS, len, id, groups: self.blocks[at].clone(), nothing: T::default() }
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Moves what is kept by number to other numbers; what has none is gone.
    pub fn rename(&mut self, renamed: &[Option<u32>]) {
        let mut moved = Blocks::new();
        moved.resize(renamed.iter().flatten().count());
        for (block, renamed) in std::mem::take(&mut self.blocks).into_iter().zip(renamed.chunks(BLOCK_GROUPS)) {
            for (group, number) in Arc::unwrap_or_clone(block).into_iter().zip(renamed) {
                if let Some(number) = number {
                    *moved.get_mut(*number) = group;
                }
            }
        }
        *self = moved;
    }

    /// Bytes of what `size` says of a group, beside the groups themselves: many groups are estimated from some of them.
    pub fn size(&self, size: impl Fn(&T) -> usize) -> usize {
        let groups = self.stored * size_of::<T>() + self.blocks.len() * size_of::<Arc<Vec<T>>>();
        if self.stored == 0 {
            return groups;
        }
        let step = self.len.div_ceil(LOOKED_AT).max(1);
        let looked_at = (0..self.len).step_by(step).map(|number| size(self.get(number as u32)));
        looked_at.sum::<usize>() * step + groups
    }
}

/// Groups whose size is looked at.
const LOOKED_AT: usize = 64;

/// A block as it was at one moment.
#[derive(Clone)]
pub(crate) struct Block<T> {
    first: usize,
    len: usize,
    /// The same id means the same groups with the same in each, see [`crate::state::Section::id`].
    pub id: u64,
    groups: Arc<Vec<T>>,
    nothing: T,
}

impl<T> Block<T> {
    /// The numbers of its groups.
    pub fn numbers(&self) -> Range<u32> {
        self.first as u32..(self.first + self.len) as u32
    }

    /// Each group with its number.
    pub fn groups(&self) -> impl Iterator<Item = (u32, &T)> {
        self.numbers().map(|number| (number, self.get(number)))
    }

    pub fn get(&self, number: u32) -> &T {
        self.groups.get(number as usize - self.first).unwrap_or(&self.nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_nothing_is_kept_of_takes_no_memory() {
        let mut blocks = Blocks::<u64>::new();
        blocks.resize(100 * BLOCK_GROUPS);
        blocks.clear(7);
        assert!(blocks.size(|_| 0) < 100 * 16 && blocks.get(5_000) == &0);
        *blocks.get_mut(5_000) = 1;
        assert!((8 * BLOCK_GROUPS..8 * BLOCK_GROUPS + 100 * 16).contains(&blocks.size(|_| 0)));
    }

    proptest! {
        #[test]
        fn they_are_a_list_of_which_a_block_does_not_change(
            steps in proptest::collection::vec((0usize..4_000, 0u32..4_000, 0u8..6), 1..40),
        ) {
            let (mut blocks, mut model) = (Blocks::<u32>::new(), Vec::<u32>::new());
            let mut shared: Vec<(Block<u32>, Vec<(u32, u32)>)> = Vec::new();
            let mut by_id: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
            for (step, (len, number, kind)) in (1..).zip(steps) {
                match kind {
                    0 if len > model.len() => {
                        blocks.resize(len);
                        model.resize(len, 0);
                    }
                    1 if !model.is_empty() => {
                        let block = blocks.block(number as usize % blocks.blocks());
                        let seen: Vec<_> = block.groups().map(|(number, group)| (number, *group)).collect();
                        prop_assert_eq!(by_id.entry(block.id).or_insert(seen.clone()), &seen);
                        shared.push((block, seen));
                    }
                    2 => {
                        // Every other one goes, and the others turn round.
                        let kept = model.len().div_ceil(2);
                        let to = |old: usize| old.is_multiple_of(2).then(|| (kept - 1 - old / 2) as u32);
                        let renamed: Vec<Option<u32>> = (0..model.len()).map(to).collect();
                        blocks.rename(&renamed);
                        model = (0..kept).rev().map(|new| model[2 * new]).collect();
                    }
                    3 if !model.is_empty() => {
                        let number = number % model.len() as u32;
                        blocks.clear(number);
                        model[number as usize] = 0;
                    }
                    _ if !model.is_empty() => {
                        let number = number % model.len() as u32;
                        *blocks.get_mut(number) = step;
                        model[number as usize] = step;
                    }
                    _ => {}
                }
                prop_assert_eq!(blocks.len, model.len());
                prop_assert!((0..blocks.len).map(|number| blocks.get(number as u32)).eq(&model));
            }
            for (block, seen) in shared {
                prop_assert!(block.groups().map(|(number, group)| (number, *group)).eq(seen));
            }
        }
    }
}
