//! The HTTP interface: metrics, health, status, documents and features to read, pages for people, and the
//! collector's endpoints where this process collects.
//!
//! What is answered lives in `health`, `documents`, `features`, `page` and `features_page`; who may ask, in `access`. Errors are
//! RFC 9457 problem details. Invariant: beyond loopback nothing is served without tokens, except the
//! two health probes.

mod access;
mod documents;
mod features;
mod features_page;
mod health;
mod options;
mod page;
mod problem;

pub(crate) use features::{KeyValue, KeyValues};
pub(crate) use health::Status;
pub(crate) use options::HttpOptions;

use crate::platform::Platform;
use access::Tokens;
use affluent_stream::collect::Collector;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use features_page::Materialised;
use problem::Problem;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    platform: Arc<Platform>,
    tokens: Arc<Tokens>,
    permits: Arc<Semaphore>,
    materialised: Arc<Materialised>,
}

/// Takes the address, before anything runs.
///
/// # Errors
/// When the address is taken or not this machine's; the message says what to do.
pub(crate) fn bind(options: &HttpOptions) -> anyhow::Result<TcpListener> {
    let remedy = "stop what listens there, or set `http.listen` to another port";
    let fail = |error| anyhow::anyhow!("listen for HTTP on {}: {error}; {remedy}", options.listen);
    let listener = TcpListener::bind(options.listen).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    Ok(listener)
}

/// Serves until `shutdown`, then finishes the requests under way.
///
/// # Errors
/// When the listener breaks.
pub(crate) async fn serve(
    platform: Arc<Platform>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address: SocketAddr = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tracing::info!(%address, "http interface listens");
    // The collector asks for its clients' addresses.
    let service = router(platform).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

fn router(platform: Arc<Platform>) -> Router {
    let options = &platform.config().http;
    // It has tokens and bounds of its own.
    let collector = platform.collector().map(Collector::router).unwrap_or_default();
    let shared = Shared {
        tokens: Arc::new(Tokens::new(&options.tokens)),
        permits: Arc::new(Semaphore::new(options.max_concurrent_requests)),
        materialised: Arc::default(),
        platform,
    };
    let guarded = Router::new()
        .route("/", get(page::show))
        .route("/features", get(features_page::show))
        .route("/metrics", get(health::metrics))
        .route("/v1/status", get(health::status))
        .route("/v1/documents/{collection}", get(documents::list))
        .route("/v1/documents/{collection}/{id}", get(documents::one))
        .route("/v1/features", get(features::get))
        .route_layer(middleware::from_fn_with_state(shared.clone(), access::require_read));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(guarded)
        .fallback(|| async { Problem::not_found("there is nothing at this path; see / for what there is") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(shared.clone(), bounded))
        .with_state(shared)
        .merge(collector)
}

/// Answers 503 where more requests are under way than allowed.
async fn bounded(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    let _permit = shared.permits.try_acquire().map_err(|_| Problem::busy())?;
    Ok(next.run(request).await)
}
