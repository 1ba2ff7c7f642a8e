//! What the page of pipelines shows: the last day of this process.

use super::enter::Visitor;
use super::page;
use crate::http::options::Access;
use crate::http::{Route, Shared};
use crate::promises::PROMISES;
use affluent_console::history::Stop;
use affluent_console::lang::Lang;
use affluent_console::pipelines as pages;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::collections::BTreeMap;

pub(super) fn routes() -> Vec<Route> {
    vec![Route { path: "/console/pipelines", roles: &[Access::Read], handler: get(show) }]
}

async fn show(State(shared): State<Shared>, visitor: Visitor) -> Response {
    let html = pages::page(&visitor.viewer, &shared.console.measured.history.lock(), &goals());
    page(html)
}

/// The parts that renew themselves.
pub(super) fn parts(shared: &Shared, lang: Lang) -> Vec<(&'static str, String)> {
    let parts = pages::parts(lang, &shared.console.measured.history.lock(), &goals());
    parts.into_iter().map(|(id, part)| (id, part.into_string())).collect()
}

fn goals() -> BTreeMap<Stop, f64> {
    PROMISES.iter().map(|promise| (Stop::new(promise.pipeline, promise.stop), promise.goal)).collect()
}
