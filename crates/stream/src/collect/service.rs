//! The role: makes the topics, keeps a producer, ends in order.

use super::http;
use super::intake::Shared;
use super::options::CollectOptions;
use affluent_bus::codec::EventFormat;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Bus, BusError, TopicSpec};
use affluent_telemetry::health::{Health, State};
use axum::Router;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The name of the role in health and logs.
const ROLE: &str = "collect";
/// First and longest pause before the topics are looked for again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often it is looked whether the bus answers.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// How long requests under way, and then the queue, may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Why the collector stopped, or does not start.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("invalid options: {0}")]
    Options(String),
    #[error("collect: {0}")]
    Bus(#[from] BusError),
}

impl CollectError {
    /// Whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            CollectError::Options(_) => false,
            CollectError::Bus(error) => error.is_passing() || matches!(error, BusError::Poisoned(_)),
        }
    }
}

/// Takes clicks and log lines over HTTP into the bus. Cheap to clone; clones are the same collector.
///
/// - **Durability**: an item is accepted (202, or 200 for OTLP) only after every in-sync replica has it.
/// - **Duplicates**: a client that got no answer sends again; stores know a repetition by its event id.
/// - **Bounds**: requests, their bytes, the queue in front of the bus; beyond them clients are told
///   to wait (429, 503), and nothing grows.
#[derive(Clone)]
pub struct Collector {
    shared: Arc<Shared>,
    bus: Bus,
    health: Health,
}

impl Collector {
    /// Checks the options; connects to nothing. The registry is needed for every format but JSON.
    ///
    /// # Errors
    /// [`CollectError::Options`] naming the key and the remedy.
    pub fn new(
        options: CollectOptions,
        bus: Bus,
        registry: Option<RegistryClient>,
        health: Health,
    ) -> Result<Self, CollectError> {
        options.check().map_err(CollectError::Options)?;
        if options.format != EventFormat::Json && registry.is_none() {
            let problem = "collect.format: needs a schema registry: set registry.url, or format = \"json\"";
            return Err(CollectError::Options(problem.to_owned()));
        }
        health.set(ROLE, State::Starting("making the topics".to_owned()));
        Ok(Collector { shared: Arc::new(Shared::new(options, registry)), bus, health })
    }

    /// The endpoints; they answer 503 unless [`Collector::run`] runs. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, or clients have no address.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.shared))
    }

    /// Keeps the way to the bus open until `shutdown`; then refuses new requests, finishes those
    /// under way and flushes the queue, all within seconds.
    ///
    /// # Errors
    /// What no waiting mends: authorisation, options that the bus refuses.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), CollectError>> {
        Box::pin(self.serve_and_drain(shutdown))
    }

    async fn serve_and_drain(self, shutdown: CancellationToken) -> Result<(), CollectError> {
        self.shared.set_stopping(false);
        let ended = self.serve(&shutdown).await;
        self.shared.set_stopping(true);
        self.shared.idle(DRAIN_LIMIT).await;
        if let Some(producer) = self.shared.outbox.close()
            && let Err(error) = producer.flush(DRAIN_LIMIT).await
        {
            // Nothing that was answered is in it.
            tracing::warn!(%error, "queue not flushed");
        }
        self.health.set(
            ROLE,
            match &ended {
                Ok(()) => State::Stopped,
                Err(error) => State::Failed(error.to_string()),
            },
        );
        ended
    }

    async fn serve(&self, shutdown: &CancellationToken) -> Result<(), CollectError> {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            made = self.make_topics() => made?,
        }
        loop {
            let producer = self.bus.producer(self.shared.options.producer.clone())?;
            self.shared.outbox.open(producer.clone());
            self.health.set(ROLE, State::Ready);
            let error = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                error = producer.failed() => error,
                () = self.watch() => continue,
            };
            // What was queued is lost with it, and was never answered: clients send it again.
            tracing::warn!(%error, "producer made anew");
            self.shared.outbox.close();
            self.health.set(ROLE, State::Starting(format!("starts again after: {error}")));
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSES.0) => {}
            }
        }
    }

    /// Shows in the health whether the bus answers. Without an end.
    async fn watch(&self) {
        let mut was_silent = false;
        loop {
            tokio::time::sleep(WATCH_PAUSE).await;
            let silent = self.shared.outbox.is_silent();
            if silent != was_silent {
                was_silent = silent;
                let away = "the event bus does not answer; requests are refused with 503";
                tracing::warn!(silent, "event bus");
                let state = if silent { State::Degraded(away.to_owned()) } else { State::Ready };
                self.health.set(ROLE, state);
            }
        }
    }

    async fn make_topics(&self) -> Result<(), CollectError> {
        let options = &self.shared.options;
        let mut spec = TopicSpec::new(options.partitions);
        spec.replication = options.replication;
        let mut pause = PAUSES.0;
        loop {
            let made = async {
                let admin = self.bus.admin()?;
                admin.ensure_topic(&options.events_topic, &spec).await?;
                admin.ensure_topic(&options.logs_topic, &spec).await
            };
            match made.await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "topics not made; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
