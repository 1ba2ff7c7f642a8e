//! XGBoost's JSON: boosted trees of one output, with numbers in single precision. All trees count, as in `Booster.predict`, whatever round was the best.

use super::{Arithmetic, Forest, ForestError, Missing, Node, Split, Tree};
use serde_json::Value;

/// How near a probability that all rows begin with may come to nought and one (XGBoost's `kRtEps`).
const EDGE: f32 = 1e-6;

pub(super) fn read(text: &str) -> Result<Forest, ForestError> {
    let model: Value =
        serde_json::from_str(text).map_err(|error| ForestError::Malformed(error.to_string()))?;
    let learner = at(&model, "/learner")?;
    // Before the second version the intercept of `binary:logitraw` meant something else, and was not estimated.
    let version = at(&model, "/version")?.pointer("/0").and_then(Value::as_u64).unwrap_or(0);
    if version < 2 {
        return Err(ForestError::Unsupported(format!(
            "the form of XGBoost {version}; save it again with 2 or newer"
        )));
    }
    let objective = text_at(learner, "/objective/name")?;
    let odds = match objective.as_str() {
        "binary:logistic" => Some(1.0),
        "reg:squarederror" | "binary:logitraw" => None,
        other => return Err(ForestError::Unsupported(format!("objective {other}"))),
    };
    let booster = text_at(learner, "/gradient_booster/name")?;
    if booster != "gbtree" {
        return Err(ForestError::Unsupported(format!("booster {booster}")));
    }
    if learner
        .get("feature_types")
        .and_then(Value::as_array)
        .is_some_and(|types| types.iter().any(|kind| kind == "c"))
    {
        return Err(ForestError::Unsupported("categorical features".to_owned()));
    }
    let param = |name: &str| text_at(learner, &format!("/learner_model_param/{name}"));
    let classes: u32 = number(&param("num_class")?)?;
    let targets: u32 = param("num_target").map_or(Ok(1), |text| number(&text))?;
    if classes > 1 || targets > 1 {
        return Err(ForestError::Unsupported(format!("{} outputs", classes.max(targets))));
    }
    // Since 3.1 a list of one.
    let base: f32 = number(param("base_score")?.trim_matches(['[', ']']))?;
    let base = match odds {
        Some(_) => -(1.0 / base.clamp(EDGE, 1.0 - EDGE) - 1.0).ln(),
        None => base,
    };
    let count: usize = number(&param("num_feature")?)?;
    let names = learner.get("feature_names").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let features =
        if names.len() == count { names } else { (0..count).map(|nth| format!("f{nth}")).collect() };
    let trees = at(learner, "/gradient_booster/model/trees")?.as_array();
    let trees = trees.ok_or_else(|| ForestError::Malformed("trees is no list".to_owned()))?;
    if list(at(learner, "/gradient_booster/model")?, "tree_info")?.iter().any(|&group| group != 0.0) {
        return Err(ForestError::Unsupported("trees of several outputs".to_owned()));
    }
    Ok(Forest {
        features,
        trees: trees.iter().map(tree).collect::<Result<_, _>>()?,
        base: f64::from(base),
        odds,
        arithmetic: Arithmetic::Single,
    })
}

fn tree(tree: &Value) -> Result<Tree, ForestError> {
    let size: usize = text_at(tree, "/tree_param/size_leaf_vector").map_or(Ok(0), |text| number(&text))?;
    if size > 1 {
        return Err(ForestError::Unsupported("leaves of several numbers".to_owned()));
    }
    let is_categorical =
        |name: &str| list(tree, name).is_ok_and(|values| values.iter().any(|&value| value != 0.0));
    if is_categorical("split_type") || list(tree, "categories_nodes").is_ok_and(|nodes| !nodes.is_empty()) {
        return Err(ForestError::Unsupported("categorical splits".to_owned()));
    }
    let (left, right) = (list(tree, "left_children")?, list(tree, "right_children")?);
    let (features, conditions) = (list(tree, "split_indices")?, list(tree, "split_conditions")?);
    let defaults = list(tree, "default_left")?;
    if [right.len(), features.len(), conditions.len(), defaults.len()].iter().any(|&len| len != left.len()) {
        return Err(ForestError::Malformed("lists of a tree differ in length".to_owned()));
    }
    let whole = |value: f64| {
        let fits = value >= 0.0 && value.fract() == 0.0;
        if fits { Ok(value as usize) } else { Err(ForestError::Malformed(format!("{value} is no place"))) }
    };
    let node = |nth: usize| {
        // Conditions are single precision, written in the fewest digits that say so.
        let condition = f64::from(conditions[nth] as f32);
        if left[nth] < 0.0 {
            return Ok(Node::Leaf(condition));
        }
        Ok(Node::Split(Split {
            feature: whole(features[nth])?,
            threshold: condition,
            equal_left: false,
            missing: Missing::Nan,
            missing_left: defaults[nth] != 0.0,
            left: whole(left[nth])?,
            right: whole(right[nth])?,
        }))
    };
    let covers = list(tree, "sum_hessian").unwrap_or_default();
    Ok(Tree::new((0..left.len()).map(node).collect::<Result<_, ForestError>>()?, covers))
}

fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value, ForestError> {
    value.pointer(pointer).ok_or_else(|| ForestError::Malformed(format!("there is no {pointer}")))
}

fn text_at(value: &Value, pointer: &str) -> Result<String, ForestError> {
    let text = at(value, pointer)?.as_str().map(str::to_owned);
    text.ok_or_else(|| ForestError::Malformed(format!("{pointer} is no text")))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, ForestError> {
    text.parse().map_err(|_| ForestError::Malformed(format!("{text} is no number")))
}

/// Numbers, and truth as 1 and 0.
fn list(tree: &Value, name: &str) -> Result<Vec<f64>, ForestError> {
    let values = tree.get(name).and_then(Value::as_array);
    let values = values.ok_or_else(|| ForestError::Malformed(format!("there is no {name}")))?;
    let one =
        |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|truth| f64::from(u8::from(truth))));
    let all: Option<Vec<f64>> = values.iter().map(one).collect();
    all.ok_or_else(|| ForestError::Malformed(format!("{name} has something that is no number")))
}
