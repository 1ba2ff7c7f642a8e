//! What the roles of one process share: configuration, bus, stores, health, metrics.
//!
//! Nothing is connected before a role asks for it. Here the concrete types are chosen; what runs
//! when is the business of `roles`.

use crate::config::Config;
use crate::scoring::Scoring;
use affluent_broker::Broker;
use affluent_bus::registry::{RegistryClient, RegistryOptions};
use affluent_bus::{Admin, Bus, TopicPartition};
use affluent_documents::DocumentStore;
use affluent_lake::Lake;
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_stream::collect::Collector;
use affluent_stream::dead_letters::{DeadLetters, Filter};
use affluent_telemetry::health::Health;
use affluent_telemetry::metrics_list::{self, PrometheusHandle};
use anyhow::Context as _;
use parking_lot::Mutex;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// The bus is asked for the number of dead letters no longer than this.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the roles of one process share.
pub(crate) struct Platform {
    config: Config,
    bus: Bus,
    registry: RegistryClient,
    health: Health,
    started: Instant,
    admin: OnceCell<Admin>,
    /// End of the topic at the last count, and the count.
    dead_letters: Mutex<Option<(i64, u64)>>,
    documents: OnceCell<Arc<dyn DocumentStore>>,
    lake: OnceCell<Lake>,
    /// Opened before the runtime starts; the broker's role takes it.
    broker: Mutex<Option<Broker>>,
    overrides_used: AtomicBool,
    /// Where this process plays the role: its endpoints are part of the HTTP interface.
    collector: Option<Collector>,
    /// Where this process scores payments, in the stream or over HTTP.
    scoring: Option<Scoring>,
}

impl Platform {
    /// A platform whose broker and registry run elsewhere. Checks the clients' options and connects
    /// to nothing.
    ///
    /// # Errors
    /// Options that cannot work, with key and remedy.
    pub(crate) fn new(config: Config) -> anyhow::Result<Self> {
        Self::build(config, None)
    }

    /// A platform that serves the embedded broker: its logs are recovered here.
    ///
    /// # Errors
    /// As [`Platform::new`], and what keeps the broker from opening.
    pub(crate) fn with_broker(mut config: Config) -> anyhow::Result<Self> {
        let broker = open_broker(&config)?;
        config.broker.listen = broker.local_addr();
        Self::build(config, Some(broker))
    }

    /// Settles every address: port 0 becomes a free one.
    fn build(mut config: Config, broker: Option<Broker>) -> anyhow::Result<Self> {
        settle(&mut config.registry_server.listen)?;
        settle(&mut config.http.listen)?;
        settle(&mut config.bi.listen)?;
        if config.bus.bootstrap_servers.is_empty() {
            config.bus.bootstrap_servers = config
                .broker
                .advertised
                .clone()
                .unwrap_or_else(|| reachable(config.broker.listen).to_string());
        }
        let url = config
            .registry
            .url
            .clone()
            .unwrap_or_else(|| format!("http://{}", reachable(config.registry_server.listen)));
        let registry = RegistryClient::new(RegistryOptions { url: Some(url), ..config.registry.clone() })?;
        Ok(Platform {
            bus: Bus::new(config.bus.clone())?,
            registry,
            config,
            health: Health::default(),
            started: Instant::now(),
            admin: OnceCell::new(),
            dead_letters: Mutex::new(None),
            documents: OnceCell::new(),
            lake: OnceCell::new(),
            broker: Mutex::new(broker),
            overrides_used: AtomicBool::new(false),
            collector: None,
            scoring: None,
        })
    }

    /// The configuration, with the addresses that are really used.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The embedded broker, ready to run: the one opened at first, then one opened again.
    ///
    /// # Errors
    /// What keeps it from opening.
    pub(crate) fn broker(&self) -> anyhow::Result<Broker> {
        match self.broker.lock().take() {
            Some(broker) => Ok(broker),
            None => open_broker(&self.config),
        }
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) fn registry(&self) -> &RegistryClient {
        &self.registry
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives the HTTP interface the collector's endpoints. They answer once the role runs.
    ///
    /// # Errors
    /// Options that cannot work, with key and remedy.
    pub(crate) fn with_collector(self) -> anyhow::Result<Self> {
        let (options, registry) = (self.config.collect.clone(), Some(self.registry.clone()));
        let collector = Collector::new(options, self.bus.clone(), registry, self.health.clone())?;
        Ok(Platform { collector: Some(collector), ..self })
    }

    /// The collector, where this process plays the role.
    pub(crate) fn collector(&self) -> Option<&Collector> {
        self.collector.as_ref()
    }

    /// Gives the process what scoring needs. `is_role`: it plays the role `score`; `has_features`: the role `features`, too.
    ///
    /// # Errors
    /// Definitions of features that cannot be used.
    pub(crate) fn with_scoring(self, is_role: bool, has_features: bool) -> anyhow::Result<Self> {
        let scoring = Scoring::new(&self.config, is_role, has_features)?;
        Ok(Platform { scoring, ..self })
    }

    /// What scoring needs, where this process scores payments.
    pub(crate) fn scoring(&self) -> Option<&Scoring> {
        self.scoring.as_ref()
    }

    /// Where the HTTP interface can be asked from this machine.
    pub(crate) fn http_url(&self) -> String {
        self.config.http.url()
    }

    /// Every metric in the Prometheus text format.
    pub(crate) fn metrics(&self) -> String {
        recorder().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Every metric as OpenMetrics, with exemplars.
    pub(crate) fn open_metrics(&self) -> String {
        recorder().map(metrics_list::open_metrics).unwrap_or_default()
    }

    /// The document store, opened at the first call.
    ///
    /// # Errors
    /// When it cannot be opened or reached.
    pub(crate) async fn documents(&self) -> anyhow::Result<Arc<dyn DocumentStore>> {
        let open = || affluent_documents::open(&self.config.documents, &self.config.data_dir);
        let store = self.documents.get_or_try_init(open).await.context("open the document store")?;
        Ok(Arc::clone(store))
    }

    /// The lake, opened at the first call.
    ///
    /// # Errors
    /// When its directory or catalog cannot be opened.
    pub(crate) async fn lake(&self) -> anyhow::Result<Lake> {
        let open = || Lake::open(self.config.lake.clone());
        Ok(self.lake.get_or_try_init(open).await.context("open the lake")?.clone())
    }

    /// A client for topics and offsets, made at the first call.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn admin(&self) -> anyhow::Result<&Admin> {
        Ok(self.admin.get_or_try_init(|| async { self.bus.admin() }).await?)
    }

    /// Dead letters that wait; absent where the bus does not answer in time.
    pub(crate) async fn dead_letters_count(&self) -> Option<u64> {
        tokio::time::timeout(COUNT_TIMEOUT, self.count_dead_letters()).await.ok()?.ok()
    }

    /// Replayed letters are tombstones until compaction, so the records themselves are counted, but
    /// only again when there are new ones.
    async fn count_dead_letters(&self) -> anyhow::Result<u64> {
        let admin = self.admin().await?;
        let mut end = 0;
        for partition in 0..admin.partitions(TOPIC_DEAD_LETTERS).await?.unwrap_or(0) {
            end += admin.watermarks(&TopicPartition::new(TOPIC_DEAD_LETTERS, partition)).await?.1;
        }
        if let Some((counted_at, count)) = *self.dead_letters.lock()
            && counted_at == end
        {
            return Ok(count);
        }
        let waiting = DeadLetters::new(self.bus.clone())?.list(&Filter::default()).await?.len() as u64;
        *self.dead_letters.lock() = Some((end, waiting));
        Ok(waiting)
    }

    /// True once: `--accept-gap` and `--resnapshot` hold for the first start of the source, not for
    /// its restarts.
    pub(crate) fn first_start_of_source(&self) -> bool {
        !self.overrides_used.swap(true, Ordering::Relaxed)
    }
}

/// The process-wide metrics recorder, installed at the first call.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER.get_or_init(|| metrics_list::install().ok()).as_ref()
}

fn open_broker(config: &Config) -> anyhow::Result<Broker> {
    let remedy = "stop what holds it, or set `broker.listen`, or name a Kafka by `bus.bootstrap_servers`";
    Broker::open(config.broker.clone()).map_err(|error| anyhow::anyhow!("embedded broker: {error}; {remedy}"))
}

/// The address as a client on this machine would use it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// Replaces port 0 by one that is free now.
fn settle(address: &mut SocketAddr) -> anyhow::Result<()> {
    if address.port() == 0 {
        *address = TcpListener::bind(*address)
            .and_then(|listener| listener.local_addr())
            .with_context(|| format!("find a free port on {}", address.ip()))?;
    }
    Ok(())
}
