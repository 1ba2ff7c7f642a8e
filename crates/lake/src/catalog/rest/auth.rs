//! Who we are to a REST catalog: nobody, the bearer of a token, or a client that asks for tokens.

use super::client::{Failure, answered};
use crate::options::RestOptions;
use parking_lot::Mutex;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// For how long a token counts whose server does not say.
const LIFETIME_UNTOLD: Duration = Duration::from_secs(3_600);
/// A token is renewed this long before it ends, or at half its life, whichever is later.
const MARGIN: Duration = Duration::from_secs(60);

/// The token of the moment, and how to get the next.
pub(super) enum Tokens {
    None,
    Given(String),
    Asked(Asked),
}

/// `OAuth2` client credentials (RFC 6749, section 4.4).
pub(super) struct Asked {
    http: reqwest::Client,
    url: String,
    client_id: String,
    client_secret: String,
    scope: String,
    current: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(url: &str, options: &RestOptions, http: reqwest::Client) -> Self {
        if !options.client_id.is_empty() {
            let own = format!("{url}/v1/oauth/tokens");
            let named = Some(&options.oauth2_url).filter(|url| !url.is_empty());
            return Tokens::Asked(Asked {
                http,
                url: named.cloned().unwrap_or(own),
                client_id: options.client_id.clone(),
                client_secret: options.client_secret.clone(),
                scope: options.scope.clone(),
                current: Mutex::new(None),
            });
        }
        if options.token.is_empty() { Tokens::None } else { Tokens::Given(options.token.clone()) }
    }

    /// The token for the next request; asks for one where there is none, or where it ends soon.
    pub(super) async fn current(&self) -> Result<Option<String>, Failure> {
        match self {
            Tokens::None => Ok(None),
            Tokens::Given(token) => Ok(Some(token.clone())),
            Tokens::Asked(asked) => asked.current().await.map(Some),
        }
    }

    /// Forgets a token that the server refused. False where there is no other to be had.
    pub(super) fn renew(&self) -> bool {
        match self {
            Tokens::None | Tokens::Given(_) => false,
            Tokens::Asked(asked) => asked.current.lock().take().is_some(),
        }
    }
}

impl Asked {
    async fn current(&self) -> Result<String, Failure> {
        let current = self.current.lock().clone();
        if let Some(token) = current.filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.text);
        }
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("scope", &self.scope),
        ];
        let body =
            answered(self.http.post(&self.url).form(&form)).await.map_err(|failure| match failure {
                Failure::Refused { status, message } => {
                    Failure::Refused { status, message: format!("no token from {}: {message}", self.url) }
                }
                // Nothing was asked of the catalog yet.
                Failure::Unsent(text) | Failure::Unknown(text) => {
                    Failure::Unsent(format!("no token from {}: {text}", self.url))
                }
            })?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| Failure::Unsent(format!("no token from {}: {error}", self.url)))?;
        let renew_at = Instant::now() + life(answer.expires_in.map(Duration::from_secs));
        *self.current.lock() = Some(Token { text: answer.access_token.clone(), renew_at });
        Ok(answer.access_token)
    }
}

/// For how long a token is used.
fn life(told: Option<Duration>) -> Duration {
    let told = told.unwrap_or(LIFETIME_UNTOLD).min(24 * LIFETIME_UNTOLD);
    told.saturating_sub(MARGIN).max(told / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_end() {
        for (told, expected) in [(Some(3_600), 3_540), (Some(60), 30), (Some(0), 0), (None, 3_540)] {
            assert_eq!(life(told.map(Duration::from_secs)).as_secs(), expected, "{told:?}");
        }
        assert!(life(Some(Duration::MAX)) <= 24 * LIFETIME_UNTOLD);
    }
}
