//! The demo's features: when everything has arrived, the pipelines of features run once; then it is counted which features have got
//! values from which sources, and a sample of what was served beside the load is computed once more from the lake.

use crate::batch;
use crate::features;
use crate::platform::Platform;
use affluent_documents::{DocumentStore, Scan};
use affluent_feature_store::online::COLLECTION;
use affluent_feature_store::parity::{Parity, parity, sample};
use affluent_features::Definitions;
use affluent_features::definition::REQUEST;
use affluent_model::Value;
use affluent_model::time::now_micros;
use affluent_schedule::{
    FEATURES_1H, FEATURES_5M, FEATURES_NIGHTLY, Interval, Pipeline, Reason, Request, RunEnd, Runner,
};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The pipelines that compute what is not kept up with the topics.
const PIPELINES: [&str; 3] = [FEATURES_5M, FEATURES_1H, FEATURES_NIGHTLY];
/// Logged vectors that are computed once more.
const SAMPLE: usize = 500;
/// Documents of a page.
const PAGE: usize = 1_000;
/// A run waits so long for another that is in its way.
const WAIT: Duration = Duration::from_secs(60);

/// What features came to.
#[derive(Debug, Default)]
pub(super) struct Computed {
    /// How many features have a value of any key.
    pub(super) features: usize,
    /// Of each source that events can come from.
    pub(super) sources: BTreeMap<String, OfSource>,
    /// Rows that the pipelines wrote, and how long they took, seconds.
    pub(super) rows: u64,
    pub(super) seconds: f64,
    pub(super) parity: Parity,
}

/// What came of one source.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct OfSource {
    /// Features that it has a part in and that have a value.
    pub(super) features: usize,
    /// Its events have given a feature another value than it has without any.
    pub(super) counted: bool,
}

/// Runs the pipelines, reads the online store, and compares.
///
/// # Errors
/// A pipeline that fails; stores that do not answer.
pub(super) async fn compute(platform: &Platform) -> anyhow::Result<Computed> {
    let (lake, store) = (platform.lake().await?, platform.documents().await?);
    let begun = Instant::now();
    let rows = materialise(platform).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let offline = features::offline(platform.config(), &lake)?;
    let definitions = offline.history().definitions();
    let seen = seen(store.as_ref(), definitions).await.context("read the online store")?;
    let logged =
        sample(store.as_ref(), SAMPLE, now_micros()).await.context("choose some of the served vectors")?;
    let parity = parity(&lake, offline.history(), &logged).await.context("compute what was served again")?;
    let (features, sources) = (seen.len(), of_sources(definitions, &seen));
    Ok(Computed { features, sources, rows, seconds, parity })
}

/// Runs each pipeline as of now; how many rows they wrote.
async fn materialise(platform: &Platform) -> anyhow::Result<u64> {
    let (config, lake) = (platform.config(), platform.lake().await?);
    let pipelines = features::pipelines(config, &lake, Some(platform.documents().await?))?;
    let runner = Runner::new(batch::ledger(&config.schedule).await?, config.schedule.clone());
    let mut rows = 0;
    for pipeline in pipelines.iter().filter(|pipeline| PIPELINES.contains(&pipeline.name())) {
        rows += run(&runner, pipeline).await?;
    }
    Ok(rows)
}

async fn run(runner: &Runner, pipeline: &Pipeline) -> anyhow::Result<u64> {
    let (name, now) = (pipeline.name(), now_micros());
    let interval = Interval::new(now - 1, now)?;
    let request = Request { interval, only: None, fresh: true, reason: Reason::Manual, wait: WAIT };
    let end = runner.run(pipeline, &request, &CancellationToken::new()).await?;
    let (RunEnd::Succeeded { run } | RunEnd::Skipped { run }) = end else {
        bail!("{name} ended otherwise than expected: {end:?}");
    };
    let record = runner.ledger().run(run).await?;
    let record = record.with_context(|| format!("run {run} of {name} is not in the ledger"))?;
    Ok(record.tasks.iter().map(|task| task.rows_out).sum())
}

/// The features that have a value of any key in the online store; of each, whether one differs from what it is without events.
async fn seen(
    store: &dyn DocumentStore,
    definitions: &Definitions,
) -> anyhow::Result<BTreeMap<String, bool>> {
    let without: BTreeMap<&str, f64> =
        definitions.features.iter().map(|f| (f.name.as_str(), f.default.unwrap_or(0.0))).collect();
    let (mut seen, mut scan) = (BTreeMap::new(), Scan::all(PAGE));
    loop {
        let page = store.scan(COLLECTION, &scan).await?;
        for (name, value) in page.documents.iter().flat_map(|document| &document.fields) {
            if let (Value::Float(value), Some(without)) = (value, without.get(name.as_str())) {
                let differs = *value != *without && *value != 0.0;
                *seen.entry(name.clone()).or_default() |= differs;
            }
        }
        match page.next {
            Some(next) => scan.after = Some(next),
            None => return Ok(seen),
        }
    }
}

/// What came of each source that has a topic or a query: others are of imported files.
fn of_sources(definitions: &Definitions, seen: &BTreeMap<String, bool>) -> BTreeMap<String, OfSource> {
    let stored = definitions.features.iter().filter(|feature| feature.entity != REQUEST);
    let used: BTreeSet<&str> = stored.flat_map(|feature| definitions.sources_of(feature)).collect();
    let has_events = |name: &&str| {
        let source = definitions.sources.get(*name);
        source.is_some_and(|source| source.topic.is_some() || source.query.is_some())
    };
    let mut sources: BTreeMap<String, OfSource> =
        used.into_iter().filter(has_events).map(|name| (name.to_owned(), OfSource::default())).collect();
    for (name, differs) in seen {
        let of = definitions.feature(name).map(|feature| definitions.sources_of(feature)).unwrap_or_default();
        for source in &of {
            if let Some(found) = sources.get_mut(*source) {
                found.features += 1;
                found.counted |= *differs && of.len() == 1;
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_documents::{Action, CollectionSpec, EmbeddedOptions, EmbeddedStore, VersionedWrite};
    use affluent_model::Position;

    #[tokio::test]
    async fn a_source_counts_where_its_events_moved_a_value() {
        let definitions = Definitions::load(None).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options =
            EmbeddedOptions { path: Some(directory.path().to_owned()), ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(options, 3_600).await.unwrap();
        store.ensure(&CollectionSpec::new(COLLECTION)).await.unwrap();
        let put = |id: &str, fields: &[(&str, Value)]| VersionedWrite {
            id: id.to_owned(),
            version: Position::new(1, 0),
            action: Action::Put(fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect()),
        };
        let writes = vec![
            put(
                "customer/1h/1",
                &[("entity", Value::Text("customer".to_owned())), ("customer_refunds_7d", Value::Float(2.0))],
            ),
            put(
                "customer/1h/2",
                &[("customer_disputes_30d", Value::Float(0.0)), ("customer_refunded_sum", Value::Null)],
            ),
            put(
                "customer/stream/1",
                &[("customer_amount_to_mean", Value::Float(1.0)), ("gone", Value::Float(3.0))],
            ),
            put("customer/1h/3", &[("customer_refund_rate", Value::Float(0.5))]),
        ];
        store.apply(COLLECTION, writes).await.unwrap();
        let seen = seen(&store, &definitions).await.unwrap();
        assert_eq!(
            seen.keys().collect::<Vec<_>>(),
            [
                "customer_amount_to_mean",
                "customer_disputes_30d",
                "customer_refund_rate",
                "customer_refunds_7d"
            ]
        );
        let sources = of_sources(&definitions, &seen);
        let of = |features, counted| OfSource { features, counted };
        assert_eq!(sources["refunds"], of(2, true));
        assert_eq!(sources["disputes"], of(1, false), "a count of 0 needs no event");
        assert_eq!(
            sources["transactions"],
            of(2, false),
            "1 stands where there is no value, and a ratio is of both"
        );
        assert_eq!(sources["clickstream"], of(0, false));
        assert!(!sources.contains_key("card_transactions"), "its events come from files");
    }
}
