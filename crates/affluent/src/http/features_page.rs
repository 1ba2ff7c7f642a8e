//! The page at `/features`: every view with its features, what they compute, how fresh they are, and whether what was served is what
//! the lake says.

use super::health::samples;
use super::page::{answer, escape, head};
use super::{Problem, Shared};
use crate::features::{self, form};
use crate::platform::Platform;
use crate::sql::rows;
use affluent_features::Definitions;
use affluent_features::definition::{Feature, Freshness, View};
use affluent_lake::LakeFormat;
use affluent_lake::sql::{Engine, EngineOptions, Pins};
use affluent_model::time::{format_micros, now_micros};
use affluent_telemetry::latency::{self, Latency};
use affluent_telemetry::metrics_list;
use axum::extract::State;
use axum::response::Response;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Seconds between two readings of the page.
const REFRESH_S: u32 = 15;
/// The lake is asked no more often, however many read the page.
const KEPT: Duration = Duration::from_secs(10);

/// By view the newest instant of its vectors in the lake, microseconds UTC; or why that is not known.
type Instants = Result<BTreeMap<String, i64>, String>;

/// What the lake was found to have, and when.
#[derive(Default)]
pub(super) struct Materialised(Mutex<Option<(Instant, Instants)>>);

impl Materialised {
    async fn newest(&self, platform: &Platform, definitions: &Definitions) -> Instants {
        // Who comes meanwhile waits for the same answer.
        let mut known = self.0.lock().await;
        if let Some((at, found)) = &*known
            && at.elapsed() < KEPT
        {
            return found.clone();
        }
        let found = Box::pin(newest(platform, definitions)).await.map_err(|error| format!("{error:#}"));
        *known = Some((Instant::now(), found.clone()));
        found
    }
}

/// What is shown beside the definitions.
struct Facts {
    now: i64,
    instants: Instants,
    /// By feature, the part of the last sample that the lake gives otherwise.
    skew: BTreeMap<String, f64>,
    /// From commit or receipt to the online store, of features of freshness `stream`.
    online: Option<Latency>,
}

/// The page.
pub(super) async fn show(State(shared): State<Shared>) -> Result<Response, Problem> {
    let platform = &shared.platform;
    let definitions =
        features::load(platform.config()).map_err(|error| Problem::internal(format!("{error:#}")))?;
    let instants = shared.materialised.newest(platform, &definitions).await;
    let rendered = platform.metrics();
    let skew = samples(&rendered, metrics_list::FEATURE_SKEW);
    let skew = skew.filter_map(|(mut labels, ratio)| Some((labels.remove("feature")?, ratio))).collect();
    let online = latency::latencies().into_iter().find(|l| (l.pipeline, l.stop) == ("features", "online"));
    let facts = Facts { now: now_micros(), instants, skew, online };
    Ok(answer(render(&definitions, &facts)))
}

async fn newest(platform: &Platform, definitions: &Definitions) -> anyhow::Result<BTreeMap<String, i64>> {
    match platform.config().lake.format {
        // Vectors are in Iceberg tables.
        LakeFormat::Json => return Ok(BTreeMap::new()),
        LakeFormat::Iceberg => {}
    }
    let session =
        Engine::new(platform.lake().await?, EngineOptions::default())?.session(Pins::default()).await?;
    let mut found = BTreeMap::new();
    for view in definitions.views.keys() {
        let name = format!("features.{view}");
        if !session.tables().iter().any(|table| table.name == name) {
            continue;
        }
        let text = format!("select cast(cast(max(as_of) as bigint) as varchar) from {name}");
        let newest = rows(&session, &text).await?;
        let newest: Option<i64> = newest.first().and_then(|row| row.first()?.parse().ok());
        found.extend(newest.map(|newest| (view.clone(), newest)));
    }
    Ok(found)
}

fn render(definitions: &Definitions, facts: &Facts) -> String {
    let (count, views) = (definitions.features.len(), definitions.views.len());
    let mut html = head("Affluent: features", REFRESH_S);
    let _ =
        write!(html, "<h1>Features</h1><p><a href=/>Affluent</a> · {count} features in {views} views</p>");
    if let Err(error) = &facts.instants {
        let _ = write!(html, "<p class=failed>What is in the lake is not known: {}</p>", escape(error));
    }
    for (name, view) in &definitions.views {
        write_view(&mut html, (name.as_str(), view), facts);
        for feature in definitions.features.iter().filter(|feature| feature.view == *name) {
            write_feature(&mut html, definitions, feature, facts);
        }
        html.push_str("</table>");
    }
    html.push_str("</html>");
    html
}

fn write_view(html: &mut String, (name, view): (&str, &View), facts: &Facts) {
    let materialised = match newest_of(facts, name) {
        Some(at) => format!("{}, {} ago", format_micros(at, true), age(facts.now - at)),
        None => "never".to_owned(),
    };
    let _ = write!(
        html,
        "<h2>{}</h2><p>{}<br>entity {} · source {} · owner {} · last materialised as of: {materialised}</p>\
         <table><tr><th>feature<th>computes<th>window<th>sources<th>class<th class=n>version<th>freshness<th class=n>skew",
        escape(name),
        escape(&view.description),
        escape(&view.entity),
        escape(&view.source),
        escape(&view.owner),
    );
}

fn write_feature(html: &mut String, definitions: &Definitions, feature: &Feature, facts: &Facts) {
    let freshness = match (feature.freshness, &facts.online) {
        (Freshness::Stream, Some(online)) => format!("p99 {:.3} s", online.p99),
        (Freshness::Stream, None) => "-".to_owned(),
        (Freshness::FiveMinutes | Freshness::Hour | Freshness::Nightly, _) => {
            newest_of(facts, &feature.view).map_or("-".to_owned(), |at| age(facts.now - at))
        }
    };
    let skew = facts.skew.get(&feature.name).map_or("-".to_owned(), |ratio| ratio.to_string());
    let _ = write!(
        html,
        "<tr><td title=\"{}\">{}<td>{}<td>{}<td>{}<td>{}<td class=n>{}<td>{freshness}<td class=n>{skew}",
        escape(&feature.description),
        escape(&feature.name),
        escape(&form::aggregate(definitions, feature)),
        escape(&form::windows(definitions, feature)),
        escape(&form::sources(definitions, feature)),
        feature.freshness.as_str(),
        feature.version,
    );
}

fn newest_of(facts: &Facts, view: &str) -> Option<i64> {
    facts.instants.as_ref().ok()?.get(view).copied()
}

/// A length of time (microseconds) in its largest unit that fits twice.
fn age(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(instants: Instants) -> Facts {
        let online =
            Latency { pipeline: "features", stop: "online", records: 9, p50: 0.1, p99: 0.25, max: 1.0 };
        let skew = [("customer_velocity".to_owned(), 0.5)].into();
        Facts { now: 7_200_000_000, instants, skew, online: Some(online) }
    }

    /// The row of a feature.
    fn row<'a>(html: &'a str, feature: &str) -> &'a str {
        let name = format!(">{feature}<");
        html.split("<tr>").find(|row| row.contains(&name)).unwrap()
    }

    #[test]
    fn every_definition_is_there_with_how_fresh_it_is() {
        let definitions = Definitions::load(None).unwrap();
        let html = render(&definitions, &facts(Ok([("customer_refunds".to_owned(), 3_600_000_000)].into())));
        for feature in &definitions.features {
            row(&html, &feature.name);
        }
        let velocity = row(&html, "customer_velocity");
        for said in ["ratio", "1h / 1d", "transactions", "stream", "p99 0.250 s", "<td class=n>0.5"] {
            assert!(velocity.contains(said), "{said}: {velocity}");
        }
        let refunds = row(&html, "customer_refunds_7d");
        assert!(refunds.contains("<td>1h<td class=n>1<td>60 min<td class=n>-"), "{refunds}");
        assert!(html.contains("last materialised as of: 1970-01-01T01:00:00.000000Z, 60 min ago"), "{html}");
        assert!(html.contains("last materialised as of: never"), "{html}");
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let mut definitions = Definitions::load(None).unwrap();
        definitions.views.get_mut("customers").unwrap().owner = "<script>".to_owned();
        definitions.features[0].description = "\"><script>".to_owned();
        let html = render(&definitions, &facts(Err("no <lake>".to_owned())));
        assert!(!html.contains("<script>") && html.contains("owner &lt;script&gt;"), "{html}");
        assert!(html.contains("title=\"&quot;&gt;&lt;script&gt;\""), "{html}");
        assert!(html.contains("not known: no &lt;lake&gt;"), "{html}");
    }

    #[test]
    fn ages_are_told_in_a_fitting_unit() {
        for (seconds, told) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
        {
            assert_eq!(age(seconds * 1_000_000), told);
        }
        assert_eq!(age(-1), "0 s");
    }
}
