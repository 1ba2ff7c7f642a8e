//! Scores of payments as values of `fraud.scores` and `fraud.alerts`: Avro of one schema, `score.avsc`.
//!
//! Invariant: a score has one form of bytes, so that a replay sends what was sent.

use super::avro::binary::Put;
use affluent_model::ScoreEvent;
use bytes::BytesMut;

/// The schema of scores, for the registry.
pub const SCORE_SCHEMA: &str = include_str!("score.avsc");
/// Room that is made for a score; a larger one makes more by itself.
const SCORE_BYTES: usize = 8 << 10;

/// A score in Avro, without the five bytes that stand before it in Confluent's framing.
#[must_use]
pub fn score_avro(score: &ScoreEvent) -> Vec<u8> {
    let mut bytes = BytesMut::with_capacity(SCORE_BYTES);
    put(&mut bytes, score);
    bytes.into()
}

/// The order of the lines here is the order of the fields there.
fn put(to: &mut impl Put, score: &ScoreEvent) {
    to.put_text(&score.transaction_id);
    optional(to, score.source.as_deref(), |to, source| to.put_text(source));
    to.put_long(score.occurred_at);
    to.put_long(score.begun_at);
    to.put_long(score.scored_at);
    to.put_text(score.decision.as_str());
    optional(to, score.score, double);
    optional(to, score.raw, double);
    optional(to, score.model.as_ref(), |to, model| to.put_text(&model.name));
    optional(to, score.model.as_ref(), |to, model| to.put_long(model.version.cast_signed()));
    to.put_text(&score.rules_version);
    array(to, score.hits.iter(), |to, hit| {
        to.put_text(&hit.rule);
        to.put_text(hit.decision.as_str());
        to.put_text(&hit.words);
    });
    array(to, score.skipped.iter(), |to, rule| to.put_text(rule));
    array(to, score.reasons.iter(), |to, reason| {
        to.put_text(&reason.feature);
        to.put_long(i64::from(reason.version));
        optional(to, reason.value, double);
        double(to, reason.contribution);
        to.put_text(&reason.words);
    });
    optional(to, score.shadow.as_ref(), |to, shadow| {
        to.put_text(&shadow.model.name);
        to.put_long(shadow.model.version.cast_signed());
        double(to, shadow.score);
        double(to, shadow.raw);
        to.put_text(shadow.decision.as_str());
    });
    optional(to, score.degraded, |to, degraded| to.put_text(degraded.as_str()));
    array(to, score.facts.iter(), |to, (name, value)| {
        to.put_text(name);
        to.put_text(value);
    });
    to.put_text(&score.feature_names);
    array(to, score.features.iter(), |to, value| optional(to, *value, double));
    optional(to, score.features_as_of, |to, at| to.put_long(at));
    to.put_bool(score.features_exact);
}

fn double(to: &mut impl Put, value: f64) {
    to.put_raw(&value.to_le_bytes());
}

/// A union with null, which stands first.
fn optional<P: Put, T>(to: &mut P, value: Option<T>, put: impl FnOnce(&mut P, T)) {
    to.put_long(i64::from(value.is_some()));
    if let Some(value) = value {
        put(to, value);
    }
}

/// An array, or a map: one block, and its end.
fn array<P: Put, T>(to: &mut P, items: impl ExactSizeIterator<Item = T>, mut put: impl FnMut(&mut P, T)) {
    if items.len() > 0 {
        to.put_long(items.len().cast_signed() as i64);
        for item in items {
            put(to, item);
        }
    }
    to.put_long(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::score::{Decision, Degraded, ModelRef, Reason, RuleHit, Shadow};
    use apache_avro::types::Value as Avro;

    fn score() -> ScoreEvent {
        let model = ModelRef { name: "fraud".into(), version: 3 };
        ScoreEvent {
            transaction_id: "42".to_owned(),
            source: Some("oltp.public.transactions/0/9".to_owned()),
            occurred_at: 1,
            begun_at: 2,
            scored_at: 3,
            decision: Decision::Decline,
            score: Some(0.75),
            raw: Some(0.5),
            model: Some(model.clone()),
            rules_version: "abc".into(),
            hits: vec![RuleHit { rule: "cap".into(), decision: Decision::Review, words: "much".into() }],
            skipped: vec!["speed".into()],
            reasons: vec![Reason {
                feature: "payments_1h".to_owned(),
                version: 1,
                value: None,
                contribution: 1.5,
                words: "Payments: none".to_owned(),
            }],
            shadow: Some(Shadow { model, score: 0.1, raw: 0.2, decision: Decision::Approve }),
            degraded: Some(Degraded::LastKnownFeatures),
            facts: [("currency".to_owned(), "EUR".to_owned())].into(),
            feature_names: "payments_1h@1 speed@2".into(),
            features: vec![None, Some(1.25)],
            features_as_of: Some(1),
            features_exact: true,
        }
    }

    /// As apache-avro reads it: the whole of the bytes.
    fn read(score: &ScoreEvent) -> serde_json::Value {
        let bytes = score_avro(score);
        let schema = apache_avro::Schema::parse_str(SCORE_SCHEMA).unwrap();
        let mut rest = &bytes[..];
        let value: Avro = apache_avro::from_avro_datum(&schema, &mut rest, None).unwrap();
        assert!(rest.is_empty());
        value.try_into().unwrap()
    }

    #[test]
    fn others_read_what_is_written() {
        let json = read(&score());
        assert_eq!(json["transaction_id"], "42");
        assert_eq!(json["decision"], "decline");
        assert_eq!(json["score"], 0.75);
        assert_eq!(json["model"], "fraud");
        assert_eq!(json["model_version"], 3);
        assert_eq!(json["hits"][0]["rule"], "cap");
        assert_eq!(json["skipped"][0], "speed");
        assert_eq!(json["reasons"][0]["contribution"], 1.5);
        assert_eq!(json["shadow"]["decision"], "approve");
        assert_eq!(json["degraded"], "last_known_features");
        assert_eq!(json["facts"]["currency"], "EUR");
        assert_eq!(json["features"][1], 1.25);
        assert_eq!(json["features_exact"], true);
        let rules_only = ScoreEvent {
            source: None,
            score: None,
            raw: None,
            model: None,
            hits: Vec::new(),
            shadow: None,
            features: Vec::new(),
            ..score()
        };
        let json = read(&rules_only);
        assert!(
            json["source"].is_null()
                && json["score"].is_null()
                && json["model"].is_null()
                && json["hits"] == serde_json::json!([])
        );
    }
}
