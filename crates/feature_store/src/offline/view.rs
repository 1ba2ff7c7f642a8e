//! What has to be read and computed for the features of one view. Pure.

use crate::history::HistoryError;
use affluent_features::Plan;
use affluent_features::definition::{Definitions, Feature, Freshness, REQUEST, nearest};
use affluent_features::plan::EntityId;
use std::fmt::Write as _;
use std::sync::Arc;

/// A view, as it is materialised.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    pub name: String,
    pub entity: String,
    pub(crate) entity_id: EntityId,
    /// The features of the view, and what their ratios are made of.
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) plan: Arc<Plan>,
    /// The sources whose events are read.
    pub(crate) sources: Vec<String>,
    /// The view's own features, each with its place in the entity's vector.
    pub(crate) features: Vec<(String, usize)>,
    /// How long before an instant events still count, in microseconds.
    pub(crate) reach: i64,
    /// How long before an instant an event keeps its key in any case.
    pub(crate) least: i64,
    /// What the features mean: names and versions with their digests, as text.
    pub(crate) meaning: String,
}

impl ViewPlan {
    /// The plan of a view.
    ///
    /// # Errors
    /// [`HistoryError::Definition`]: there is no such view, or it has no vector of its own: the features of a request are computed
    /// of the request.
    pub fn new(all: &Definitions, name: &str) -> Result<Self, HistoryError> {
        let view = all.views.get(name);
        let view = view.ok_or_else(|| {
            let near = nearest(name, all.views.keys().map(String::as_str));
            HistoryError::Definition(format!("there is no view {name}{near}"))
        })?;
        if view.entity == REQUEST {
            let message = format!("view {name} is of the event that asks: there is nothing to materialise");
            return Err(HistoryError::Definition(message));
        }
        let own: Vec<&Feature> = all.features.iter().filter(|feature| feature.view == name).collect();
        Self::of(all, name, &view.entity, &own)
    }

    /// The plan of all features of an entity that a job of this freshness keeps up in the online store; none where there are none.
    ///
    /// # Errors
    /// As [`ViewPlan::new`].
    pub(crate) fn served(
        all: &Definitions,
        entity: &str,
        class: Freshness,
    ) -> Result<Option<Self>, HistoryError> {
        let is_own = |feature: &&Feature| feature.entity == entity && feature.freshness == class;
        let own: Vec<&Feature> = all.features.iter().filter(is_own).collect();
        if own.is_empty() || class == Freshness::Stream {
            return Ok(None);
        }
        Self::of(all, &format!("{entity}/{}", class.as_str()), entity, &own).map(Some)
    }

    fn of(all: &Definitions, name: &str, entity: &str, own: &[&Feature]) -> Result<Self, HistoryError> {
        let names: Vec<&str> = own.iter().map(|feature| feature.name.as_str()).collect();
        let definitions = all.select(&names)?;
        let plan = Plan::new(&definitions)?;
        let unknown = || HistoryError::Definition(format!("{name} has no feature"));
        let entity_id = plan.entity(entity).ok_or_else(unknown)?;
        let vector = &plan.entity_shape(entity_id).features;
        let place = |name: &&str| vector.iter().position(|(known, _)| known == name);
        let features = names.iter().filter_map(|name| Some(((*name).to_owned(), place(name)?))).collect();
        let meaning = own.iter().fold(String::new(), |mut text, feature| {
            let _ = write!(text, "{}@{}:{} ", feature.name, feature.version, feature.digest);
            text
        });
        Ok(ViewPlan {
            name: name.to_owned(),
            entity: entity.to_owned(),
            entity_id,
            sources: sources(&definitions),
            features,
            reach: reach(&plan),
            least: spans(&plan).min().unwrap_or(0),
            meaning: meaning.trim_end().to_owned(),
            plan: Arc::new(plan),
            definitions: Arc::new(definitions),
        })
    }

    /// The views that a job of this freshness is about: those with a feature of it. What is kept up with the topics is
    /// materialised nightly.
    #[must_use]
    pub fn due(all: &Definitions, freshness: Freshness) -> Vec<&str> {
        let is_due = |feature: &&Feature| {
            let class =
                if feature.freshness == Freshness::Stream { Freshness::Nightly } else { feature.freshness };
            feature.entity != REQUEST && class == freshness
        };
        let mut views: Vec<&str> =
            all.features.iter().filter(is_due).map(|feature| feature.view.as_str()).collect();
        views.sort_unstable();
        views.dedup();
        views
    }

    /// Name and version of each of its features.
    pub(crate) fn versions(&self) -> Vec<(String, u32)> {
        let vector = &self.plan.entity_shape(self.entity_id).features;
        self.features.iter().map(|(_, place)| vector[*place].clone()).collect()
    }
}

/// The sources that features are computed from, each once and in order.
pub(crate) fn sources(definitions: &Definitions) -> Vec<String> {
    let all = definitions.features.iter().flat_map(|feature| definitions.sources_of(feature));
    let all: std::collections::BTreeSet<&str> = all.collect();
    all.into_iter().map(str::to_owned).collect()
}

/// How long before an instant events still count: the longest window, its delay, and what may come late.
pub(crate) fn reach(plan: &Plan) -> i64 {
    spans(plan).max().unwrap_or(0)
}

fn spans(plan: &Plan) -> impl Iterator<Item = i64> {
    plan.kept().into_iter().map(|kept| kept.window.saturating_add(kept.lateness))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_features::event::DAY;

    #[test]
    fn every_shipped_view_belongs_to_one_job_or_more() {
        let all = Definitions::load(None).unwrap();
        let classes = [Freshness::FiveMinutes, Freshness::Hour, Freshness::Nightly];
        let due: Vec<&str> = classes.iter().flat_map(|class| ViewPlan::due(&all, *class)).collect();
        for (name, view) in &all.views {
            assert_eq!(due.contains(&name.as_str()), view.entity != REQUEST, "{name}");
        }
        assert!(ViewPlan::due(&all, Freshness::Stream).is_empty());
    }

    #[test]
    fn a_view_reads_what_its_ratios_are_made_of_and_shows_its_own() {
        let all = Definitions::load(None).unwrap();
        let view = ViewPlan::new(&all, "terminal_labels").unwrap();
        assert_eq!(view.sources, ["fraud_labels", "transactions"]);
        assert_eq!(view.features.len(), 6);
        assert!(view.features.iter().all(|(name, _)| name.starts_with("terminal_fraud")));
        assert!(view.reach >= 37 * DAY, "{}", view.reach);
        assert!(view.meaning.starts_with("terminal_fraud_1d@1:"), "{}", view.meaning);
        let served = ViewPlan::served(&all, "customer", Freshness::Hour).unwrap().unwrap();
        assert!(served.features.iter().any(|(name, _)| name == "customer_fraud_30d"), "{served:?}");
        assert_eq!(served.versions().len(), served.features.len());
        assert!(ViewPlan::served(&all, "card", Freshness::Stream).unwrap().is_none());
        for (wrong, said) in [("payment", "of the event that asks"), ("nothing", "there is no view")] {
            assert!(ViewPlan::new(&all, wrong).unwrap_err().to_string().contains(said), "{wrong}");
        }
    }
}
