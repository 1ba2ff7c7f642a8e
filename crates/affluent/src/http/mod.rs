//! The HTTP interface: metrics, health, status, documents, features and scores to read, payments to score, labels to give, pages for
//! people, and the collector's endpoints where this process collects.
//!
//! What is answered lives in `health`, `documents`, `features`, `score` and `labels`, pages in `console`; who may ask, in `access`;
//! how connections come about, in `listen`. Errors are RFC 9457 problem details; `openapi.json` describes all of it. Invariant: beyond loopback nothing
//! is served without tokens, except the two health probes.

mod access;
mod body;
mod console;
mod documents;
mod features;
mod health;
mod labels;
mod listen;
mod openapi;
mod options;
mod problem;
mod rate;
mod score;

pub(crate) use features::{KeyValue, KeyValues};
pub(crate) use health::Status;
pub(crate) use options::{HttpOptions, TlsOptions};
pub(crate) use score::Payment;

use crate::platform::Platform;
use access::Tokens;
use affluent_stream::collect::Collector;
use affluent_telemetry::metrics_list;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use console::{Console, Warehouse};
use labels::Labels;
use options::Access;
use problem::Problem;
use rustls::ServerConfig;
use score::Idempotency;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    platform: Arc<Platform>,
    tokens: Arc<Tokens>,
    permits: Arc<Semaphore>,
    idempotency: Arc<Idempotency>,
    labels: Arc<Labels>,
    warehouse: Arc<Warehouse>,
    console: Arc<Console>,
}

/// When a request came in.
#[derive(Debug, Clone, Copy)]
struct Received(Instant);

/// Where connections come in.
pub(crate) struct Bound {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Takes the address and reads certificate and key, before anything runs.
///
/// # Errors
/// When the address is taken or not this machine's, or TLS cannot be spoken as configured; the message says what to do.
pub(crate) fn bind(options: &HttpOptions) -> anyhow::Result<Bound> {
    let tls = listen::tls(&options.tls)?;
    let remedy = "stop what listens there, or set `http.listen` to another port";
    let fail = |error| anyhow::anyhow!("listen for HTTP on {}: {error}; {remedy}", options.listen);
    let listener = TcpListener::bind(options.listen).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    Ok(Bound { listener, tls })
}

/// Serves until `shutdown`, then finishes the requests under way.
///
/// # Errors
/// When the listener breaks.
pub(crate) async fn serve(
    platform: Arc<Platform>,
    bound: Bound,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address: SocketAddr = bound.listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(bound.listener)?;
    let options = &platform.config().http;
    tracing::info!(scheme = options.scheme(), %address, "http interface listens");
    let console = Arc::new(Console::new(&platform, shutdown.clone()));
    let measuring = {
        let (platform, console) = (Arc::clone(&platform), Arc::clone(&console));
        async move { console.measure(&platform).await }
    };
    let _measuring = AbortOnDropHandle::new(tokio::spawn(measuring));
    let router = router(Arc::clone(&platform), console);
    listen::serve(listener, bound.tls, router, options, &shutdown).await;
    Ok(())
}

/// A path, and whose requests it answers.
struct Route {
    path: &'static str,
    /// Tokens of any of these; none: everybody's.
    roles: &'static [Access],
    handler: MethodRouter<Shared>,
}

/// What machines ask: all that `openapi.json` describes, but the collector's.
fn routes() -> Vec<Route> {
    let route = |path, roles, handler| Route { path, roles, handler };
    let reading: &[Access] = &[Access::Read];
    let scoring: &[Access] = &[Access::Score];
    let scores: &[Access] = &[Access::Read, Access::Score];
    let labelling: &[Access] = &[Access::Label];
    let any: &[Access] = &[Access::Read, Access::Score, Access::Label];
    vec![
        route("/healthz", &[], get(health::healthz)),
        route("/readyz", &[], get(health::readyz)),
        route("/openapi.json", any, get(openapi::show)),
        route("/metrics", reading, get(health::metrics)),
        route("/v1/status", reading, get(health::status)),
        route("/v1/documents/{collection}", reading, get(documents::list)),
        route("/v1/documents/{collection}/{id}", reading, get(documents::one)),
        route("/v1/features", reading, get(features::get)),
        route("/v1/scores/{id}", scores, get(score::recorded)),
        route("/v1/score", scoring, post(score::one)),
        route("/v1/score/batch", scoring, post(score::batch)),
        route("/v1/labels", labelling, post(labels::post)),
    ]
}

fn router(platform: Arc<Platform>, console: Arc<Console>) -> Router {
    let options = &platform.config().http;
    // It has tokens and bounds of its own.
    let collector = platform.collector().map(Collector::router).unwrap_or_default();
    let shared = Shared {
        tokens: Arc::new(Tokens::new(options)),
        permits: Arc::new(Semaphore::new(options.max_concurrent_requests)),
        idempotency: Arc::new(Idempotency::new(
            options.score.idempotency_ttl(),
            options.score.idempotency_bytes,
        )),
        labels: Arc::new(Labels::new(&platform)),
        warehouse: Arc::default(),
        console,
        platform,
    };
    let mut router = Router::new();
    for Route { path, roles, handler } in routes() {
        let guard = middleware::from_fn_with_state((shared.clone(), roles), access::require);
        let bound = middleware::from_fn_with_state(shared.clone(), bounded);
        // Who looks after the process gets an answer also where it is busy.
        let is_probe = roles.is_empty();
        let handler = if is_probe { handler } else { handler.route_layer(guard).route_layer(bound) };
        router = router.route(path, handler.route_layer(middleware::from_fn_with_state(path, measured)));
    }
    for Route { path, roles, handler } in console::routes() {
        let guard = middleware::from_fn_with_state((shared.clone(), roles), console::guard);
        let bound = middleware::from_fn_with_state(shared.clone(), bounded);
        router = router.route(path, handler.route_layer(guard).route_layer(bound));
    }
    for Route { path, handler, .. } in console::open_routes() {
        router = router.route(path, handler);
    }
    router
        .fallback(|| async { Problem::not_found("there is nothing at this path; see /openapi.json") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(shared)
        .merge(collector)
        .layer(middleware::from_fn(received))
}

/// Measures how long the answer of a route takes, until its head.
async fn measured(State(path): State<&'static str>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let answer = next.run(request).await;
    let class = match answer.status().as_u16() {
        0..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    };
    metrics_list::http_request(path, class, begun.elapsed().as_secs_f64());
    answer
}

/// Answers 503 where more requests are under way than allowed.
async fn bounded(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    let _permit = shared.permits.try_acquire().map_err(|_| Problem::busy())?;
    Ok(next.run(request).await)
}

/// Notes when a request came.
async fn received(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Received(Instant::now()));
    next.run(request).await
}
