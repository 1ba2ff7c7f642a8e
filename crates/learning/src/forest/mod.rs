//! Trees that were learned elsewhere: read from XGBoost's JSON ([`xgboost`]) or LightGBM's text ([`lightgbm`]) and scored as the original does,
//! in its arithmetic.
//!
//! Invariant: a part of a model that is not understood is refused by its name when the model is read; nothing is ignored that changes a prediction.

mod lightgbm;
#[cfg(test)]
mod tests;
mod xgboost;

use crate::dataset::Matrix;
use crate::fit::logistic_function;
use crate::shapley::{self, Room, Seen};
use serde::{Deserialize, Serialize};

/// Why a model cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForestError {
    #[error("{0}: this part of a model is not supported")]
    Unsupported(String),
    #[error("not readable as a model: {0}")]
    Malformed(String),
}

/// Which library wrote a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `save_model("model.json")`
    Xgboost,
    /// `save_model("model.txt")`
    Lightgbm,
}

/// A model of trees.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// As the model names them; numbered where it does not.
    pub features: Vec<String>,
    trees: Vec<Tree>,
    /// What is added to the sum of the leaves.
    base: f64,
    /// Whether the sum is log odds, and by how much they are multiplied.
    odds: Option<f64>,
    arithmetic: Arithmetic,
}

/// In which numbers the original computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Single,
    Double,
}

#[derive(Debug, Clone, PartialEq)]
struct Tree {
    nodes: Vec<Node>,
    /// What the rows of training have got in the mean.
    expected: f64,
    /// How many rows of training came to each node, or their weight, and from [`Tree::expect`] on which part of those at its parent; empty where the model does
    /// not say how many.
    covers: Vec<f64>,
}

/// A tree in the arithmetic of its original.
struct Rowed<'a> {
    tree: &'a Tree,
    arithmetic: Arithmetic,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Leaf(f64),
    Split(Split),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    feature: usize,
    threshold: f64,
    /// Whether a value that equals the threshold goes left.
    equal_left: bool,
    missing: Missing,
    missing_left: bool,
    left: usize,
    right: usize,
}

/// Which values take the way of missing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// None: NaN counts as nought.
    Nothing,
    Nan,
    /// Nought, and NaN.
    Zero,
}

/// What counts as nought: LightGBM's `kZeroThreshold`, a number of single precision.
const ZERO: f64 = 1e-35_f32 as f64;
/// XGBoost bounds the power of its exponential, so that it does not overflow.
const POWER_MAX: f32 = 88.7;
/// A tree is not deeper; a model whose children form a circle is refused.
const NODES_MAX: usize = 1 << 24;

impl Origin {
    /// Who wrote a text.
    ///
    /// # Errors
    /// [`ForestError::Malformed`]: neither.
    pub fn of(text: &str) -> Result<Self, ForestError> {
        match text.trim_start() {
            text if text.starts_with('{') => Ok(Origin::Xgboost),
            text if text.starts_with("tree") => Ok(Origin::Lightgbm),
            _ => Err(ForestError::Malformed(
                "it is neither XGBoost's JSON nor LightGBM's text; other forms have to be saved as one of these".to_owned(),
            )),
        }
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Origin::Xgboost => "XGBoost",
            Origin::Lightgbm => "LightGBM",
        }
    }

    /// The name under which it is stored.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Origin::Xgboost => "xgboost.json",
            Origin::Lightgbm => "lightgbm.txt",
        }
    }
}

impl Forest {
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Which part of all splits is each feature's.
    #[must_use]
    pub fn importance(&self) -> Vec<f64> {
        let mut counts = vec![0usize; self.features.len()];
        for node in self.trees.iter().flat_map(|tree| &tree.nodes) {
            if let Node::Split(split) = node {
                counts[split.feature] += 1;
            }
        }
        let all = counts.iter().sum::<usize>().max(1) as f64;
        counts.into_iter().map(|count| count as f64 / all).collect()
    }

    /// Reads a model.
    ///
    /// # Errors
    /// [`ForestError`]
    pub fn read(origin: Origin, text: &str) -> Result<Self, ForestError> {
        let mut forest = match origin {
            Origin::Xgboost => xgboost::read(text)?,
            Origin::Lightgbm => lightgbm::read(text)?,
        };
        forest.check()?;
        forest.trees.iter_mut().for_each(Tree::expect);
        Ok(forest)
    }

    /// The prediction of each row: a probability, or a number.
    #[must_use]
    pub fn predict(&self, matrix: &Matrix) -> Vec<f64> {
        let mut row = vec![0.0; matrix.columns];
        (0..matrix.rows)
            .map(|at| {
                row.iter_mut().enumerate().for_each(|(column, value)| *value = matrix.column(column)[at]);
                self.predict_row(&row)
            })
            .collect()
    }

    /// The prediction of one row.
    ///
    /// # Panics
    /// If the row is shorter than the features.
    #[must_use]
    pub fn predict_row(&self, row: &[f64]) -> f64 {
        let leaves = self.trees.iter().map(|tree| tree.leaf(row, self.arithmetic));
        match self.arithmetic {
            Arithmetic::Single => {
                let sum = leaves.fold(self.base as f32, |sum, leaf| sum + leaf as f32);
                match self.odds {
                    Some(_) => f64::from(1.0 / ((-sum).min(POWER_MAX).exp() + 1.0)),
                    None => f64::from(sum),
                }
            }
            Arithmetic::Double => {
                let sum = leaves.fold(self.base, |sum, leaf| sum + leaf);
                self.odds.map_or(sum, |odds| logistic_function(odds * sum))
            }
        }
    }

    /// Whether predictions are probabilities.
    #[must_use]
    pub fn tells_probabilities(&self) -> bool {
        self.odds.is_some()
    }

    /// Adds to each feature what it contributes to the sum of the leaves, in log odds where the sum is that; what stands before any is known is returned.
    ///
    /// Contributions are Shapley values ([`crate::shapley`]; XGBoost's `pred_contribs`).
    pub(crate) fn explain(&self, row: &[f64], contributions: &mut [f64]) -> f64 {
        let odds = self.odds.unwrap_or(1.0);
        let (mut before, mut room) = (self.base, Room::default());
        for tree in &self.trees {
            before += tree.expected;
            room.explain(&Rowed { tree, arithmetic: self.arithmetic }, 0, row, odds, contributions);
        }
        odds * before
    }

    /// Every split leads to later nodes, or the tree could have no end, and looks at a feature that there is.
    fn check(&self) -> Result<(), ForestError> {
        for tree in &self.trees {
            if tree.nodes.is_empty() || tree.nodes.len() > NODES_MAX {
                return Err(ForestError::Malformed(format!("a tree of {} nodes", tree.nodes.len())));
            }
            let mut reached = vec![false; tree.nodes.len()];
            let mut open = vec![0];
            while let Some(at) = open.pop() {
                let Some(seen) = reached.get_mut(at) else {
                    return Err(ForestError::Malformed(format!("a child {at} that there is not")));
                };
                if std::mem::replace(seen, true) {
                    return Err(ForestError::Malformed(format!("node {at} is the child of two")));
                }
                if let Node::Split(split) = tree.nodes[at] {
                    if split.feature >= self.features.len() {
                        return Err(ForestError::Malformed(format!(
                            "feature {} that there is not",
                            split.feature
                        )));
                    }
                    open.extend([split.left, split.right]);
                }
            }
        }
        Ok(())
    }
}

impl Tree {
    fn new(nodes: Vec<Node>, covers: Vec<f64>) -> Self {
        let covers = if covers.len() == nodes.len() { covers } else { Vec::new() };
        Tree { nodes, expected: 0.0, covers }
    }

    /// What is expected, from the leaves up, and the shares of both sides of each split; it is known that the nodes make a tree.
    fn expect(&mut self) {
        let (mut order, mut at) = (vec![0], 0);
        while let Some(&node) = order.get(at) {
            if let Node::Split(split) = self.nodes[node] {
                order.extend([split.left, split.right]);
            }
            at += 1;
        }
        let cover = |node: usize| self.covers.get(node).copied().unwrap_or(1.0);
        let (mut expected, mut shares) = (vec![0.0; self.nodes.len()], vec![1.0; self.nodes.len()]);
        for node in order.into_iter().rev() {
            expected[node] = match self.nodes[node] {
                Node::Leaf(value) => value,
                Node::Split(Split { left, right, .. }) => {
                    let both = cover(left) + cover(right);
                    let share = |side: usize| if both > 0.0 { cover(side) / both } else { 0.5 };
                    (shares[left], shares[right]) = (share(left), share(right));
                    shares[left] * expected[left] + shares[right] * expected[right]
                }
            };
        }
        self.expected = expected[0];
        self.covers = shares;
    }

    /// Goes from the root to a leaf; the leaf's value.
    fn leaf(&self, row: &[f64], arithmetic: Arithmetic) -> f64 {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf(value) => return value,
                Node::Split(split) => {
                    at = if split.goes_left(row, arithmetic) { split.left } else { split.right };
                }
            }
        }
    }
}

impl shapley::Tree for Rowed<'_> {
    fn seen(&self, node: usize, row: &[f64]) -> Seen {
        match self.tree.nodes[node] {
            Node::Leaf(value) => Seen::Leaf(value),
            Node::Split(split) => {
                let Split { feature, left, right, .. } = split;
                let is_left = split.goes_left(row, self.arithmetic);
                let (next, other) = if is_left { (left, right) } else { (right, left) };
                Seen::Split { feature, next, others: [Some(other), None] }
            }
        }
    }

    fn share(&self, node: usize) -> f64 {
        self.tree.covers[node]
    }
}

impl Split {
    fn goes_left(&self, row: &[f64], arithmetic: Arithmetic) -> bool {
        let mut value = match arithmetic {
            Arithmetic::Single => f64::from(row[self.feature] as f32),
            Arithmetic::Double => row[self.feature],
        };
        if value.is_nan() && self.missing != Missing::Nan {
            value = 0.0;
        }
        let missing = match self.missing {
            Missing::Nothing => false,
            Missing::Nan => value.is_nan(),
            Missing::Zero => value.abs() <= ZERO,
        };
        if missing {
            return self.missing_left;
        }
        value < self.threshold || (self.equal_left && value <= self.threshold)
    }
}
