//! What the features of a payment are called: their names and versions in the order of a row, and words for people.

use affluent_features::Definitions;
use affluent_features::definition::{Compute, Feature, REQUEST, Span};
use affluent_learning::dataset::FeatureVersion;
use std::collections::HashMap;
use std::sync::Arc;

/// The features of a row. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    pub names: Arc<Vec<FeatureVersion>>,
    places: Arc<HashMap<String, usize>>,
    /// Of each feature, what it is.
    words: Arc<Vec<String>>,
}

/// A feature of a row that no definition has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no feature {0} in the definitions")]
pub struct UnknownFeature(pub String);

impl Vocabulary {
    /// Of the features of a row, as they are defined. Rows that share `names` are known by that alone.
    ///
    /// # Errors
    /// [`UnknownFeature`]
    pub fn new(definitions: &Definitions, names: Arc<Vec<FeatureVersion>>) -> Result<Self, UnknownFeature> {
        let word = |feature: &FeatureVersion| match definitions.feature(&feature.name) {
            Some(defined) => Ok(words(defined)),
            None => Err(UnknownFeature(feature.name.clone())),
        };
        let words = names.iter().map(word).collect::<Result<Vec<String>, UnknownFeature>>()?;
        Ok(Self::with(names, words))
    }

    /// Of names with their words.
    #[must_use]
    pub fn of(features: Vec<(FeatureVersion, String)>) -> Self {
        let (names, words) = features.into_iter().unzip();
        Self::with(Arc::new(names), words)
    }

    fn with(names: Arc<Vec<FeatureVersion>>, words: Vec<String>) -> Self {
        let places = names.iter().enumerate().map(|(place, feature)| (feature.name.clone(), place));
        Vocabulary { places: Arc::new(places.collect()), names, words: Arc::new(words) }
    }

    /// Where a feature stands in a row.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// What a feature is, for people.
    #[must_use]
    pub fn words(&self, place: usize) -> &str {
        &self.words[place]
    }
}

/// The description, with whose feature it is and over which window, where it does not say so itself.
fn words(feature: &Feature) -> String {
    let text = feature.description.split_whitespace().collect::<Vec<&str>>().join(" ");
    let text = text.trim_end_matches('.');
    let entity = feature.entity.replace('_', " ");
    let whose = if feature.entity == REQUEST || text.contains(&entity) {
        String::new()
    } else {
        format!("{entity}: ")
    };
    match &feature.compute {
        Compute::Window { window, .. } => match window.span {
            Span::Sliding(_) | Span::Session(_) => format!("{whose}{text} ({})", window.span),
            Span::CalendarDay => format!("{whose}{text}"),
        },
        Compute::Ratio { .. } | Compute::Request { .. } => format!("{whose}{text}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use affluent_features::Plan;

    /// Of the streamed features of payments, as they are shipped.
    pub(crate) fn shipped() -> Vocabulary {
        let definitions = Definitions::load(None).unwrap();
        let definitions = definitions.select(&definitions.streamed()).unwrap();
        let plan = Plan::new(&definitions).unwrap();
        let row = &plan.source_shape(plan.source("transactions").unwrap()).row;
        let name = |name: &String| {
            let version = definitions.feature(name).unwrap().version;
            FeatureVersion { name: name.clone(), version }
        };
        Vocabulary::new(&definitions, Arc::new(row.iter().map(name).collect())).unwrap()
    }

    #[test]
    fn every_streamed_feature_of_a_payment_has_words() {
        let vocabulary = shipped();
        let place = vocabulary.place("customer_payments_1h").unwrap();
        assert_eq!(vocabulary.names[place].name, "customer_payments_1h");
        assert_eq!(vocabulary.words(place), "Payments of the customer, the current one included (1h)");
        let words = |name: &str| vocabulary.words(vocabulary.place(name).unwrap());
        assert_eq!(words("device_cards"), "device: Different cards (1d)");
        assert_eq!(words("customer_payments_today"), "customer: Payments since midnight, UTC");
        assert!((0..vocabulary.names.len()).all(|place| !vocabulary.words(place).is_empty()));
        let names = vec![FeatureVersion { name: "no_such".to_owned(), version: 1 }];
        let definitions = Definitions::load(None).unwrap();
        let unknown = Vocabulary::new(&definitions, Arc::new(names)).unwrap_err();
        assert_eq!(unknown, UnknownFeature("no_such".to_owned()));
    }
}
