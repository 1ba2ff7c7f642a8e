//! Finished spans to their receiver, by OTLP over HTTP.
//!
//! Spans wait in a bounded queue. What a receiver does not take in time is given up and counted: a trace is worth less than the memory
//! of many.

use super::ticks;
use crate::platform::Platform;
use affluent_telemetry::metrics_list;
use affluent_telemetry::traces::{self, otlp};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How often spans are sent.
const PERIOD: Duration = Duration::from_secs(1);
/// Spans of one request.
const BATCH: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(5);
/// A receiver that fails is left alone for this long.
const REST: Duration = Duration::from_secs(10);

/// Sends until it is dropped; nothing where no receiver is configured.
pub(super) async fn run(platform: &Platform) {
    let options = &platform.config().telemetry;
    if !options.is_traced() {
        return;
    }
    let client = match reqwest::Client::builder().timeout(TIMEOUT).build() {
        Ok(client) => client,
        Err(error) => return tracing::warn!(%error, "no client for traces"),
    };
    let instance = format!("{}/{}", platform.config().http.listen, std::process::id());
    let (mut tick, mut rests_until) = (ticks(PERIOD), None::<Instant>);
    loop {
        tick.tick().await;
        if rests_until.is_some_and(|until| Instant::now() < until) {
            continue;
        }
        rests_until = None;
        loop {
            let spans = traces::take(BATCH);
            if spans.is_empty() {
                break;
            }
            let request = otlp::request(&spans, env!("CARGO_PKG_VERSION"), &instance);
            let count = spans.len() as u64;
            if let Err(error) = send(&client, &options.traces_url, &options.traces_token, &request).await {
                metrics_list::trace_spans("failed", count);
                tracing::warn!(
                    error,
                    rest_s = REST.as_secs(),
                    "spans not delivered, leaving the receiver alone"
                );
                rests_until = Some(Instant::now() + REST);
                break;
            }
            metrics_list::trace_spans("sent", count);
        }
    }
}

async fn send(client: &reqwest::Client, url: &str, token: &str, request: &Value) -> Result<(), String> {
    let mut post = client.post(url).json(request);
    if !token.is_empty() {
        post = post.bearer_auth(token);
    }
    // The address may hold a password, so it is not in the message.
    let answer = post.send().await.map_err(|error| error.without_url().to_string())?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(format!("the receiver answers {}", answer.status())),
    }
}
