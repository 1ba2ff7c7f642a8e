//! The score of record: one document of `fraud_events` a payment, by its id. What is sent to Kafka and written back is read from it, so that a
//! replay says what was said.
//!
//! Invariant: a score comes back from its document as it was.

use crate::facts::Facts;
use crate::judge::{Features, Judged};
use affluent_bus::codec::score_avro;
use affluent_documents::{CollectionSpec, Document, IndexSpec, Inserts, Ttl};
use affluent_learning::dataset::FeatureVersion;
use affluent_model::Value;
use affluent_model::score::{Decision, Degraded, ModelRef, ScoreEvent, Shadow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::ops::Deref;

pub use affluent_bus::codec::SCORE_SCHEMA;
pub use affluent_model::names::{
    COLLECTION_SCORES as COLLECTION, TOPIC_FRAUD_ALERTS as TOPIC_ALERTS, TOPIC_SCORES,
};

const DAY_S: u64 = 86_400;

/// The collection, whose documents go so many days after their payment was scored; 0: they stay. The newest are found by an index, the newest of
/// a decision by another.
#[must_use]
pub fn collection(ttl_days: u32) -> CollectionSpec {
    let ttl = Ttl { seconds: u64::from(ttl_days) * DAY_S, field: Some("scored_at".to_owned()) };
    CollectionSpec {
        indexes: vec![IndexSpec::on(&["scored_at"]), IndexSpec::on(&["decision", "scored_at"])],
        ttl: (ttl_days > 0).then_some(ttl),
        ..CollectionSpec::new(COLLECTION)
    }
}

/// What is kept of a judgement: a [`ScoreEvent`].
#[derive(Debug, Clone, PartialEq)]
pub struct Record(ScoreEvent);

/// When and where a payment came, in microseconds UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// When its row was committed, or its request came.
    pub begun_at: i64,
    pub scored_at: i64,
    /// Where it stood in its topic, `topic/partition/offset`.
    pub source: Option<String>,
}

impl Deref for Record {
    type Target = ScoreEvent;

    fn deref(&self) -> &ScoreEvent {
        &self.0
    }
}

impl Record {
    /// Of a judgement, and the features that it was made of.
    #[must_use]
    pub fn new(facts: &Facts, features: &Features<'_>, judged: &Judged, times: Times) -> Self {
        let row = match features {
            Features::Live(row) | Features::LastKnown(row) => Some(row),
            Features::Missing => None,
        };
        let values = row.map_or(&[][..], |row| row.values.as_slice());
        Record(ScoreEvent {
            transaction_id: facts.transaction_id.clone(),
            source: times.source,
            occurred_at: facts.occurred_at,
            begun_at: times.begun_at,
            scored_at: times.scored_at,
            decision: judged.decision,
            score: judged.score,
            raw: judged.raw,
            model: judged.model.clone(),
            rules_version: judged.rules_version.clone(),
            hits: judged.hits.clone(),
            skipped: judged.skipped.clone(),
            reasons: judged.reasons.clone(),
            shadow: judged.shadow.clone(),
            degraded: judged.degraded,
            facts: facts.fields.iter().map(|(name, value)| (name.clone(), value.to_text())).collect(),
            feature_names: row.map(|row| labels(&row.names)).unwrap_or_default().into(),
            features: values.iter().map(|&value| Some(value).filter(|value| value.is_finite())).collect(),
            features_as_of: row.map(|row| row.as_of),
            features_exact: row.is_some_and(|row| row.is_exact),
        })
    }

    /// Whether people are told of it.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.decision != Decision::Approve
    }

    /// What a challenger said where the decision is the champion's own: no rule has a part in it.
    #[must_use]
    pub fn compared(&self) -> Option<&Shadow> {
        let is_of_models = self.hits.is_empty() && self.model.is_some();
        self.shadow.as_ref().filter(|_| is_of_models)
    }

    /// The value of its record in [`TOPIC_SCORES`]: Avro of [`SCORE_SCHEMA`], without Confluent's five bytes.
    #[must_use]
    pub fn score(&self) -> Vec<u8> {
        score_avro(&self.0)
    }

    /// The value of its record in [`TOPIC_ALERTS`]: the same without the features, which reasons stand for.
    #[must_use]
    pub fn alert(&self) -> Vec<u8> {
        score_avro(&ScoreEvent { feature_names: "".into(), features: Vec::new(), ..self.0.clone() })
    }

    /// Adds its document, whose id is the payment's.
    pub fn push(&self, into: &mut Inserts) {
        let instant = |at: Option<i64>| at.map_or(Value::Null, Value::TimestampTz);
        let float = |number: Option<f64>| number.map_or(Value::Null, Value::Float);
        let model = self.model.as_ref();
        let version = model.and_then(|model| i64::try_from(model.version).ok());
        into.push(&self.transaction_id, |to| {
            to.optional("source", self.source.as_deref());
            to.instant("occurred_at", self.occurred_at);
            to.instant("begun_at", self.begun_at);
            to.instant("scored_at", self.scored_at);
            to.text("decision", self.decision.as_str());
            to.value("score", &float(self.score));
            to.value("raw", &float(self.raw));
            to.optional("model", model.map(|model| &*model.name));
            to.value("model_version", &version.map_or(Value::Null, Value::Int));
            to.text("rules_version", &self.rules_version);
            to.json("hits", &json(&self.hits));
            to.json("skipped", &json(&self.skipped));
            to.json("reasons", &json(&self.reasons));
            to.json("shadow", &json(&self.shadow));
            to.optional("degraded", self.degraded.map(Degraded::as_str));
            to.json("facts", &json(&self.facts));
            to.text("feature_names", &self.feature_names);
            to.value("features", &Value::Array(self.features.iter().map(|value| float(*value)).collect()));
            to.value("features_as_of", &instant(self.features_as_of));
            to.value("features_exact", &Value::Bool(self.features_exact));
        });
    }

    /// Reads a document of the collection; none where it is not of this form.
    #[must_use]
    pub fn of(document: &Document) -> Option<Self> {
        let text = |name: &str| match document.field(name) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let float = |name: &str| match document.field(name) {
            Some(Value::Float(number)) => Some(*number),
            _ => None,
        };
        let instant = |name: &str| match document.field(name) {
            Some(Value::TimestampTz(at)) => Some(*at),
            _ => None,
        };
        let version = match document.field("model_version") {
            Some(Value::Int(version)) => u64::try_from(*version).ok(),
            _ => None,
        };
        let Some(Value::Array(features)) = document.field("features") else { return None };
        let feature = |value: &Value| if let Value::Float(value) = value { Some(*value) } else { None };
        let (decision, degraded) = (text("decision")?, text("degraded"));
        Some(Record(ScoreEvent {
            transaction_id: document.id.clone(),
            source: text("source").map(str::to_owned),
            occurred_at: instant("occurred_at")?,
            begun_at: instant("begun_at")?,
            scored_at: instant("scored_at")?,
            decision: Decision::ALL.into_iter().find(|known| known.as_str() == decision)?,
            score: float("score"),
            raw: float("raw"),
            model: text("model").zip(version).map(|(name, version)| ModelRef { name: name.into(), version }),
            rules_version: text("rules_version")?.into(),
            hits: parsed(document, "hits")?,
            skipped: parsed(document, "skipped")?,
            reasons: parsed(document, "reasons")?,
            shadow: parsed(document, "shadow")?,
            degraded: Degraded::ALL.into_iter().find(|known| Some(known.as_str()) == degraded),
            facts: parsed(document, "facts")?,
            feature_names: text("feature_names")?.into(),
            features: features.iter().map(feature).collect(),
            features_as_of: instant("features_as_of"),
            features_exact: matches!(document.field("features_exact"), Some(Value::Bool(true))),
        }))
    }
}

/// `name@version` of each feature, with a space between.
fn labels(names: &[FeatureVersion]) -> String {
    let mut labels = String::new();
    for feature in names {
        let space = if labels.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _ = write!(labels, "{space}{}@{}", feature.name, feature.version);
    }
    labels
}

/// Names, numbers and texts always have a JSON form.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// By way of a tree, in which numbers keep every digit.
fn parsed<T: DeserializeOwned>(document: &Document, name: &str) -> Option<T> {
    let Some(Value::Json(text)) = document.field(name) else { return None };
    let tree: serde_json::Value = serde_json::from_str(text).ok()?;
    serde_json::from_value(tree).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Judge, JudgeOptions, Row};
    use crate::vocabulary::Vocabulary;
    use affluent_model::score::{Reason, RuleHit};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn number() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("finite", |number| number.is_finite())
    }

    fn model() -> impl Strategy<Value = ModelRef> {
        ("[a-z]{1,8}", 0..1_000_000u64).prop_map(|(name, version)| ModelRef { name: name.into(), version })
    }

    fn decision() -> impl Strategy<Value = Decision> {
        prop::sample::select(Decision::ALL.to_vec())
    }

    fn score() -> impl Strategy<Value = ScoreEvent> {
        let hit = ("\\PC{0,8}", decision(), "\\PC{0,20}");
        let hit = hit.prop_map(|(rule, decision, words)| RuleHit {
            rule: rule.into(),
            decision,
            words: words.into(),
        });
        let reason = ("[a-z_]{1,8}", any::<u32>(), prop::option::of(number()), number(), "\\PC{0,20}");
        let reason = reason.prop_map(|(feature, version, value, contribution, words)| Reason {
            feature,
            version,
            value,
            contribution,
            words,
        });
        let shadow = (model(), number(), number(), decision());
        let shadow = shadow.prop_map(|(model, score, raw, decision)| Shadow { model, score, raw, decision });
        let times = (any::<i64>(), any::<i64>(), any::<i64>(), prop::option::of(any::<i64>()));
        let of_model =
            (decision(), prop::option::of(number()), prop::option::of(number()), prop::option::of(model()));
        let lists = (
            prop::collection::vec(hit, 0..3),
            prop::collection::vec(reason, 0..3),
            prop::option::of(shadow),
            prop::option::of(prop::sample::select(Degraded::ALL.to_vec())),
            prop::collection::btree_map("[a-z_]{1,8}", "\\PC{0,20}", 0..4),
            prop::collection::vec(prop::option::of(number()), 0..5),
        );
        (times, of_model, lists).prop_map(
            |(times, of_model, (hits, reasons, shadow, degraded, facts, features))| ScoreEvent {
                transaction_id: "7".to_owned(),
                source: times.3.map(|offset| format!("t/0/{offset}")),
                occurred_at: times.0,
                begun_at: times.1,
                scored_at: times.2,
                decision: of_model.0,
                score: of_model.1,
                raw: of_model.2,
                model: of_model.3,
                rules_version: "abc".into(),
                skipped: hits.iter().map(|hit| hit.rule.clone()).collect(),
                hits,
                reasons,
                shadow,
                degraded,
                facts,
                feature_names: "a@1 b@2".into(),
                features,
                features_as_of: times.3,
                features_exact: true,
            },
        )
    }

    fn document(record: &Record) -> Document {
        let mut inserts = Inserts::default();
        record.push(&mut inserts);
        inserts.documents().next().unwrap().unwrap()
    }

    proptest! {
        #[test]
        fn a_score_comes_back_from_its_document(score in score()) {
            let record = Record(score);
            prop_assert_eq!(Record::of(&document(&record)), Some(record));
        }

        #[test]
        fn models_are_compared_where_no_rule_has_decided(score in score(), of_rules in any::<bool>()) {
            let hits = if of_rules { score.hits.clone() } else { Vec::new() };
            let record = Record(ScoreEvent { hits, ..score });
            let expected = record.shadow.clone().filter(|_| record.hits.is_empty() && record.model.is_some());
            prop_assert_eq!(record.compared(), expected.as_ref());
        }
    }

    #[test]
    fn a_judgement_is_kept_with_its_features() {
        let feature = |name: &str| (FeatureVersion { name: name.to_owned(), version: 2 }, name.to_owned());
        let vocabulary = Vocabulary::of(vec![feature("a"), feature("b")]);
        let judge = Judge::new(vocabulary.clone(), JudgeOptions::default());
        let mut facts = Facts::new("42".to_owned(), 5);
        facts.money("1.50".parse().unwrap(), "EUR");
        let names = Arc::clone(&vocabulary.names);
        let row = Row { names, values: vec![f64::NAN, 2.5], is_exact: true, as_of: 5 };
        let times = Times { begun_at: 6, scored_at: 7, source: None };
        let kept = |features: Features<'_>| {
            Record::new(&facts, &features, &judge.judge(&facts, features), times.clone())
        };
        let record = kept(Features::Live(&row));
        assert_eq!((&*record.feature_names, record.features.as_slice()), ("a@2 b@2", &[None, Some(2.5)][..]));
        assert_eq!((record.occurred_at, record.begun_at, record.scored_at), (5, 6, 7));
        assert_eq!(record.facts["amount"], "1.50");
        assert_eq!(record.degraded, Some(Degraded::NoModel));
        assert!(!record.is_alert() && record.alert().len() < record.score().len());
        let record = kept(Features::Missing);
        assert!(record.features.is_empty() && record.feature_names.is_empty() && !record.features_exact);
        assert_eq!(Record::of(&Document::new("42", Vec::new())), None);
    }
}
