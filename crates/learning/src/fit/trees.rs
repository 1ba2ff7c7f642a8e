//! A booster's trees in one piece of memory, for one row at a time.
//!
//! The library keeps nodes in hash maps and predicts matrices; a payment is one row and has microseconds. So trees are laid out once, when a
//! model is made or read: no allocation, no other thread and no hashing while a row is predicted.
//!
//! Invariant: a prediction has the bits of the library's own (`PerpetualBooster::predict_proba`).

use super::FitError;
use crate::shapley::{Room, Seen, Tree as Explained};
use perpetual::PerpetualBooster;
use perpetual::node::Node as Original;
use perpetual::tree::Tree;

/// A leaf has a weight for each of the folds that the library learns with; probabilities are averaged over them.
const FOLDS: usize = 5;
/// The feature of a leaf.
const LEAF: u32 = u32::MAX;

/// The trees of a booster for the logarithm of odds.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    /// Where every sum begins.
    base: f64,
    roots: Vec<u32>,
    nodes: Vec<Node>,
    /// By node: the mean of the leaves below, weighted by the rows of training that came there.
    expected: Vec<f64>,
    /// By node: which part of the training's rows at its parent went on there.
    shares: Vec<f64>,
    leaves: Vec<[f32; FOLDS]>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Values below it go left.
    split: f64,
    /// Place in the model's row, or [`LEAF`].
    feature: u32,
    /// Left, right, and where there is no value. Of a leaf: its place among the leaves, in the first.
    children: [u32; 3],
}

impl Trees {
    /// Lays out the trees of a booster, which takes these columns of the model's row.
    ///
    /// # Errors
    /// [`FitError::Boost`]: nodes that make no tree, or that split by categories, which no model here does.
    pub(super) fn of(booster: &PerpetualBooster, columns: &[usize]) -> Result<Self, FitError> {
        if !booster.cfg.missing.is_nan() {
            return Err(refused("a value other than NaN that stands for none"));
        }
        let base = booster.base_score;
        let (roots, nodes, leaves) = (Vec::new(), Vec::new(), Vec::new());
        let mut trees = Trees { base, roots, nodes, expected: Vec::new(), shares: Vec::new(), leaves };
        for tree in &booster.trees {
            trees.roots.push(number(trees.nodes.len())?);
            trees.lay_out(tree, columns)?;
        }
        Ok(trees)
    }

    /// The probability of a row.
    pub(super) fn predict(&self, row: &[f64]) -> f64 {
        let mut sums = [self.base; FOLDS];
        for &root in &self.roots {
            let leaf = self.leaves[self.walk(root, row)];
            sums.iter_mut().zip(leaf).for_each(|(sum, weight)| *sum += f64::from(weight));
        }
        // The library's form of the logistic function, term by term.
        sums.iter().map(|sum| 1. / (1. + (-sum).exp())).sum::<f64>() / FOLDS as f64
    }

    /// Adds what each feature of a row contributes to the log odds, times `share`; returns what stands before any feature is known, times `share`.
    ///
    /// Contributions are Shapley values ([`crate::shapley`]; in the library `ContributionsMethod::Shapley`). They add up to the row's log odds.
    pub(super) fn explain(&self, row: &[f64], share: f64, room: &mut Room, contributions: &mut [f64]) -> f64 {
        let mut before = self.base;
        for &root in &self.roots {
            let root = root as usize;
            before += self.expected[root];
            room.explain(self, root, row, share, contributions);
        }
        share * before
    }

    /// Goes from a root to a leaf; the leaf's place.
    fn walk(&self, root: u32, row: &[f64]) -> usize {
        let mut node = &self.nodes[root as usize];
        while node.feature != LEAF {
            node = &self.nodes[node.next(row) as usize];
        }
        node.children[0] as usize
    }

    /// Parents stand before their children.
    fn lay_out(&mut self, tree: &Tree, columns: &[usize]) -> Result<(), FitError> {
        let first = self.nodes.len();
        // The library's numbers of nodes, and how many rows came there.
        let (mut order, mut covers, mut weights) = (vec![0], Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(original) = order.get(at) {
            let node = tree.nodes.get(original).ok_or_else(|| refused("a child that there is not"))?;
            if order.len() > tree.nodes.len() {
                return Err(refused("nodes in a circle"));
            }
            let laid_out = if node.is_leaf {
                self.leaf(node)?
            } else {
                let feature = columns.get(node.split_feature).ok_or_else(|| refused("a feature too many"))?;
                if node.left_cats.is_some() {
                    return Err(refused("a split by categories"));
                }
                let mut place = |child: usize| {
                    order.push(child);
                    number(first + order.len() - 1)
                };
                let (left, right) = (place(node.left_child)?, place(node.right_child)?);
                let missing = match node.missing_node {
                    missing if missing == node.left_child => left,
                    missing if missing == node.right_child => right,
                    missing => place(missing)?,
                };
                let children = [left, right, missing];
                Node { split: node.split_value, feature: number(*feature)?, children }
            };
            self.nodes.push(laid_out);
            weights.push(f64::from(node.weight_value));
            covers.push(f64::from(node.hessian_sum));
            at += 1;
        }
        self.expect(first, &covers, weights);
        Ok(())
    }

    fn leaf(&mut self, leaf: &Original) -> Result<Node, FitError> {
        let of_stats = || leaf.stats.as_ref().map_or([leaf.weight_value; FOLDS], |stats| stats.weights);
        let place = number(self.leaves.len())?;
        self.leaves.push(leaf.leaf_weights.unwrap_or_else(of_stats));
        Ok(Node { split: f64::NAN, feature: LEAF, children: [place; 3] })
    }

    /// Expected values and shares of the nodes from `first` on, from the leaves up; `weights` are the leaves'.
    fn expect(&mut self, first: usize, covers: &[f64], mut weights: Vec<f64>) {
        let mut shares = vec![1.0; weights.len()];
        for at in (0..weights.len()).rev() {
            let node = self.nodes[first + at];
            if node.feature == LEAF {
                continue;
            }
            weights[at] = 0.0;
            for child in node.ways().into_iter().flatten() {
                let child = child as usize - first;
                shares[child] = if covers[at] > 0.0 { covers[child] / covers[at] } else { 0.0 };
                weights[at] += shares[child] * weights[child];
            }
        }
        self.expected.extend(weights);
        self.shares.extend(shares);
    }
}

impl Node {
    /// Where a row goes.
    fn next(&self, row: &[f64]) -> u32 {
        let value = row[self.feature as usize];
        let [left, right, missing] = self.children;
        if value.is_nan() {
            missing
        } else if value < self.split {
            left
        } else {
            right
        }
    }

    /// Left, right, and where there is no value, if that is a way of its own.
    fn ways(&self) -> [Option<u32>; 3] {
        let [left, right, missing] = self.children;
        [Some(left), Some(right), Some(missing).filter(|&missing| missing != left && missing != right)]
    }
}

impl Explained for Trees {
    fn seen(&self, node: usize, row: &[f64]) -> Seen {
        let found = &self.nodes[node];
        if found.feature == LEAF {
            return Seen::Leaf(self.expected[node]);
        }
        let next = found.next(row);
        let mut others =
            found.ways().into_iter().flatten().filter(|&way| way != next).map(|way| way as usize);
        Seen::Split {
            feature: found.feature as usize,
            next: next as usize,
            others: [others.next(), others.next()],
        }
    }

    fn share(&self, node: usize) -> f64 {
        self.shares[node]
    }
}

fn number(place: usize) -> Result<u32, FitError> {
    u32::try_from(place).ok().filter(|&number| number != LEAF).ok_or_else(|| refused("more nodes than fit"))
}

fn refused(what: &str) -> FitError {
    FitError::Boost(format!("the booster has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use perpetual::objective::Objective;
    use perpetual::{ContributionsMethod, Matrix};
    use proptest::prelude::*;
    use std::sync::OnceLock;

    const ROWS: usize = 2_000;
    const COLUMNS: usize = 4;

    /// Values of the columns one behind the other, of which the first two tell; some are missing.
    fn values() -> Vec<f64> {
        let wave = |n: usize, by: f64| (n as f64 * by).sin() * 3.0;
        let column = |by: f64| (0..ROWS).map(move |n| if n % 11 == 3 { f64::NAN } else { wave(n, by) });
        [1.7, 0.9, 2.3, 0.31].into_iter().flat_map(column).collect()
    }

    fn fitted() -> &'static (PerpetualBooster, Vec<f64>) {
        static FITTED: OnceLock<(PerpetualBooster, Vec<f64>)> = OnceLock::new();
        FITTED.get_or_init(|| {
            let values = values();
            let label = |row: usize| {
                let of = |column: usize| values[column * ROWS + row];
                f64::from(u8::from(of(0) > 1.5 || of(1) * of(0) > 4.0))
            };
            let labels: Vec<f64> = (0..ROWS).map(label).collect();
            let mut booster = PerpetualBooster::default()
                .set_objective(Objective::LogLoss)
                .set_budget(0.5)
                .set_num_threads(Some(1));
            booster.fit(&Matrix::new(&values, ROWS, COLUMNS), &labels, None, None).unwrap();
            (booster, values)
        })
    }

    fn row(values: &[f64], row: usize) -> Vec<f64> {
        (0..COLUMNS).map(|column| values[column * ROWS + row]).collect()
    }

    #[test]
    fn predictions_have_the_bits_of_the_library() {
        let (booster, values) = fitted();
        let trees = Trees::of(booster, &[0, 1, 2, 3]).unwrap();
        let theirs = booster.predict_proba(&Matrix::new(values, ROWS, COLUMNS), false, false);
        for (n, theirs) in theirs.iter().enumerate() {
            assert_eq!(trees.predict(&row(values, n)).to_bits(), theirs.to_bits(), "row {n}");
        }
        assert!(theirs.iter().any(|p| *p > 0.9) && theirs.iter().any(|p| *p < 0.1));
    }

    proptest! {
        #[test]
        fn also_where_no_row_of_training_was(row in prop::collection::vec(prop_oneof![3 => -10.0..10.0f64, 1 => Just(f64::NAN), 1 => any::<f64>()], COLUMNS)) {
            let (booster, _) = fitted();
            // The booster takes the last four of five columns, the other way around.
            let trees = Trees::of(booster, &[4, 3, 2, 1]).unwrap();
            let ours = trees.predict(&[f64::NAN, row[3], row[2], row[1], row[0]]);
            let theirs = booster.predict_proba(&Matrix::new(&row, 1, COLUMNS), false, false);
            prop_assert_eq!(ours.to_bits(), theirs[0].to_bits());
        }
    }

    #[test]
    fn contributions_are_the_librarys_and_add_up() {
        let (booster, values) = fitted();
        let trees = Trees::of(booster, &[0, 1, 2, 3]).unwrap();
        let matrix = Matrix::new(values, ROWS, COLUMNS);
        let theirs = booster.predict_contributions(&matrix, ContributionsMethod::Shapley, false);
        let log_odds = booster.predict(&matrix, false);
        let mut room = Room::default();
        for n in 0..ROWS {
            let mut ours = vec![0.0; COLUMNS];
            let before = trees.explain(&row(values, n), 1.0, &mut room, &mut ours);
            ours.push(before);
            let theirs = &theirs[n * (COLUMNS + 1)..][..=COLUMNS];
            // The library computes in single precision, over many trees.
            let size = theirs.iter().fold(1.0, |sum: f64, value| sum + value.abs());
            let near = |a: &f64, b: &f64| (a - b).abs() < 1e-5 * size;
            assert!(ours.iter().zip(theirs).all(|(a, b)| near(a, b)), "row {n}: {ours:?} {theirs:?}");
            let sum: f64 = ours.iter().sum();
            assert!((sum - log_odds[n]).abs() < 1e-6 * size, "row {n}: {ours:?} {}", log_odds[n]);
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let refusal = |change: &dyn Fn(&mut PerpetualBooster), columns: &[usize]| {
            let mut booster = fitted().0.clone();
            change(&mut booster);
            Trees::of(&booster, columns).unwrap_err().to_string()
        };
        let all = [0, 1, 2, 3];
        let root = |booster: &mut PerpetualBooster, change: &dyn Fn(&mut Original)| {
            if let Some(node) = booster.trees[0].nodes.get_mut(&0) {
                change(node);
            }
        };
        assert!(refusal(&|b| root(b, &|node| node.left_child = 0), &all).contains("circle"));
        assert!(refusal(&|b| root(b, &|node| node.left_child = 1 << 40), &all).contains("child"));
        assert!(
            refusal(&|b| root(b, &|node| node.left_cats = Some(Box::new([1]))), &all).contains("categor")
        );
        assert!(refusal(&|b| b.cfg.missing = 0.0, &all).contains("NaN"));
        assert!(refusal(&|_| (), &[0]).contains("feature"));
    }
}
