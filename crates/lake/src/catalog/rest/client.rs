//! HTTP with a REST catalog: one request, what its answer means, and when it is worth another try.
//!
//! Invariant: a failure says whether the server may have done what it was asked for.

use super::auth::Tokens;
use crate::LakeError;
use crate::options::RestOptions;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of a request that may come twice; longer waits are the caller's policy.
const TRIES: u32 = 6;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes of an error's body that are shown.
const MESSAGE_BYTES_MAX: usize = 400;

/// Why a request did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server answered that it did nothing.
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String },
    /// The request did not reach the server.
    #[error("{0}")]
    Unsent(String),
    /// The server may have done it, or may yet.
    #[error("{0}")]
    Unknown(String),
}

impl Failure {
    /// Whether another try may end otherwise.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Failure::Refused { status, .. } => *status == StatusCode::TOO_MANY_REQUESTS,
            Failure::Unsent(_) | Failure::Unknown(_) => true,
        }
    }

    pub(super) fn is_status(&self, wanted: StatusCode) -> bool {
        matches!(self, Failure::Refused { status, .. } if *status == wanted)
    }
}

/// A REST catalog, as the configuration and its own answer to `/v1/config` describe it.
pub(super) struct RestClient {
    http: reqwest::Client,
    /// With the version and the prefix that the server wants.
    base: String,
    tokens: Tokens,
}

impl std::fmt::Debug for RestClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestClient").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a server says of itself. Overrides count more than our configuration, defaults less.
#[derive(Debug, Default, Deserialize)]
struct ServerConfig {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
}

impl ServerConfig {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.overrides.get(key).or_else(|| self.defaults.get(key));
        found.map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Where requests go, for a server at `url`.
    fn base(&self, url: &str) -> String {
        let url = self.overrides.get("uri").map_or(url, |uri| uri.trim_end_matches('/'));
        match self.get("prefix") {
            Some(prefix) => {
                format!("{url}/v1/{}", prefix.split('/').map(encoded).collect::<Vec<_>>().join("/"))
            }
            None => format!("{url}/v1"),
        }
    }
}

impl RestClient {
    /// Asks the server at `url` for its configuration.
    ///
    /// # Errors
    /// [`LakeError::Options`] for options that cannot work, [`LakeError::Rest`] where the server does not answer.
    pub(super) async fn connect(url: &str, options: &RestOptions) -> Result<Self, LakeError> {
        let url = url.trim_end_matches('/');
        let http = http(options)?;
        let tokens = Tokens::new(url, options, http.clone());
        let mut client = RestClient { http, base: format!("{url}/v1"), tokens };
        let mut path = "/config".to_owned();
        if !options.warehouse.is_empty() {
            path = format!("/config?warehouse={}", encoded(&options.warehouse));
        }
        let config: ServerConfig =
            client.get(&path).await.map_err(|failure| client.error(&path, &failure))?;
        client.base = config.base(url);
        Ok(client)
    }

    /// The error of an operation that is given up.
    pub(super) fn error(&self, path: &str, failure: &Failure) -> LakeError {
        LakeError::Rest(format!("{}{path}: {failure}", self.base))
    }

    /// The answer to a question, which is asked again where the failure is passing.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.repeat(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::Unknown(format!("unreadable answer: {error}")))
    }

    /// A request that may come twice.
    pub(super) async fn repeat(
        &self,
        method: Method,
        path: &str,
        body: Option<&Bytes>,
    ) -> Result<Bytes, Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.once(method.clone(), path, body).await {
                Err(failure) if failure.is_passing() && attempt < TRIES => {
                    tracing::debug!(path, %failure, attempt, "catalog request failed, trying again");
                    pause(attempt).await;
                }
                other => return other,
            }
        }
    }

    /// A request that is sent at most once, but for one whose token the server refused.
    pub(super) async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Bytes>,
    ) -> Result<Bytes, Failure> {
        let token = self.tokens.current().await?;
        match self.send(method.clone(), path, body, token.as_deref()).await {
            Err(failure) if failure.is_status(StatusCode::UNAUTHORIZED) && self.tokens.renew() => {
                let token = self.tokens.current().await?;
                self.send(method, path, body, token.as_deref()).await
            }
            other => other,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Bytes>,
        token: Option<&str>,
    ) -> Result<Bytes, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        answered(request).await
    }
}

/// Sends the request and sorts what comes back.
pub(super) async fn answered(request: reqwest::RequestBuilder) -> Result<Bytes, Failure> {
    let unanswered = |error: reqwest::Error| {
        let text = causes(&error);
        if error.is_connect() || error.is_builder() { Failure::Unsent(text) } else { Failure::Unknown(text) }
    };
    let response = request.send().await.map_err(unanswered)?;
    let status = response.status();
    let body = response.bytes().await;
    if status.is_success() {
        return body.map_err(|error| Failure::Unknown(causes(&error)));
    }
    let message = message(&body.unwrap_or_default());
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return Err(Failure::Unknown(format!("{status}: {message}")));
    }
    Err(Failure::Refused { status, message })
}

/// A short wait that doubles with the attempts.
pub(super) async fn pause(attempt: u32) {
    tokio::time::sleep((PAUSE_MIN * 2_u32.saturating_pow(attempt - 1)).min(PAUSE_MAX)).await;
}

/// Text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn http(options: &RestOptions) -> Result<reqwest::Client, LakeError> {
    let mut http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(Duration::from_secs(options.timeout_s));
    if let Some(file) = options.ca_file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
        let invalid = |error: String| LakeError::Options(format!("rest.ca_file {}: {error}", file.display()));
        let pem = std::fs::read(file).map_err(|error| invalid(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| invalid(e.to_string()))?;
        if certificates.is_empty() {
            return Err(invalid("holds no certificate".to_owned()));
        }
        http = certificates.into_iter().fold(http, reqwest::ClientBuilder::add_root_certificate);
    }
    http.build().map_err(|error| LakeError::Options(format!("rest: {}", causes(&error))))
}

/// The error with its causes, without the URL: that may carry a secret.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { "request failed".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What an error's body says: the protocol's message, else its beginning.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let text = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer.error.message,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(MESSAGE_BYTES_MAX)]).into_owned(),
    };
    text.chars().take(MESSAGE_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_the_server_says_where_to_go() {
        assert_eq!(encoded("a b\u{1f}c/é-_.~9"), "a%20b%1Fc%2F%C3%A9-_.~9");
        let config = |json: &str| serde_json::from_str::<ServerConfig>(json).unwrap().base("http://c/api");
        for (json, expected) in [
            ("{}", "http://c/api/v1"),
            (r#"{"defaults": {"prefix": "ws/main"}}"#, "http://c/api/v1/ws/main"),
            (r#"{"defaults": {"prefix": "a"}, "overrides": {"prefix": "b|c"}}"#, "http://c/api/v1/b%7Cc"),
            (r#"{"overrides": {"uri": "http://d/"}}"#, "http://d/v1"),
        ] {
            assert_eq!(config(json), expected);
        }
    }

    #[test]
    fn what_a_server_says_is_shown_in_short() {
        assert_eq!(message(br#"{"error": {"message": "no", "type": "T", "code": 400}}"#), "no");
        assert_eq!(message(b"<html>"), "<html>");
        assert_eq!(message(&[b'x'; 10_000]).len(), MESSAGE_BYTES_MAX);
    }
}
