//! The endpoints: `POST /collect/events`, `POST /collect/logs`, `POST /v1/logs`.
//!
//! Here is only what belongs to HTTP: media types, answers, CORS. What is done with a request is
//! `intake`'s.

use super::event::{Arrival, Content, clip};
use super::intake::{Item, Pipeline, Report, Shared, query};
use super::log::LogArrival;
use super::otlp;
use super::refusal::Refusal;
use affluent_telemetry::metrics_list;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use std::sync::Arc;

/// Longest user agent that is kept, bytes.
const USER_AGENT_MAX: usize = 1_024;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/collect/events", post(events).options(preflight))
        .route("/collect/logs", post(logs).options(preflight))
        .route("/v1/logs", post(otlp_logs).options(preflight))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), cross_origin))
        .with_state(shared)
}

/// Tells browsers which pages may send; see [`super::access::Origins`].
async fn cross_origin(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let mut response = next.run(request).await;
    shared.origins.answer(&asked, response.headers_mut());
    response
}

async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// The body of an answer.
#[derive(Serialize)]
struct Answer {
    accepted: usize,
    rejected: Vec<AnswerReject>,
    /// Rejected items beyond those told one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_more: Option<usize>,
}

#[derive(Serialize)]
struct AnswerReject {
    index: usize,
    #[serde(flatten)]
    reject: super::Reject,
}

/// 202 where anything was accepted or nothing was sent, 400 where every item was rejected.
fn answer(report: Report) -> Response {
    let status = if report.accepted == 0 && report.rejected_count > 0 {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::ACCEPTED
    };
    let more = report.rejected_count - report.rejected.len();
    let rejected = report.rejected.into_iter();
    let body = Answer {
        accepted: report.accepted,
        rejected: rejected.map(|(index, reject)| AnswerReject { index, reject }).collect(),
        rejected_more: (more > 0).then_some(more),
    };
    (status, axum::Json(body)).into_response()
}

fn conclude(endpoint: &'static str, outcome: Result<Report, Refusal>) -> Response {
    match outcome {
        Ok(report) => {
            metrics_list::collect_request(endpoint, "ok");
            answer(report)
        }
        Err(refusal) => {
            metrics_list::collect_request(endpoint, refusal.code());
            refusal.into_response()
        }
    }
}

fn content_type(parts: &Parts) -> Option<&str> {
    parts.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("invalid"))
}

async fn events(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = async {
        let content = Content::of(content_type(&parts)).ok_or(Refusal::UnsupportedType)?;
        let taken = shared.take(&parts, body).await?;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let agent = agent.map(|agent| clip(agent, USER_AGENT_MAX));
        let arrival = Arrival { received_at: taken.received_at, ip: taken.ip, user_agent: agent.as_deref() };
        let items = shared.events.parse(content, taken.body.bytes(), &arrival);
        let items = items.map(|item| item.map(Item::Click));
        shared.deliver(Pipeline::Clickstream, &taken, items).await
    };
    conclude("events", Box::pin(outcome).await)
}

async fn logs(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = async {
        let content = match Content::of(content_type(&parts)) {
            Some(content @ (Content::Json | Content::Lines)) => content,
            Some(Content::Protobuf) | None => return Err(Refusal::UnsupportedType),
        };
        let taken = shared.take(&parts, body).await?;
        let service = query(&parts, "service");
        let arrival = LogArrival { received_at: taken.received_at, service: service.as_deref() };
        let items = shared.logs.parse(content, taken.body.bytes(), &arrival);
        let items = items.map(|item| item.map(Item::Log));
        shared.deliver(Pipeline::Logs, &taken, items).await
    };
    conclude("logs", Box::pin(outcome).await)
}

/// OpenTelemetry's OTLP/HTTP: answers and errors in the encoding of the request
/// (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>).
async fn otlp_logs(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let encoding = otlp::Encoding::of(content_type(&parts));
    let outcome = async {
        let encoding = encoding.ok_or(Refusal::UnsupportedType)?;
        let taken = shared.take(&parts, body).await?;
        let seed = otlp::Seed::new(taken.body.bytes(), taken.ip);
        let records = shared
            .logs
            .parse_otlp(encoding, taken.body.bytes(), taken.received_at, &seed)
            .map_err(|reject| Refusal::Undecodable(reject.error.into_owned()))?;
        let items = records.map(|item| item.map(Item::Log));
        shared.deliver(Pipeline::Logs, &taken, items).await
    };
    let outcome = Box::pin(outcome).await;
    let encoding = encoding.unwrap_or(otlp::Encoding::Json);
    metrics_list::collect_request("otlp", outcome.as_ref().map_or_else(Refusal::code, |_| "ok"));
    let (status, body) = match &outcome {
        Ok(report) => {
            let first = report.rejected.first().map(|(_, reject)| reject);
            let message = first.map(|reject| format!("{}: {}", reject.reason.code(), reject.error));
            (StatusCode::OK, otlp::answer(encoding, report.rejected_count, message))
        }
        Err(refusal) => (refusal.status(), otlp::failure(encoding, refusal.status(), &refusal.to_string())),
    };
    let media = HeaderValue::from_static(encoding.media());
    let mut response = (status, [(header::CONTENT_TYPE, media)], body).into_response();
    if let Err(refusal) = outcome {
        refusal.headers(&mut response);
    }
    response
}
