//! One function a role: build its service from the platform, run it until `shutdown`.

use super::supervise::RoleError;
use crate::batch;
use crate::features;
use crate::http;
use crate::platform::Platform;
use crate::publication;
use crate::scoring::{Scoring, replica};
use affluent_bi::Service;
use affluent_bus::registry::{RegistryServer, RegistryServerError};
use affluent_documents::DocumentStore;
use affluent_feature_store::stream::{FeaturesSink, StreamOptions, Streamed};
use affluent_lake::sql::cluster::{ExecutorNode, NodeError, SchedulerNode};
use affluent_lake::{LakeFormat, MaintenanceService};
use affluent_model::{EventKind, time::now_micros};
use affluent_schedule::ScheduleService;
use affluent_scoring::stream::Scores;
use affluent_stream::cdc::CdcService;
use affluent_stream::consume::{ConsumeError, ConsumeOptions, ConsumeService};
use affluent_stream::sinks::documents::DocumentsSink;
use affluent_stream::sinks::events::EventsSink;
use affluent_stream::sinks::lake::{LakeSink, table_of};
use affluent_telemetry::health::State;
use affluent_warehouse::staged::{Source, StageService};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often the registry is asked whether it answers, while it starts, and whether there are rules.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two searches for documents whose time is over.
const EXPIRE_PAUSE: Duration = Duration::from_secs(30);

/// The embedded broker. Its errors need a person: a full disk, a foreign log, a taken port.
pub(super) async fn broker(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let broker = platform.broker().map_err(|error| RoleError::new(error, false))?;
    platform.health().set("broker", State::Ready);
    broker.run(shutdown).await.map_err(|error| RoleError::new(error, true))
}

/// The built-in schema registry; ready when it answers.
pub(super) async fn registry(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let options = platform.config().registry_server.clone();
    let serving = RegistryServer::new(options, platform.bus().clone()).run(shutdown);
    let answering = async {
        while platform.registry().subjects().await.is_err() {
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        platform.health().set("registry", State::Ready);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = serving => ended,
        () = answering => Ok(()),
    };
    ended.map_err(|error| {
        let passing = match &error {
            RegistryServerError::Listen { .. } => false,
            RegistryServerError::Bus(error) => error.is_passing(),
            RegistryServerError::Serve(_) => true,
        };
        RoleError::new(error, passing)
    })
}

/// The HTTP interface.
pub(super) async fn api(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let listener = http::bind(&platform.config().http).map_err(|error| RoleError::new(error, false))?;
    let serving = judging(Arc::clone(&platform), shutdown.child_token());
    let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
    http::serve(platform, listener, shutdown).await.map_err(|error| RoleError::new(error, true))
}

/// Keeps the judge of an interface up to date that stands alone: else the role `score` does. The interface is ready once rules and models were
/// looked at and there are rules, so that whoever waits for that is not answered without them.
async fn judging(platform: Arc<Platform>, shutdown: CancellationToken) {
    let ready = || platform.health().set("api", State::Ready);
    let Some(scoring) = platform.scoring().filter(|scoring| !scoring.is_role) else { return ready() };
    let mut serving = match scoring.serving(&platform) {
        Ok(serving) => serving,
        Err(error) => {
            tracing::warn!(%error, "no rules and no models for scores over HTTP");
            return ready();
        }
    };
    match shutdown.run_until_cancelled(serving.begin()).await {
        None => return,
        Some(Ok(())) => ready(),
        Some(Err(error)) => platform.health().set("api", State::Starting(error.to_string())),
    }
    let mended = async {
        while !scoring.judge.has_rules() {
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        ready();
    };
    tokio::join!(serving.run(shutdown.clone()), shutdown.run_until_cancelled(mended));
}

/// Clicks and log lines from HTTP into the bus. It reports its own health.
pub(super) async fn collect(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let Some(collector) = platform.collector().cloned() else { return Ok(()) };
    collector.run(shutdown).await.map_err(|error| {
        let passing = error.is_passing();
        RoleError::new(error, passing)
    })
}

/// The mirrors, and the expiry of what is over. The consume loop reports its own health.
pub(super) async fn sink_documents(
    platform: Arc<Platform>,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    let store = platform.documents().await.map_err(RoleError::from_store)?;
    let sink = DocumentsSink::new(Arc::clone(&store), Some(platform.registry().clone()));
    let options = platform.config().sink_documents.clone();
    let (bus, health) = (platform.bus().clone(), platform.health().clone());
    let service = ConsumeService::new(sink, bus, options, "cdc", health).map_err(consume_error)?;
    let upkeep = shutdown.child_token();
    let expiring = tokio::spawn(expire(store, upkeep.clone()));
    let ended = service.run(shutdown).await.map_err(consume_error);
    upkeep.cancel();
    expiring.abort();
    ended
}

/// Clicks and log lines into the document store. The consume loop reports its own health.
pub(super) async fn sink_events(
    platform: Arc<Platform>,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    let store = platform.documents().await.map_err(RoleError::from_store)?;
    let (options, events) = (platform.config().sink_events.clone(), platform.config().events.clone());
    let sink = EventsSink::new(store, Some(platform.registry().clone()), events);
    let (bus, health) = (platform.bus().clone(), platform.health().clone());
    let service = ConsumeService::new(sink, bus, options, "events", health).map_err(consume_error)?;
    service.run(shutdown).await.map_err(consume_error)
}

/// Removes documents and tombstones whose time is over.
async fn expire(store: Arc<dyn DocumentStore>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match store.expire(now_micros()).await {
            // A bounded number a call: there may be more.
            Ok(1..) => tokio::task::yield_now().await,
            Ok(0) => tokio::time::sleep(EXPIRE_PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "documents could not be expired; trying again");
                tokio::time::sleep(EXPIRE_PAUSE).await;
            }
        }
    }
}

/// The raw tables of the lake, and the upkeep of their files. The consume loop reports its own health.
pub(super) async fn sink_lake(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let lake = platform.lake().await.map_err(|error| RoleError::new(error, false))?;
    let events = platform.config().events.clone();
    let admin = platform.bus().admin().map_err(|error| RoleError::new(error, true))?;
    let sink = LakeSink::new(lake.clone(), admin, Some(platform.registry().clone()), events);
    let options = platform.config().sink_lake.clone();
    let (bus, health) = (platform.bus().clone(), platform.health().clone());
    let service = ConsumeService::new(sink, bus, options, "cdc", health).map_err(consume_error)?;
    let upkeep = shutdown.child_token();
    let keeping = tokio::spawn(MaintenanceService::new(lake).run(upkeep.clone()));
    let ended = service.run(shutdown).await.map_err(consume_error);
    upkeep.cancel();
    keeping.abort();
    ended
}

/// Streamed features into the online store. The consume loop reports its own health.
pub(super) async fn features(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let config = platform.config();
    let streamed = features::streamed(config).map_err(|error| RoleError::new(error, false))?;
    let store = platform.documents().await.map_err(RoleError::from_store)?;
    let admin = platform.bus().admin().map_err(|error| RoleError::new(error, true))?;
    let mut options = config.features.consume.clone();
    // Two processes in one group would each have a part of every customer, and payments of the one that does not lead would have no record.
    replica(&mut options, &config.features.stream.directory).map_err(|error| RoleError::new(error, false))?;
    if options.topics.is_empty() {
        options.topics = streamed.topics();
    }
    let (registry, stream) = (Some(platform.registry().clone()), config.features.stream.clone());
    let sink = FeaturesSink::new(&streamed, store, admin, registry, &config.events, &options.group, stream);
    let mut sink = with_past(sink, &platform, &streamed).await?;
    if let Some(scoring) = platform.scoring() {
        sink = sink.keeping(scoring.live.clone());
        if scoring.is_role {
            let scores = scoring.scores(&platform).await.map_err(RoleError::from_store)?;
            sink = sink.followed_by(scores.follower());
            // A score waits for no further records.
            let ConsumeOptions { linger_ms, commit_interval_ms, .. } = config.score.consume;
            (options.linger_ms, options.commit_interval_ms) = (linger_ms, commit_interval_ms);
        }
    }
    let (bus, health) = (platform.bus().clone(), platform.health().clone());
    let service = ConsumeService::new(sink, bus, options, "features", health).map_err(consume_error)?;
    service.run(shutdown).await.map_err(consume_error)
}

/// Has the sink begin with what the topics do not hold. Of raw zones in JSON files there is no history.
async fn with_past(
    sink: FeaturesSink,
    platform: &Platform,
    streamed: &Streamed,
) -> Result<FeaturesSink, RoleError> {
    let config = platform.config();
    if config.lake.format != LakeFormat::Iceberg {
        return Ok(sink);
    }
    let fatal = |error| RoleError::new(error, false);
    let lake = platform.lake().await.map_err(fatal)?;
    Ok(sink.with_past(features::past(config, lake, streamed).map_err(fatal)?))
}

/// Scores of payments. Where this process does not play the role `features`, it keeps a state of its own. It reports its own health.
pub(super) async fn score(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let fatal = |error: anyhow::Error| RoleError::new(error, false);
    let config = platform.config();
    let none = || fatal(anyhow::anyhow!("no feature of freshness `stream` is of transactions"));
    let scoring = platform.scoring().ok_or_else(none)?;
    let scores = scoring.scores(&platform).await.map_err(RoleError::from_store)?;
    let serving = scoring.serving(&platform).map_err(fatal)?;
    let serving = async {
        serving.run(shutdown.child_token()).await;
        // The others have something left to write.
        std::future::pending::<()>().await;
    };
    let reading = Box::pin(async {
        if scoring.has_features {
            return Ok(());
        }
        let service = scored_features(&platform, scoring, scores).await?;
        service.run(shutdown.child_token()).await.map_err(consume_error)
    });
    let leading = Box::pin(async {
        scores.run(Some(config.cdc.clone()), shutdown.child_token()).await.map_err(|error| {
            let passing = error.is_passing();
            RoleError::new(error, passing)
        })
    });
    tokio::select! {
        ended = async { tokio::try_join!(reading, leading) } => ended.map(|((), ())| ()),
        () = serving => Ok(()),
    }
}

/// The state of features for scores alone: it is no other process's, and writes no values.
async fn scored_features(
    platform: &Platform,
    scoring: &Scoring,
    scores: &Scores,
) -> Result<ConsumeService, RoleError> {
    let (config, streamed) = (platform.config(), &scoring.streamed);
    let store = platform.documents().await.map_err(RoleError::from_store)?;
    let admin = platform.bus().admin().map_err(|error| RoleError::new(error, true))?;
    let directory = config.score.directory.clone();
    let mut options = config.score.consume.clone();
    replica(&mut options, &directory).map_err(|error| RoleError::new(error, false))?;
    if options.topics.is_empty() {
        options.topics = streamed.topics();
    }
    let registry = Some(platform.registry().clone());
    let stream = StreamOptions { directory, ..config.features.stream.clone() };
    let sink = FeaturesSink::new(streamed, store, admin, registry, &config.events, &options.group, stream);
    let sink = with_past(sink, platform, streamed).await?.named("score-state").without_values();
    let sink = sink.keeping(scoring.live.clone()).followed_by(scores.follower());
    let (bus, health) = (platform.bus().clone(), platform.health().clone());
    ConsumeService::new(sink, bus, options, "features", health).map_err(consume_error)
}

/// The staged zone. It reports its own health.
pub(super) async fn stage(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let lake = platform.lake().await.map_err(|error| RoleError::new(error, false))?;
    let (events, options) = (&platform.config().events, platform.config().stage.clone());
    let source = |topic: &String, kind| {
        let (namespace, name) = table_of(topic);
        Source { kind, topic: topic.as_str().into(), raw: (namespace.to_owned(), name) }
    };
    let clicks = events.clicks.iter().map(|topic| source(topic, EventKind::Clicks));
    let logs = events.logs.iter().map(|topic| source(topic, EventKind::Logs));
    let service = StageService::new(lake, clicks.chain(logs).collect(), options, platform.health().clone())
        .map_err(|error| RoleError::new(error, false))?;
    service.run(shutdown).await;
    Ok(())
}

/// The batch pipelines. It reports its own health.
pub(super) async fn schedule(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let fatal = |error| RoleError::new(error, false);
    let lake = platform.lake().await.map_err(fatal)?;
    let options = platform.config().schedule.clone();
    let store = platform.documents().await.map_err(RoleError::from_store)?;
    let emitter = batch::Emitter::start(&platform.config().batch).map_err(fatal)?;
    let ledger = batch::ledger(&options).await.map_err(|error| RoleError::new(error, true))?;
    let pipelines = batch::every(&platform, &lake, store, &ledger, emitter.as_ref()).map_err(fatal)?;
    let service = ScheduleService::new(options, ledger, pipelines, platform.health().clone())
        .map_err(|error| fatal(error.into()))?;
    service.run(shutdown).await;
    if let Some(emitter) = emitter {
        emitter.flush().await;
    }
    Ok(())
}

/// The warehouse over the PostgreSQL protocol. It reports its own health.
pub(super) async fn bi(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let fatal = |error| RoleError::new(error, false);
    let lake = platform.lake().await.map_err(fatal)?;
    let (options, health) = (platform.config().bi.clone(), platform.health().clone());
    let service = Service::new(options, lake, health).map_err(|error| fatal(error.into()))?;
    service.run(shutdown).await.map_err(|error| fatal(error.into()))
}

/// Copies of the published warehouse in a PostgreSQL. It reports its own health.
pub(super) async fn publish(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let fatal = |error| RoleError::new(error, false);
    let lake = platform.lake().await.map_err(fatal)?;
    let publisher = publication::publisher(platform.config(), lake, platform.health().clone());
    publisher.map_err(fatal)?.run(shutdown).await;
    Ok(())
}

/// The scheduler of a cluster. It reports its own health.
pub(super) async fn batch_scheduler(
    platform: Arc<Platform>,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    let (options, health) = (platform.config().batch_scheduler.clone(), platform.health().clone());
    let lake = &platform.config().lake;
    SchedulerNode::new(options, lake, health).map_err(node_error)?.run(shutdown).await.map_err(node_error)
}

/// A node of a cluster that computes. It reports its own health.
pub(super) async fn batch_executor(
    platform: Arc<Platform>,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    let (options, health) = (platform.config().batch_executor.clone(), platform.health().clone());
    let lake = &platform.config().lake;
    ExecutorNode::new(options, lake, health).map_err(node_error)?.run(shutdown).await.map_err(node_error)
}

fn node_error(error: NodeError) -> RoleError {
    let passing = error.is_passing();
    RoleError::new(error, passing)
}

fn consume_error(error: ConsumeError) -> RoleError {
    let passing = match &error {
        ConsumeError::Bus { source, .. } => source.is_passing(),
        ConsumeError::Options { .. } | ConsumeError::Sink { .. } => false,
    };
    RoleError::new(error, passing)
}

/// Change data capture. It reports its own health.
pub(super) async fn cdc(platform: Arc<Platform>, shutdown: CancellationToken) -> Result<(), RoleError> {
    let mut options = platform.config().cdc.clone();
    if !platform.first_start_of_source() {
        (options.accept_gap, options.resnapshot) = (false, false);
    }
    let (bus, registry) = (platform.bus().clone(), Some(platform.registry().clone()));
    let fail = |error: affluent_stream::cdc::CdcError| {
        let passing = error.is_passing();
        RoleError::new(error, passing)
    };
    CdcService::new(options, bus, registry, platform.health().clone())
        .map_err(fail)?
        .run(shutdown)
        .await
        .map_err(fail)
}
