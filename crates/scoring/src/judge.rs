//! A payment in, a judgement out: rules and models that can be changed while it goes on.
//!
//! Everything that judges stands behind one pointer. A judgement takes it once, so that score, thresholds, rules and reasons are of one moment;
//! who changes it puts another in its place and waits for nobody.
//!
//! Invariant: a judgement is a function of facts, features and one state of models and rules.

use crate::decide::{DecideOptions, combined};
use crate::facts::Facts;
use crate::reasons::reasons;
use crate::rules::{Applied, Rules};
use crate::serving::Served;
use crate::vocabulary::Vocabulary;
use affluent_learning::dataset::FeatureVersion;
use affluent_model::score::{Decision, Degraded, ModelRef, Reason, RuleHit, Shadow};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Features of a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Those of the judge's vocabulary.
    pub names: Arc<Vec<FeatureVersion>>,
    /// In the order of `names`; NaN where there is no value.
    pub values: Vec<f64>,
    /// Whether every window had all its events.
    pub is_exact: bool,
    /// The instant that the values are of, in microseconds since the epoch.
    pub as_of: i64,
}

/// Which features there are to judge by.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a> {
    /// Of this payment, at its instant.
    Live(&'a Row),
    /// Of its customer, card and so on as they were known last.
    LastKnown(&'a Row),
    Missing,
}

/// What is said of a payment, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub decision: Decision,
    /// Probability of fraud.
    pub score: Option<f64>,
    /// What the model orders payments by.
    pub raw: Option<f64>,
    pub model: Option<ModelRef>,
    pub rules_version: Arc<str>,
    pub hits: Vec<RuleHit>,
    /// Rules that need what is not known of the payment.
    pub skipped: Vec<Arc<str>>,
    /// Why the model finds it odd, where it is not approved.
    pub reasons: Vec<Reason>,
    pub shadow: Option<Shadow>,
    pub degraded: Option<Degraded>,
}

/// How judgements are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeOptions {
    /// Reasons of a judgement, at most.
    pub reasons: usize,
    pub decide: DecideOptions,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        JudgeOptions { reasons: 5, decide: DecideOptions::default() }
    }
}

/// The judge. Clones judge by the same models and rules.
#[derive(Debug, Clone)]
pub struct Judge(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    vocabulary: Vocabulary,
    options: JudgeOptions,
    current: RwLock<Arc<Current>>,
}

/// What judges at a moment.
#[derive(Debug, Clone)]
struct Current {
    rules: Arc<Rules>,
    champion: Option<Arc<Served>>,
    challenger: Option<Arc<Served>>,
}

impl Judge {
    /// A judge without model and rules, for rows of this vocabulary.
    #[must_use]
    pub fn new(vocabulary: Vocabulary, options: JudgeOptions) -> Self {
        let current = Current { rules: Arc::new(Rules::none()), champion: None, challenger: None };
        Judge(Arc::new(Shared { vocabulary, options, current: RwLock::new(Arc::new(current)) }))
    }

    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.0.vocabulary
    }

    #[must_use]
    pub fn options(&self) -> &JudgeOptions {
        &self.0.options
    }

    /// From the next payment on these rules count.
    pub fn set_rules(&self, rules: Arc<Rules>) {
        let mut current = self.0.current.write();
        *current = Arc::new(Current { rules, ..Current::clone(&current) });
    }

    /// From the next payment on these models judge.
    pub fn set_models(&self, champion: Option<Arc<Served>>, challenger: Option<Arc<Served>>) {
        let mut current = self.0.current.write();
        *current = Arc::new(Current { champion, challenger, rules: Arc::clone(&current.rules) });
    }

    /// The model that decides.
    #[must_use]
    pub fn champion(&self) -> Option<ModelRef> {
        self.0.current.read().champion.as_ref().map(|served| served.model_ref().clone())
    }

    /// The version of the rules that count.
    #[must_use]
    pub fn rules_version(&self) -> Arc<str> {
        Arc::clone(self.0.current.read().rules.version())
    }

    /// Whether rules were ever put in place. A file without one is rules, too.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.0.current.read().rules.are_none()
    }

    /// Judges a payment. It takes microseconds and waits for nothing.
    ///
    /// Features that are not of the judge's vocabulary are as good as missing.
    #[must_use]
    pub fn judge(&self, facts: &Facts, features: Features<'_>) -> Judged {
        let current = Arc::clone(&self.0.current.read());
        let row = match features {
            Features::Live(row) | Features::LastKnown(row) => Some(row).filter(|row| self.knows(row)),
            Features::Missing => None,
        };
        let Applied { hits, skipped } = current.rules.apply(facts, row);
        let champion = current.champion.as_ref();
        let scored = champion.zip(row).map(|(served, row)| (served, served.score(row)));
        let of_model = scored.as_ref().map_or(self.0.options.decide.unjudged, |(_, scored)| scored.decision);
        let decision = combined(of_model, hits.iter().map(|hit| hit.decision));
        let reasons = match &scored {
            Some((served, scored)) if decision != Decision::Approve => reasons(
                &self.0.vocabulary,
                served.places(),
                &scored.values,
                &served.contributions(&scored.values),
                self.0.options.reasons,
            ),
            Some(_) | None => Vec::new(),
        };
        Judged {
            decision,
            score: scored.as_ref().map(|(_, scored)| scored.probability),
            raw: scored.as_ref().map(|(_, scored)| scored.raw),
            model: scored.as_ref().map(|(served, _)| served.model_ref().clone()),
            rules_version: Arc::clone(current.rules.version()),
            hits,
            skipped,
            reasons,
            shadow: current.challenger.as_ref().zip(row).map(|(served, row)| shadow(served, row)),
            degraded: degraded(features, row.is_some(), champion.is_some()),
        }
    }

    fn knows(&self, row: &Row) -> bool {
        let names = &self.0.vocabulary.names;
        (Arc::ptr_eq(&row.names, names) || row.names == *names) && row.values.len() == names.len()
    }
}

fn shadow(served: &Served, row: &Row) -> Shadow {
    let scored = served.score(row);
    Shadow {
        model: served.model_ref().clone(),
        score: scored.probability,
        raw: scored.raw,
        decision: scored.decision,
    }
}

fn degraded(features: Features<'_>, is_usable: bool, has_model: bool) -> Option<Degraded> {
    match features {
        Features::Missing => Some(Degraded::NoFeatures),
        Features::Live(_) | Features::LastKnown(_) if !is_usable => Some(Degraded::NoFeatures),
        Features::Live(_) | Features::LastKnown(_) if !has_model => Some(Degraded::NoModel),
        Features::LastKnown(_) => Some(Degraded::LastKnownFeatures),
        Features::Live(_) => None,
    }
}
