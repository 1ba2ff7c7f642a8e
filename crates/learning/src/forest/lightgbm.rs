//! LightGBM's text: blocks of `key=value` lines, one for the model and one a tree, with numbers in double precision.

use super::{Arithmetic, Forest, ForestError, Missing, Node, Split, Tree};
use std::collections::HashMap;

/// Bits of a split's `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

type Block<'a> = HashMap<&'a str, &'a str>;

pub(super) fn read(text: &str) -> Result<Forest, ForestError> {
    let mut blocks = vec![Block::new()];
    let mut flags = Vec::new();
    for line in text.lines().map(str::trim) {
        match line.split_once('=') {
            _ if line == "end of trees" => break,
            Some(("Tree", _)) => blocks.push(Block::new()),
            Some((key, value)) => {
                if let Some(block) = blocks.last_mut() {
                    block.insert(key, value);
                }
            }
            None => flags.push(line),
        }
    }
    let head = blocks.remove(0);
    if !flags.contains(&"tree") || !head.contains_key("version") {
        return Err(ForestError::Malformed("it does not begin as LightGBM's models do".to_owned()));
    }
    if flags.contains(&"average_output") {
        return Err(ForestError::Unsupported("average_output (random forests)".to_owned()));
    }
    let outputs = value(&head, "num_tree_per_iteration")?;
    if outputs != "1" {
        return Err(ForestError::Unsupported(format!("{outputs} outputs")));
    }
    let objective = head.get("objective").copied().unwrap_or("regression");
    let mut words = objective.split(' ');
    let odds = match words.next() {
        Some("binary") => {
            let factor = words.find_map(|word| word.strip_prefix("sigmoid:")).unwrap_or("1");
            Some(number(factor)?)
        }
        Some("regression") if words.next().is_none() => None,
        _ => return Err(ForestError::Unsupported(format!("objective {objective}"))),
    };
    Ok(Forest {
        features: value(&head, "feature_names")?.split(' ').map(str::to_owned).collect(),
        trees: blocks.iter().map(tree).collect::<Result<_, _>>()?,
        base: 0.0,
        odds,
        arithmetic: Arithmetic::Double,
    })
}

fn tree(block: &Block) -> Result<Tree, ForestError> {
    if block.get("is_linear").is_some_and(|linear| *linear != "0") {
        return Err(ForestError::Unsupported("linear trees".to_owned()));
    }
    if value(block, "num_cat")? != "0" {
        return Err(ForestError::Unsupported("categorical splits".to_owned()));
    }
    let leaves: Vec<f64> = numbers(block, "leaf_value")?;
    if leaves.len() == 1 {
        return Ok(Tree::new(vec![Node::Leaf(leaves[0])], Vec::new()));
    }
    let features: Vec<usize> = numbers(block, "split_feature")?;
    let thresholds: Vec<f64> = numbers(block, "threshold")?;
    let decisions: Vec<u8> = numbers(block, "decision_type")?;
    let (left, right): (Vec<i64>, Vec<i64>) = (numbers(block, "left_child")?, numbers(block, "right_child")?);
    let splits = features.len();
    let lengths = [thresholds.len(), decisions.len(), left.len(), right.len(), leaves.len().wrapping_sub(1)];
    if lengths.iter().any(|&length| length != splits) {
        return Err(ForestError::Malformed("lists of a tree differ in length".to_owned()));
    }
    // Splits come first, then leaves, which are children below nought, counted from -1.
    let place = |child: i64| {
        let place = if child >= 0 { child } else { !child + i64::try_from(splits).unwrap_or(i64::MAX) };
        usize::try_from(place).unwrap_or(usize::MAX)
    };
    let split = |nth: usize| {
        let decision = decisions[nth];
        if decision & CATEGORICAL != 0 {
            return Err(ForestError::Unsupported("categorical splits".to_owned()));
        }
        let missing = match decision >> 2 & 3 {
            0 => Missing::Nothing,
            1 => Missing::Zero,
            2 => Missing::Nan,
            other => return Err(ForestError::Unsupported(format!("missing type {other}"))),
        };
        Ok(Node::Split(Split {
            feature: features[nth],
            threshold: thresholds[nth],
            equal_left: true,
            missing,
            missing_left: decision & DEFAULT_LEFT != 0,
            left: place(left[nth]),
            right: place(right[nth]),
        }))
    };
    let mut nodes = (0..splits).map(split).collect::<Result<Vec<Node>, ForestError>>()?;
    nodes.extend(leaves.into_iter().map(Node::Leaf));
    let covers = [counts(block, "internal_count")?, counts(block, "leaf_count")?].concat();
    Ok(Tree::new(nodes, covers))
}

fn value<'a>(block: &Block<'a>, key: &str) -> Result<&'a str, ForestError> {
    block.get(key).copied().ok_or_else(|| ForestError::Malformed(format!("there is no {key}")))
}

fn numbers<T: std::str::FromStr>(block: &Block, key: &str) -> Result<Vec<T>, ForestError> {
    value(block, key)?.split(' ').filter(|word| !word.is_empty()).map(number).collect()
}

/// Numbers that need not be there.
fn counts(block: &Block, key: &str) -> Result<Vec<f64>, ForestError> {
    if block.contains_key(key) { numbers(block, key) } else { Ok(Vec::new()) }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, ForestError> {
    text.parse().map_err(|_| ForestError::Malformed(format!("{text} is no number")))
}
