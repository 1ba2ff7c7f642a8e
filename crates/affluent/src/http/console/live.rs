//! `GET /console/live`: open pages are kept up to date by server-sent events, each a part of the page that has changed.

use super::enter::Visitor;
use super::{fraud, overview, pipelines};
use crate::http::options::Access;
use crate::http::{Problem, Route, Shared};
use affluent_console::lang::Lang;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// A stream ends then; its page comes again, and is asked again who reads it.
const LENGTH: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Deserialize)]
struct Asked {
    page: Page,
}

/// A page with parts that renew themselves.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Page {
    Overview,
    Pipelines,
    Fraud,
}

/// One open page.
struct Follower {
    shared: Shared,
    page: Page,
    lang: Lang,
    ticks: watch::Receiver<u64>,
    /// What it has been sent, by part.
    sent: HashMap<&'static str, String>,
    ends: Instant,
    _permit: OwnedSemaphorePermit,
}

pub(super) fn routes() -> Vec<Route> {
    vec![Route { path: "/console/live", roles: &[Access::Read], handler: get(show) }]
}

async fn show(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Query(Asked { page }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let permit = Arc::clone(&shared.console.live).try_acquire_owned().map_err(|_| Problem::busy())?;
    let follower = Follower {
        ticks: shared.console.measured.ticks(),
        shared,
        page,
        lang: visitor.viewer.lang,
        sent: HashMap::new(),
        ends: Instant::now() + LENGTH,
        _permit: permit,
    };
    let batches = stream::unfold(follower, |mut follower| async move {
        let events = follower.next().await?;
        Some((events, follower))
    });
    let events = batches.flat_map(|events| stream::iter(events.into_iter().map(Ok::<Event, Infallible>)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl Follower {
    /// What has changed at the next reading; none once the process stops, or its time is over.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let shutdown = self.shared.console.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep_until(self.ends) => return None,
            changed = self.ticks.changed() => changed.ok()?,
        }
        let parts = match self.page {
            Page::Overview => overview::parts(&self.shared, self.lang).await,
            Page::Pipelines => pipelines::parts(&self.shared, self.lang),
            // What cannot be read now is shown again when it can.
            Page::Fraud => fraud::part(&self.shared, self.lang).await.into_iter().collect(),
        };
        let mut events = Vec::new();
        for (id, html) in parts {
            if self.sent.get(id) != Some(&html) {
                events.push(Event::default().event("part").data(json!({"id": id, "html": html}).to_string()));
                self.sent.insert(id, html);
            }
        }
        Some(events)
    }
}
