//! Opens the broker and runs it: the listener, the flusher, the groups' clock and housekeeping.

use crate::error::Error;
use crate::flush::{Durable, Flusher};
use crate::groups::Coordinator;
use crate::options::BrokerOptions;
use crate::producers::ProducerIds;
use crate::topics::Catalog;
use crate::wire;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long open connections may finish what they are doing when the broker stops.
const GRACE: Duration = Duration::from_secs(3);

/// What every connection shares.
pub(crate) struct Shared {
    pub(crate) options: Arc<BrokerOptions>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) groups: Arc<Coordinator>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) flusher: Flusher,
    /// Bytes of requests that may be held at a time.
    pub(crate) inbound: Arc<Semaphore>,
    /// Bytes of fetch responses that may be held at a time.
    pub(crate) outbound: Arc<Semaphore>,
}

/// A broker that has recovered and listens, but serves nobody yet.
pub struct Broker {
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    /// Keeps other brokers out of the data directory as long as it is open.
    _lock: File,
}

impl Broker {
    /// Locks the data directory, recovers every log and group in it, and binds the listener. Blocks
    /// on the disk; needs no runtime.
    ///
    /// # Errors
    /// When an option is impossible, the directory is in use or unreadable, or the address is taken.
    pub fn open(options: BrokerOptions) -> Result<Self, Error> {
        options.check()?;
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(Error::storage("create", dir))?;
        let lock = lock(dir)?;
        let listener = std::net::TcpListener::bind(options.listen)
            .map_err(|source| Error::Listen { address: options.listen, source })?;
        let local_addr =
            listener.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
        listener.set_nonblocking(true).map_err(|source| Error::Listen { address: local_addr, source })?;
        let options = Arc::new(options);
        let shared = Shared {
            catalog: Arc::new(Catalog::open(Arc::clone(&options))?),
            groups: Arc::new(Coordinator::open(Arc::clone(&options))?),
            producer_ids: ProducerIds::open(&options.data_dir)?,
            flusher: Flusher::new(Duration::from_millis(options.group_flush_ms)),
            inbound: Arc::new(Semaphore::new(options.max_buffer_bytes)),
            outbound: Arc::new(Semaphore::new(options.max_buffer_bytes)),
            options,
        };
        Ok(Self { shared: Arc::new(shared), listener, local_addr, _lock: lock })
    }

    /// Where it listens; tells the port when the options said 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then lets connections finish, flushes everything and returns.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn run(self, shutdown: CancellationToken) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(self.serve(shutdown))
    }

    async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let address = self.local_addr;
        let listener =
            TcpListener::from_std(self.listener).map_err(|source| Error::Listen { address, source })?;
        tracing::info!(%address, data_dir = %self.shared.options.data_dir.display(), "broker listens");
        let flushing = FlushThread::start(&self.shared)?;
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&self.shared);
        let stop = shutdown.clone();
        tasks.spawn(async move { shared.groups.run(stop).await });
        tasks.spawn(keep_house(Arc::clone(&self.shared), shutdown.clone()));

        let mut connections = accept(&listener, &self.shared, &shutdown).await;
        drop(listener);
        let finished =
            tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} });
        if finished.await.is_err() {
            tracing::debug!(open = connections.len(), "connections closed by force");
            connections.shutdown().await;
        }
        for topic in self.shared.catalog.topics() {
            for log in topic.partitions() {
                self.shared.flusher.mark(&(log as Arc<dyn Durable>));
            }
        }
        self.shared.flusher.mark(&(Arc::clone(&self.shared.groups) as Arc<dyn Durable>));
        while tasks.join_next().await.is_some() {}
        flushing.finish().await;
        tracing::info!(%address, "broker stopped");
        Ok(())
    }
}

/// The flusher's thread; told to stop when this is dropped, also when [`Broker::run`] is.
struct FlushThread {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FlushThread {
    fn start(shared: &Arc<Shared>) -> Result<Self, Error> {
        let flusher = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("broker-flush".to_owned())
            .spawn(move || flusher.flusher.run())
            .map_err(Error::storage("start a thread for", &shared.options.data_dir))?;
        Ok(Self { shared: Arc::clone(shared), thread: Some(thread) })
    }

    /// Returns after the last flush.
    async fn finish(mut self) {
        self.shared.flusher.stop();
        let Some(thread) = self.thread.take() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("the last flush failed");
        }
    }
}

impl Drop for FlushThread {
    fn drop(&mut self) {
        self.shared.flusher.stop();
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, shutdown: &CancellationToken) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut turned_away = 0u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "connection task failed");
                }
                continue;
            }
            () = shutdown.cancelled() => return connections,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < shared.options.max_connections => {
                spawn_connection(&mut connections, stream, peer, shared, shutdown);
            }
            Ok((_, peer)) => {
                turned_away += 1;
                if turned_away.is_power_of_two() {
                    tracing::warn!(%peer, turned_away, limit = shared.options.max_connections, "too many connections");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn spawn_connection(
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    shutdown: &CancellationToken,
) {
    connections.spawn(wire::serve(stream, peer, Arc::clone(shared), shutdown.child_token()));
}

/// Retention, compaction and the forgetting of silent producers and dead groups.
async fn keep_house(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = Duration::from_millis(shared.options.housekeeping_ms);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        let round = {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            tokio::task::spawn_blocking(move || keep_house_once(&shared, &stop))
        };
        if let Err(error) = round.await {
            tracing::error!(%error, "housekeeping failed");
        }
    }
}

fn keep_house_once(shared: &Shared, stop: &CancellationToken) {
    let now = now_ms();
    for topic in shared.catalog.topics() {
        for (partition, log) in topic.partitions().into_iter().enumerate() {
            if stop.is_cancelled() {
                return;
            }
            log.expire_producers(now.saturating_sub(shared.options.producer_expiration_ms));
            if let Err(error) = log.retain(now) {
                tracing::warn!(topic = topic.name, partition, %error, "retention failed");
            }
            if let Err(error) = log.compact(now, stop) {
                tracing::warn!(topic = topic.name, partition, %error, "compaction failed");
            }
            if log.has_unsynced() {
                shared.flusher.mark(&(log as Arc<dyn Durable>));
            }
        }
    }
    shared.groups.retain(now);
}

fn lock(dir: &std::path::Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::storage("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::storage("lock", &path)(error)),
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
