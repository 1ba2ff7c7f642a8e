//! What a feature is: files that people write, checked into types that cannot be wrong.
//!
//! `sources/NAME.toml` describes a stream of events: its columns, its entities, its clock. `NAME.toml` is a view: the
//! features of one entity over one source. The shipped files are compiled in; a directory of the user's overrides them
//! path by path and adds to them.
//!
//! Invariant: a key that nobody knows is an error that names the nearest known one; a changed meaning is a new version.

mod derived;
mod error;
mod feature;
mod file;
pub mod filter;
mod keys;
mod load;
mod source;
mod versions;
mod window;

pub use derived::{Argument, Derived, Function};
pub use error::DefinitionError;
pub use feature::{Aggregate, Compute, Feature, Freshness, View, Written};
pub use filter::Filter;
pub use keys::nearest;
pub use source::{Column, ColumnType, Source};
pub use versions::Versions;
pub use window::{SESSION_MAX, Span, Window, duration_text, parse_duration};

use std::collections::BTreeMap;

/// All definitions: sources and views by name, features in the order of their files.
#[derive(Debug, Clone, PartialEq)]
pub struct Definitions {
    pub sources: BTreeMap<String, Source>,
    pub views: BTreeMap<String, View>,
    pub features: Vec<Feature>,
}

/// At most so many features, over all files.
pub const FEATURES_MAX: usize = 10_000;

/// The entity of features that look at the event of the request alone.
pub const REQUEST: &str = "request";

impl Definitions {
    /// The feature of this name.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// The sources that a feature is computed from, in the order in which it names them: two for a ratio over both.
    #[must_use]
    pub fn sources_of<'a>(&'a self, feature: &'a Feature) -> Vec<&'a str> {
        match &feature.compute {
            Compute::Window { source, .. } | Compute::Request { source, .. } => vec![source],
            Compute::Ratio { of, to } => {
                let parts = [of, to].into_iter().filter_map(|part| self.feature(part));
                let mut sources: Vec<&str> = parts.flat_map(|part| self.sources_of(part)).collect();
                sources.dedup();
                sources
            }
        }
    }

    /// These features alone, with those that ratios among them are made of. Sources and views stay.
    ///
    /// # Errors
    /// [`DefinitionError::Unknown`] for a name that no feature has.
    pub fn select(&self, names: &[&str]) -> Result<Definitions, DefinitionError> {
        let mut wanted = std::collections::BTreeSet::new();
        let mut open: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        while let Some(name) = open.pop() {
            let feature = self.feature(&name).ok_or_else(|| {
                let near = keys::nearest(&name, self.features.iter().map(|f| f.name.as_str()));
                DefinitionError::Unknown { kind: "feature", name: name.clone(), near }
            })?;
            if let Compute::Ratio { of, to } = &feature.compute {
                open.extend([of.clone(), to.clone()]);
            }
            wanted.insert(name);
        }
        let features = self.features.iter().filter(|f| wanted.contains(&f.name)).cloned().collect();
        Ok(Definitions { sources: self.sources.clone(), views: self.views.clone(), features })
    }

    /// What a feature of freshness `stream` needs that its topic does not carry.
    fn unseen(&self, feature: &Feature) -> Option<String> {
        let (Compute::Window { source, .. } | Compute::Request { source, .. }) = &feature.compute else {
            return None;
        };
        let source = self.sources.get(source).filter(|source| source.topic.is_some())?;
        let reads = feature.compute.reads().into_iter().map(|column| &source.columns[column].name);
        let column = reads.into_iter().find(|name| source.lake_columns.contains(name))?;
        (feature.freshness == Freshness::Stream).then(|| {
            let (feature, source) = (&feature.name, &source.name);
            format!("{feature}: the topic of {source} has no {column}: choose freshness 5m, 1h or nightly")
        })
    }

    /// The features that a stream of topics gives: of freshness `stream`, with nothing but sources that have a topic. Those of the event itself
    /// are among them: they are in its row, and need no state.
    #[must_use]
    pub fn streamed(&self) -> Vec<&str> {
        let has_topic = |name: &&str| self.sources.get(*name).is_some_and(|source| source.topic.is_some());
        let streamed = self.features.iter().filter(|feature| {
            feature.freshness == Freshness::Stream && self.sources_of(feature).iter().all(has_topic)
        });
        streamed.map(|feature| feature.name.as_str()).collect()
    }

    /// Checks what no file can check alone: names are unique, sources and the parts of ratios are there.
    fn check(self) -> Result<Self, DefinitionError> {
        if self.features.len() > FEATURES_MAX {
            return Err(DefinitionError::TooMany(FEATURES_MAX));
        }
        let mut names: BTreeMap<&str, &Feature> = BTreeMap::new();
        for feature in &self.features {
            if let Some(other) = names.insert(&feature.name, feature) {
                let message = format!("{} is defined here and in {}", feature.name, other.file);
                return Err(DefinitionError::file(&feature.file, message));
            }
        }
        for feature in &self.features {
            if let Some(message) = self.unseen(feature) {
                return Err(DefinitionError::file(&feature.file, message));
            }
            let Compute::Ratio { of, to } = &feature.compute else { continue };
            for part in [of, to] {
                let wrong = |message| Err(DefinitionError::file(&feature.file, message));
                match names.get(part.as_str()) {
                    None => {
                        let near = keys::nearest(part, names.keys().copied());
                        return wrong(format!("{}: there is no feature {part}{near}", feature.name));
                    }
                    Some(f) if f.entity != feature.entity => {
                        return wrong(format!("{}: {part} is a feature of another entity", feature.name));
                    }
                    Some(f) if matches!(f.compute, Compute::Ratio { .. }) => {
                        return wrong(format!("{}: {part} is a ratio itself", feature.name));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(self)
    }
}
