//! Which features of a source's events can be read.

use super::planned::belongs;
use crate::history::HistoryError;
use crate::offline::Offline;
use std::collections::{BTreeMap, BTreeSet};

/// The features of an event of `source` that can be read, and in words why others cannot. A set without features of its own takes all
/// that there are, and none where a table is missing; this is for who would rather do without.
///
/// # Errors
/// [`HistoryError`]: no such source.
pub async fn readable(offline: &Offline, source: &str) -> Result<(Vec<String>, Vec<String>), HistoryError> {
    let history = offline.history();
    let definitions = history.definitions();
    let spine = history.source(source)?;
    let session = history.session().await?;
    let mut missing: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut features, mut left_out) = (Vec::new(), BTreeSet::new());
    for feature in definitions.features.iter().filter(|feature| belongs(definitions, spine, feature)) {
        let mut why = None;
        for name in definitions.sources_of(feature) {
            if !missing.contains_key(name) {
                let found = history.unreadable(&session, history.source(name)?).await?;
                missing.insert(name.to_owned(), found);
            }
            why = why.or(missing.get(name).cloned().flatten());
        }
        match why {
            None => features.push(feature.name.clone()),
            Some(why) => {
                left_out.insert(format!("features of {}: {why}", feature.view));
            }
        }
    }
    Ok((features, left_out.into_iter().collect()))
}
