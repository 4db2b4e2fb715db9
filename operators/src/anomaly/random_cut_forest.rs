//! `random_cut_forest`: how soon a row is cut off from all others by random cuts.
//!
//! Each tree holds a sample of the rows. A node cuts its bounding box at a random place of a dimension that is chosen by its
//! length; a row that is far from the box would have been cut off above it (Guha, Mishra, Roy & Schrijvers, "Robust random
//! cut forest based anomaly detection on streams", ICML 2016). The score is that of the AWS implementation: 1/(depth + 1)
//! for a row that is not in the tree, by the probability of being cut off at each node, times log2 of the sample, the mean
//! over the trees; about 1 is ordinary. A point is a value with the one before it. A full sample takes each row with a
//! probability that keeps its mean age near ten samples, in place of a random one.

use super::codec::{Codec, Coded};
use super::random::Sequence;

const TREES: usize = 50;
const SAMPLE: usize = 256;
const DIMENSIONS: usize = 2;
/// Trees that a point goes down at once.
const TOGETHER: usize = 10;
const NONE: u16 = u16::MAX;

type Point = [f32; DIMENSIONS];

/// A box of the sample, cut in two; or a leaf, whose box is its point.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    least: Point,
    greatest: Point,
    /// Rows below, those that are equal counted each.
    mass: u16,
    /// `NONE` in a leaf.
    left: u16,
    right: u16,
    dimension: u8,
    cut: f32,
}

/// A sample of the rows, as a tree.
#[derive(Clone, Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
    free: Vec<u16>,
    root: u16,
    sample: Vec<Point>,
}

/// Trees over the same rows.
#[derive(Clone, Debug, Default)]
pub(super) struct RandomCutForest {
    trees: Vec<Tree>,
    random: Sequence,
    rows: u32,
    last: f64,
}

impl Node {
    fn leaf(point: Point) -> Node {
        Node { least: point, greatest: point, mass: 1, left: NONE, right: NONE, dimension: 0, cut: 0.0 }
    }

    fn is_leaf(&self) -> bool {
        self.left == NONE
    }

    /// How much longer the sides of its box would be with `point`, and how long then.
    fn grown(&self, point: Point) -> (f32, f32) {
        let (mut longer, mut length) = (0.0, 0.0);
        for ((x, least), greatest) in point.iter().zip(&self.least).zip(&self.greatest) {
            let more = (least - x).max(x - greatest).max(0.0);
            longer += more;
            length += more + (greatest - least);
        }
        (longer, length)
    }

    fn include(&mut self, least: Point, greatest: Point) {
        for d in 0..DIMENSIONS {
            self.least[d] = self.least[d].min(least[d]);
            self.greatest[d] = self.greatest[d].max(greatest[d]);
        }
    }

    fn child(&self, point: Point) -> u16 {
        if point[usize::from(self.dimension)] <= self.cut { self.left } else { self.right }
    }
}

impl Tree {
    fn add(&mut self, node: Node) -> u16 {
        if let Some(at) = self.free.pop() {
            self.nodes[usize::from(at)] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u16
    }

    fn node(&self, at: u16) -> &Node {
        &self.nodes[usize::from(at)]
    }

    fn insert(&mut self, point: Point, random: &mut Sequence) {
        self.sample.push(point);
        if self.sample.len() == 1 {
            self.nodes.clear();
            self.free.clear();
            self.root = self.add(Node::leaf(point));
            return;
        }
        let (mut at, mut above) = (self.root, None::<u16>);
        loop {
            let node = *self.node(at);
            if node.is_leaf() && node.least == point {
                self.nodes[usize::from(at)].mass += 1;
                return;
            }
            if let Some((dimension, cut)) = separating_cut(&node, point, random) {
                let leaf = self.add(Node::leaf(point));
                let below = point[usize::from(dimension)] <= cut;
                let (left, right) = if below { (leaf, at) } else { (at, leaf) };
                let mut parent = Node { mass: node.mass + 1, left, right, dimension, cut, ..node };
                parent.include(point, point);
                let parent = self.add(parent);
                match above {
                    None => self.root = parent,
                    Some(above) if self.node(above).left == at => self.nodes[usize::from(above)].left = parent,
                    Some(above) => self.nodes[usize::from(above)].right = parent,
                }
                return;
            }
            let node = &mut self.nodes[usize::from(at)];
            node.include(point, point);
            node.mass += 1;
            (above, at) = (Some(at), node.child(point));
        }
    }

    /// Takes the row at `place` of the sample out.
    fn remove(&mut self, place: usize) {
        let point = self.sample.swap_remove(place);
        if self.sample.is_empty() {
            return;
        }
        let (mut path, mut at) = (Vec::with_capacity(32), self.root);
        while !self.node(at).is_leaf() {
            path.push(at);
            at = self.node(at).child(point);
        }
        self.nodes[usize::from(at)].mass -= 1;
        if self.node(at).mass == 0
            && let Some(parent) = path.pop()
        {
            // Its sibling takes the place of both.
            let sibling = if self.node(parent).left == at { self.node(parent).right } else { self.node(parent).left };
            match path.last() {
                None => self.root = sibling,
                Some(above) if self.node(*above).left == parent => self.nodes[usize::from(*above)].left = sibling,
                Some(above) => self.nodes[usize::from(*above)].right = sibling,
            }
            self.free.extend([at, parent]);
        }
        for at in path.into_iter().rev() {
            let (left, right) = (*self.node(self.node(at).left), *self.node(self.node(at).right));
            let node = &mut self.nodes[usize::from(at)];
            (node.least, node.greatest) = (left.least, left.greatest);
            node.include(right.least, right.greatest);
            node.mass -= 1;
        }
    }
}

/// A point on its way down a tree.
#[derive(Clone, Copy, Debug)]
struct Descent {
    at: u16,
    /// Counts from 1: a row that is cut off there scores its inverse.
    depth: f32,
    /// The probability that it was not cut off before.
    reached: f32,
    score: f32,
}

impl Descent {
    fn from(root: u16) -> Descent {
        Descent { at: root, depth: 1.0, reached: 1.0, score: 0.0 }
    }

    /// A node further down; the score where it is the last.
    fn step(&mut self, tree: &Tree, point: Point) -> Option<f32> {
        let node = tree.node(self.at);
        let (longer, length) = node.grown(point);
        if node.is_leaf() {
            let mass = f32::from(node.mass);
            let here = if longer > 0.0 {
                1.0 / self.depth
            } else {
                // Equal rows: the more there are of them, the less of a surprise.
                let total = f32::from(tree.node(tree.root).mass);
                (1.0 - mass / (2.0 * total)) / (self.depth - 1.0 + (1.0 + mass).log2())
            };
            return Some(self.score + self.reached * here);
        }
        if longer > 0.0 {
            let off = longer / length;
            self.score += self.reached * off / self.depth;
            self.reached *= 1.0 - off;
            if self.reached < 1e-6 {
                return Some(self.score);
            }
        }
        (self.at, self.depth) = (node.child(point), self.depth + 1.0);
        None
    }
}

/// The scores of a point in some trees: about 1 for an ordinary one, more for one that is cut off early. It goes down all of them at
/// once: a forest is larger than the caches near the processor, and so it waits for several nodes at a time.
fn scores(trees: &[Tree], point: Point) -> [f32; TOGETHER] {
    let (mut scores, mut descents) = ([0.0; TOGETHER], [Descent::from(0); TOGETHER]);
    let (mut going, mut left) = ([0; TOGETHER], trees.len());
    for (at, tree) in trees.iter().enumerate() {
        (going[at], descents[at]) = (at, Descent::from(tree.root));
    }
    while left > 0 {
        let mut still = 0;
        for place in 0..left {
            let at = going[place];
            match descents[at].step(&trees[at], point) {
                Some(score) => scores[at] = score * (f32::from(trees[at].node(trees[at].root).mass) + 1.0).log2(),
                None => {
                    going[still] = at;
                    still += 1;
                }
            }
        }
        left = still;
    }
    scores
}

/// A random cut of the box with `point`; `None` where it does not part the two.
fn separating_cut(node: &Node, point: Point, random: &mut Sequence) -> Option<(u8, f32)> {
    let (_, length) = node.grown(point);
    let mut along = random.unit() * f64::from(length);
    for (d, x) in point.iter().enumerate() {
        let (least, greatest) = (node.least[d].min(*x), node.greatest[d].max(*x));
        let side = f64::from(greatest - least);
        if along >= side {
            along -= side;
            continue;
        }
        let cut = (f64::from(least) + along) as f32;
        let parts = (*x <= cut && cut < node.least[d]) || (node.greatest[d] <= cut && cut < *x);
        if parts {
            return Some((d as u8, cut));
        }
        break;
    }
    // Every cut parts a leaf from another point, but for rounding.
    let apart = |d: &usize| point[*d] < node.least[*d] || node.greatest[*d] < point[*d];
    let d = (0..DIMENSIONS).find(|d| node.is_leaf() && apart(d))?;
    Some((d as u8, point[d].min(node.least[d])))
}

impl RandomCutForest {
    /// Whether the samples have a quarter of their rows.
    pub fn ready(&self) -> bool {
        self.rows as usize > SAMPLE / 4
    }

    fn point(&self, x: f64) -> Point {
        [x as f32, self.last as f32]
    }

    /// The mean score over the trees.
    pub fn score(&self, x: f64) -> f64 {
        if !self.ready() {
            return 1.0;
        }
        let point = self.point(x);
        let all = self.trees.chunks(TOGETHER).flat_map(|trees| scores(trees, point));
        all.map(f64::from).sum::<f64>() / TREES as f64
    }

    pub fn learn(&mut self, x: f64) {
        if self.rows == 0 {
            self.trees = vec![Tree::default(); TREES];
            self.last = x;
        }
        let point = self.point(x);
        self.rows = self.rows.saturating_add(1);
        let taken = SAMPLE as f64 / f64::from(self.rows).min(10.0 * SAMPLE as f64);
        for tree in &mut self.trees {
            if tree.sample.len() == SAMPLE {
                if self.random.unit() >= taken {
                    continue;
                }
                tree.remove((self.random.unit() * SAMPLE as f64) as usize);
            }
            tree.insert(point, &mut self.random);
        }
        self.last = x;
    }

    pub fn bytes(&self) -> usize {
        let of = |tree: &Tree| {
            size_of::<Node>() * tree.nodes.capacity()
                + size_of::<Point>() * tree.sample.capacity()
                + 2 * tree.free.capacity()
        };
        self.trees.iter().map(of).sum()
    }
}

impl Coded for RandomCutForest {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.u64(&mut self.random.0);
        codec.u32(&mut self.rows);
        codec.f64(&mut self.last);
        let point = |codec: &mut Codec<'_>, point: &mut Point| point.iter_mut().for_each(|x| codec.f32(x));
        codec.list(&mut self.trees, TREES, |codec, tree| {
            codec.u16(&mut tree.root);
            codec.list(&mut tree.free, 2 * SAMPLE, |codec, at| codec.u16(at));
            codec.list(&mut tree.sample, SAMPLE, point);
            codec.list(&mut tree.nodes, 2 * SAMPLE, |codec, node| {
                point(codec, &mut node.least);
                point(codec, &mut node.greatest);
                codec.u16(&mut node.mass);
                codec.u16(&mut node.left);
                codec.u16(&mut node.right);
                codec.u8(&mut node.dimension);
                codec.f32(&mut node.cut);
            });
        });
        if let Codec::Read(_, damaged) = codec {
            *damaged |= !self.trees.is_empty() && self.trees.len() != TREES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;
    use proptest::prelude::*;

    /// Boxes, masses and cuts as they must be, and all rows of the sample.
    fn check(tree: &Tree, at: u16) -> Vec<Point> {
        let node = *tree.node(at);
        if node.is_leaf() {
            assert_eq!(node.least, node.greatest);
            return vec![node.least; usize::from(node.mass)];
        }
        let (left, right) = (check(tree, node.left), check(tree, node.right));
        let d = usize::from(node.dimension);
        assert!(left.iter().all(|point| point[d] <= node.cut) && right.iter().all(|point| point[d] > node.cut));
        let all = [left, right].concat();
        assert_eq!(all.len(), usize::from(node.mass));
        for d in 0..DIMENSIONS {
            assert_eq!(node.least[d], all.iter().map(|point| point[d]).fold(f32::INFINITY, f32::min));
            assert_eq!(node.greatest[d], all.iter().map(|point| point[d]).fold(f32::NEG_INFINITY, f32::max));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn trees_stay_whole(values in prop::collection::vec(prop_oneof![-9i32..9, -1_000_000i32..1_000_000], 1..400)) {
            let mut forest = RandomCutForest::default();
            for x in values {
                forest.learn(f64::from(x) / 3.0);
            }
            for tree in &forest.trees {
                let mut found = check(tree, tree.root);
                let mut sample = tree.sample.clone();
                let order = |a: &Point, b: &Point| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]));
                found.sort_by(order);
                sample.sort_by(order);
                prop_assert_eq!(found, sample);
            }
        }
    }

    #[test]
    fn a_row_far_off_scores_high() {
        let mut forest = RandomCutForest::default();
        (0..2_000).for_each(|row| forest.learn(noise(row)));
        let ordinary = (2_000..2_100).map(|row| forest.score(noise(row))).fold(0.0, f64::max);
        assert!(forest.score(20.0) > 2.0 * ordinary, "{} and {ordinary}", forest.score(20.0));
    }
}
