//! What the pages of the features show: definitions, the newest vectors in the lake, skew, and how values lie.

use super::recent::{self, WANTED};
use super::warehouse::{Warehouse, named, quoted};
use super::{Route, Visitor, page};
use crate::features::{self, form};
use crate::http::health::samples;
use crate::http::options::Access;
use crate::http::{Problem, Shared, documents};
use crate::platform::Platform;
use affluent_console::distribution::Distribution;
use affluent_console::features::{self as pages, Feature, Features, One, View};
use affluent_features::Definitions;
use affluent_features::definition::{self, Freshness};
use affluent_lake::LakeFormat;
use affluent_model::time::{format_micros, now_micros};
use affluent_telemetry::latency;
use affluent_telemetry::metrics_list;
use anyhow::{Context as _, bail};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The lake is asked what is newest no more often, however many read the pages.
const KEPT: Duration = Duration::from_secs(10);
/// It has this long to say so, of all views.
const LOOK: Duration = Duration::from_secs(15);
/// Rows of the lake that a distribution is made of.
const ROWS: usize = 20_000;

/// By view the newest instant of its vectors in the lake, microseconds UTC; or why that is not known.
type Instants = Result<BTreeMap<String, i64>, String>;

/// What the lake was found to have, and when.
#[derive(Default)]
pub(super) struct Materialised(Mutex<Option<(Instant, Instants)>>);

pub(super) fn routes() -> Vec<Route> {
    let reading: &[Access] = &[Access::Read];
    vec![
        Route { path: "/console/features", roles: reading, handler: get(list) },
        Route { path: "/console/features/{feature}", roles: reading, handler: get(one) },
    ]
}

/// Every view with its features.
async fn list(State(shared): State<Shared>, visitor: Visitor) -> Result<Response, Problem> {
    let facts = Facts::of(&shared).await?;
    let definitions = &facts.definitions;
    let views = definitions.views.iter().map(|(name, view)| facts.view(name, view)).collect();
    let features = definitions.features.iter().map(|feature| facts.feature(feature)).collect();
    let problem = facts.instants.as_ref().err().cloned();
    let all = Features { now: facts.now, views, features, problem };
    Ok(page(pages::list(&visitor.viewer, &all)))
}

/// One feature with how its values lie.
async fn one(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let facts = Facts::of(&shared).await?;
    let unknown = || Problem::not_found(format!("there is no feature {name:?}"));
    let feature = facts.definitions.feature(&name).ok_or_else(unknown)?;
    let view = facts.definitions.views.get(&feature.view).ok_or_else(unknown)?;
    let (stored, problem) = match stored(&shared, &facts, feature).await {
        Ok(stored) => (stored, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let asked = One {
        view: facts.view(&feature.view, view),
        feature: facts.feature(feature),
        definition: definition_lines(&form::feature_json(&facts.definitions, feature)),
        served: served(&shared, feature).await?,
        stored,
        problem,
    };
    Ok(page(pages::one(&visitor.viewer, &asked, facts.now)))
}

/// Definitions, and what is known of their values.
struct Facts {
    now: i64,
    definitions: Definitions,
    instants: Instants,
    /// By feature, the part of the last sample that the lake gives otherwise.
    skew: BTreeMap<String, f64>,
    /// From commit or receipt to the online store, 99th percentile in seconds, of features of freshness `stream`.
    online: Option<f64>,
}

impl Facts {
    async fn of(shared: &Shared) -> Result<Self, Problem> {
        let platform = &shared.platform;
        let definitions = features::load(platform.config());
        let definitions = definitions.map_err(|error| Problem::internal(format!("{error:#}")))?;
        let instants = shared.warehouse.materialised.newest(platform, &shared.warehouse, &definitions).await;
        let rendered = platform.metrics();
        let skew = samples(&rendered, metrics_list::FEATURE_SKEW);
        let skew = skew.filter_map(|(mut labels, ratio)| Some((labels.remove("feature")?, ratio))).collect();
        let online =
            latency::latencies().into_iter().find(|l| (l.pipeline, l.stop) == ("features", "online"));
        Ok(Facts { now: now_micros(), definitions, instants, skew, online: online.map(|l| l.p99) })
    }

    fn newest(&self, view: &str) -> Option<i64> {
        self.instants.as_ref().ok()?.get(view).copied()
    }

    fn view(&self, name: &str, view: &definition::View) -> View {
        View {
            name: name.to_owned(),
            description: view.description.clone(),
            entity: view.entity.clone(),
            source: view.source.clone(),
            owner: view.owner.clone(),
            newest: self.newest(name),
        }
    }

    fn feature(&self, feature: &definition::Feature) -> Feature {
        let age = match feature.freshness {
            Freshness::Stream => self.online,
            Freshness::FiveMinutes | Freshness::Hour | Freshness::Nightly => {
                self.newest(&feature.view).map(|newest| (self.now - newest).max(0) as f64 / 1e6)
            }
        };
        Feature {
            name: feature.name.clone(),
            view: feature.view.clone(),
            description: feature.description.clone(),
            computes: form::aggregate(&self.definitions, feature),
            window: form::windows(&self.definitions, feature),
            sources: form::sources(&self.definitions, feature),
            class: feature.freshness.as_str(),
            version: feature.version,
            age,
            skew: self.skew.get(&feature.name).copied(),
        }
    }
}

impl Materialised {
    async fn newest(
        &self,
        platform: &Platform,
        warehouse: &Warehouse,
        definitions: &Definitions,
    ) -> Instants {
        // Who comes meanwhile waits for the same answer.
        let mut known = self.0.lock().await;
        if let Some((at, found)) = &*known
            && at.elapsed() < KEPT
        {
            return found.clone();
        }
        let looking = tokio::time::timeout(LOOK, newest(platform, warehouse, definitions));
        let found = match Box::pin(looking).await {
            Ok(found) => found.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("the lake needs more than {} s", LOOK.as_secs())),
        };
        *known = Some((Instant::now(), found.clone()));
        found
    }
}

async fn newest(
    platform: &Platform,
    warehouse: &Warehouse,
    definitions: &Definitions,
) -> anyhow::Result<BTreeMap<String, i64>> {
    match platform.config().lake.format {
        // Vectors are in Iceberg tables.
        LakeFormat::Json => return Ok(BTreeMap::new()),
        LakeFormat::Iceberg => {}
    }
    let (session, _) = warehouse.session(platform).await?;
    let mut found = BTreeMap::new();
    for view in definitions.views.keys() {
        let name = format!("features.{view}");
        if !session.tables().iter().any(|table| table.name == name) {
            continue;
        }
        let text = format!("select cast(cast(max(as_of) as bigint) as varchar) from {name}");
        let newest = warehouse.aside(&session, &text).await?;
        let newest: Option<i64> = newest.first().and_then(|row| row.first()?.parse().ok());
        found.extend(newest.map(|newest| (view.clone(), newest)));
    }
    Ok(found)
}

/// Of the newest vectors in the lake; none where there are none.
async fn stored(
    shared: &Shared,
    facts: &Facts,
    feature: &definition::Feature,
) -> anyhow::Result<Option<Distribution>> {
    if let Err(why) = &facts.instants {
        bail!("{why}");
    }
    let Some(newest) = facts.newest(&feature.view) else { return Ok(None) };
    let _turn = shared.warehouse.turn().ok().context("the lake is busy with other questions")?;
    let (session, _) = shared.warehouse.session(&shared.platform).await?;
    let text = format!(
        "select cast({} as varchar) from features.{} where as_of = {} limit {ROWS}",
        named(&feature.name),
        feature.view,
        quoted(&format_micros(newest, true))
    );
    let rows = shared.warehouse.aside(&session, &text).await?;
    let numbers = rows.iter().map(|row| row.first().and_then(|value| value.parse().ok()));
    Ok(Distribution::of(numbers))
}

/// Of the payments that were scored last by this version; none where it has no part in scores.
async fn served(shared: &Shared, feature: &definition::Feature) -> Result<Option<Distribution>, Problem> {
    let store = documents::store(shared).await?;
    let label = format!("{}@{}", feature.name, feature.version);
    let records = recent::records(store.as_ref(), None, now_micros(), WANTED).await?;
    let value = |record: &affluent_scoring::Record| {
        let place = record.feature_names.split(' ').position(|name| name == label)?;
        record.features.get(place).copied()
    };
    Ok(Distribution::of(records.iter().filter_map(value)))
}

/// What a definition says, without what it leaves open.
fn definition_lines(definition: &Json) -> Vec<(String, String)> {
    let line = |(name, value): (&String, &Json)| {
        let said = match value {
            Json::Null => return None,
            Json::String(text) => text.clone(),
            Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
        };
        Some((name.clone(), said))
    };
    definition.as_object().into_iter().flatten().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(instants: Instants) -> Facts {
        let skew = [("customer_velocity".to_owned(), 0.5)].into();
        let definitions = Definitions::load(None).unwrap();
        Facts { now: 7_200_000_000, definitions, instants, skew, online: Some(0.25) }
    }

    #[test]
    fn a_feature_is_as_fresh_as_its_class_promises() {
        let facts = facts(Ok([("customer_refunds".to_owned(), 3_600_000_000)].into()));
        let of = |name: &str| facts.feature(facts.definitions.feature(name).unwrap());
        let velocity = of("customer_velocity");
        assert_eq!((velocity.age, velocity.skew, velocity.class), (Some(0.25), Some(0.5), "stream"));
        let refunds = of("customer_refunds_7d");
        assert_eq!((refunds.age, refunds.skew), (Some(3_600.0), None));
        assert_eq!(facts.view("customers", &facts.definitions.views["customers"]).newest, None);
    }

    #[test]
    fn a_definition_is_told_without_what_it_leaves_open() {
        let facts = facts(Err("no lake".to_owned()));
        let feature = facts.definitions.feature("customer_velocity").unwrap();
        let lines = definition_lines(&form::feature_json(&facts.definitions, feature));
        let has = |name: &str| lines.iter().any(|(line, _)| line == name);
        assert!(has("of") && has("to") && !has("window"), "{lines:?}");
        assert!(facts.newest("customers").is_none());
    }
}
