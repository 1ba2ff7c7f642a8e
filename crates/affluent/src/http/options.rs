//! Section `[http]`.

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the HTTP interface listens, and who may read what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpOptions {
    /// Port 0 takes any free port. Beyond loopback only with `tokens`.
    pub(crate) listen: SocketAddr,
    /// Bearer tokens; with at least one, everything but `/healthz` and `/readyz` asks for one.
    pub(crate) tokens: Vec<Token>,
    /// Requests answered at the same time; more are told to come again.
    pub(crate) max_concurrent_requests: usize,
}

/// A bearer token and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// For the logs, instead of the token.
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) roles: Vec<Access>,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Metrics, status and documents.
    Read,
    /// Everything.
    Admin,
}

/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tokens: Vec::new(),
            max_concurrent_requests: 256,
        }
    }
}

impl HttpOptions {
    /// The address as a client on this machine would use it.
    pub(crate) fn reachable(&self) -> SocketAddr {
        let unspecified = self.listen.ip().is_unspecified();
        let ip = if unspecified { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.listen.ip() };
        SocketAddr::new(ip, self.listen.port())
    }

    /// Says what is wrong with the options, and what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.listen.ip().is_loopback() && self.tokens.is_empty() {
            return Err(format!(
                "`http.listen` = \"{}\" is reachable from other machines, and `http.tokens` is empty; \
                 listen on 127.0.0.1, or add [[http.tokens]] with name, token and roles",
                self.listen
            ));
        }
        if self.max_concurrent_requests == 0 {
            return Err("`http.max_concurrent_requests` = 0: must be at least 1".to_owned());
        }
        match self.tokens.iter().find(|token| token.token.chars().count() < TOKEN_CHARS_MIN) {
            Some(token) => Err(format!(
                "the token {:?} in `http.tokens` is shorter than {TOKEN_CHARS_MIN} characters; make one \
                 with `openssl rand -hex 32`",
                token.name
            )),
            None => Ok(()),
        }
    }
}
