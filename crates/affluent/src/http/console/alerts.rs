//! What the page of alerts shows: how each rule stands in the topic `ops.alerts`, and the alerts of the run ledger.

use super::{Visitor, page};
use crate::http::options::Access;
use crate::http::{Route, Shared};
use affluent_bus::TopicPartition;
use affluent_console::alerts::{self as pages, Alerts, BatchAlert};
use affluent_model::Alert;
use affluent_model::names::TOPIC_ALERTS;
use anyhow::Context as _;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::collections::BTreeMap;
use std::time::Duration;

/// Records that are looked at in each partition, from its end: of a compacted topic more than there are rules.
const READ_MAX: i64 = 5_000;
const BATCH_MAX: u32 = 100;
/// The bus has this long.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Vec<Route> {
    vec![Route { path: "/console/alerts", roles: &[Access::Read], handler: get(show) }]
}

async fn show(State(shared): State<Shared>, visitor: Visitor) -> Response {
    let rules = tokio::time::timeout(PATIENCE, rules(&shared)).await;
    let rules = rules.unwrap_or_else(|_| Err(anyhow::anyhow!("the bus does not answer")));
    let model = Alerts {
        rules: rules.map_err(|error| format!("{error:#}")),
        batch: batch(&shared).await.map_err(|error| format!("{error:#}")),
    };
    page(pages::page(&visitor.viewer, &model))
}

/// The newest record of each rule.
async fn rules(shared: &Shared) -> anyhow::Result<Vec<Alert>> {
    let admin = shared.platform.admin().await?;
    let mut newest: BTreeMap<String, Alert> = BTreeMap::new();
    for partition in 0..admin.partitions(TOPIC_ALERTS).await?.unwrap_or(0) {
        let partition = TopicPartition::new(TOPIC_ALERTS, partition);
        let (low, high) = admin.watermarks(&partition).await?;
        for record in admin.read_range(&partition, low.max(high - READ_MAX), high).await? {
            let alert = record.value.as_deref().and_then(|value| serde_json::from_slice::<Alert>(value).ok());
            if let Some(alert) = alert {
                newest.insert(alert.rule.clone(), alert);
            }
        }
    }
    Ok(newest.into_values().collect())
}

async fn batch(shared: &Shared) -> anyhow::Result<Vec<BatchAlert>> {
    let ledger = shared.console.ledger(&shared.platform).await?;
    let alerts = ledger.alerts(BATCH_MAX).await.context("read the alerts of the run ledger")?;
    let shown = |alert: affluent_schedule::AlertRecord| BatchAlert {
        at_us: alert.at_us,
        pipeline: alert.pipeline,
        kind: alert.kind.as_str().to_owned(),
        interval: alert.interval.to_string(),
        detail: alert.detail,
    };
    Ok(alerts.into_iter().map(shown).collect())
}
