//! The console: pages for people, at `/` and `/console/…`.
//!
//! Here it is gathered what a page shows; how it looks is the crate `affluent-console`. Who may see it is decided in [`enter`], what a
//! form has to bring in [`form`]; [`measured`] reads the process's metrics, [`live`] keeps open pages up to date. Pages are not described
//! in `openapi.json`: they are for people, and change with them. Invariant: what a form asks for is in the audit trail before it is done.

mod alerts;
mod audit;
mod batch;
mod dead_letters;
mod enter;
mod features;
mod form;
mod fraud;
mod live;
mod measured;
mod models;
mod notices;
mod overview;
mod pipelines;
mod query;
mod recent;
mod session;
mod sign_in;
mod warehouse;

pub(in crate::http) use enter::guard;
pub(in crate::http) use warehouse::Warehouse;

use super::Route;
use crate::batch::ledger;
use crate::http::Problem;
use crate::platform::Platform;
use affluent_console::{assets, frame};
use affluent_schedule::Ledger;
use audit::Audit;
use axum::extract::Path;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use enter::Visitor;
use form::{Done, Posted};
use live::Parts;
use measured::Measured;
use notices::Notices;
use session::Sessions;
use std::sync::Arc;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

/// Pages that are kept up to date at once; further ones stand still.
const LIVE_MAX: usize = 64;
/// Who reads dead letters at once.
const LETTERS_MAX: usize = 2;

/// What pages share.
pub(in crate::http) struct Console {
    sessions: Sessions,
    notices: Notices,
    audit: Audit,
    measured: Measured,
    live: Arc<Semaphore>,
    /// Who reads dead letters: all of them are read to show some.
    letters: Semaphore,
    parts: Parts,
    /// One run that people asked for at a time.
    runs: Arc<Semaphore>,
    ledger: OnceCell<Ledger>,
    shutdown: CancellationToken,
}

impl Console {
    pub(in crate::http) fn new(platform: &Platform, shutdown: CancellationToken) -> Self {
        Console {
            sessions: Sessions::default(),
            notices: Notices::default(),
            audit: Audit::new(platform),
            measured: Measured::default(),
            live: Arc::new(Semaphore::new(LIVE_MAX)),
            letters: Semaphore::new(LETTERS_MAX),
            parts: Parts::default(),
            runs: Arc::new(Semaphore::new(1)),
            ledger: OnceCell::new(),
            shutdown,
        }
    }

    /// Reads the metrics of the process, until the shutdown.
    pub(in crate::http) async fn measure(&self, platform: &Platform) {
        self.shutdown.run_until_cancelled(self.measured.keep(platform)).await;
    }

    /// The run ledger, opened at the first call.
    ///
    /// # Errors
    /// A file that cannot be opened.
    async fn ledger(&self, platform: &Platform) -> anyhow::Result<Ledger> {
        let open = || ledger(&platform.config().schedule);
        Ok(self.ledger.get_or_try_init(open).await?.clone())
    }
}

/// Pages whose readers are known.
pub(in crate::http) fn routes() -> Vec<Route> {
    let own = [
        overview::routes(),
        pipelines::routes(),
        dead_letters::routes(),
        batch::routes(),
        alerts::routes(),
        live::routes(),
    ];
    let others = [features::routes(), models::routes(), fraud::routes(), query::routes()];
    own.into_iter().chain(others).flatten().collect()
}

/// What everybody may ask for: the way in, and what pages look like.
pub(in crate::http) fn open_routes() -> Vec<Route> {
    let mut routes = sign_in::routes();
    routes.push(Route { path: "/console/assets/{name}", roles: &[], handler: get(asset) });
    routes
}

/// A page as an answer; it is never kept, for it is of one reader and one moment.
fn page(html: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, frame::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html)).into_response()
}

/// A file that pages load; its name changes with its content.
async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let asset = assets::find(&name).ok_or_else(|| Problem::not_found("there is no such file"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.body).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::options::Access;
    use super::*;
    use affluent_console::frame::Section;
    use std::collections::BTreeSet;

    #[test]
    fn every_page_of_the_navigation_is_there_and_asks_who_reads() {
        let routes = routes();
        for section in Section::ALL {
            let route = routes
                .iter()
                .find(|route| route.path == section.path())
                .unwrap_or_else(|| panic!("{}", section.path()));
            assert_eq!(route.roles, [Access::Read], "{}", route.path);
        }
        assert!(routes.iter().all(|route| !route.roles.is_empty()));
        let paths: BTreeSet<&str> = routes.iter().chain(&open_routes()).map(|route| route.path).collect();
        assert_eq!(paths.len(), routes.len() + open_routes().len(), "a path twice");
    }

    #[test]
    fn a_page_may_load_and_run_only_what_is_its_servers() {
        let answer = page(String::new());
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    }
}
