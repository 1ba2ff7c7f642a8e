//! Running roles: started in order, stopped in order, each within its time.

use super::supervise::supervise;
use super::{Phase, Role};
use crate::alerts;
use crate::observe;
use crate::platform::Platform;
use affluent_telemetry::health::{Health, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long others wait for the broker and the registry before they start regardless: they wait for
/// them on their own, too.
const AWAIT_READY: Duration = Duration::from_secs(20);
/// How often health is looked at while waiting for it.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Everything has stopped, or is ended, after this long.
const STOP_LIMIT: Duration = Duration::from_millis(9300);

/// The phases in the order in which they stop, and how much of the limit each leaves to those after it.
const PHASES: &[(Phase, Duration)] = &[
    (Phase::Source, Duration::from_millis(6300)),
    (Phase::Sink, Duration::from_millis(2300)),
    (Phase::Interface, Duration::from_millis(2000)),
    (Phase::Registry, Duration::from_millis(1700)),
    (Phase::Broker, Duration::ZERO),
];

/// Roles at work. Dropping it without [`Running::stop`] ends them at once.
pub(crate) struct Running {
    tasks: Vec<Task>,
    failures: mpsc::Receiver<anyhow::Error>,
    upkeep: JoinHandle<()>,
    alerts: JoinHandle<()>,
}

struct Task {
    role: &'static Role,
    shutdown: CancellationToken,
    handle: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts `roles`, each as soon as the roles before it that others wait for are ready. Returns at
    /// once; how far they are is in the platform's health.
    pub(crate) fn start(platform: Arc<Platform>, roles: Vec<&'static Role>) -> Self {
        let (failed, failures) = mpsc::channel(roles.len().max(1));
        let mut awaited: Vec<&'static str> = Vec::new();
        let mut tasks = Vec::new();
        let played: Vec<&'static str> = roles.iter().map(|role| role.name).collect();
        for role in roles {
            platform.health().set(role.name, State::Starting(format!("waits for {}", awaited.join(" and "))));
            let shutdown = CancellationToken::new();
            let work = play(role, Arc::clone(&platform), awaited.clone(), shutdown.clone(), failed.clone());
            tasks.push(Task { role, shutdown, handle: tokio::spawn(work) });
            if role.awaited {
                awaited.push(role.name);
            }
        }
        let upkeep = tokio::spawn(Box::pin(observe::run(Arc::clone(&platform), played.clone())));
        Running { tasks, failures, upkeep, alerts: tokio::spawn(Box::pin(alerts::watch(platform, played))) }
    }

    /// Waits for the first role that gives up.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.failures.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Stops phase by phase: sources, sinks, interfaces, registry, broker.
    ///
    /// # Errors
    /// The roles that failed while stopping, or did not stop in time. What they had not committed is
    /// read again at the next start.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let mut problems = Vec::new();
        let begun = Instant::now();
        for &(phase, left) in PHASES {
            let (stopping, rest): (Vec<Task>, Vec<Task>) =
                std::mem::take(&mut self.tasks).into_iter().partition(|task| task.role.phase == phase);
            self.tasks = rest;
            stopping.iter().for_each(|task| task.shutdown.cancel());
            let deadline = begun + STOP_LIMIT - left;
            for mut task in stopping {
                let name = task.role.name;
                match tokio::time::timeout_at(deadline, &mut task.handle).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => problems.push(format!("{error:#}")),
                    Ok(Err(error)) => problems.push(format!("{name}: {error}")),
                    Err(_) => {
                        task.handle.abort();
                        problems.push(format!("{name} did not stop in time"));
                    }
                }
            }
        }
        self.upkeep.abort();
        self.alerts.abort();
        if problems.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(problems.join("; "))) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.upkeep.abort();
        self.alerts.abort();
        for task in &self.tasks {
            task.shutdown.cancel();
            task.handle.abort();
        }
    }
}

/// One role, from waiting for the ones it needs to its end.
async fn play(
    role: &'static Role,
    platform: Arc<Platform>,
    awaited: Vec<&'static str>,
    shutdown: CancellationToken,
    failed: mpsc::Sender<anyhow::Error>,
) -> anyhow::Result<()> {
    let health = platform.health().clone();
    tokio::select! {
        () = ready(&health, &awaited) => {}
        () = shutdown.cancelled() => {
            health.set(role.name, State::Stopped);
            return Ok(());
        }
    }
    health.set(role.name, State::Starting(String::new()));
    tracing::info!(role = role.name, "role starts");
    let start = move |shutdown| (role.start)(Arc::clone(&platform), shutdown);
    let ended = supervise(role.name, health, shutdown, start).await;
    if let Err(error) = &ended {
        // Its channel has room for every role; a second failure is told by `stop`.
        let _ = failed.try_send(anyhow::anyhow!("{error:#}"));
    }
    ended
}

/// Waits until every role of `names` is ready, or has had its time.
async fn ready(health: &Health, names: &[&str]) {
    let all_ready = || {
        let states = health.snapshot();
        names.iter().all(|&name| matches!(states.get(name), Some(State::Ready | State::Degraded(_))))
    };
    let deadline = Instant::now() + AWAIT_READY;
    while !all_ready() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Waits until every role does its work.
pub(crate) async fn all_ready(health: Health) {
    while !health.is_ready() {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
