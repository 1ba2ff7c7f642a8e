//! Connections, plain or through TLS.
//!
//! Handshakes go on beside each other and beside the accepting, each within its time and no more than [`HANDSHAKES_MAX`] at once, so
//! that a client that does not go on keeps nobody out. Invariant: where TLS is configured, nothing is served without it.

use super::options::TlsOptions;
use anyhow::Context as _;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A handshake takes no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at the same time; further connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 256;

/// The server's side of TLS; none where it is not configured.
///
/// # Errors
/// A file that cannot be read, a key that is not the certificate's; with the key of the configuration.
pub(super) fn tls(options: &TlsOptions) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    if !options.is_on() {
        return Ok(None);
    }
    let (certificate, key) = (&options.certificate_file, &options.key_file);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| anyhow::anyhow!("`http.tls.certificate_file` {}: {error}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow::anyhow!("`http.tls.key_file` {}: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("start TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .context("`http.tls`: certificate and key do not go together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Accepts connections.
pub(super) struct Accepting {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<Option<(Stream, SocketAddr)>>,
}

impl Accepting {
    pub(super) fn new(tcp: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        Accepting { tcp, tls: tls.map(TlsAcceptor::from), handshakes: JoinSet::new() }
    }
}

impl Listener for Accepting {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let is_open = self.handshakes.len() < HANDSHAKES_MAX;
            let (tcp, address) = tokio::select! {
                Some(shaken) = self.handshakes.join_next(), if !self.handshakes.is_empty() => match shaken {
                    Ok(Some(connection)) => return connection,
                    Ok(None) | Err(_) => continue,
                },
                accepted = Listener::accept(&mut self.tcp), if is_open => accepted,
            };
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%error, "answers may wait for each other");
            }
            let Some(tls) = self.tls.clone() else { return (Stream::Plain(tcp), address) };
            self.handshakes.spawn(async move {
                match tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
                    Ok(Ok(stream)) => Some((Stream::Tls(Box::new(stream)), address)),
                    Ok(Err(error)) => {
                        tracing::debug!(%address, %error, "no TLS");
                        None
                    }
                    Err(_) => None,
                }
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, into),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, parts),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Accepting>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Self {
        Peer(*stream.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_configuration_serves_nothing() {
        assert!(tls(&TlsOptions::default()).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let empty = file("empty.pem", "");
        for (certificate_file, key_file, named) in [
            (folder.path().join("missing.pem"), empty.clone(), "certificate_file"),
            (file("cert.pem", "no certificate"), folder.path().join("missing.pem"), "key_file"),
            (empty.clone(), empty.clone(), "key_file"),
        ] {
            let error = tls(&TlsOptions { certificate_file, key_file }).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
