//! What the features of a payment are called: their names and versions in the order of a row, and words for people.

use affluent_features::Definitions;
use affluent_features::definition::{Compute, Span};
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
    /// Of the features of a row, such as [`affluent_features::plan::SourceShape::row`].
    ///
    /// # Errors
    /// [`UnknownFeature`]
    pub fn new(definitions: &Definitions, row: &[String]) -> Result<Self, UnknownFeature> {
        let mut features = Vec::new();
        for name in row {
            let feature = definitions.feature(name).ok_or_else(|| UnknownFeature(name.clone()))?;
            let version = FeatureVersion { name: name.clone(), version: feature.version };
            features.push((version, words(&feature.description, &feature.compute)));
        }
        Ok(Self::of(features))
    }

    /// Of names with their words.
    #[must_use]
    pub fn of(features: Vec<(FeatureVersion, String)>) -> Self {
        let places = features.iter().enumerate();
        let places = places.map(|(place, (feature, _))| (feature.name.clone(), place)).collect();
        let (names, words) = features.into_iter().unzip();
        Vocabulary { names: Arc::new(names), places: Arc::new(places), words: Arc::new(words) }
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

/// The first sentence's words, and the window that they do not name.
fn words(description: &str, compute: &Compute) -> String {
    let text = description.split_whitespace().collect::<Vec<&str>>().join(" ");
    let text = text.trim_end_matches('.');
    match compute {
        Compute::Window { window, .. } => match window.span {
            Span::Sliding(_) | Span::Session(_) => format!("{text} ({})", window.span),
            Span::CalendarDay => text.to_owned(),
        },
        Compute::Ratio { .. } | Compute::Request { .. } => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_features::Plan;

    #[test]
    fn every_streamed_feature_of_a_payment_has_words() {
        let definitions = Definitions::load(None).unwrap();
        let definitions = definitions.select(&definitions.streamed()).unwrap();
        let plan = Plan::new(&definitions).unwrap();
        let source = plan.source("transactions").unwrap();
        let vocabulary = Vocabulary::new(&definitions, &plan.source_shape(source).row).unwrap();
        let place = vocabulary.place("customer_payments_1h").unwrap();
        assert_eq!(vocabulary.names[place].name, "customer_payments_1h");
        assert_eq!(vocabulary.words(place), "Payments of the customer, the current one included (1h)");
        assert!((0..vocabulary.names.len()).all(|place| !vocabulary.words(place).is_empty()));
        let unknown = Vocabulary::new(&definitions, &["no_such".to_owned()]).unwrap_err();
        assert_eq!(unknown, UnknownFeature("no_such".to_owned()));
    }
}
