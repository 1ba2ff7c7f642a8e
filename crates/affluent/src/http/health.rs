//! `/healthz`, `/readyz`, `/metrics` and `/v1/status`.

use super::Shared;
use crate::observe::{self, resident_bytes};
use crate::platform::Platform;
use affluent_telemetry::health::State as RoleState;
use affluent_telemetry::metrics_list;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) use affluent_watch::samples;

/// What `affluent status` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) ready: bool,
    /// Seconds since the process started.
    pub(crate) uptime_s: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) lag: Vec<Lag>,
    pub(crate) slots: Vec<Slot>,
    /// Records in the dead letters; absent where the bus does not answer.
    pub(crate) dead_letters: Option<u64>,
}

/// A role and how it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Role {
    /// `starting`, `ready`, `degraded`, `failed` or `stopped`.
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) detail: Option<String>,
}

/// Records that a consumer group has not read yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lag {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) records: u64,
}

/// Write-ahead log that a replication slot keeps on the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) slot: String,
    pub(crate) retained_bytes: u64,
}

impl Status {
    /// The state of this process.
    pub(crate) async fn of(platform: &Platform) -> Self {
        Status { dead_letters: platform.dead_letters_count().await, ..Self::local(platform) }
    }

    /// What is known without asking anybody else: not the dead letters.
    pub(super) fn local(platform: &Platform) -> Self {
        let rendered = platform.metrics();
        let mut lag: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (mut labels, records) in samples(&rendered, metrics_list::CONSUMER_LAG) {
            let mut take = |name: &str| labels.remove(name).unwrap_or_default();
            *lag.entry((take("consumergroup"), take("topic"))).or_default() += records as u64;
        }
        let slots = samples(&rendered, metrics_list::SLOT_RETAINED)
            .map(|(mut labels, bytes)| Slot {
                slot: labels.remove("slot").unwrap_or_default(),
                retained_bytes: bytes as u64,
            })
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: platform.health().is_ready(),
            uptime_s: platform.uptime().as_secs(),
            resident_bytes: resident_bytes().unwrap_or_default(),
            roles: platform
                .health()
                .snapshot()
                .into_iter()
                .map(|(name, state)| (name, state.into()))
                .collect(),
            lag: lag.into_iter().map(|((group, topic), records)| Lag { group, topic, records }).collect(),
            slots,
            dead_letters: None,
        }
    }
}

impl From<RoleState> for Role {
    fn from(state: RoleState) -> Self {
        let (state, detail) = match state {
            RoleState::Starting(waits_for) => ("starting", Some(waits_for)),
            RoleState::Ready => ("ready", None),
            RoleState::Degraded(why) => ("degraded", Some(why)),
            RoleState::Failed(why) => ("failed", Some(why)),
            RoleState::Stopped => ("stopped", None),
        };
        Role { state: state.to_owned(), detail: detail.filter(|text| !text.is_empty()) }
    }
}

/// 200 while no role has failed.
pub(super) async fn healthz(State(shared): State<Shared>) -> impl IntoResponse {
    probe(&shared, shared.platform.health().is_alive())
}

/// 200 when every role does its work.
pub(super) async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    probe(&shared, shared.platform.health().is_ready())
}

/// Names and states only: the probes are open to anyone, and details may name hosts.
fn probe(shared: &Shared, good: bool) -> (StatusCode, Json<Value>) {
    let roles: BTreeMap<String, String> = shared
        .platform
        .health()
        .snapshot()
        .into_iter()
        .map(|(name, state)| (name, Role::from(state).state))
        .collect();
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ok": good, "roles": roles})))
}

/// OpenMetrics with exemplars, where it is asked for, else the Prometheus text format.
pub(super) async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    observe::sample(&shared.platform);
    let (content_type, text) = if takes_open_metrics(&headers) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", shared.platform.open_metrics())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", shared.platform.metrics())
    };
    ([(header::CONTENT_TYPE, content_type)], text)
}

/// Whether a scraper names OpenMetrics among what it takes: who does, prefers it.
fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    asked
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case("application/openmetrics-text"))
}

/// [`Status`] as JSON.
pub(super) async fn status(State(shared): State<Shared>) -> Json<Status> {
    Json(Status::of(&shared.platform).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_names() {
        let takes = |accept: &'static str| {
            let headers = [(header::ACCEPT, axum::http::HeaderValue::from_static(accept))];
            takes_open_metrics(&headers.into_iter().collect())
        };
        // Prometheus 2 and 3, then a browser and curl.
        assert!(takes("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(takes(
            "text/plain;q=0.3, application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5"
        ));
        assert!(!takes("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!takes("*/*"));
        assert!(!takes_open_metrics(&HeaderMap::new()));
    }
}
