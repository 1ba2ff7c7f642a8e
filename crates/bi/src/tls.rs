//! The server's side of TLS. Invariant: where it is configured, it is there or nothing is served.

use crate::options::TlsOptions;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The name of the protocol inside TLS.
const PROTOCOL: &[u8] = b"postgresql";

/// `None` where TLS is not configured.
///
/// # Errors
/// A file that cannot be read, a key that is not the certificate's; with the key of the configuration.
pub(crate) fn acceptor(options: &TlsOptions) -> Result<Option<TlsAcceptor>, String> {
    if !options.is_on() {
        return Ok(None);
    }
    let (certificate, key) = (&options.certificate_file, &options.key_file);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("`bi.tls.certificate_file` {}: {error}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("`bi.tls.key_file` {}: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("start TLS: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("`bi.tls`: certificate and key do not go together: {error}"))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn half_a_configuration_serves_nothing() {
        assert!(acceptor(&TlsOptions::default()).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = folder.path().join("missing.pem");
        let refused = |certificate_file: &PathBuf, key_file: &PathBuf| {
            let (certificate_file, key_file) = (certificate_file.clone(), key_file.clone());
            acceptor(&TlsOptions { certificate_file, key_file }).err().unwrap_or_default()
        };
        assert!(refused(&missing, &empty).contains("certificate_file"));
        assert!(refused(&empty, &missing).contains("key_file"));
        assert!(refused(&empty, &empty).contains("key_file"));
    }
}
