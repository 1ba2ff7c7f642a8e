//! Who may send, how fast, and from which web pages.
//!
//! Tokens are compared by digest, so that the time taken tells nothing of them. The rate is counted in
//! items after a request is read: a bucket may go into debt by one request, and takes nothing more until
//! the debt is paid, which bounds the long run exactly.

use super::options::CollectToken;
use super::refusal::Refusal;
use axum::http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::time::Instant;

/// The configured tokens, as digests.
pub(crate) struct Tokens(Vec<Entry>);

struct Entry {
    digest: [u8; 32],
    name: String,
    bucket: Option<Mutex<Bucket>>,
}

/// A place in [`Tokens`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bearer(Option<usize>);

impl Tokens {
    pub(crate) fn new(tokens: &[CollectToken]) -> Self {
        let now = Instant::now();
        let entry = |token: &CollectToken| Entry {
            digest: digest(&token.token),
            name: token.name.clone(),
            bucket: (token.items_per_s > 0).then(|| Mutex::new(Bucket::new(token.items_per_s as f64, now))),
        };
        Tokens(tokens.iter().map(entry).collect())
    }

    /// Lets a request in that carries a token whose bucket is not in debt. Beacons of browsers cannot
    /// set headers: `in_query` is the token of their address.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`], [`Refusal::RateLimited`].
    pub(crate) fn admit(&self, headers: &HeaderMap, in_query: Option<&str>) -> Result<Bearer, Refusal> {
        if self.0.is_empty() {
            return Ok(Bearer(None));
        }
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let in_header = header.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let given = digest(in_header.or(in_query).ok_or(Refusal::Unauthorized)?);
        let index = self.0.iter().position(|entry| entry.digest == given).ok_or(Refusal::Unauthorized)?;
        if let Some(bucket) = &self.0[index].bucket
            && let Some(seconds) = bucket.lock().wait(Instant::now())
        {
            tracing::debug!(token = self.0[index].name, seconds, "token over its rate");
            return Err(Refusal::RateLimited(seconds));
        }
        Ok(Bearer(Some(index)))
    }

    /// Counts the items of a request.
    pub(crate) fn charge(&self, bearer: Bearer, items: usize) {
        let entry = bearer.0.and_then(|index| self.0.get(index));
        if let Some(bucket) = entry.and_then(|entry| entry.bucket.as_ref()) {
            bucket.lock().charge(items as f64, Instant::now());
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A token bucket of one second's items that may go into debt.
struct Bucket {
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Bucket { rate, level: rate, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + seconds * self.rate).min(self.rate);
        self.at = now;
    }

    /// Whole seconds until the debt is paid; `None` where there is none.
    fn wait(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        (self.level <= 0.0).then(|| ((-self.level / self.rate).ceil() as u64).max(1))
    }

    fn charge(&mut self, items: f64, now: Instant) {
        self.refill(now);
        self.level -= items;
    }
}

/// Web pages that may send.
pub(crate) struct Origins(Vec<String>);

impl Origins {
    pub(crate) fn new(origins: &[String]) -> Self {
        Origins(origins.to_vec())
    }

    /// Headers of the answer to a page of this origin; none where it may not read it. A named origin
    /// is told back, with credentials, because beacons always send them.
    pub(crate) fn answer(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = request.get(header::ORIGIN) else { return };
        answer.append(header::VARY, HeaderValue::from_static("origin"));
        if self.0.iter().any(|known| known.as_bytes() == origin.as_bytes()) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        } else if self.0.iter().any(|known| known == "*") {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            return;
        }
        for (name, value) in [
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, content-encoding"),
            (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        ] {
            answer.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn token(name: &str, items_per_s: u64) -> CollectToken {
        CollectToken { name: name.to_owned(), token: format!("{name}-{name}-{name}"), items_per_s }
    }

    #[test]
    fn a_request_needs_a_known_token() {
        let tokens = Tokens::new(&[token("web", 0), token("service", 10)]);
        for (header, query, expected) in [
            (None, None, false),
            (Some("Bearer web-web-web"), None, true),
            (Some("bearer service-service-service"), None, true),
            (Some("Basic web-web-web"), None, false),
            (Some("Bearer other"), Some("web-web-web"), false),
            (None, Some("web-web-web"), true),
            (None, Some("web"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            }
            assert_eq!(tokens.admit(&headers, query).is_ok(), expected, "{header:?} {query:?}");
        }
        assert!(Tokens::new(&[]).admit(&HeaderMap::new(), None).is_ok());
    }

    #[test]
    fn the_long_run_keeps_to_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        let mut taken = 0;
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            if bucket.wait(now).is_none() {
                bucket.charge(250.0, now);
                taken += 250;
            }
        }
        // Ten seconds at 100, the first second's bucket, and one request of debt.
        assert!((1_000..=1_350).contains(&taken), "{taken}");
        bucket.charge(1_000.0, start + Duration::from_secs(10));
        let seconds = bucket.wait(start + Duration::from_secs(10)).unwrap();
        assert!((8..=13).contains(&seconds), "{seconds}");
    }

    #[test]
    fn only_named_pages_may_read_the_answer() {
        let allowed = |origins: &[&str], origin: &str| {
            let origins: Vec<String> = origins.iter().map(|o| (*o).to_owned()).collect();
            let (mut request, mut answer) = (HeaderMap::new(), HeaderMap::new());
            request.insert(header::ORIGIN, origin.parse().unwrap());
            Origins::new(&origins).answer(&request, &mut answer);
            let value = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
            Some(value.to_str().unwrap().to_owned())
        };
        assert_eq!(allowed(&["https://a.example"], "https://a.example").unwrap(), "https://a.example");
        assert_eq!(allowed(&["https://a.example"], "https://b.example"), None);
        assert_eq!(allowed(&["*"], "https://b.example").unwrap(), "*");
        assert_eq!(allowed(&[], "https://b.example"), None);
    }
}
