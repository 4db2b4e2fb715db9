//! `half_space_trees`: how many rows of the window before lay in the part of the space in which this one lies.
//!
//! Trees of a fixed height halve the space at random dimensions; each node counts the rows of a window of [`WINDOW`], and
//! the counts of the window before are what a row is judged by: count·2^depth at the first node that has few
//! (Tan, Ting & Liu, "Fast anomaly detection for streaming data", IJCAI 2011). The space is each value and its step from the
//! row before, over the range of the first window with half of it on either side. Which dimension a node halves follows
//! from its place, so that only counts are kept.

use super::VALUES_MAX;
use super::codec::{Codec, Coded};
use super::random::mixed;

const TREES: usize = 25;
const HEIGHT: usize = 8;
const NODES: usize = (1 << (HEIGHT + 1)) - 1;
const WINDOW: u16 = 250;
/// A node with fewer rows is as good as a leaf.
const FEW: u16 = WINDOW / 10;

/// The counts of two windows.
#[derive(Clone, Debug, Default)]
pub(super) struct HalfSpaceTrees {
    /// Of the window before, tree by tree; empty before the first.
    before: Vec<u16>,
    now: Vec<u16>,
    rows: u16,
    /// Of each value; empty before the first row.
    sides: Vec<Side>,
}

/// What is known of one of the values.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    last: f64,
    least: f64,
    greatest: f64,
}

/// Values and steps between 0 and 1, as many as there are.
struct Point {
    coordinates: [f64; 2 * VALUES_MAX],
    dimensions: usize,
}

impl HalfSpaceTrees {
    pub fn ready(&self) -> bool {
        !self.before.is_empty()
    }

    fn point(&self, x: f64, others: &[f64]) -> Point {
        let mut coordinates = [0.0; 2 * VALUES_MAX];
        let values = [x].into_iter().chain(others.iter().copied());
        for ((side, x), at) in self.sides.iter().zip(values).zip(coordinates.chunks_exact_mut(2)) {
            let range = (side.greatest - side.least).max(1e-9);
            at[0] = ((x - side.least + 0.5 * range) / (2.0 * range)).clamp(0.0, 1.0);
            at[1] = ((x - side.last + range) / (2.0 * range)).clamp(0.0, 1.0);
        }
        Point { coordinates, dimensions: 2 * self.sides.len() }
    }

    /// How rare a row is: the logarithm of the share of rows that there would be if all of the space were like its part,
    /// negated, the mean over the trees.
    pub fn rarity(&self, x: f64, others: &[f64]) -> f64 {
        if !self.ready() {
            return 0.0;
        }
        let point = self.point(x, others);
        let mut rarity = 0.0;
        for tree in 0..TREES {
            let counts = &self.before[tree * NODES..(tree + 1) * NODES];
            descend(tree, &point, |depth, node| {
                let last = counts[node] < FEW || depth == HEIGHT;
                if last {
                    let mass = f64::from(counts[node]) * f64::from(1u32 << depth);
                    rarity -= ((mass + 1.0) / f64::from(WINDOW)).ln();
                }
                !last
            });
        }
        rarity / TREES as f64
    }

    pub fn learn(&mut self, x: f64, others: &[f64]) {
        let values = || [x].into_iter().chain(others.iter().copied()).take(VALUES_MAX);
        if self.sides.is_empty() {
            self.sides = values().map(|x| Side { last: x, least: x, greatest: x }).collect();
            self.now = vec![0; TREES * NODES];
        }
        if !self.ready() {
            for (side, x) in self.sides.iter_mut().zip(values()) {
                (side.least, side.greatest) = (side.least.min(x), side.greatest.max(x));
            }
        }
        let point = self.point(x, others);
        for tree in 0..TREES {
            let counts = &mut self.now[tree * NODES..(tree + 1) * NODES];
            descend(tree, &point, |_, node| {
                counts[node] += 1;
                true
            });
        }
        self.sides.iter_mut().zip(values()).for_each(|(side, x)| side.last = x);
        self.rows += 1;
        if self.rows == WINDOW {
            self.before = std::mem::replace(&mut self.now, vec![0; TREES * NODES]);
            self.rows = 0;
        }
    }

    pub fn bytes(&self) -> usize {
        2 * (self.before.capacity() + self.now.capacity()) + size_of::<Side>() * self.sides.capacity()
    }
}

/// Shows the nodes of a tree in which `point` lies, with their depths, until `go_on` says no.
fn descend(tree: usize, point: &Point, mut go_on: impl FnMut(usize, usize) -> bool) {
    let (mut node, mut from, mut to) = (0, [0.0; 2 * VALUES_MAX], [1.0; 2 * VALUES_MAX]);
    for depth in 0..=HEIGHT {
        if !go_on(depth, node) || depth == HEIGHT {
            return;
        }
        let drawn = mixed((tree * NODES + node) as u64);
        // A division takes as long as all else here: one value needs none.
        let dimension = if point.dimensions == 2 { drawn & 1 } else { drawn % point.dimensions as u64 } as usize;
        let middle = f64::midpoint(from[dimension], to[dimension]);
        let right = point.coordinates[dimension] >= middle;
        if right {
            from[dimension] = middle
        } else {
            to[dimension] = middle
        }
        node = 2 * node + 1 + usize::from(right);
    }
}

impl Coded for HalfSpaceTrees {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.list(&mut self.before, TREES * NODES, |codec, count| codec.u16(count));
        codec.list(&mut self.now, TREES * NODES, |codec, count| codec.u16(count));
        codec.u16(&mut self.rows);
        codec.list(&mut self.sides, VALUES_MAX, |codec, side| {
            codec.f64(&mut side.last);
            codec.f64(&mut side.least);
            codec.f64(&mut side.greatest);
        });
        if let Codec::Read(_, damaged) = codec {
            let whole = |counts: &Vec<u16>| counts.is_empty() || counts.len() == TREES * NODES;
            *damaged |= !whole(&self.before) || !whole(&self.now) || self.rows >= WINDOW;
            *damaged |= self.sides.is_empty() != self.now.is_empty();
        }
    }
}
