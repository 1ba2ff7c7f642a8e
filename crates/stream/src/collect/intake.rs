//! What every endpoint does with a request: let it in, read it, send its items, wait for the bus.
//!
//! Items are parsed, encoded and queued one after the other, so that beside the body itself nothing of
//! a request is held here; the producer's queue has its own bound.

use super::access::{Bearer, Origins, Tokens};
use super::body::{self, BodyLimits, Budget, Decoded};
use super::encode::{self, Encoders};
use super::event::{Click, EventParser};
use super::log::LogParser;
use super::options::CollectOptions;
use super::outbox::{self, Outbox, Sent};
use super::reason::{Reject, RejectReason};
use super::refusal::Refusal;
use super::visitor;
use affluent_bus::Outgoing;
use affluent_bus::codec::CodecError;
use affluent_bus::registry::RegistryClient;
use affluent_model::{LogEvent, time::now_micros};
use affluent_telemetry::{failpoint, metrics_list};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Rejects that an answer tells one by one; more are counted.
const REJECTS_TOLD: usize = 1_000;
/// Items after which other requests get their turn.
const ITEMS_A_TURN: usize = 256;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) options: CollectOptions,
    pub(crate) events: EventParser,
    pub(crate) logs: LogParser,
    pub(crate) outbox: Outbox,
    pub(crate) origins: Origins,
    encoders: Encoders,
    tokens: Tokens,
    budget: Arc<Budget>,
    requests: Arc<Semaphore>,
    stopping: AtomicBool,
    events_topic: Arc<str>,
    logs_topic: Arc<str>,
}

/// One item on its way to the bus.
pub(crate) enum Item<'a> {
    Click(Click<'a>),
    Log(LogEvent),
}

/// Which pipeline a request feeds; the label of its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipeline {
    Clickstream,
    Logs,
}

impl Pipeline {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pipeline::Clickstream => "clickstream",
            Pipeline::Logs => "logs",
        }
    }
}

/// A request that was let in, with its body.
pub(crate) struct Taken {
    pub(crate) body: Decoded,
    /// When it was read, microseconds since the epoch.
    pub(crate) received_at: i64,
    pub(crate) ip: Option<IpAddr>,
    bearer: Bearer,
    _permit: OwnedSemaphorePermit,
}

/// What became of the items of a request.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) accepted: usize,
    /// By index of the item; no more than are told.
    pub(crate) rejected: Vec<(usize, Reject)>,
    /// All of them.
    pub(crate) rejected_count: usize,
}

impl Shared {
    pub(crate) fn new(options: CollectOptions, registry: Option<RegistryClient>) -> Self {
        Shared {
            events: EventParser::new(&options),
            logs: LogParser::new(&options),
            outbox: Outbox::default(),
            origins: Origins::new(&options.origins),
            encoders: Encoders::new(options.format, registry),
            tokens: Tokens::new(&options.tokens),
            budget: Budget::new(options.inflight_bytes_max),
            requests: Arc::new(Semaphore::new(options.requests_max)),
            stopping: AtomicBool::new(false),
            events_topic: options.events_topic.as_str().into(),
            logs_topic: options.logs_topic.as_str().into(),
            options,
        }
    }

    pub(crate) fn set_stopping(&self, stopping: bool) {
        self.stopping.store(stopping, Ordering::Release);
    }

    /// Waits until no request is under way, at most this long.
    pub(crate) async fn idle(&self, limit: Duration) {
        let all = u32::try_from(self.options.requests_max).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(limit, self.requests.acquire_many(all)).await;
    }

    /// Lets a request in and reads its body.
    ///
    /// # Errors
    /// Everything that refuses a whole request.
    pub(crate) async fn take(&self, parts: &Parts, body: Body) -> Result<Taken, Refusal> {
        let (permit, bearer) = match self.admit(parts) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                body::discard(&mut body.into_data_stream()).await;
                return Err(refusal);
            }
        };
        let limits = BodyLimits {
            body_bytes_max: self.options.body_bytes_max,
            decoded_bytes_max: self.options.decoded_bytes_max,
            timeout: Duration::from_millis(self.options.body_timeout_ms),
        };
        let body = body::read(&parts.headers, body, limits, &self.budget).await?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let forwarded: Vec<&str> =
            parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
        let ip = visitor::client_ip(peer, &forwarded, self.options.proxies);
        Ok(Taken { body, received_at: now_micros(), ip, bearer, _permit: permit })
    }

    fn admit(&self, parts: &Parts) -> Result<(OwnedSemaphorePermit, Bearer), Refusal> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refusal::NotRunning);
        }
        let permit = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::Overload)?;
        let bearer = self.tokens.admit(&parts.headers, query(parts, "token").as_deref())?;
        // Before the body is read: while the bus is away, reading it would be in vain.
        self.outbox.producer()?;
        Ok((permit, bearer))
    }

    /// Sends the items and waits until the bus has acknowledged every accepted one.
    ///
    /// # Errors
    /// [`Refusal::BusAway`], [`Refusal::NotAcknowledged`], [`Refusal::RegistryAway`],
    /// [`Refusal::Overload`]: some items may be stored, none counts as accepted.
    pub(crate) async fn deliver(
        &self,
        pipeline: Pipeline,
        taken: &Taken,
        items: impl Iterator<Item = Result<Item<'_>, Reject>> + Send,
    ) -> Result<Report, Refusal> {
        let producer = self.outbox.producer()?;
        let mut encoder = self.encoders.take();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.options.ack_timeout_ms);
        let (mut report, mut last) = (Report::default(), 0);
        for (index, item) in items.enumerate() {
            if index == self.options.items_max {
                let error = "more items than items_max in one request; the rest was not read";
                report.reject(pipeline, index, Reject::new(RejectReason::TooManyItems, error));
                break;
            }
            if index % ITEMS_A_TURN == ITEMS_A_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let item = match item {
                Ok(item) => item,
                Err(reject) => {
                    report.reject(pipeline, index, reject);
                    continue;
                }
            };
            let (topic, key, encoded) = match &item {
                Item::Click(event) => {
                    let key = encode::click_key(event, self.options.partition_by);
                    (&self.events_topic, key, encoder.click(&self.events_topic, event).await)
                }
                Item::Log(event) => {
                    (&self.logs_topic, encode::log_key(event), encoder.log(&self.logs_topic, event).await)
                }
            };
            let value = match encoded {
                Ok(value) => value,
                Err(error) => match refused_by_schema(&error) {
                    Some(reject) => {
                        report.reject(pipeline, index, reject);
                        continue;
                    }
                    None => {
                        tracing::warn!(%error, "schema registry is away");
                        return Err(Refusal::RegistryAway);
                    }
                },
            };
            let record = Outgoing {
                topic: Arc::clone(topic),
                partition: None,
                key: Some(key),
                value: Some(value),
                headers: Vec::new(),
                timestamp_ms: Some(taken.received_at / 1_000),
            };
            match outbox::send(&producer, record, deadline).await? {
                Sent::Queued(sequence) => {
                    last = sequence;
                    report.accepted += 1;
                }
                Sent::TooLarge => {
                    let error = "larger than the bus takes";
                    report.reject(pipeline, index, Reject::new(RejectReason::TooLarge, error));
                }
            }
        }
        self.encoders.give_back(encoder);
        failpoint("collect::before_ack");
        if report.accepted > 0 {
            outbox::acknowledged(&producer, last, deadline).await?;
            let seconds = (now_micros() - taken.received_at) as f64 / 1e6;
            metrics_list::pipeline_latency(pipeline.name(), "bus", seconds, report.accepted as u64);
        }
        failpoint("collect::after_ack");
        self.tokens.charge(taken.bearer, report.accepted + report.rejected_count);
        metrics_list::records(pipeline.name(), "collect", "ok", report.accepted as u64);
        Ok(report)
    }
}

impl Report {
    fn reject(&mut self, pipeline: Pipeline, index: usize, reject: Reject) {
        metrics_list::collect_rejected(pipeline.name(), reject.reason.code(), 1);
        self.rejected_count += 1;
        if self.rejected.len() < REJECTS_TOLD {
            self.rejected.push((index, reject));
        }
    }
}

/// An item that its schema cannot hold; `None` where the registry is away.
fn refused_by_schema(error: &CodecError) -> Option<Reject> {
    error.reason()?;
    Some(Reject::new(RejectReason::SchemaMismatch, error.to_string()))
}

/// A parameter of the request's address.
pub(crate) fn query(parts: &Parts, name: &str) -> Option<String> {
    let axum::extract::Query(pairs) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).ok()?;
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
