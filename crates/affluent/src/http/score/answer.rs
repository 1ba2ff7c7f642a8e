//! What is told of a payment.

use super::payment::Payment;
use affluent_scoring::{Decision, Degraded, Judged, ModelRef, Reason, RuleHit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The answer, as `openapi.json` has it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    transaction_id: String,
    /// Probability of fraud; none where no model has judged.
    score: Option<f64>,
    decision: Decision,
    model: Option<ModelRef>,
    rules_version: Arc<str>,
    rules: Vec<RuleHit>,
    /// Rules that need what is not known of the payment.
    rules_skipped: Vec<Arc<str>>,
    reasons: Vec<Reason>,
    features: Known,
    /// What the score had to do without.
    degraded: Option<Degraded>,
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
        Answer {
            transaction_id: payment.id.clone(),
            score: judged.score,
            decision: judged.decision,
            model: judged.model,
            rules_version: judged.rules_version,
            rules: judged.hits,
            rules_skipped: judged.skipped,
            reasons: judged.reasons,
            features,
            degraded: if is_late { Some(Degraded::Deadline) } else { judged.degraded },
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
