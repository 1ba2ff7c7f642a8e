//! What has to be read and computed for a training set: of all its entities at once, or of one after the other. Pure.

use super::TrainingSet;
use crate::history::HistoryError;
use crate::offline::{reach, sources};
use affluent_features::definition::{Definitions, Feature, REQUEST, Source};
use affluent_features::{Plan, SourceId};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// What is read and computed for a set.
pub(super) struct Planned {
    pub(super) definitions: Definitions,
    pub(super) plan: Arc<Plan>,
    /// The source whose events are the rows.
    pub(super) spine: SourceId,
    pub(super) lateness: i64,
    pub(super) sources: Vec<String>,
    pub(super) reach: i64,
    /// The set's features: names, and places in the row of an event.
    pub(super) places: Vec<(String, usize)>,
    /// What the set means, as text.
    pub(super) meaning: String,
}

/// The same for the features of one entity alone.
pub(super) struct Part {
    pub(super) entity: String,
    /// The place of its key among those of an event.
    pub(super) key: usize,
    pub(super) definitions: Definitions,
    pub(super) plan: Arc<Plan>,
    pub(super) spine: SourceId,
    pub(super) sources: Vec<String>,
    pub(super) reach: i64,
    /// Of each feature its place in the row of an event here, and in that of the set.
    pub(super) places: Vec<(usize, usize)>,
}

impl Planned {
    pub(super) fn new(all: &Definitions, set: &TrainingSet) -> Result<Self, HistoryError> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !is_name(&set.name) {
            let message = format!("{:?} is no name of a training set: small letters, digits and _", set.name);
            return Err(HistoryError::Definition(message));
        }
        let source = all.sources.get(&set.source);
        let source =
            source.ok_or_else(|| HistoryError::Definition(format!("there is no source {}", set.source)))?;
        let wanted: Vec<&str> = match set.features.as_slice() {
            [] => {
                let own = all.features.iter().filter(|feature| belongs(all, source, feature));
                own.map(|feature| feature.name.as_str()).collect()
            }
            names => names.iter().map(String::as_str).collect(),
        };
        let definitions = all.select(&wanted)?;
        let plan = Plan::new(&definitions)?;
        let spine = spine(&plan, set)?;
        let row = &plan.source_shape(spine).row;
        let mut places = Vec::new();
        for name in &wanted {
            let place = row.iter().position(|known| known == name).ok_or_else(|| {
                HistoryError::Definition(format!("{name} is no feature of an event of {}", set.source))
            })?;
            places.push(((*name).to_owned(), place));
        }
        let mut meaning = format!("{} {} {} {} {:?} ", set.source, set.from, set.to, set.as_of, set.label);
        for feature in definitions.features.iter().filter(|feature| wanted.contains(&feature.name.as_str())) {
            let _ = write!(meaning, "{}@{}:{} ", feature.name, feature.version, feature.digest);
        }
        Ok(Planned {
            spine,
            lateness: source.lateness,
            sources: with_spine(&definitions, set),
            reach: reach(&plan),
            places,
            meaning,
            plan: Arc::new(plan),
            definitions,
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.places.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Its features by entity; those of the event itself are in none.
    pub(super) fn parts(&self, set: &TrainingSet) -> Result<Vec<Part>, HistoryError> {
        let entity_of = |name: &str| self.definitions.feature(name).map(|feature| feature.entity.as_str());
        let entities: BTreeSet<&str> = self.places.iter().filter_map(|(name, _)| entity_of(name)).collect();
        let keys = &self.plan.source_shape(self.spine).entities;
        let mut parts = Vec::new();
        for entity in entities {
            let Some(key) = keys.iter().position(|(name, _)| name == entity) else { continue };
            let own = self.places.iter().filter(|(name, _)| entity_of(name) == Some(entity));
            let names: Vec<&str> = own.clone().map(|(name, _)| name.as_str()).collect();
            let definitions = self.definitions.select(&names)?;
            let plan = Plan::new(&definitions)?;
            let spine = spine(&plan, set)?;
            let row = &plan.source_shape(spine).row;
            let places = own.filter_map(|(name, place)| Some((row.iter().position(|r| r == name)?, *place)));
            parts.push(Part {
                entity: entity.to_owned(),
                key,
                places: places.collect(),
                spine,
                sources: with_spine(&definitions, set),
                reach: reach(&plan),
                plan: Arc::new(plan),
                definitions,
            });
        }
        Ok(parts)
    }
}

/// Whether it is a feature of an event of a source.
pub(super) fn belongs(definitions: &Definitions, source: &Source, feature: &Feature) -> bool {
    match feature.entity.as_str() {
        REQUEST => definitions.sources_of(feature) == [source.name.as_str()],
        entity => source.entity(entity).is_some(),
    }
}

fn spine(plan: &Plan, set: &TrainingSet) -> Result<SourceId, HistoryError> {
    let none = || HistoryError::Definition(format!("no feature is of the events of {}", set.source));
    plan.source(&set.source).ok_or_else(none)
}

/// The sources that features are computed from, and the one whose events are the rows.
fn with_spine(definitions: &Definitions, set: &TrainingSet) -> Vec<String> {
    let mut sources = sources(definitions);
    if !sources.contains(&set.source) {
        sources.push(set.source.clone());
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_set_by_entity() {
        let all = Definitions::load(None).unwrap();
        let features =
            ["payment_hour", "customer_velocity", "terminal_fraud_rate_7d", "customer_payments_7d"];
        let set = TrainingSet {
            name: "a".to_owned(),
            source: "transactions".to_owned(),
            features: features.map(str::to_owned).to_vec(),
            from: 0,
            to: 1,
            as_of: 1,
            label: None,
        };
        let planned = Planned::new(&all, &set).unwrap();
        let parts = planned.parts(&set).unwrap();
        let entities: Vec<&str> = parts.iter().map(|part| part.entity.as_str()).collect();
        assert_eq!(entities, ["customer", "terminal"]);
        let place = |name: &str| planned.places.iter().find(|(known, _)| known == name).unwrap().1;
        let of_set: Vec<usize> = parts[0].places.iter().map(|(_, place)| *place).collect();
        assert_eq!(of_set, [place("customer_velocity"), place("customer_payments_7d")]);
        assert_eq!(parts[1].sources, ["fraud_labels", "transactions"]);
        assert_eq!(parts[1].reach, planned.reach);
        assert!(parts[0].reach < planned.reach);
    }
}
