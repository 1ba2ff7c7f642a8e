//! Who may ask: bearer tokens, compared by digest so that the time taken tells nothing of them.

use super::options::{Access, Token};
use super::{Problem, Shared};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

/// The configured tokens, as digests.
pub(super) struct Tokens(Vec<([u8; 32], Vec<Access>)>);

impl Tokens {
    pub(super) fn new(tokens: &[Token]) -> Self {
        Tokens(tokens.iter().map(|token| (digest(&token.token), token.roles.clone())).collect())
    }

    /// Whether these headers may do what `access` allows. Without configured tokens anyone may.
    fn allow(&self, headers: &HeaderMap, access: Access) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = given.and_then(|text| text.split_once(' ')) else { return false };
        let given = digest(token.trim());
        scheme.eq_ignore_ascii_case("bearer")
            && self.0.iter().any(|(known, roles)| {
                *known == given && (roles.contains(&access) || roles.contains(&Access::Admin))
            })
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Lets requests pass that may read.
pub(super) async fn require_read(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if shared.tokens.allow(request.headers(), Access::Read) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::unauthorized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_what_its_roles_say() {
        let token =
            |token: &str, role| Token { name: "x".to_owned(), token: token.to_owned(), roles: vec![role] };
        let tokens =
            Tokens::new(&[token("reader-reader-1", Access::Read), token("admin-admin-1", Access::Admin)]);
        for (header, access, expected) in [
            (None, Access::Read, false),
            (Some("Bearer reader-reader-1"), Access::Read, true),
            (Some("bearer reader-reader-1"), Access::Read, true),
            (Some("Bearer reader-reader-1"), Access::Admin, false),
            (Some("Bearer admin-admin-1"), Access::Read, true),
            (Some("Basic reader-reader-1"), Access::Read, false),
            (Some("Bearer reader-reader-2"), Access::Read, false),
            (Some("reader-reader-1"), Access::Read, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            }
            assert_eq!(tokens.allow(&headers, access), expected, "{header:?}");
        }
        assert!(Tokens::new(&[]).allow(&HeaderMap::new(), Access::Admin));
    }
}
