//! A Kafka to test against: the embedded broker in this process, or the one that
//! `AFFLUENT_TEST_KAFKA=host:port` names (see `interop/kafka.sh`).
//!
//! Topics of a shared broker outlive the test that made them: name them with [`crate::unique`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use affluent_broker::{Broker as Embedded, BrokerOptions};
use tokio_util::sync::CancellationToken;

const EXTERNAL: &str = "AFFLUENT_TEST_KAFKA";
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker. Dropping it stops the embedded one and removes its data.
#[derive(Debug)]
pub struct Broker {
    bootstrap_servers: String,
    embedded: Option<(BrokerOptions, Mutex<Option<Running>>)>,
    /// Removed last.
    _directory: Option<tempfile::TempDir>,
}

#[derive(Debug)]
struct Running {
    shutdown: CancellationToken,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Broker {
    /// The broker that all tests of this process share: the external one if there is one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var(EXTERNAL) {
            Ok(address) if !address.is_empty() => Broker::external(address),
            _ => Broker::start().unwrap_or_else(|error| panic!("start the broker for the tests: {error:#}")),
        })
    }

    /// An embedded broker of its own, on a free port, with data in a temporary directory.
    ///
    /// # Errors
    /// What keeps the broker from starting.
    pub fn start() -> anyhow::Result<Self> {
        Broker::start_with(BrokerOptions::default())
    }

    /// As [`Broker::start`], with other options; address and directory are replaced.
    ///
    /// # Errors
    /// What keeps the broker from starting.
    pub fn start_with(options: BrokerOptions) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("affluent-broker_").tempdir()?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = BrokerOptions { listen, data_dir: directory.path().to_owned(), ..options };
        let running = Running::start(&mut options)?;
        Ok(Broker {
            bootstrap_servers: options.listen.to_string(),
            embedded: Some((options, Mutex::new(Some(running)))),
            _directory: Some(directory),
        })
    }

    fn external(bootstrap_servers: String) -> Self {
        Broker { bootstrap_servers, embedded: None, _directory: None }
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Where the embedded broker keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> Option<PathBuf> {
        self.embedded.as_ref().map(|(options, _)| Path::to_owned(&options.data_dir))
    }

    /// True for the embedded broker, which can be stopped and started again.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Stops the embedded broker in order; data and port stay. Does nothing to an external one.
    ///
    /// # Errors
    /// What the broker ended with.
    pub fn stop(&self) -> anyhow::Result<()> {
        let Some((_, running)) = &self.embedded else { return Ok(()) };
        let running = running.lock().unwrap_or_else(PoisonError::into_inner).take();
        running.map_or(Ok(()), Running::stop)
    }

    /// Starts a stopped broker on the port it had.
    ///
    /// # Errors
    /// What keeps the broker from starting.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let Some((options, running)) = &self.embedded else { return Ok(()) };
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = Some(Running::start(&mut options.clone())?);
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "broker did not stop in order");
        }
    }
}

/// A child process that is just being started may hold the directory's lock until its `exec`.
fn open(options: &BrokerOptions) -> Result<Embedded, affluent_broker::Error> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match Embedded::open(options.clone()) {
            Err(affluent_broker::Error::Locked(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

impl Running {
    /// Opens the broker and serves on a thread and a runtime of its own, so that tests with runtimes
    /// of theirs can share it. `options.listen` becomes the real address.
    fn start(options: &mut BrokerOptions) -> anyhow::Result<Self> {
        let broker = open(options)?;
        options.listen = broker.local_addr();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let thread = std::thread::Builder::new().name("broker".to_owned()).spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(broker.run(stop))?;
            Ok(())
        })?;
        Ok(Running { shutdown, thread })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.thread.join().map_err(|_| anyhow::anyhow!("the broker panicked"))?
    }
}
