//! `GET /console/live`: open pages are kept up to date by server-sent events, each a part of the page that has changed.
//!
//! Invariant: parts are made once a reading, however many look at them.

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
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// A stream ends then; its page comes again, and is asked again who reads it.
const LENGTH: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Deserialize)]
struct Asked {
    page: Page,
}

/// A page with parts that renew themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Page {
    Overview,
    Pipelines,
    Fraud,
}

/// What renews itself on a page: id and content.
type Html = Vec<(&'static str, String)>;
/// Of one page in one language: the reading that its parts were made after, and they.
type Slot = Mutex<Option<(u64, Arc<Html>)>>;

/// The parts of all pages as they were made last.
#[derive(Default)]
pub(super) struct Parts(parking_lot::Mutex<HashMap<(Page, Lang), Arc<Slot>>>);

impl Parts {
    /// The parts after this reading or a later one; made by `make` where nobody has yet.
    async fn after(&self, reading: u64, of: (Page, Lang), make: impl Future<Output = Html>) -> Arc<Html> {
        let slot = Arc::clone(self.0.lock().entry(of).or_default());
        // Who comes meanwhile waits for the same parts.
        let mut known = slot.lock().await;
        if let Some((made_after, parts)) = &*known
            && *made_after >= reading
        {
            return Arc::clone(parts);
        }
        let parts = Arc::new(make.await);
        *known = Some((reading, Arc::clone(&parts)));
        parts
    }
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
        let reading = *self.ticks.borrow_and_update();
        let making = made(&self.shared, self.page, self.lang);
        let parts = self.shared.console.parts.after(reading, (self.page, self.lang), making);
        let parts = shutdown.run_until_cancelled(parts).await?;
        let mut events = Vec::new();
        for (id, html) in parts.iter() {
            if self.sent.get(id) != Some(html) {
                events.push(Event::default().event("part").data(json!({"id": id, "html": html}).to_string()));
                self.sent.insert(*id, html.clone());
            }
        }
        Some(events)
    }
}

async fn made(shared: &Shared, page: Page, lang: Lang) -> Html {
    match page {
        Page::Overview => overview::parts(shared, lang).await,
        Page::Pipelines => pipelines::parts(shared, lang),
        // What cannot be read now is shown again when it can.
        Page::Fraud => fraud::part(shared, lang).await.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn many_who_look_are_one_who_makes() {
        let (parts, count) = (Parts::default(), AtomicU32::new(0));
        let (parts, counted) = (&parts, &count);
        let look = |reading: u64, page: Page, lang: Lang| async move {
            let make = async {
                counted.fetch_add(1, Ordering::Relaxed);
                vec![("part", format!("{page:?} {lang:?} {reading}"))]
            };
            parts.after(reading, (page, lang), make).await
        };
        let (one, other) = tokio::join!(look(1, Page::Fraud, Lang::En), look(1, Page::Fraud, Lang::En));
        assert_eq!((one[0].1.as_str(), &other), ("Fraud En 1", &one));
        // Who is late sees no older one.
        assert_eq!(look(2, Page::Fraud, Lang::En).await[0].1, "Fraud En 2");
        assert_eq!(look(1, Page::Fraud, Lang::En).await[0].1, "Fraud En 2");
        assert_eq!(look(2, Page::Fraud, Lang::Fr).await[0].1, "Fraud Fr 2");
        assert_eq!(look(2, Page::Overview, Lang::En).await[0].1, "Overview En 2");
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }
}
