//! Parity: vectors that the stream has served, computed once more from the lake, bit for bit.
//!
//! The stream logs a sample of its vectors with what had been applied ([`crate::online::log`]): of each topic partition all records
//! below an offset. The raw zone has the same offsets, so the same events are found there and go through the same mapping and
//! engine. What differs then is a defect: of the lake, the state or its restart.

mod sample;

pub use sample::{Sampler, sample};

use crate::history::{FOREVER, History, HistoryError, Kept, Keys, Place, Range};
use crate::offline::{reach, sources};
use crate::online::log::Logged;
use affluent_features::definition::Definitions;
use affluent_features::plan::EntityId;
use affluent_features::{Engine, Key, Options, Plan};
use affluent_lake::{Lake, LakeError};
use affluent_stream::sinks::lake::table_of;
use affluent_telemetry::metrics_list;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Differences that are told of each feature.
const EXAMPLES: usize = 3;
/// Events that are held for one entity's sample.
const EVENTS_MAX: usize = 5_000_000;

/// What the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Parity {
    /// Vectors that were computed again.
    pub vectors: u64,
    /// Vectors whose events are not all in the lake yet.
    pub waiting: u64,
    /// Vectors of features that mean something else by now.
    pub outdated: u64,
    /// Values that were compared, and that differ.
    pub values: u64,
    pub mismatches: u64,
    /// By feature.
    pub features: BTreeMap<String, Compared>,
}

/// What was found of one feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Compared {
    pub values: u64,
    pub mismatches: u64,
    pub examples: Vec<Mismatch>,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mismatch {
    pub entity: String,
    pub key: String,
    /// Microseconds UTC.
    pub as_of: i64,
    /// None where there was no value.
    pub served: Option<f64>,
    pub recomputed: Option<f64>,
}

impl Parity {
    /// Values that differ, as a part of those that were compared.
    #[must_use]
    pub fn skew(&self) -> f64 {
        if self.values == 0 { 0.0 } else { self.mismatches as f64 / self.values as f64 }
    }

    fn compare(&mut self, logged: &Logged, name: &str, served: f64, recomputed: f64) {
        let feature = self.features.entry(name.to_owned()).or_default();
        feature.values += 1;
        self.values += 1;
        // Where there is no value it does not matter which NaN says so.
        if served.to_bits() == recomputed.to_bits() || served.is_nan() && recomputed.is_nan() {
            return;
        }
        feature.mismatches += 1;
        self.mismatches += 1;
        if feature.examples.len() < EXAMPLES {
            let value = |value: f64| Some(value).filter(|value| !value.is_nan());
            feature.examples.push(Mismatch {
                entity: logged.entity.clone(),
                key: logged.key.clone(),
                as_of: logged.at.time,
                served: value(served),
                recomputed: value(recomputed),
            });
        }
    }
}

/// Computes logged vectors from the lake and compares; the metric `feature_skew_ratio` tells of each feature.
///
/// # Errors
/// [`HistoryError`]: disk and catalog, a query that is wrong.
pub async fn parity(lake: &Lake, history: &History, sample: &[Logged]) -> Result<Parity, HistoryError> {
    let mut found = Parity::default();
    let all = history.definitions();
    let definitions = all.select(&all.streamed())?;
    let plan = Arc::new(Plan::new(&definitions)?);
    let mut by_entity: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    let mut ends = Ends::default();
    for logged in sample {
        if !means_the_same(&definitions, logged) || plan.entity(&logged.entity).is_none() {
            found.outdated += 1;
        } else if !ends.are_behind(lake, logged).await? {
            found.waiting += 1;
        } else {
            by_entity.entry(&logged.entity).or_default().push(logged);
        }
    }
    for (entity, sample) in by_entity {
        let Some(id) = plan.entity(entity) else { continue };
        compare_entity(history, (&definitions, &plan), (entity, id), &sample, &mut found).await?;
    }
    for (name, feature) in &found.features {
        metrics_list::feature_skew(name, feature.mismatches as f64 / feature.values.max(1) as f64);
    }
    Ok(found)
}

/// Whether the features of a vector have the versions that they have now.
fn means_the_same(definitions: &Definitions, logged: &Logged) -> bool {
    let is_same = |(name, version): &(String, u32)| {
        definitions.feature(name).is_some_and(|feature| feature.version == *version)
    };
    logged.features.iter().all(is_same)
}

/// How far the raw tables have the topics.
#[derive(Default)]
struct Ends(BTreeMap<String, affluent_lake::Offsets>);

impl Ends {
    /// Whether the lake has every record that had been applied.
    async fn are_behind(&mut self, lake: &Lake, logged: &Logged) -> Result<bool, HistoryError> {
        for (partition, next) in &logged.applied {
            let topic = &*partition.topic;
            if !self.0.contains_key(topic) {
                let (namespace, name) = table_of(topic);
                let failed = || HistoryError::lake(format!("read {namespace}.{name}"));
                let offsets = match lake.table(namespace, &name).await {
                    Ok(table) => table.offsets().await.map_err(failed())?,
                    Err(LakeError::NotFound(_)) => affluent_lake::Offsets::default(),
                    Err(error) => return Err(failed()(error)),
                };
                self.0.insert(topic.to_owned(), offsets);
            }
            let end = self.0.get(topic).and_then(|offsets| offsets.get(topic, partition.partition));
            if end.unwrap_or(0) < *next {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An event of the sample's keys: its source's place among those read, its place there, and in Kafka.
type Found = (usize, usize, Place);

async fn compare_entity(
    history: &History,
    (definitions, plan): (&Definitions, &Arc<Plan>),
    (entity, id): (&str, EntityId),
    sample: &[&Logged],
    found: &mut Parity,
) -> Result<(), HistoryError> {
    let keys: HashSet<Key> = sample.iter().map(|logged| Key::text(&logged.key)).collect();
    let first = sample.iter().map(|logged| logged.at.time).min().unwrap_or(0);
    let kept = Kept {
        entity: Some(entity.to_owned()),
        keys: Keys::These(Arc::new(keys)),
        places: true,
        ..Kept::default()
    };
    // What had been applied is told by offsets alone.
    let range = Range { since: first.saturating_sub(reach(plan)), until: FOREVER };
    let session = history.session().await?;
    let mut names = Vec::new();
    for name in sources(definitions) {
        let has_entity = history.source(&name)?.entity(entity).is_some();
        if has_entity && history.unreadable(&session, history.source(&name)?).await?.is_none() {
            names.push(name);
        }
    }
    let mut feed = history.feed(&session, (definitions, plan), &names, range, &kept).await?;
    let mut pieces = Vec::new();
    let mut of_key: BTreeMap<Key, Vec<Found>> = BTreeMap::new();
    let mut held = 0;
    while let Some(piece) = feed.next(range.until).await? {
        for (source, events) in piece {
            held += events.len();
            for (place, ((key, _), at)) in events.texts.iter().zip(&events.places).enumerate() {
                of_key.entry(*key).or_default().push((pieces.len(), place, at.clone()));
            }
            pieces.push((source, events));
        }
        if held > EVENTS_MAX {
            let what = format!("the events of {} keys of {entity}", sample.len());
            return Err(HistoryError::Definition(format!(
                "{what} are more than {EVENTS_MAX}: take a smaller sample"
            )));
        }
    }
    for events in of_key.values_mut() {
        // As the stream read them: of two changes of one row the first counts.
        events.sort_by(|(_, _, a), (_, _, b)| a.cmp(b));
    }
    let shape = plan.entity_shape(id);
    for logged in sample {
        let mut engine = Engine::new(Arc::clone(plan), Options { any_order: true, ..Options::default() });
        let key = Key::text(&logged.key);
        for (piece, place, (topic, partition, offset)) in of_key.get(&key).into_iter().flatten() {
            let was_applied = |(known, next): (&affluent_bus::TopicPartition, &i64)| {
                *known.topic == **topic && known.partition == *partition && offset < next
            };
            if logged.applied.iter().any(was_applied) {
                let (source, events) = &pieces[*piece];
                let applied = events.with(*source, *place, |event| engine.apply(event).map(|_| ()));
                applied.map_err(|error| HistoryError::Definition(error.to_string()))?;
            }
        }
        let mut vector = vec![f64::NAN; shape.features.len()];
        engine.vector(id, Some(key), logged.at, plan.source(&logged.source), &mut vector);
        found.vectors += 1;
        for ((name, _), served) in logged.features.iter().zip(&logged.values) {
            if let Some(place) = shape.features.iter().position(|(known, _)| known == name) {
                found.compare(logged, name, *served, vector[place]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_features::At;

    #[test]
    fn values_are_compared_bit_for_bit() {
        let logged = Logged {
            entity: "customer".to_owned(),
            key: "42".to_owned(),
            source: "transactions".to_owned(),
            at: At::time(7),
            applied: BTreeMap::new(),
            features: Vec::new(),
            values: Vec::new(),
        };
        let mut found = Parity::default();
        found.compare(&logged, "a", f64::NAN, -f64::NAN);
        found.compare(&logged, "a", 0.1 + 0.2, 0.3);
        found.compare(&logged, "a", 1.0, f64::NAN);
        found.compare(&logged, "b", 2.0, 2.0);
        assert_eq!((found.values, found.mismatches, found.skew()), (4, 2, 0.5));
        let a = &found.features["a"];
        assert_eq!((a.values, a.mismatches, a.examples.len()), (3, 2, 2));
        assert_eq!((a.examples[1].served, a.examples[1].recomputed), (Some(1.0), None));
    }
}
