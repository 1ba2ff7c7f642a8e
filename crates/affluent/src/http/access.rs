//! Who may ask, and how often: bearer tokens, compared by digest so that the time taken tells nothing of them.

use super::options::{Access, HttpOptions};
use super::rate::Bucket;
use super::{Problem, Shared};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::time::Instant;

/// The configured tokens, as digests.
pub(super) struct Tokens {
    entries: Vec<Entry>,
    /// Of everybody, where there are no tokens.
    open: Option<Mutex<Bucket>>,
}

struct Entry {
    digest: [u8; 32],
    name: String,
    roles: Vec<Access>,
    bucket: Option<Mutex<Bucket>>,
}

/// Whose request it is; none where there are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bearer(pub(super) Option<usize>);

impl Tokens {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let now = Instant::now();
        let bucket = |rate: u32| (rate > 0).then(|| Mutex::new(Bucket::new(rate, now)));
        let entries = options.tokens.iter().map(|token| Entry {
            digest: digest(&token.token),
            name: token.name.clone(),
            roles: token.roles.clone(),
            bucket: bucket(token.requests_per_s.unwrap_or(options.requests_per_s)),
        });
        Tokens { entries: entries.collect(), open: bucket(options.requests_per_s) }
    }

    /// Counts as many more requests for what was let in as this bearer's.
    pub(super) fn spend(&self, Bearer(place): Bearer, more: usize) {
        let bucket = match place {
            Some(place) => self.entries.get(place).and_then(|entry| entry.bucket.as_ref()),
            None => self.open.as_ref(),
        };
        if let Some(bucket) = bucket {
            bucket.lock().spend(more);
        }
    }

    /// Lets a request in that carries a token of one of these roles, within its rate. Without configured tokens anyone may.
    ///
    /// # Errors
    /// 401 without a known token, 403 with one of another role, 429 over the rate.
    pub(super) fn admit(&self, headers: &HeaderMap, roles: &[Access]) -> Result<Bearer, Problem> {
        if self.is_open() {
            return self.admit_known(Bearer(None), roles);
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) =
            given.and_then(|text| text.split_once(' ')).ok_or_else(Problem::unauthorized)?;
        let bearer = self.bearer(token).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        self.admit_known(bearer.ok_or_else(Problem::unauthorized)?, roles)
    }

    /// As [`Tokens::admit`], of a request that is known to be of this bearer.
    ///
    /// # Errors
    /// 403 with a token of another role, 429 over the rate.
    pub(super) fn admit_known(&self, bearer: Bearer, roles: &[Access]) -> Result<Bearer, Problem> {
        let Some(entry) = self.entry(bearer) else {
            return within(self.open.as_ref(), "anyone").map(|()| bearer);
        };
        // Also a token of another role spends its requests.
        within(entry.bucket.as_ref(), &entry.name)?;
        if !roles.iter().any(|role| self.may(bearer, *role)) {
            let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            return Err(Problem::forbidden(&names.join(" or ")));
        }
        Ok(bearer)
    }

    /// There are no tokens: anyone may do anything.
    pub(super) fn is_open(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose token this is; none where it is nobody's.
    pub(super) fn bearer(&self, token: &str) -> Option<Bearer> {
        let given = digest(token.trim());
        let place = self.entries.iter().position(|entry| entry.digest == given)?;
        Some(Bearer(Some(place)))
    }

    /// The name of the token; none where there are no tokens.
    pub(super) fn name(&self, bearer: Bearer) -> Option<&str> {
        self.entry(bearer).map(|entry| entry.name.as_str())
    }

    /// The bearer has this role.
    pub(super) fn may(&self, bearer: Bearer, role: Access) -> bool {
        let has = |entry: &Entry| entry.roles.contains(&role) || entry.roles.contains(&Access::Admin);
        self.entry(bearer).map_or(self.is_open(), has)
    }

    fn entry(&self, bearer: Bearer) -> Option<&Entry> {
        self.entries.get(bearer.0?)
    }
}

fn within(bucket: Option<&Mutex<Bucket>>, name: &str) -> Result<(), Problem> {
    let Some(bucket) = bucket else { return Ok(()) };
    let taken = bucket.lock().take(Instant::now());
    taken.map_err(|seconds| {
        tracing::debug!(token = name, seconds, "token over its rate");
        Problem::rate_limited(seconds)
    })
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Lets requests pass whose token has one of these roles.
pub(super) async fn require(
    State((shared, roles)): State<(Shared, &'static [Access])>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let bearer = shared.tokens.admit(request.headers(), roles)?;
    request.extensions_mut().insert(bearer);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::super::options::Token;
    use super::*;
    use axum::http::StatusCode;

    fn tokens(tokens: &[(&str, Access, Option<u32>)]) -> Tokens {
        let tokens = tokens.iter().map(|(token, role, requests_per_s)| Token {
            name: "x".to_owned(),
            token: (*token).to_owned(),
            roles: vec![*role],
            requests_per_s: *requests_per_s,
        });
        Tokens::new(&HttpOptions { tokens: tokens.collect(), ..HttpOptions::default() })
    }

    fn answer(tokens: &Tokens, header: Option<&str>, access: Access) -> StatusCode {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
        }
        match tokens.admit(&headers, &[access]) {
            Ok(_) => StatusCode::OK,
            Err(problem) => problem.status(),
        }
    }

    #[test]
    fn a_token_opens_what_its_roles_say() {
        let known =
            tokens(&[("reader-reader-1", Access::Read, None), ("admin-admin-1", Access::Admin, None)]);
        for (header, access, expected) in [
            (None, Access::Read, 401),
            (Some("Bearer reader-reader-1"), Access::Read, 200),
            (Some("bearer reader-reader-1"), Access::Read, 200),
            (Some("Bearer reader-reader-1"), Access::Score, 403),
            (Some("Bearer reader-reader-1"), Access::Label, 403),
            (Some("Bearer admin-admin-1"), Access::Label, 200),
            (Some("Basic reader-reader-1"), Access::Read, 401),
            (Some("Bearer reader-reader-2"), Access::Read, 401),
            (Some("Bearer"), Access::Read, 401),
            (Some("reader-reader-1"), Access::Read, 401),
        ] {
            assert_eq!(answer(&known, header, access).as_u16(), expected, "{header:?} {access:?}");
        }
        assert_eq!(answer(&tokens(&[]), None, Access::Admin), StatusCode::OK);
    }

    #[test]
    fn a_token_has_a_rate_and_spends_its_own() {
        let known =
            tokens(&[("scorer-scorer-1", Access::Score, Some(1)), ("other-other-2", Access::Score, None)]);
        let ask = |token: &str| answer(&known, Some(token), Access::Score).as_u16();
        assert_eq!(ask("Bearer scorer-scorer-1"), 200);
        assert_eq!(ask("Bearer scorer-scorer-1"), 429);
        assert_eq!(ask("Bearer other-other-2"), 200);
        assert_eq!(answer(&known, Some("Bearer nobody"), Access::Score).as_u16(), 401);
        let many = tokens(&[("scorer-scorer-1", Access::Score, Some(100))]);
        let ask = || answer(&many, Some("Bearer scorer-scorer-1"), Access::Score).as_u16();
        assert_eq!(ask(), 200);
        many.spend(Bearer(Some(0)), 499);
        assert_eq!(ask(), 429, "a batch counts its payments");
    }
}
