//! Section `[http]`.

use anyhow::Context as _;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where the HTTP interface listens, and who may read what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpOptions {
    /// Port 0 takes any free port. Beyond loopback only with `tokens`.
    pub(crate) listen: SocketAddr,
    /// Bearer tokens; with at least one, everything but `/healthz` and `/readyz` asks for one.
    pub(crate) tokens: Vec<Token>,
    /// Connections at the same time; more wait in the system's queue.
    pub(crate) max_connections: usize,
    /// The head of a request, and the next one on a connection, are waited for no longer than this, milliseconds.
    pub(crate) header_timeout_ms: u64,
    /// Requests answered at the same time, but for the probes; more are told to come again.
    pub(crate) max_concurrent_requests: usize,
    /// Largest body of a request, bytes. The collector has a bound of its own.
    pub(crate) max_body_bytes: usize,
    /// A body is read no longer than this, milliseconds.
    pub(crate) body_timeout_ms: u64,
    /// Requests a second of a token that names no rate of its own, and of all together where there are no tokens; 0 is no limit.
    pub(crate) requests_per_s: u32,
    pub(crate) tls: TlsOptions,
    pub(crate) score: ScoreOptions,
}

/// TLS: both files, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsOptions {
    /// PEM: the server's certificate, then those that lead to its root.
    pub(crate) certificate_file: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub(crate) key_file: PathBuf,
}

impl TlsOptions {
    /// TLS is spoken.
    pub(crate) fn is_on(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty() || !self.key_file.as_os_str().is_empty()
    }
}

/// How scores are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScoreOptions {
    /// An answer is there so many milliseconds after its request, where the request names no deadline: what is not known by then is
    /// done without.
    pub(crate) deadline_ms: u64,
    /// A payment occurs no further ahead than so many seconds, as far as clocks differ.
    pub(crate) max_ahead_s: u32,
    /// Payments of one batch; each counts for the rate.
    pub(crate) max_batch: usize,
    /// How long an idempotency key is remembered, seconds.
    pub(crate) idempotency_ttl_s: u64,
    /// Memory for the answers of idempotency keys, bytes; the oldest make room.
    pub(crate) idempotency_bytes: usize,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        ScoreOptions {
            deadline_ms: 100,
            max_ahead_s: 300,
            max_batch: 1_000,
            idempotency_ttl_s: 600,
            idempotency_bytes: 64 << 20,
        }
    }
}

impl ScoreOptions {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    pub(crate) fn idempotency_ttl(&self) -> Duration {
        Duration::from_secs(self.idempotency_ttl_s)
    }
}

/// A bearer token and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// For the logs, instead of the token.
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) roles: Vec<Access>,
    /// Requests a second; 0 is no limit, absent `http.requests_per_s`.
    #[serde(default)]
    pub(crate) requests_per_s: Option<u32>,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Metrics, status and documents.
    Read,
    /// Have payments scored, and read scores.
    Score,
    /// Say which payments were fraud: what models learn from.
    Label,
    /// Everything.
    Admin,
}

impl Access {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Score => "score",
            Access::Label => "label",
            Access::Admin => "admin",
        }
    }
}

/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tokens: Vec::new(),
            max_connections: 1_000,
            header_timeout_ms: 30_000,
            max_concurrent_requests: 256,
            max_body_bytes: 1 << 20,
            body_timeout_ms: 10_000,
            requests_per_s: 0,
            tls: TlsOptions::default(),
            score: ScoreOptions::default(),
        }
    }
}

impl HttpOptions {
    /// The address as a client on this machine would use it.
    fn reachable(&self) -> SocketAddr {
        let unspecified = self.listen.ip().is_unspecified();
        let ip = if unspecified { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.listen.ip() };
        SocketAddr::new(ip, self.listen.port())
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_on() { "https" } else { "http" }
    }

    /// Where a client on this machine asks.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.reachable())
    }

    /// A client of this interface: it trusts the certificate that the interface itself shows.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub(crate) fn client(&self) -> anyhow::Result<reqwest::ClientBuilder> {
        let mut client = reqwest::Client::builder();
        if self.tls.is_on() {
            let file = &self.tls.certificate_file;
            let shown = || format!("read `http.tls.certificate_file` {}", file.display());
            let pem = std::fs::read(file).with_context(shown)?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem).with_context(shown)? {
                client = client.add_root_certificate(certificate);
            }
        }
        Ok(client)
    }

    /// The first token that may read.
    pub(crate) fn reader(&self) -> Option<&str> {
        let may =
            |token: &&Token| token.roles.iter().any(|role| matches!(role, Access::Read | Access::Admin));
        self.tokens.iter().find(may).map(|token| token.token.as_str())
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
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
        if self.tls.is_on()
            && (self.tls.certificate_file.as_os_str().is_empty() || self.tls.key_file.as_os_str().is_empty())
        {
            return Err("`http.tls` has one of certificate_file and key_file: give both, or none".to_owned());
        }
        let score = &self.score;
        for (key, value) in [
            ("max_connections", self.max_connections as u64),
            ("header_timeout_ms", self.header_timeout_ms),
            ("max_body_bytes", self.max_body_bytes as u64),
            ("body_timeout_ms", self.body_timeout_ms),
            ("score.deadline_ms", score.deadline_ms),
            ("score.max_batch", score.max_batch as u64),
            ("score.idempotency_ttl_s", score.idempotency_ttl_s),
        ] {
            if value == 0 {
                return Err(format!("`http.{key}` = 0: must be at least 1"));
            }
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
