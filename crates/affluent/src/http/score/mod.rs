//! `POST /v1/score` and `/v1/score/batch`: payments that are not in the payments database yet, judged as the stream would judge them now.
//! `GET /v1/scores/{id}`: the score of record, as the stream has made it.
//!
//! `payment` reads a request, `judge` gathers features within the deadline and has them judged, `answer` is what is told, `idempotency` keeps
//! answers for requests that are sent again. Invariant: the same payment with the same history has the same score here and in the stream:
//! mapping, state, model and rules are the same objects.

mod answer;
mod idempotency;
mod judge;
mod payment;

pub(crate) use idempotency::Idempotency;
pub(crate) use payment::Payment;

use super::access::Bearer;
use super::{Problem, Received, Shared, body, documents};
use crate::scoring::Scoring;
use affluent_documents::DocumentError;
use affluent_model::time::now_micros;
use affluent_scoring::record::COLLECTION;
use answer::Answer;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use idempotency::{Begun, HEADER, REPLAYED};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

const DEADLINE: &str = "x-deadline-ms";
/// A longer deadline is none.
const DEADLINE_MAX_MS: u64 = 60_000;
const PAYMENTS: &str = "transactions";
/// Payments of a batch that are judged in one go.
const TURN: usize = 32;

/// A request on its way.
struct Asked<'a> {
    shared: &'a Shared,
    scoring: &'a Scoring,
    received: Instant,
    deadline: Instant,
}

/// Scores one payment.
pub(super) async fn one(
    State(shared): State<Shared>,
    Extension(bearer): Extension<Bearer>,
    Extension(received): Extension<Received>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(&shared.platform.config().http, &headers, body).await?;
    let asked = Asked::new(&shared, received, &headers)?;
    once(&shared, bearer, "/v1/score", &headers, &bytes, async {
        let request: Map<String, Value> = body::json(&headers, &bytes)?;
        Ok(serde_json::to_vec(&asked.answer(&request).await?))
    })
    .await
}

/// Scores many, each on its own.
pub(super) async fn batch(
    State(shared): State<Shared>,
    Extension(bearer): Extension<Bearer>,
    Extension(received): Extension<Received>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let options = &shared.platform.config().http;
    let bytes = body::read(options, &headers, body).await?;
    let asked = Asked::new(&shared, received, &headers)?;
    once(&shared, bearer, "/v1/score/batch", &headers, &bytes, async {
        let request: Map<String, Value> = body::json(&headers, &bytes)?;
        let payments = payments(&request, options.score.max_batch).map_err(Problem::unprocessable)?;
        // One of them is the request itself.
        shared.tokens.spend(bearer, payments.len() - 1);
        let mut scores = Vec::with_capacity(payments.len());
        for (nth, payment) in payments.iter().enumerate() {
            // Others get their turn.
            if nth % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            scores.push(match asked.answer(payment).await {
                Ok(answer) => serde_json::to_value(&answer).unwrap_or_default(),
                Err(problem) => json!({"problem": problem.to_json()}),
            });
        }
        Ok(serde_json::to_vec(&json!({"scores": scores})))
    })
    .await
}

/// The score of record.
pub(super) async fn recorded(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(id) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let store = documents::store(&shared).await?;
    // The record has the id as the definitions of features have it.
    let ids = [id.trim().to_lowercase()];
    let found = match store.get(COLLECTION, &ids).await {
        Ok(found) => found,
        // Nothing was ever scored.
        Err(DocumentError::UnknownCollection(_)) => Vec::new(),
        Err(error) => return Err(documents::problem(error)),
    };
    let document =
        found.first().ok_or_else(|| Problem::not_found(format!("no score of {id:?} is recorded")))?;
    Ok(Json(documents::to_json(document)))
}

impl<'a> Asked<'a> {
    fn new(shared: &'a Shared, Received(received): Received, headers: &HeaderMap) -> Result<Self, Problem> {
        let scoring = shared
            .platform
            .scoring()
            .ok_or_else(|| Problem::unavailable("this process does not score: give it the role `score`"))?;
        if !scoring.judge.has_rules() {
            return Err(Problem::unavailable(
                "there are no rules to judge by: score.serving.rules has a mistake, or is not read yet",
            ));
        }
        let within = deadline(headers)?.unwrap_or(shared.platform.config().http.score.deadline());
        Ok(Asked { shared, scoring, received, deadline: received + within })
    }

    async fn answer(&self, request: &Map<String, Value>) -> Result<Answer, Problem> {
        let now = now_micros();
        let payment = Payment::new(request, now).map_err(Problem::unprocessable)?;
        let ahead = self.shared.platform.config().http.score.max_ahead_s;
        if payment.occurred_at > now.saturating_add(i64::from(ahead) * 1_000_000) {
            return Err(Problem::unprocessable(format!("occurred_at: is more than {ahead} s ahead")));
        }
        judge::judge(self, &payment, now).await
    }
}

/// How long the client waits.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(DEADLINE) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    let millis = millis.filter(|millis| *millis <= DEADLINE_MAX_MS).ok_or_else(|| {
        Problem::bad_request(format!("{DEADLINE}: expected whole milliseconds, at most {DEADLINE_MAX_MS}"))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

/// The payments of a batch.
fn payments(request: &Map<String, Value>, max: usize) -> Result<Vec<&Map<String, Value>>, String> {
    let list = request.get(PAYMENTS).and_then(Value::as_array);
    let list = list.filter(|_| request.len() == 1);
    let list = list.ok_or_else(|| format!("expected {{\"{PAYMENTS}\": […]}}"))?;
    if list.is_empty() || list.len() > max {
        return Err(format!("{PAYMENTS}: must be 1 to {max}"));
    }
    let payments = list.iter().enumerate();
    payments
        .map(|(nth, payment)| {
            payment.as_object().ok_or_else(|| format!("{PAYMENTS}[{nth}]: expected an object"))
        })
        .collect()
}

/// Does the work, or tells what it came to when the same request was sent before.
async fn once(
    shared: &Shared,
    Bearer(bearer): Bearer,
    path: &str,
    headers: &HeaderMap,
    bytes: &[u8],
    work: impl Future<Output = Result<Result<Vec<u8>, serde_json::Error>, Problem>>,
) -> Result<Response, Problem> {
    let first = match headers.get(HEADER) {
        None => None,
        Some(key) => {
            let key = key.to_str().map_err(|_| Problem::bad_request(format!("{HEADER}: expected ASCII")))?;
            match shared.idempotency.begin((bearer, path), key, bytes, Instant::now())? {
                Begun::Known(answer) => return Ok(respond(answer.to_vec(), true)),
                Begun::First(first) => Some(first),
            }
        }
    };
    let answer = work.await?.map_err(|error| Problem::internal(format!("write the answer: {error}")))?;
    if let Some(first) = first {
        first.answered(&answer, Instant::now());
    }
    Ok(respond(answer, false))
}

fn respond(json: Vec<u8>, is_replayed: bool) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    if is_replayed {
        let value = header::HeaderValue::from_static("true");
        response.headers_mut().insert(HeaderName::from_static(REPLAYED), value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_whole_milliseconds() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(DEADLINE), text.parse().unwrap())]);
            deadline(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of("0"), Ok(Some(Duration::ZERO)));
        assert_eq!(of("250"), Ok(Some(Duration::from_millis(250))));
        for wrong in ["-1", "1.5", "soon", "60001", "99999999999999999999", ""] {
            assert_eq!(of(wrong), Err(400), "{wrong}");
        }
        assert_eq!(deadline(&HeaderMap::new()).ok(), Some(None));
    }

    #[test]
    fn a_batch_is_a_bounded_list_of_objects() {
        let count = |body: &str| {
            let request: Map<String, Value> = serde_json::from_str(body).unwrap();
            payments(&request, 2).map(|payments| payments.len()).map_err(|_| ())
        };
        assert_eq!(count(r#"{"transactions": [{}, {}]}"#), Ok(2));
        for wrong in [
            r#"{}"#,
            r#"{"transactions": []}"#,
            r#"{"transactions": [{}, {}, {}]}"#,
            r#"{"transactions": [{}, []]}"#,
            r#"{"transactions": {}}"#,
            r#"{"transactions": [{}], "more": 1}"#,
        ] {
            assert_eq!(count(wrong), Err(()), "{wrong}");
        }
    }
}
