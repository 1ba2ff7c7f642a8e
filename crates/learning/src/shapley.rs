//! What each feature of a row contributes to a tree's prediction: its Shapley value, exactly.
//!
//! Path-dependent TreeSHAP (Lundberg, Erion and Lee 2018, "Consistent Individualized Feature Attribution for Tree Ensembles", algorithm 2): a feature
//! that is not known goes both ways, weighted by the rows of training that went there. With `L` leaves and at most `D` different features on a way,
//! a tree takes a time in the order of `L * D * D`, whatever the row.
//!
//! Invariant: contributions add up to the tree's prediction less what is expected of it before anything is known.

/// A node, as a row comes to it.
pub(crate) enum Seen {
    Leaf(f64),
    Split {
        feature: usize,
        /// Where the row goes.
        next: usize,
        /// Where it does not.
        others: [Option<usize>; 2],
    },
}

/// A tree, by the numbers of its nodes.
pub(crate) trait Tree {
    fn seen(&self, node: usize, row: &[f64]) -> Seen;

    /// Which part of the training's rows at the parent went on to this node.
    fn share(&self, node: usize) -> f64;
}

/// A feature on the way from the root.
#[derive(Debug, Clone, Copy)]
struct Element {
    feature: usize,
    /// Which part goes this way where the feature is not known, and where it is: 0 or 1.
    unknown: f64,
    known: f64,
    /// Sum over sets of so many features of the way, weighted as Shapley has it.
    weight: f64,
}

/// A node that is still to be visited; `begin..end` is the way to its parent.
struct Step {
    node: usize,
    feature: usize,
    unknown: f64,
    known: f64,
    begin: usize,
    end: usize,
}

/// Room for the work, to be used for one tree after the other.
#[derive(Default)]
pub(crate) struct Room {
    ways: Vec<Element>,
    steps: Vec<Step>,
}

/// No feature: the root's.
const NONE: usize = usize::MAX;

impl Room {
    /// Adds to each feature what it contributes to the tree's prediction, times `scale`.
    pub(crate) fn explain(
        &mut self,
        tree: &impl Tree,
        root: usize,
        row: &[f64],
        scale: f64,
        contributions: &mut [f64],
    ) {
        self.ways.clear();
        self.steps.push(Step { node: root, feature: NONE, unknown: 1.0, known: 1.0, begin: 0, end: 0 });
        while let Some(Step { node, feature, mut unknown, mut known, begin, end }) = self.steps.pop() {
            // What lies behind the parent's way is of subtrees that are done.
            self.ways.truncate(end);
            self.ways.extend_from_within(begin..end);
            let begin = end;
            extend(&mut self.ways, begin, feature, unknown, known);
            let (feature, next, others) = match tree.seen(node, row) {
                Seen::Leaf(value) => {
                    at_leaf(&self.ways[begin..], scale * value, contributions);
                    continue;
                }
                Seen::Split { feature, next, others } => (feature, next, others),
            };
            // A feature that was asked before counts once.
            (unknown, known) = (1.0, 1.0);
            if let Some(at) = self.ways[begin..].iter().position(|element| element.feature == feature) {
                (unknown, known) = unwind(&mut self.ways, begin, at);
            }
            let end = self.ways.len();
            for child in others.into_iter().flatten().chain([next]) {
                let unknown = unknown * tree.share(child);
                let known = if child == next { known } else { 0.0 };
                // Nothing goes there, known or not.
                if unknown > 0.0 || known > 0.0 {
                    self.steps.push(Step { node: child, feature, unknown, known, begin, end });
                }
            }
        }
    }
}

/// Adds a feature to the way that begins at `begin`.
fn extend(ways: &mut Vec<Element>, begin: usize, feature: usize, unknown: f64, known: f64) {
    let depth = ways.len() - begin;
    ways.push(Element { feature, unknown, known, weight: if depth == 0 { 1.0 } else { 0.0 } });
    let (way, length) = (&mut ways[begin..], (depth + 1) as f64);
    for at in (0..depth).rev() {
        way[at + 1].weight += known * way[at].weight * (at + 1) as f64 / length;
        way[at].weight *= unknown * (depth - at) as f64 / length;
    }
}

/// Takes a feature off the way again; what was known of it.
fn unwind(ways: &mut Vec<Element>, begin: usize, place: usize) -> (f64, f64) {
    let way = &mut ways[begin..];
    let (depth, Element { unknown, known, .. }) = (way.len() - 1, way[place]);
    let (mut next, length) = (way[depth].weight, (depth + 1) as f64);
    for at in (0..depth).rev() {
        if known > 0.0 {
            let before = way[at].weight;
            way[at].weight = next * length / ((at + 1) as f64 * known);
            next = before - way[at].weight * unknown * (depth - at) as f64 / length;
        } else {
            way[at].weight *= length / (unknown * (depth - at) as f64);
        }
    }
    for at in place..depth {
        let Element { feature, unknown, known, .. } = way[at + 1];
        way[at] = Element { feature, unknown, known, weight: way[at].weight };
    }
    ways.pop();
    (unknown, known)
}

/// What a leaf gives to each feature of its way.
fn at_leaf(way: &[Element], value: f64, contributions: &mut [f64]) {
    let (depth, length) = (way.len() - 1, way.len() as f64);
    // The row does not come here by any of the features that lead elsewhere: their values are all the same.
    let away: f64 = -(0..depth).map(|at| way[at].weight * length / (depth - at) as f64).sum::<f64>();
    for Element { feature, unknown, known, .. } in &way[1..] {
        contributions[*feature] += value * if *known > 0.0 { here(way, *unknown, *known) } else { away };
    }
}

/// Of a feature by which the row comes to the leaf: the weight of the way without it, times what knowing it changes.
fn here(way: &[Element], unknown: f64, known: f64) -> f64 {
    let (depth, length) = (way.len() - 1, way.len() as f64);
    let (mut next, mut sum) = (way[depth].weight, 0.0);
    for at in (0..depth).rev() {
        let weight = next * length / ((at + 1) as f64 * known);
        sum += weight;
        next = way[at].weight - weight * unknown * (depth - at) as f64 / length;
    }
    sum * (known - unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FEATURES: usize = 5;

    /// Nodes of a tree: a split (feature, threshold, left, right, and where there is no value), or a leaf. Beside each the rows of training.
    #[derive(Debug, Clone)]
    enum Node {
        Leaf(f64),
        Split(usize, f64, [usize; 3]),
    }

    #[derive(Debug, Clone, Default)]
    struct Grown {
        nodes: Vec<Node>,
        shares: Vec<f64>,
    }

    impl Grown {
        /// Takes numbers from `seeds` as long as there are some; returns the node's number.
        fn grow(
            &mut self,
            share: f64,
            depth: usize,
            seeds: &mut std::vec::IntoIter<(usize, f64, f64)>,
        ) -> usize {
            let at = self.nodes.len();
            self.nodes.push(Node::Leaf(0.0));
            self.shares.push(share);
            let (feature, number, part) = seeds.next().unwrap_or((FEATURES, 1.0, 0.5));
            if depth == 0 || feature >= FEATURES {
                self.nodes[at] = Node::Leaf(number);
                return at;
            }
            // Every other split has a way of its own for what is missing.
            let third = if feature % 2 == 0 { 0.2 } else { 0.0 };
            let left = self.grow(part * (1.0 - third), depth - 1, seeds);
            let right = self.grow((1.0 - part) * (1.0 - third), depth - 1, seeds);
            let missing = if third > 0.0 { self.grow(third, depth - 1, seeds) } else { left };
            self.nodes[at] = Node::Split(feature, number, [left, right, missing]);
            at
        }

        /// What is expected of a row of which the features in `known` (bits) are known.
        fn expected(&self, at: usize, row: &[f64], known: u32) -> f64 {
            match self.seen(at, row) {
                Seen::Leaf(value) => value,
                Seen::Split { feature, next, .. } if (known >> feature) & 1 == 1 => {
                    self.expected(next, row, known)
                }
                Seen::Split { next, others, .. } => others
                    .into_iter()
                    .flatten()
                    .chain([next])
                    .map(|child| self.shares[child] * self.expected(child, row, known))
                    .sum(),
            }
        }
    }

    impl Tree for Grown {
        fn seen(&self, node: usize, row: &[f64]) -> Seen {
            match self.nodes[node] {
                Node::Leaf(value) => Seen::Leaf(value),
                Node::Split(feature, threshold, [left, right, missing]) => {
                    let value = row[feature];
                    let next = if value.is_nan() {
                        missing
                    } else if value < threshold {
                        left
                    } else {
                        right
                    };
                    let own = Some(missing).filter(|&missing| missing != left);
                    let mut others =
                        [Some(left), Some(right), own].into_iter().flatten().filter(|&child| child != next);
                    Seen::Split { feature, next, others: [others.next(), others.next()] }
                }
            }
        }

        fn share(&self, node: usize) -> f64 {
            self.shares[node]
        }
    }

    /// By the definition: the mean over all orders of what knowing a feature, too, changes.
    fn shapley(tree: &Grown, row: &[f64]) -> Vec<f64> {
        let factorial = |n: u32| f64::from((1..=n).product::<u32>());
        let (all, of) = (FEATURES as u32, |known| tree.expected(0, row, known));
        let contribution = |feature: u32| -> f64 {
            let without = (0..(1u32 << all)).filter(|known| (known >> feature) & 1 == 0);
            let change = |known: u32| {
                let size = known.count_ones();
                factorial(size) * factorial(all - size - 1) / factorial(all)
                    * (of(known | (1 << feature)) - of(known))
            };
            without.map(change).sum()
        };
        (0..all).map(contribution).collect()
    }

    proptest! {
        #[test]
        fn contributions_are_shapley_values(
            seeds in prop::collection::vec((0usize..FEATURES + 2, -3.0..3.0f64, prop_oneof![4 => 0.0..1.0f64, 1 => Just(0.0), 1 => Just(1.0)]), 1..60),
            row in prop::collection::vec(prop_oneof![4 => -3.0..3.0f64, 1 => Just(f64::NAN)], FEATURES),
        ) {
            let mut tree = Grown::default();
            tree.grow(1.0, 7, &mut seeds.into_iter());
            let mut ours = vec![0.0; FEATURES];
            let mut room = Room::default();
            // Room that was used before is as good as new.
            room.explain(&tree, 0, &row, 0.5, &mut ours);
            room.explain(&tree, 0, &row, 0.5, &mut ours);
            let theirs = shapley(&tree, &row);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                prop_assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
            }
            let sum: f64 = ours.iter().sum();
            let told = tree.expected(0, &row, u32::MAX) - tree.expected(0, &row, 0);
            prop_assert!((sum - told).abs() < 1e-9, "{sum} {told}");
        }
    }
}
