//! What was said of a payment, as stores and consumers keep it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is done with a payment, from mild to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approve,
    Review,
    Decline,
}

impl Decision {
    pub const ALL: [Decision; 3] = [Decision::Approve, Decision::Review, Decision::Decline];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Approve => "approve",
            Decision::Review => "review",
            Decision::Decline => "decline",
        }
    }
}

/// In which way a judgement is less than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// Rules alone, because no model serves.
    NoModel,
    /// By features as they were known last.
    LastKnownFeatures,
    /// Rules alone, because there are no features.
    NoFeatures,
    /// Rules alone, because the caller's deadline had passed.
    Deadline,
}

impl Degraded {
    pub const ALL: [Degraded; 4] =
        [Degraded::NoModel, Degraded::LastKnownFeatures, Degraded::NoFeatures, Degraded::Deadline];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Degraded::NoModel => "no_model",
            Degraded::LastKnownFeatures => "last_known_features",
            Degraded::NoFeatures => "no_features",
            Degraded::Deadline => "deadline",
        }
    }
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    pub name: Arc<str>,
    pub version: u64,
}

/// A rule that a payment fulfils.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHit {
    pub rule: Arc<str>,
    pub decision: Decision,
    /// What it means, for people.
    pub words: Arc<str>,
}

/// A feature that speaks for fraud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub feature: String,
    pub version: u32,
    /// None where the payment has none.
    pub value: Option<f64>,
    /// By how much it raises the log odds of fraud.
    pub contribution: f64,
    /// Such as `Payments of the customer, the current one included (1h): 14`.
    pub words: String,
}

/// What a challenger would have said. Nothing is done by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub model: ModelRef,
    pub score: f64,
    pub raw: f64,
    pub decision: Decision,
}

/// The score of a payment, with everything it was made of. Times are microseconds UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreEvent {
    pub transaction_id: String,
    /// Where the payment stood in its topic, `topic/partition/offset`; none where it came by HTTP.
    pub source: Option<String>,
    pub occurred_at: i64,
    /// When the payment's row was committed, or its request came.
    pub begun_at: i64,
    pub scored_at: i64,
    pub decision: Decision,
    /// Probability of fraud.
    pub score: Option<f64>,
    /// What the model orders payments by.
    pub raw: Option<f64>,
    pub model: Option<ModelRef>,
    pub rules_version: Arc<str>,
    pub hits: Vec<RuleHit>,
    /// Rules that needed what was not known of the payment.
    pub skipped: Vec<Arc<str>>,
    /// The weightiest first.
    pub reasons: Vec<Reason>,
    pub shadow: Option<Shadow>,
    pub degraded: Option<Degraded>,
    /// What the payment said itself, as text.
    pub facts: BTreeMap<String, String>,
    /// `name@version` of each feature, with a space between.
    pub feature_names: Arc<str>,
    /// In the order of `feature_names`; null where there was no value.
    pub features: Vec<Option<f64>>,
    /// The instant that the features are of.
    pub features_as_of: Option<i64>,
    /// Whether every window had all its events.
    pub features_exact: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for decision in Decision::ALL {
            assert_eq!(serde_json::to_value(decision).unwrap(), decision.as_str());
        }
        for degraded in Degraded::ALL {
            assert_eq!(serde_json::to_value(degraded).unwrap(), degraded.as_str());
        }
        assert!(Decision::ALL.is_sorted());
    }
}
