//! `random_cut_forest`: how soon a row is cut off from all others by random cuts.
//!
//! Each tree holds a sample of the rows. A node cuts its bounding box at a random place of a dimension that is chosen by its
//! length; a row that is far from the box would have been cut off above it (Guha, Mishra, Roy & Schrijvers, "Robust random
//! cut forest based anomaly detection on streams", ICML 2016). The score is that of the AWS implementation: 1/(depth + 1)
//! for a row that is not in the tree, by the probability of being cut off at each node, times log2 of the sample, the mean
//! over the trees; about 1 is ordinary. A point is each value with the one before it. A full sample takes each row with a
//! probability that keeps its mean age near ten samples, in place of a random one.
//!
//! Several values are put on one scale by the first rows, since a cut falls where a box is longest. Which of them makes a
//! row stand out: each cut that parts it from the rest is one of their dimensions'.

use super::VALUES_MAX;
use super::codec::{Codec, Coded};
use super::random::Sequence;

const TREES: usize = 50;
const SAMPLE: usize = 256;
/// Rows before anything is said.
const FIRST: usize = SAMPLE / 4;
/// Trees that a point goes down at once.
const TOGETHER: usize = 10;
const NONE: u16 = u16::MAX;

type Point<const D: usize> = [f32; D];

/// A box of the sample, cut in two; or a leaf, whose box is its point.
#[derive(Clone, Copy, Debug)]
struct Node<const D: usize> {
    least: Point<D>,
    greatest: Point<D>,
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
struct Tree<const D: usize> {
    nodes: Vec<Node<D>>,
    free: Vec<u16>,
    root: u16,
    sample: Vec<Point<D>>,
}

/// Trees over the same rows, of `D` dimensions: two for each value.
#[derive(Clone, Debug, Default)]
struct Forest<const D: usize> {
    trees: Vec<Tree<D>>,
    random: Sequence,
}

/// A forest with room for as many values as there are, and what turns them into a point.
#[derive(Clone, Debug)]
pub(super) struct RandomCutForest {
    forest: BySize,
    rows: u32,
    scales: Vec<Scale>,
    /// The first rows of several values, before their scales are known.
    first: Vec<f64>,
}

/// The dimensions are known when a node is compiled, which makes one value twice as fast as a list of them would be.
#[derive(Clone, Debug)]
enum BySize {
    One(Forest<2>),
    Two(Forest<4>),
    Four(Forest<8>),
    Eight(Forest<16>),
}

/// How one of several values becomes a coordinate, and what it was in the row before.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    middle: f64,
    unit: f64,
    last: f64,
}

impl<const D: usize> Default for Node<D> {
    fn default() -> Node<D> {
        Node::leaf([0.0; D])
    }
}

impl<const D: usize> Node<D> {
    fn leaf(point: Point<D>) -> Node<D> {
        Node { least: point, greatest: point, mass: 1, left: NONE, right: NONE, dimension: 0, cut: 0.0 }
    }

    fn is_leaf(&self) -> bool {
        self.left == NONE
    }

    /// How much longer the sides of its box would be with `point`, and how long then.
    fn grown(&self, point: Point<D>) -> (f32, f32) {
        let (mut longer, mut length) = (0.0, 0.0);
        for ((x, least), greatest) in point.iter().zip(&self.least).zip(&self.greatest) {
            let more = (least - x).max(x - greatest).max(0.0);
            longer += more;
            length += more + (greatest - least);
        }
        (longer, length)
    }

    fn include(&mut self, least: Point<D>, greatest: Point<D>) {
        for d in 0..D {
            self.least[d] = self.least[d].min(least[d]);
            self.greatest[d] = self.greatest[d].max(greatest[d]);
        }
    }

    fn child(&self, point: Point<D>) -> u16 {
        if point[usize::from(self.dimension)] <= self.cut { self.left } else { self.right }
    }
}

impl<const D: usize> Tree<D> {
    fn add(&mut self, node: Node<D>) -> u16 {
        if let Some(at) = self.free.pop() {
            self.nodes[usize::from(at)] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u16
    }

    fn node(&self, at: u16) -> &Node<D> {
        &self.nodes[usize::from(at)]
    }

    fn insert(&mut self, point: Point<D>, random: &mut Sequence) {
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
    fn step<const D: usize>(&mut self, tree: &Tree<D>, point: Point<D>) -> Option<f32> {
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
fn scores<const D: usize>(trees: &[Tree<D>], point: Point<D>) -> [f32; TOGETHER] {
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
fn separating_cut<const D: usize>(node: &Node<D>, point: Point<D>, random: &mut Sequence) -> Option<(u8, f32)> {
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
    let d = (0..D).find(|d| node.is_leaf() && apart(d))?;
    Some((d as u8, point[d].min(node.least[d])))
}

impl<const D: usize> Forest<D> {
    /// The mean score over the trees.
    fn score(&self, point: Point<D>) -> f64 {
        let all = self.trees.chunks(TOGETHER).flat_map(|trees| scores(trees, point));
        all.map(f64::from).sum::<f64>() / TREES as f64
    }

    /// What each dimension adds to the score, in any one unit.
    fn shares(&self, point: Point<D>) -> [f64; D] {
        let mut shares = [0.0; D];
        for tree in &self.trees {
            let mut descent = Descent::from(tree.root);
            loop {
                let (node, before) = (tree.node(descent.at), descent.score);
                let end = descent.step(tree, point);
                let (added, (longer, _)) = (end.unwrap_or(descent.score) - before, node.grown(point));
                let sides = point.iter().zip(&node.least).zip(&node.greatest);
                for (share, ((x, least), greatest)) in shares.iter_mut().zip(sides) {
                    let side = (least - x).max(x - greatest).max(0.0);
                    *share += if longer > 0.0 { f64::from(added * side / longer) } else { 0.0 };
                }
                if end.is_some() {
                    break;
                }
            }
        }
        shares
    }

    /// Learns the `rows`-th row.
    fn learn(&mut self, point: Point<D>, rows: u32) {
        if self.trees.is_empty() {
            self.trees = vec![Tree::default(); TREES];
        }
        let taken = SAMPLE as f64 / f64::from(rows).min(10.0 * SAMPLE as f64);
        for tree in &mut self.trees {
            if tree.sample.len() == SAMPLE {
                if self.random.unit() >= taken {
                    continue;
                }
                tree.remove((self.random.unit() * SAMPLE as f64) as usize);
            }
            tree.insert(point, &mut self.random);
        }
    }

    fn bytes(&self) -> usize {
        let of = |tree: &Tree<D>| {
            size_of::<Node<D>>() * tree.nodes.capacity()
                + size_of::<Point<D>>() * tree.sample.capacity()
                + 2 * tree.free.capacity()
        };
        self.trees.iter().map(of).sum()
    }

    /// Each value with the one before it; dimensions beyond are the same in every row, so that no cut falls there.
    fn point(scales: &[Scale], x: f64, others: &[f64]) -> Point<D> {
        let mut point = [0.0; D];
        let values = [x].into_iter().chain(others.iter().copied());
        for ((scale, x), at) in scales.iter().zip(values).zip(point.chunks_exact_mut(2)) {
            let on_scale = |x: f64| ((x - scale.middle) / scale.unit) as f32;
            (at[0], at[1]) = (on_scale(x), on_scale(scale.last));
        }
        point
    }
}

/// Does `$body` with the forest, whatever its size.
macro_rules! of_any_size {
    ($forest:expr, $of:ident => $body:expr) => {
        match $forest {
            BySize::One($of) => $body,
            BySize::Two($of) => $body,
            BySize::Four($of) => $body,
            BySize::Eight($of) => $body,
        }
    };
}

impl RandomCutForest {
    /// A forest for so many values.
    pub fn new(values: usize) -> RandomCutForest {
        let forest = match values {
            0 | 1 => BySize::One(Forest::default()),
            2 => BySize::Two(Forest::default()),
            3 | 4 => BySize::Four(Forest::default()),
            _ => BySize::Eight(Forest::default()),
        };
        RandomCutForest { forest, rows: 0, scales: Vec::new(), first: Vec::new() }
    }

    /// Whether the samples have a quarter of their rows.
    pub fn ready(&self) -> bool {
        self.rows as usize > FIRST
    }

    /// The mean score over the trees.
    pub fn score(&self, x: f64, others: &[f64]) -> f64 {
        if !self.ready() {
            return 1.0;
        }
        of_any_size!(&self.forest, forest => forest.score(Forest::point(&self.scales, x, others)))
    }

    /// Which share of what sets a row apart is that of each value, in percent.
    pub fn shares(&self, x: f64, others: &[f64]) -> [u8; VALUES_MAX] {
        let mut shares = [0.0; VALUES_MAX];
        of_any_size!(&self.forest, forest => {
            let of_dimensions = forest.shares(Forest::point(&self.scales, x, others));
            shares.iter_mut().zip(of_dimensions.chunks_exact(2)).for_each(|(share, of)| *share = of[0] + of[1]);
        });
        let all: f64 = shares.iter().sum();
        shares.map(|share| if all > 0.0 { (100.0 * share / all).round() as u8 } else { 0 })
    }

    pub fn learn(&mut self, x: f64, others: &[f64]) {
        self.rows = self.rows.saturating_add(1);
        if self.scales.is_empty() {
            self.scales.extend([x].iter().chain(others).take(VALUES_MAX).map(|x| Scale {
                middle: 0.0,
                unit: 1.0,
                last: *x,
            }));
        }
        let values = self.scales.len();
        if values == 1 || self.rows as usize > FIRST {
            return self.learn_scaled(x, others, self.rows);
        }
        // Units as different as bytes and shares: nothing is cut before it is known how large each of them is.
        self.first.extend([x].iter().chain(others).take(values));
        if self.rows as usize == FIRST {
            let first = std::mem::take(&mut self.first);
            for (at, scale) in self.scales.iter_mut().enumerate() {
                *scale = Scale::of(first.iter().skip(at).step_by(values).copied());
            }
            for (row, values) in (1..).zip(first.chunks_exact(values)) {
                self.learn_scaled(values[0], &values[1..], row);
            }
        }
    }

    fn learn_scaled(&mut self, x: f64, others: &[f64], rows: u32) {
        of_any_size!(&mut self.forest, forest => forest.learn(Forest::point(&self.scales, x, others), rows));
        let values = [x].into_iter().chain(others.iter().copied());
        self.scales.iter_mut().zip(values).for_each(|(scale, x)| scale.last = x);
    }

    pub fn bytes(&self) -> usize {
        let beside = size_of::<Scale>() * self.scales.capacity() + size_of::<f64>() * self.first.capacity();
        beside + of_any_size!(&self.forest, forest => forest.bytes())
    }
}

impl Scale {
    /// By the mean and the standard deviation of the first rows, which is no less than a thousandth of the mean.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let rows = values.clone().count().max(1) as f64;
        let middle = values.clone().sum::<f64>() / rows;
        let variance = values.clone().map(|x| (x - middle).powi(2)).sum::<f64>() / rows;
        let unit = variance.sqrt().max(1e-3 * middle.abs()).max(1e-9);
        Scale { middle, unit, last: values.last().unwrap_or(middle) }
    }
}

impl<const D: usize> Coded for Forest<D> {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.u64(&mut self.random.0);
        let point = |codec: &mut Codec<'_>, point: &mut Point<D>| point.iter_mut().for_each(|x| codec.f32(x));
        codec.list(&mut self.trees, TREES, |codec, tree| {
            codec.u16(&mut tree.root);
            codec.list(&mut tree.free, 2 * SAMPLE, |codec, at| codec.u16(at));
            let mut sample = tree.sample.len() as u32;
            codec.u32(&mut sample);
            if let Codec::Read(_, damaged) = codec {
                if sample as usize > SAMPLE {
                    *damaged = true;
                    return;
                }
                tree.sample = vec![[0.0; D]; sample as usize];
            }
            tree.sample.iter_mut().for_each(|row| point(codec, row));
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

impl Coded for RandomCutForest {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.u32(&mut self.rows);
        codec.list(&mut self.scales, VALUES_MAX, |codec, scale| {
            codec.f64(&mut scale.middle);
            codec.f64(&mut scale.unit);
            codec.f64(&mut scale.last);
        });
        codec.list(&mut self.first, VALUES_MAX * FIRST, |codec, x| codec.f64(x));
        of_any_size!(&mut self.forest, forest => forest.fields(codec));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;
    use proptest::prelude::*;

    /// Boxes, masses and cuts as they must be, and all rows of the sample.
    fn check<const D: usize>(tree: &Tree<D>, at: u16) -> Vec<Point<D>> {
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
        for d in 0..D {
            assert_eq!(node.least[d], all.iter().map(|point| point[d]).fold(f32::INFINITY, f32::min));
            assert_eq!(node.greatest[d], all.iter().map(|point| point[d]).fold(f32::NEG_INFINITY, f32::max));
        }
        all
    }

    /// Whether all rows of the sample are in the tree.
    fn whole<const D: usize>(tree: &Tree<D>) {
        let (mut found, mut sample) = (check(tree, tree.root), tree.sample.clone());
        let order = |a: &Point<D>, b: &Point<D>| a.partial_cmp(b).unwrap();
        found.sort_by(order);
        sample.sort_by(order);
        assert_eq!(found, sample);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn trees_stay_whole(
            values in prop::collection::vec(prop_oneof![-9i32..9, -1_000_000i32..1_000_000], 1..400),
            several in prop::sample::select(vec![1, 2, 3]),
        ) {
            let mut forest = RandomCutForest::new(several);
            for (row, x) in values.into_iter().enumerate() {
                let others = [f64::from(x % 7), row as f64];
                forest.learn(f64::from(x) / 3.0, &others[..several - 1]);
            }
            of_any_size!(&forest.forest, forest => forest.trees.iter().for_each(whole));
        }
    }

    #[test]
    fn a_row_far_off_scores_high() {
        let mut forest = RandomCutForest::new(1);
        (0..2_000).for_each(|row| forest.learn(noise(row), &[]));
        let ordinary = (2_000..2_100).map(|row| forest.score(noise(row), &[])).fold(0.0, f64::max);
        assert!(forest.score(20.0, &[]) > 2.0 * ordinary, "{} and {ordinary}", forest.score(20.0, &[]));
    }

    #[test]
    fn what_is_ordinary_one_by_one_is_not_together() {
        let mut forest = RandomCutForest::new(3);
        // Bytes follow requests; the third has nothing to do with either.
        let row = |row: u64| {
            (100.0 + 50.0 * noise(row), [1e9 + 5e8 * noise(row) + 1e7 * noise(row + 9_000), noise(row + 7_000)])
        };
        (0..3_000).map(row).for_each(|(x, others)| forest.learn(x, &others));
        let ordinary = (3_000..3_200).map(row).map(|(x, others)| forest.score(x, &others)).sum::<f64>() / 200.0;
        let apart = forest.score(145.0, &[0.55e9, 0.0]);
        assert!(apart > 1.5 * ordinary, "{apart} and {ordinary}");
        // What is out of its range is named.
        let shares = forest.shares(100.0, &[9e9, 0.0]);
        assert!(shares[1] > 70 && shares[3..] == [0; 5], "{shares:?}");
    }
}
