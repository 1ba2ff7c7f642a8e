//! Requests over HTTP at a rate that does not depend on the answers: a request is due when it is due, and its latency counts from
//! then, also where it had to wait for a connection. So a stall is seen by everything that would have been asked meanwhile (no coordinated
//! omission).
//!
//! The client is one thread of its own, with connections of plain HTTP/1.1 that stay open.

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Connections; more requests at the same time wait.
const CONNECTIONS: usize = 64;
/// The dispatcher wakes up this often at the least.
const STEP: Duration = Duration::from_micros(200);
/// Latencies up to ten minutes, microseconds.
const MICROS_MAX: u64 = 600_000_000;
const ANSWER_MAX: usize = 1 << 20;

/// What came of a load.
pub(super) struct Answered {
    /// Microseconds.
    pub(super) latencies: Histogram<u64>,
    pub(super) seconds: f64,
    /// Answers that were not 200, and the first of them.
    pub(super) failed: u64,
    pub(super) failure: Option<String>,
}

impl Answered {
    /// Milliseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    pub(super) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds.max(1e-3)
    }
}

/// Requests, whole, to be sent in turn.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) address: SocketAddr,
    pub(super) bytes: Arc<Vec<Vec<u8>>>,
}

/// A request of the interface.
pub(super) fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends `rate` requests a second for so long.
///
/// # Errors
/// No connection, or an answer that is no HTTP.
pub(super) async fn open_loop(requests: Requests, rate: f64, length: Duration) -> anyhow::Result<Answered> {
    let total = (rate * length.as_secs_f64()) as u64;
    in_own_thread(move || async move {
        let begun = Instant::now() + Duration::from_millis(50);
        let pool = Arc::new(Pool::default());
        let workers = connect(&requests, &pool).await?;
        let due = move |nth: u64| begun + Duration::from_secs_f64(nth as f64 / rate);
        // A thread wakes up when it is told to, a timer of the runtime only every millisecond.
        let dispatching = std::thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                for nth in 0..total {
                    let due = due(nth);
                    while let Some(left) = due.checked_duration_since(Instant::now()) {
                        std::thread::sleep(left.min(STEP));
                    }
                    pool.put(Job { due, nth });
                }
                pool.close();
            }
        });
        let answered = finish(workers, begun).await?;
        ensure!(dispatching.join().is_ok(), "the dispatcher has panicked");
        Ok(answered)
    })
    .await
}

/// As many requests as are answered, `connections` at a time.
///
/// # Errors
/// As [`open_loop`].
pub(super) async fn closed_loop(
    requests: Requests,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Answered> {
    in_own_thread(move || async move {
        let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut workers: Vec<Worker> = Vec::new();
        for _ in 0..connections {
            let (mut connection, bytes) =
                (Connection::open(requests.address).await?, Arc::clone(&requests.bytes));
            let next = Arc::clone(&next);
            workers.push(tokio::spawn(async move {
                let mut measured = Measured::new()?;
                while begun.elapsed() < length {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let sent = Instant::now();
                    measured.note(connection.ask(&bytes[nth % bytes.len()]).await?, sent);
                }
                Ok(measured)
            }));
        }
        finish(workers, begun).await
    })
    .await
}

/// Runs the client beside the runtime of the server.
async fn in_own_thread<F, W>(work: F) -> anyhow::Result<Answered>
where
    F: FnOnce() -> W + Send + 'static,
    W: Future<Output = anyhow::Result<Answered>>,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    };
    tokio::task::spawn_blocking(run).await.context("the client has panicked")?
}

type Worker = tokio::task::JoinHandle<anyhow::Result<Measured>>;

async fn finish(workers: Vec<Worker>, begun: Instant) -> anyhow::Result<Answered> {
    let mut all = Measured::new()?;
    for worker in workers {
        all.add(worker.await??)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Answered { latencies: all.latencies, seconds, failed: all.failed, failure: all.failure })
}

/// A request that is due.
#[derive(Debug, Clone, Copy)]
struct Job {
    due: Instant,
    nth: u64,
}

/// Connections without work, and work without a connection.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    connections: Vec<mpsc::UnboundedSender<Job>>,
    idle: Vec<usize>,
    backlog: VecDeque<Job>,
}

impl Pool {
    fn put(&self, job: Job) {
        let mut state = self.state.lock();
        match state.idle.pop() {
            // A worker that has failed is told of by its own error.
            Some(worker) => {
                let _ = state.connections[worker].send(job);
            }
            None => state.backlog.push_back(job),
        }
    }

    /// More work for a connection; none: it is idle.
    fn more(&self, worker: usize) -> Option<Job> {
        let mut state = self.state.lock();
        let job = state.backlog.pop_front();
        if job.is_none() {
            state.idle.push(worker);
            if self.is_closed.load(Ordering::Acquire) {
                state.connections.clear();
            }
        }
        job
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let mut state = self.state.lock();
        if state.backlog.is_empty() {
            state.connections.clear();
        }
    }
}

async fn connect(requests: &Requests, pool: &Arc<Pool>) -> anyhow::Result<Vec<Worker>> {
    let mut workers: Vec<Worker> = Vec::new();
    for worker in 0..CONNECTIONS {
        let mut connection = Connection::open(requests.address).await?;
        let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
        {
            let mut state = pool.state.lock();
            state.connections.push(sender);
            state.idle.push(worker);
        }
        let (pool, bytes) = (Arc::clone(pool), Arc::clone(&requests.bytes));
        workers.push(tokio::spawn(async move {
            let mut measured = Measured::new()?;
            while let Some(mut job) = jobs.recv().await {
                loop {
                    let place = usize::try_from(job.nth)? % bytes.len();
                    measured.note(connection.ask(&bytes[place]).await?, job.due);
                    match pool.more(worker) {
                        Some(next) => job = next,
                        None => break,
                    }
                }
            }
            Ok(measured)
        }));
    }
    Ok(workers)
}

/// Latencies of one connection.
struct Measured {
    latencies: Histogram<u64>,
    failed: u64,
    failure: Option<String>,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
        Ok(Measured { latencies, failed: 0, failure: None })
    }

    fn note(&mut self, failure: Option<String>, due: Instant) {
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(MICROS_MAX);
        self.latencies.saturating_record(micros.max(1));
        self.failed += u64::from(failure.is_some());
        self.failure = self.failure.take().or(failure);
    }

    fn add(&mut self, other: Measured) -> anyhow::Result<()> {
        self.latencies.add(other.latencies)?;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        Ok(())
    }
}

/// One connection that stays open, and is opened again where the server has closed it for having had no work.
struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Connection { address, stream: Self::connect(address).await?, buffer: Vec::with_capacity(8 << 10) })
    }

    async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(address).await.context("connect to the HTTP interface")?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Nothing has been asked, and there is something to read: the end.
    fn is_closed(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads its answer: what it says, unless it is 200.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Option<String>> {
        if self.is_closed() {
            self.stream = Self::connect(self.address).await?;
        }
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (head, length) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed before its answer");
            }
            if let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break (head + 4, content_length(&self.buffer[..head])?);
            }
        };
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed within its answer");
            }
        }
        let is_good = self.buffer.starts_with(b"HTTP/1.1 200 ");
        Ok((!is_good).then(|| String::from_utf8_lossy(&self.buffer).into_owned()))
    }
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head).context("read the head of an answer")?;
    let found = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = found.context("an answer without content-length")?;
    ensure!(length <= ANSWER_MAX, "an answer of {length} bytes");
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers every request, but stops once for `stall` at the first.
    async fn server(stall: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stalled = Arc::new(tokio::sync::Mutex::new(false));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let stalled = Arc::clone(&stalled);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let mut stalled = stalled.lock().await;
                        if !*stalled {
                            *stalled = true;
                            tokio::time::sleep(stall).await;
                        }
                        drop(stalled);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stall_is_seen_by_all_that_would_have_been_asked() {
        let address = server(Duration::from_millis(400)).await;
        let requests = Requests { address, bytes: Arc::new(vec![request("/", b"{}")]) };
        let answered = open_loop(requests.clone(), 500.0, Duration::from_secs(1)).await.unwrap();
        assert_eq!((answered.latencies.len(), answered.failed), (500, 0));
        let waited = answered.latencies.iter_recorded().filter(|value| value.value_iterated_to() > 100_000);
        let waited: u64 = waited.map(|value| value.count_since_last_iteration()).sum();
        assert!(waited > 100, "one stall of 400 ms, seen by {waited} requests only");
        let closed = closed_loop(requests, 2, Duration::from_millis(200)).await.unwrap();
        assert!(closed.latencies.len() > 2 && closed.failed == 0);
    }
}
