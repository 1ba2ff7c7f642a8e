//! Why a whole request was not taken, and how that is told: RFC 9457 problem details with a code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A request of which nothing was accepted. What passes is told with `Retry-After`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("send `authorization: bearer TOKEN` with a token of [[collect.tokens]]")]
    Unauthorized,
    #[error("this content type is not taken here; see docs/collect.md")]
    UnsupportedType,
    #[error("this content encoding is not taken; send gzip, zstd or none")]
    UnsupportedEncoding,
    #[error("the body is not what its content-encoding says, or is cut off")]
    BrokenEncoding,
    #[error("the body is larger than {0} bytes; send smaller batches")]
    BodyTooLarge(usize),
    #[error("the body is larger than {0} bytes once decompressed; send smaller batches")]
    DecodedTooLarge(usize),
    #[error("the body is not the expected message: {0}")]
    Undecodable(String),
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body was cut off")]
    CutOff,
    #[error("too much at once; try again later")]
    Overload,
    #[error("this token has sent more than it may; try again in {0} s")]
    RateLimited(u64),
    #[error("the event bus is away; try again later")]
    BusAway,
    /// Items may be stored all the same: a retry with the same event ids stores them once.
    #[error("the event bus did not acknowledge in time; try again with the same event ids")]
    NotAcknowledged,
    #[error("the schema registry is away; try again later")]
    RegistryAway,
    #[error("the collector is not running; try again later")]
    NotRunning,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::UnsupportedType | Refusal::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::BrokenEncoding | Refusal::CutOff | Refusal::Undecodable(_) => StatusCode::BAD_REQUEST,
            Refusal::BodyTooLarge(_) | Refusal::DecodedTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Overload | Refusal::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::BusAway | Refusal::NotAcknowledged | Refusal::RegistryAway | Refusal::NotRunning => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The code, for programs and for the metric `affluent_collect_requests_total`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Refusal::Unauthorized => "unauthorized",
            Refusal::UnsupportedType => "unsupported_type",
            Refusal::UnsupportedEncoding => "unsupported_encoding",
            Refusal::BrokenEncoding => "broken_encoding",
            Refusal::BodyTooLarge(_) => "body_too_large",
            Refusal::DecodedTooLarge(_) => "decoded_too_large",
            Refusal::Undecodable(_) => "undecodable",
            Refusal::Slow => "slow_body",
            Refusal::CutOff => "cut_off",
            Refusal::Overload => "overload",
            Refusal::RateLimited(_) => "rate_limited",
            Refusal::BusAway => "bus_away",
            Refusal::NotAcknowledged => "not_acknowledged",
            Refusal::RegistryAway => "registry_away",
            Refusal::NotRunning => "not_running",
        }
    }

    /// Adds what tells a client when to come again, and how to sign in.
    pub(crate) fn headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        let seconds = match self {
            Refusal::RateLimited(seconds) => Some(*seconds),
            Refusal::Overload
            | Refusal::BusAway
            | Refusal::NotAcknowledged
            | Refusal::RegistryAway
            | Refusal::NotRunning => Some(1),
            Refusal::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                None
            }
            Refusal::UnsupportedType
            | Refusal::UnsupportedEncoding
            | Refusal::BrokenEncoding
            | Refusal::BodyTooLarge(_)
            | Refusal::DecodedTooLarge(_)
            | Refusal::Undecodable(_)
            | Refusal::Slow
            | Refusal::CutOff => None,
        };
        if let Some(seconds) = seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": self.code(),
            "detail": self.to_string(),
        });
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        self.headers(&mut response);
        response
    }
}
