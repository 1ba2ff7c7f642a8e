//! libpq connection strings: ours are the TLS keys that tokio-postgres does not know.

use super::tls;
use crate::cdc::CdcError;
use std::path::PathBuf;
use tokio_postgres::config::{Host, SslMode as DriverSslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    /// TLS where the server has it, unverified.
    Prefer,
    /// TLS, unverified (verified against `sslrootcert` where that is given, as libpq does).
    Require,
    /// TLS, the chain verified.
    VerifyCa,
    /// TLS, chain and host name verified.
    VerifyFull,
}

/// Where the source is.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) ssl_mode: SslMode,
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) client_cert: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// Parses a URL or a `key=value` string.
    ///
    /// # Errors
    /// [`CdcError::Config`]; the text never holds the password.
    pub(crate) fn parse(connection: &str) -> Result<Self, CdcError> {
        let (rest, keys) = extract(connection);
        let wrong = |what: String| CdcError::Config(format!("cdc.connection: {what}"));
        let mut config: tokio_postgres::Config = rest.parse().map_err(|e: tokio_postgres::Error| {
            let cause = std::error::Error::source(&e).map(|c| format!(": {c}")).unwrap_or_default();
            wrong(format!("{e}{cause}"))
        })?;
        let find = |name: &str| keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let root_cert = find("sslrootcert").filter(|v| v != "system").map(PathBuf::from);
        let ssl_mode = match find("sslmode").as_deref() {
            None | Some("prefer" | "allow") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("require") if root_cert.is_some() => SslMode::VerifyCa,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(other) => {
                return Err(wrong(format!(
                    "sslmode `{other}`: expected disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        let client_cert = match (find("sslcert"), find("sslkey")) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => return Err(wrong("sslcert and sslkey go together".into())),
        };
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        if config.get_user().is_none() {
            return Err(wrong("names no user".into()));
        }
        if config.get_dbname().is_none() {
            let user = config.get_user().unwrap_or_default().to_owned();
            config.dbname(&user);
        }
        config.ssl_mode(match ssl_mode {
            SslMode::Disable => DriverSslMode::Disable,
            SslMode::Prefer => DriverSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverSslMode::Require,
        });
        Ok(Address { config, ssl_mode, root_cert, client_cert })
    }

    /// The TLS connector of the mode.
    pub(crate) fn tls(&self) -> Result<MakeRustlsConnect, CdcError> {
        Ok(MakeRustlsConnect::new(tls::client_config(self)?))
    }

    /// The host to dial for replication: the first one. Later ones are for SQL failover only.
    pub(crate) fn first_host(&self) -> (Host, u16) {
        let host = self.config.get_hosts().first().cloned().unwrap_or(Host::Tcp("localhost".into()));
        (host, self.config.get_ports().first().copied().unwrap_or(5432))
    }

    /// For logs: host, port and database, no secret.
    pub(crate) fn display(&self) -> String {
        let (host, port) = self.first_host();
        let host = match host {
            Host::Tcp(name) => name,
            Host::Unix(path) => path.display().to_string(),
        };
        format!("{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

const OURS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// Takes our keys out of the string.
fn extract(connection: &str) -> (String, Vec<(String, String)>) {
    let is_ours = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| OURS.contains(&key.trim()));
    let take = |pair: &str, decode: bool| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim().trim_matches('\'');
        (key.trim().to_owned(), if decode { percent_decode(value) } else { value.to_owned() })
    };
    if connection.starts_with("postgres://") || connection.starts_with("postgresql://") {
        let (base, query) = connection.split_once('?').unwrap_or((connection, ""));
        let (ours, rest): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|p| !p.is_empty()).partition(|pair| is_ours(pair));
        let keys = ours.into_iter().map(|pair| take(pair, true)).collect();
        let query = rest.join("&");
        (if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }, keys)
    } else {
        let pairs = split_pairs(connection);
        let (ours, rest): (Vec<&str>, Vec<&str>) = pairs.into_iter().partition(|pair| is_ours(pair));
        (rest.join(" "), ours.into_iter().map(|pair| take(pair, false)).collect())
    }
}

/// Splits at blanks outside quotes.
fn split_pairs(text: &str) -> Vec<&str> {
    let (mut pairs, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                pairs.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            _ => {}
        }
    }
    pairs.push(&text[start..]);
    pairs.retain(|pair| !pair.trim().is_empty());
    pairs
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let code = text.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_keys_are_taken_out() {
        let url = "postgresql://u:p%40ss@db:5433/pay?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.ssl_mode, SslMode::VerifyFull);
        assert_eq!(address.root_cert, Some("/etc/ca.pem".into()));
        assert_eq!(address.display(), "db:5433/pay");
        assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));

        let address = Address::parse("host=/run/pg user=u password='a b' sslmode=disable").unwrap();
        assert_eq!(address.ssl_mode, SslMode::Disable);
        assert_eq!(address.config.get_password(), Some(&b"a b"[..]));
        assert_eq!(address.config.get_dbname(), Some("u"));

        let address = Address::parse("host=h user=u sslmode=require sslrootcert=/ca.pem").unwrap();
        assert_eq!(address.ssl_mode, SslMode::VerifyCa);
        assert_eq!(Address::parse("host=h user=u").unwrap().ssl_mode, SslMode::Prefer);
    }

    #[test]
    fn errors_hold_no_password() {
        for text in [
            "host=h user=u password=secret sslmode=maybe",
            "host=h password=secret",
            "host=h user=u password=secret bad=1",
        ] {
            let error = Address::parse(text).err().unwrap().to_string();
            assert!(error.contains("cdc.connection") && !error.contains("secret"), "{error}");
        }
    }
}
