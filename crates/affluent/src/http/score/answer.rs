//! What is told of a payment.

use super::payment::Payment;
use affluent_scoring::{Decision, Judged, ModelRef, Reason, RuleHit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The deadline came before the features.
const DEADLINE: &str = "deadline";

/// The answer, as `openapi.json` has it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    transaction_id: String,
    /// Probability of fraud; none where no model has judged.
    score: Option<f64>,
    decision: Decision,
    model: Option<ModelRef>,
    rules_version: String,
    rules: Vec<RuleHit>,
    reasons: Vec<Reason>,
    features: Known,
    /// What the score had to do without.
    degraded: Option<String>,
    /// From receipt to here, microseconds.
    latency_us: u64,
}

/// What was known of the payment's past.
#[derive(Debug, Serialize)]
pub(super) struct Known {
    /// `live`, `last_known` or `none`.
    source: &'static str,
    is_exact: bool,
    /// By entity: seconds from its newest event to the payment; none where there is none.
    ages_s: BTreeMap<String, Option<f64>>,
}

impl Known {
    /// `newest` is when each entity's newest event happened, microseconds UTC.
    pub(super) fn new(
        source: &'static str,
        is_exact: bool,
        newest: &[(String, Option<i64>)],
        occurred_at: i64,
    ) -> Self {
        let age = |newest: i64| occurred_at.saturating_sub(newest).max(0) as f64 / 1e6;
        let ages_s = newest.iter().map(|(entity, newest)| (entity.clone(), newest.map(age))).collect();
        Known { source, is_exact, ages_s }
    }
}

impl Answer {
    pub(super) fn new(
        payment: &Payment,
        judged: Judged,
        features: Known,
        is_late: bool,
        latency: Duration,
    ) -> Self {
        let degraded = if is_late {
            Some(DEADLINE.to_owned())
        } else {
            judged.degraded.map(|degraded| degraded.as_str().to_owned())
        };
        Answer {
            transaction_id: payment.id.clone(),
            score: judged.score,
            decision: judged.decision,
            model: judged.model,
            rules_version: judged.rules_version.to_string(),
            rules: judged.hits,
            reasons: judged.reasons,
            features,
            degraded,
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_seconds_to_the_payment_and_never_negative() {
        let newest = [
            ("customer".to_owned(), Some(1_000_000)),
            ("card".to_owned(), None),
            ("ip".to_owned(), Some(9_000_000)),
        ];
        let known = Known::new("live", true, &newest, 3_500_000);
        assert_eq!(known.ages_s["customer"], Some(2.5));
        assert_eq!(known.ages_s["card"], None);
        assert_eq!(known.ages_s["ip"], Some(0.0));
    }
}
