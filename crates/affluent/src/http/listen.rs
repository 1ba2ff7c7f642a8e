//! Connections, plain or through TLS: bounded in number, and in the time that a handshake and the head of a request may take.
//!
//! Handshakes go on beside each other and beside the accepting. They are bounded apart from connections that are established: who does not go on with
//! one takes no place of theirs. Invariant: where TLS is configured, nothing is served without it.

use super::options::{HttpOptions, TlsOptions};
use anyhow::Context as _;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handshake takes no longer than this, and the wait for a place after it.
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

/// Serves until `shutdown`, then finishes the requests under way.
pub(super) async fn serve(
    mut tcp: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    options: &HttpOptions,
    shutdown: &CancellationToken,
) {
    let server = Arc::new(Server {
        tls: tls.map(TlsAcceptor::from),
        service: TowerToHyperService::new(router),
        connections: Arc::new(Semaphore::new(options.max_connections)),
        header: Duration::from_millis(options.header_timeout_ms),
        shutdown: shutdown.clone(),
    });
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let tasks = TaskTracker::new();
    loop {
        let places = if server.tls.is_some() { &handshakes } else { &server.connections };
        let accepted = async {
            // Nobody closes these.
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            Some((place, Listener::accept(&mut tcp).await))
        };
        let Some(Some((place, (stream, peer)))) = shutdown.run_until_cancelled(accepted).await else { break };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may wait for each other");
        }
        tasks.spawn(Arc::clone(&server).connection(stream, peer, place));
    }
    drop(tcp);
    tasks.close();
    tasks.wait().await;
}

/// What connections share.
struct Server {
    tls: Option<TlsAcceptor>,
    service: TowerToHyperService<Router>,
    /// Places of established connections.
    connections: Arc<Semaphore>,
    header: Duration,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        match &self.tls {
            None => {
                self.requests(Stream::Plain(tcp), peer).await;
                drop(place);
            }
            Some(tls) => {
                let shaking = tokio::time::timeout(HANDSHAKE, async {
                    let stream = tls.accept(tcp).await?;
                    let established = Arc::clone(&self.connections).acquire_owned().await;
                    established.map(|established| (stream, established)).map_err(io::Error::other)
                });
                match self.shutdown.run_until_cancelled(shaking).await {
                    Some(Ok(Ok((stream, _established)))) => {
                        drop(place);
                        self.requests(Stream::Tls(Box::new(stream)), peer).await;
                    }
                    Some(Ok(Err(error))) => tracing::debug!(%peer, %error, "no TLS"),
                    Some(Err(_)) | None => {}
                }
            }
        }
    }

    /// Answers what comes on a connection, until it ends.
    async fn requests(&self, stream: Stream, peer: SocketAddr) {
        let service = self.service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            service.call(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.header);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection has broken off");
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A server of one path; who ends it.
    async fn served(options: HttpOptions) -> (SocketAddr, CancellationToken) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (tcp.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
        let ending = shutdown.clone();
        tokio::spawn(async move { serve(tcp, None, router, &options, &ending).await });
        (address, shutdown)
    }

    async fn asked(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 1_024];
        let count = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let (address, shutdown) =
            served(HttpOptions { header_timeout_ms: 100, ..HttpOptions::default() }).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection stays open");
        shutdown.cancel();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_are_bounded_and_the_next_has_its_turn() {
        let (address, shutdown) = served(HttpOptions { max_connections: 1, ..HttpOptions::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let answer = asked(&mut first).await;
        assert!(answer.contains("200 OK") && answer.contains("127.0.0.1:"), "{answer}");
        let mut second = TcpStream::connect(address).await.unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(300), asked(&mut second)).await;
        assert!(waits.is_err(), "there is no place for a second one: {waits:?}");
        drop(first);
        let mut answer = [0; 15];
        let read = tokio::time::timeout(Duration::from_secs(20), second.read_exact(&mut answer)).await;
        assert!(read.unwrap().is_ok() && answer.ends_with(b"200 OK"));
        shutdown.cancel();
    }

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
