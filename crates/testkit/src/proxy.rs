//! Stands between a client and a TCP server and does what a network does: it is slow, it holds everything back, it
//! refuses, it breaks connections, it leads to another server of the same name.
//!
//! Invariant: it never loses, doubles or reorders bytes of a connection that stands; what is lost, is lost with its
//! connection, as in a network.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What passes at once; a slow link delays each of these.
const BLOCK_BYTES: usize = 16 << 10;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As if it were not there.
    Clear,
    /// Each block of at most 16 KB is late by `latency`, and by its size at `bytes_per_s`.
    Slow { latency: Duration, bytes_per_s: u32 },
    /// Connections stand, and nothing passes.
    Held,
    /// No connection stands.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct State {
    condition: Condition,
    target: SocketAddr,
    /// Connections begun before the last of these are broken.
    cuts: u64,
}

/// A proxy on a port of its own of 127.0.0.1. Dropping it closes the port and breaks what passes through.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Listens, and leads to `target`, which need not be there yet.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(State { condition: Condition::Clear, target, cuts: 0 });
        let accepting = tokio::spawn(accept(listener, seen)).abort_handle();
        Ok(Proxy { address, state, accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the link is like this, also for connections that stand.
    pub fn set(&self, condition: Condition) {
        self.state.send_modify(|state| {
            state.condition = condition;
            state.cuts += u64::from(condition == Condition::Refused);
        });
    }

    /// Breaks every connection; new ones are let through.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// New connections lead to another server; those that stand are broken.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| {
            state.target = target;
            state.cuts += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Connections end with the sender of the state.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, seen: watch::Receiver<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let now = *seen.borrow();
        if now.condition != Condition::Refused {
            tokio::spawn(serve(client, now, seen.clone()));
        }
    }
}

/// One connection, from its beginning to its end, or to the cut that comes first.
async fn serve(client: TcpStream, begun: State, mut seen: watch::Receiver<State>) {
    let passing = seen.clone();
    let through = async {
        let server = TcpStream::connect(begun.target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pass(from_client, to_server, passing.clone()),
            pass(from_server, to_client, passing.clone())
        )?;
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        ended = through => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of the proxy ended");
            }
        }
        // Also where the proxy is gone.
        _ = seen.wait_for(|now| now.cuts != begun.cuts) => {}
    }
}

/// One direction, to its end.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: watch::Receiver<State>,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let count = from.read(&mut block).await?;
        let let_through = seen.wait_for(|now| now.condition != Condition::Held);
        let condition = let_through.await.map_or(Condition::Clear, |now| now.condition);
        if let Condition::Slow { latency, bytes_per_s } = condition {
            let transfer = count as f64 / f64::from(bytes_per_s.max(1));
            tokio::time::sleep(latency + Duration::from_secs_f64(transfer)).await;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&block[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that says `greeting` and then gives back what it gets.
    async fn echo(greeting: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    client.write_all(greeting).await.unwrap();
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn greeted(proxy: &Proxy) -> (TcpStream, u8) {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let greeting = client.read_u8().await.unwrap();
        (client, greeting)
    }

    async fn is_broken(client: &mut TcpStream) -> bool {
        let read = tokio::time::timeout(LIMIT, client.read_u8()).await;
        read.expect("it ends").is_err()
    }

    #[tokio::test]
    async fn what_passes_is_whole_also_through_a_slow_link_that_is_held() {
        let proxy = Proxy::start(echo(b"a").await).await.unwrap();
        let (client, _) = greeted(&proxy).await;
        let (mut from, mut to) = client.into_split();
        proxy.set(Condition::Held);
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let bytes = sent.clone();
        let sending = tokio::spawn(async move {
            to.write_all(&bytes).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let nothing = tokio::time::timeout(Duration::from_millis(100), from.read_u8()).await;
        assert!(nothing.is_err(), "something passes");
        let begun = Instant::now();
        let slow = Condition::Slow { latency: Duration::from_millis(1), bytes_per_s: 2_000_000 };
        proxy.set(slow);
        let mut got = Vec::new();
        tokio::time::timeout(LIMIT, from.read_to_end(&mut got)).await.unwrap().unwrap();
        sending.await.unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        assert!(begun.elapsed() > Duration::from_millis(100), "{:?} at 2 MB a second", begun.elapsed());
    }

    #[tokio::test]
    async fn connections_are_refused_cut_and_led_elsewhere() {
        let proxy = Proxy::start(echo(b"a").await).await.unwrap();
        let (mut client, greeting) = greeted(&proxy).await;
        assert_eq!(greeting, b'a');
        proxy.set(Condition::Refused);
        assert!(is_broken(&mut client).await);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(is_broken(&mut refused).await);
        proxy.set(Condition::Clear);
        let (mut client, _) = greeted(&proxy).await;
        proxy.cut();
        assert!(is_broken(&mut client).await);
        let (mut client, _) = greeted(&proxy).await;
        proxy.lead_to(echo(b"b").await);
        assert!(is_broken(&mut client).await);
        assert_eq!(greeted(&proxy).await.1, b'b');
    }
}
