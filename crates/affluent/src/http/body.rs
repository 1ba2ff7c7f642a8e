//! Bodies of requests: bounded in size and time, and JSON.

use super::Problem;
use super::options::HttpOptions;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The whole body.
///
/// # Errors
/// 413 beyond `http.max_body_bytes`, 408 beyond `http.body_timeout_ms`, 400 where the client gives up.
pub(super) async fn read(options: &HttpOptions, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    read_within(options.max_body_bytes, options, headers, body).await
}

/// As [`read`], of at most `limit` bytes: for who is not known yet.
///
/// # Errors
/// As [`read`], 413 beyond `limit`.
pub(super) async fn read_within(
    limit: usize,
    options: &HttpOptions,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, Problem> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let told = told.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if told > limit {
        return Err(Problem::body_too_large(limit));
    }
    let reading = async {
        let (mut stream, mut bytes) = (body.into_data_stream(), Vec::with_capacity(told));
        while let Some(piece) = stream.next().await {
            let piece =
                piece.map_err(|error| Problem::bad_request(format!("the body breaks off: {error}")))?;
            if bytes.len() + piece.len() > limit {
                return Err(Problem::body_too_large(limit));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(options.body_timeout(), reading).await {
        Ok(read) => read,
        Err(_) => Err(Problem::body_too_slow()),
    }
}

/// What the JSON of a body says.
///
/// # Errors
/// 415 without the media type of JSON, 400 for what is no JSON, 422 for JSON of another form; with the place.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(Problem::media_type());
    }
    // What is no JSON and what is the wrong JSON are told apart, whatever comes first.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!("the body is no JSON at line {line} column {column}"))
    })?;
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Problem::unprocessable(format!("{}: {}", error.path(), error.inner())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[expect(dead_code, reason = "what matters is whether it can be read")]
        number: u8,
    }

    fn status(media: Option<&str>, body: &str) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(media) = media {
            headers.insert(header::CONTENT_TYPE, media.parse().unwrap());
        }
        json::<Asked>(&headers, body.as_bytes()).map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn every_malformed_body_has_its_answer() {
        let good = Some("application/json; charset=utf-8");
        for (media, body, expected) in [
            (good, r#"{"number": 1}"#, 200),
            (None, r#"{"number": 1}"#, 415),
            (Some("text/plain"), r#"{"number": 1}"#, 415),
            (good, "", 400),
            (good, "{", 400),
            (good, "\u{0}", 400),
            (good, r#"{"number": 1} {}"#, 400),
            (good, r#"{"number": "1"}"#, 422),
            (good, r#"{"number": 256}"#, 422),
            (good, r#"{"number": 1, "more": 2}"#, 422),
            (good, r#"{"number": 1, "number": 2}"#, 422),
            (good, "null", 422),
        ] {
            assert_eq!(status(media, body), expected, "{media:?} {body}");
        }
        // Deeper than any parser of ours goes.
        assert_eq!(status(good, &"[".repeat(100_000)), 400);
        let deep = format!("{{\"number\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(status(good, &deep), 422);
    }

    #[tokio::test]
    async fn a_body_is_bounded() {
        let options = HttpOptions { max_body_bytes: 10, body_timeout_ms: 50, ..HttpOptions::default() };
        let status = |told: Option<&str>, body: Body| {
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert(header::CONTENT_LENGTH, told.parse().unwrap());
            }
            let options = options.clone();
            async move {
                read(&options, &headers, body).await.map_or_else(|problem| problem.status().as_u16(), |_| 200)
            }
        };
        assert_eq!(status(None, Body::from("0123456789")).await, 200);
        assert_eq!(status(None, Body::from("0123456789+")).await, 413);
        assert_eq!(status(Some("11"), Body::empty()).await, 413);
        let shorter = read_within(9, &options, &HeaderMap::new(), Body::from("0123456789")).await;
        assert_eq!(shorter.unwrap_err().status().as_u16(), 413);
        let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        assert_eq!(status(None, Body::from_stream(never)).await, 408);
    }
}
