//! What is kept of groups or partitions, by their numbers, in blocks that a snapshot shares.
//!
//! A snapshot takes the blocks as they are, for another thread to write; a block that changes while somebody else holds it
//! is copied first. So nobody waits for a checkpoint, and it writes the blocks that have changed since the one before.

use crate::state::fresh_id;
use std::ops::Range;
use std::sync::Arc;

/// Groups a block: enough for a section of its own, little enough to be copied and written for one change.
const BLOCK_GROUPS: usize = 1_024;

/// What is kept of each group.
#[derive(Clone, Default)]
pub(crate) struct Blocks<T> {
    blocks: Vec<Arc<Vec<T>>>,
    /// An id for each block as it is now, for a section of it; none where it has changed since one was asked for.
    ids: Vec<Option<u64>>,
    len: usize,
}

impl<T: Clone + Default> Blocks<T> {
    pub fn new() -> Blocks<T> {
        Blocks { blocks: Vec::new(), ids: Vec::new(), len: 0 }
    }

    /// Makes room for groups with numbers below `len`.
    pub fn resize(&mut self, len: usize) {
        while self.len < len {
            let begun = self.len % BLOCK_GROUPS;
            if begun == 0 {
                self.blocks.push(Arc::default());
                self.ids.push(None);
            }
            let (Some(block), Some(id)) = (self.blocks.last_mut(), self.ids.last_mut()) else { return };
            *id = None;
            let more = (len - self.len).min(BLOCK_GROUPS - begun);
            Arc::make_mut(block).resize(begun + more, T::default());
            self.len += more;
        }
    }

    #[inline]
    pub fn get(&self, number: u32) -> &T {
        let number = number as usize;
        &self.blocks[number / BLOCK_GROUPS][number % BLOCK_GROUPS]
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        let number = number as usize;
        self.ids[number / BLOCK_GROUPS] = None;
        &mut Arc::make_mut(&mut self.blocks[number / BLOCK_GROUPS])[number % BLOCK_GROUPS]
    }

    /// A block as it is now.
    pub fn block(&mut self, at: usize) -> Block<T> {
        let id = *self.ids[at].get_or_insert_with(fresh_id);
        Block { first: at * BLOCK_GROUPS, id, groups: self.blocks[at].clone() }
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
        let step = self.len.div_ceil(LOOKED_AT).max(1);
        let looked_at = (0..self.len).step_by(step).map(|number| size(self.get(number as u32)));
        looked_at.sum::<usize>() * step + self.blocks.len() * BLOCK_GROUPS * size_of::<T>()
    }
}

/// Groups whose size is looked at.
const LOOKED_AT: usize = 64;

/// A block as it was at one moment.
#[derive(Clone)]
pub(crate) struct Block<T> {
    first: usize,
    /// The same id means the same groups with the same in each, see [`crate::state::Section::id`].
    pub id: u64,
    groups: Arc<Vec<T>>,
}

impl<T> Block<T> {
    /// The numbers of its groups.
    pub fn numbers(&self) -> Range<u32> {
        self.first as u32..(self.first + self.groups.len()) as u32
    }

    /// Each group with its number.
    pub fn groups(&self) -> impl Iterator<Item = (u32, &T)> {
        self.numbers().zip(self.groups.iter())
    }

    pub fn get(&self, number: u32) -> &T {
        &self.groups[number as usize - self.first]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn they_are_a_list_of_which_a_block_does_not_change(
            steps in proptest::collection::vec((0usize..4_000, 0u32..4_000, 0u8..5), 1..40),
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
