//! From scores and rules to one decision.
//!
//! A model's score asks for a review from the threshold on that saves most on its rows (`learning::decide`), and for a decline where that
//! costs less than letting the payment through: of a payment that is fraud with probability `p`, letting it through costs `p` times what a
//! missed fraud costs, declining it `1 - p` times what a declined customer costs. Rules come on top.
//!
//! Invariant: a higher score never gets a milder decision. Rules for review and decline only make a decision stricter; a rule for approval
//! overrules the model and reviews, but no rule for decline.

use affluent_learning::fit::Model;
use affluent_model::score::Decision;
use serde::{Deserialize, Serialize};

/// What decisions cost, and what is decided where nobody judges.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecideOptions {
    /// What it costs to decline a genuine payment, as a part of its amount: customers who are declined stay away.
    pub declined_genuine: f64,
    /// What it costs to let a fraud through, as a part of its amount.
    pub missed_fraud: f64,
    /// The decision on payments that no model has judged; rules make it stricter.
    pub unjudged: Decision,
}

impl Default for DecideOptions {
    fn default() -> Self {
        DecideOptions { declined_genuine: 10.0, missed_fraud: 1.0, unjudged: Decision::Approve }
    }
}

impl DecideOptions {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        for (key, cost) in [("declined_genuine", self.declined_genuine), ("missed_fraud", self.missed_fraud)]
        {
            if !(cost > 0.0 && cost <= 1e6) {
                return Err(format!("{key} is {cost}: take a part of the amount above 0, up to 1000000"));
            }
        }
        Ok(())
    }

    /// From this probability on declining costs less than letting through.
    #[must_use]
    pub fn decline_from(&self) -> f64 {
        self.declined_genuine / (self.declined_genuine + self.missed_fraud)
    }
}

/// From where on a model's scores are reviewed and declined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// A score; none: nothing is reviewed.
    pub review: Option<f64>,
    /// A probability; none: nothing is declined, because scores of this model are no probabilities.
    pub decline: Option<f64>,
}

impl Thresholds {
    #[must_use]
    pub fn of(model: &Model, options: &DecideOptions) -> Self {
        let decline = model.calibration.as_ref().map(|_| options.decline_from());
        Thresholds { review: model.threshold, decline }
    }

    /// What a score and its probability ask for.
    #[must_use]
    pub fn decide(&self, score: f64, probability: f64) -> Decision {
        if self.decline.is_some_and(|from| probability >= from) {
            Decision::Decline
        } else if self.review.is_some_and(|from| score >= from) {
            Decision::Review
        } else {
            Decision::Approve
        }
    }
}

/// The model's decision and those of the rules that hit, made one.
#[must_use]
pub fn combined(model: Decision, rules: impl Iterator<Item = Decision>) -> Decision {
    let (mut strictest, mut approved) = (Decision::Approve, false);
    for rule in rules {
        strictest = strictest.max(rule);
        approved |= rule == Decision::Approve;
    }
    match strictest {
        Decision::Decline => Decision::Decline,
        Decision::Approve | Decision::Review if approved => Decision::Approve,
        Decision::Approve | Decision::Review => model.max(strictest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::fit::{Calibration, CalibrationKind};
    use proptest::prelude::*;

    fn any_decision() -> impl Strategy<Value = Decision> {
        prop_oneof![Just(Decision::Approve), Just(Decision::Review), Just(Decision::Decline)]
    }

    proptest! {
        #[test]
        fn a_higher_score_never_gets_a_milder_decision(
            rows in prop::collection::vec((0.0..1.0f64, any::<bool>()), 2..100),
            review in prop::option::of(0.0..1.0f64),
            costs in (0.01..100.0f64, 0.01..100.0f64),
            (one, other) in (0.0..1.0f64, 0.0..1.0f64),
            rules in prop::collection::vec(any_decision(), 0..4),
        ) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows_of(&rows);
            let calibration = Calibration::fit(CalibrationKind::Isotonic, &scores, &labels);
            let options = DecideOptions { declined_genuine: costs.0, missed_fraud: costs.1, ..DecideOptions::default() };
            let thresholds = Thresholds { review, decline: Some(options.decline_from()) };
            let decide = |score: f64| {
                combined(thresholds.decide(score, calibration.apply(score)), rules.iter().copied())
            };
            prop_assert!(decide(one.min(other)) <= decide(one.max(other)));
        }

        #[test]
        fn rules_for_review_and_decline_only_make_it_stricter(model in any_decision(), rules in prop::collection::vec(any_decision(), 0..5), more in any_decision()) {
            let before = combined(model, rules.iter().copied());
            let after = combined(model, rules.iter().copied().chain([more]));
            match more {
                Decision::Approve => prop_assert!(after <= before),
                Decision::Review | Decision::Decline => prop_assert!(after >= before),
            }
            if rules.contains(&Decision::Decline) || more == Decision::Decline {
                prop_assert_eq!(after, Decision::Decline);
            }
        }
    }

    fn rows_of(rows: &[(f64, bool)]) -> (Vec<f64>, Vec<bool>) {
        rows.iter().copied().unzip()
    }

    #[test]
    fn decisions_by_hand() {
        let options = DecideOptions { declined_genuine: 3.0, missed_fraud: 1.0, ..DecideOptions::default() };
        options.check().unwrap();
        assert_eq!(options.decline_from(), 0.75);
        let thresholds = Thresholds { review: Some(0.4), decline: Some(0.75) };
        let decided = [(0.1, 0.1), (0.4, 0.2), (0.9, 0.74), (0.9, 0.75)];
        let expected = [Decision::Approve, Decision::Review, Decision::Review, Decision::Decline];
        assert_eq!(decided.map(|(score, p)| thresholds.decide(score, p)), expected);
        let never = Thresholds { review: None, decline: None };
        assert_eq!(never.decide(1.0, 1.0), Decision::Approve);
        assert!(DecideOptions { missed_fraud: f64::NAN, ..options }.check().is_err());
        assert!(DecideOptions { declined_genuine: 0.0, ..options }.check().unwrap_err().contains("genuine"));
    }
}
