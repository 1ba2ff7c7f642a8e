//! The roles that a process can play, and `affluent up` and `affluent run`, which play them.
//!
//! A role is one line in [`ROLES`] and one function in `services`: it builds the service from the
//! platform and runs it until it is told to stop. Starting, restarting and stopping are the same for
//! all, in `running` and `supervise`.

mod protect_key;
mod running;
mod services;
mod supervise;
mod up;

pub(crate) use protect_key::provide as provide_protect_key;
pub(crate) use running::{Running, all_ready};
pub(crate) use up::{RunArgs, UpArgs, run, up};

use crate::config::{Config, ConfigError};
use crate::observe;
use crate::platform::{self, Platform};
use affluent_lake::LakeFormat;
use anyhow::Context as _;
use futures::future::BoxFuture;
use std::sync::Arc;
use supervise::RoleError;
use tokio_util::sync::CancellationToken;

/// A part of the platform that a process can run.
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Roles of one phase are stopped together, phases in the order of [`Phase`].
    phase: Phase,
    /// Others wait until it is ready.
    awaited: bool,
    /// Why `up` leaves it out under this configuration.
    unneeded: fn(&Config) -> Option<&'static str>,
    start: fn(Arc<Platform>, CancellationToken) -> BoxFuture<'static, Result<(), RoleError>>,
}

/// The order in which roles stop: what brings records in first, what carries them last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Source,
    Sink,
    Interface,
    Registry,
    Broker,
}

/// Why `up` leaves the nodes of a cluster out.
const OF_A_CLUSTER: &str = "a cluster's nodes are started by `affluent run`";

/// Every role, in the order in which they start.
pub(crate) const ROLES: &[Role] = &[
    Role {
        name: "broker",
        about: "the embedded broker, where [bus] names no Kafka",
        phase: Phase::Broker,
        awaited: true,
        unneeded: |config| {
            let external = !config.bus.bootstrap_servers.is_empty();
            external.then_some("bus.bootstrap_servers names a broker")
        },
        start: |platform, shutdown| Box::pin(services::broker(platform, shutdown)),
    },
    Role {
        name: "registry",
        about: "the built-in schema registry, where [registry] names none",
        phase: Phase::Registry,
        awaited: true,
        unneeded: |config| config.registry.url.is_some().then_some("registry.url names a registry"),
        start: |platform, shutdown| Box::pin(services::registry(platform, shutdown)),
    },
    Role {
        name: "api",
        about: "the HTTP interface: metrics, health, status, documents",
        phase: Phase::Interface,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::api(platform, shutdown)),
    },
    Role {
        name: "bi",
        about: "the published warehouse over the PostgreSQL protocol",
        phase: Phase::Interface,
        awaited: false,
        unneeded: |config| {
            let json = config.lake.format == LakeFormat::Json;
            json.then_some("lake.format is json: what is served is of Iceberg tables")
        },
        start: |platform, shutdown| Box::pin(services::bi(platform, shutdown)),
    },
    Role {
        name: "sink-documents",
        about: "changes into the mirrors of the document store",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::sink_documents(platform, shutdown)),
    },
    Role {
        name: "sink-events",
        about: "clicks and log lines into the document store",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::sink_events(platform, shutdown)),
    },
    Role {
        name: "sink-lake",
        about: "every record into the raw tables of the lake, and the upkeep of their files",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::sink_lake(platform, shutdown)),
    },
    Role {
        name: "features",
        about: "features of freshness stream, kept up with their topics, into the online store",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::features(platform, shutdown)),
    },
    Role {
        name: "score",
        about: "payments scored as they are inserted: records, scores, alerts, and back into their database",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::score(platform, shutdown)),
    },
    Role {
        name: "stage",
        about: "clicks and log lines from the raw to the staged zone of the lake, parsed and each once",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |config| {
            let json = config.lake.format == LakeFormat::Json;
            json.then_some("lake.format is json: the staged zone is of Iceberg tables")
        },
        start: |platform, shutdown| Box::pin(services::stage(platform, shutdown)),
    },
    Role {
        name: "schedule",
        about: "the batch pipelines to the warehouse, on their calendars",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |config| {
            let json = config.lake.format == LakeFormat::Json;
            json.then_some("lake.format is json: the warehouse is of Iceberg tables")
        },
        start: |platform, shutdown| Box::pin(services::schedule(platform, shutdown)),
    },
    Role {
        name: "publish",
        about: "the published warehouse into the PostgreSQL of bi.publish.postgres",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |config| {
            let none = config.bi.publish.postgres.is_empty();
            none.then_some("bi.publish.postgres is empty: nothing is copied")
        },
        start: |platform, shutdown| Box::pin(services::publish(platform, shutdown)),
    },
    Role {
        name: "batch-scheduler",
        about: "the scheduler of a cluster for [batch] engine",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| Some(OF_A_CLUSTER),
        start: |platform, shutdown| Box::pin(services::batch_scheduler(platform, shutdown)),
    },
    Role {
        name: "batch-executor",
        about: "a node of that cluster that computes",
        phase: Phase::Sink,
        awaited: false,
        unneeded: |_| Some(OF_A_CLUSTER),
        start: |platform, shutdown| Box::pin(services::batch_executor(platform, shutdown)),
    },
    Role {
        name: "collect",
        about: "clicks and log lines over HTTP; its endpoints are part of the role `api`",
        phase: Phase::Source,
        awaited: false,
        unneeded: |_| None,
        start: |platform, shutdown| Box::pin(services::collect(platform, shutdown)),
    },
    Role {
        name: "cdc",
        about: "the changes of the PostgreSQL named in [cdc]",
        phase: Phase::Source,
        awaited: false,
        unneeded: |config| {
            config.cdc.connection.is_empty().then_some("cdc.connection is empty: no database is captured")
        },
        start: |platform, shutdown| Box::pin(services::cdc(platform, shutdown)),
    },
];

/// The roles that this configuration has work for.
pub(crate) fn needed(config: &Config) -> Vec<&'static Role> {
    let mut roles = Vec::new();
    for role in ROLES {
        match (role.unneeded)(config) {
            None => roles.push(role),
            Some(reason) => tracing::info!(role = role.name, reason, "role left out"),
        }
    }
    roles
}

/// Everything that can fail before a runtime is there: directories, keys, options, addresses, the
/// embedded broker's logs.
///
/// # Errors
/// What keeps these roles from starting, and what to do about it.
pub(crate) fn prepare(mut config: Config, roles: &[&'static Role]) -> anyhow::Result<Arc<Platform>> {
    let plays = |name: &str| roles.iter().any(|role| role.name == name);
    std::fs::create_dir_all(&config.data_dir).with_context(|| {
        format!("create {}; set `data_dir` to a directory that may be written", config.data_dir.display())
    })?;
    if plays("cdc") {
        protect_key::provide(&mut config)?;
        config.cdc.check().map_err(|error| ConfigError::Invalid { message: error.to_string() })?;
    }
    platform::recorder().context("install the metrics recorder")?;
    observe::start(&config.telemetry);
    let platform = if plays("broker") { Platform::with_broker(config)? } else { Platform::new(config)? };
    let platform = if plays("collect") { platform.with_collector()? } else { platform };
    let scores = plays("score") || plays("api");
    Ok(Arc::new(if scores { platform.with_scoring(plays("score"), plays("features"))? } else { platform }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wait_for_starts_first_and_stops_last() {
        let phases: Vec<Phase> = ROLES.iter().map(|role| role.phase).collect();
        assert_eq!(phases[0], Phase::Broker);
        assert_eq!(phases[phases.len() - 1], Phase::Source);
        let waiting = ROLES.iter().skip_while(|role| role.awaited);
        assert!(waiting.clone().all(|role| !role.awaited && role.phase < Phase::Registry));
    }
}
