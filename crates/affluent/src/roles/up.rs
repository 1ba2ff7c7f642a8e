//! `affluent up` and `affluent run`: from the command line to running roles and back.

use super::{ROLES, Role, Running, all_ready, needed, prepare};
use crate::config::Config;
use crate::output::Exit;
use crate::platform::Platform;
use clap::builder::PossibleValuesParser;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const UP_EXAMPLES: &str = "\
Examples:
  affluent up
  affluent up --config shop.toml
  AFFLUENT__CDC__CONNECTION=postgresql://me:secret@localhost/shop affluent up
  affluent up --resnapshot              the slot was lost: read every table again

Stop it with Ctrl-C or SIGTERM: sources stop first, sinks write and commit what they hold.";

const RUN_EXAMPLES: &str = "\
Examples:
  affluent run broker registry          the services alone
  affluent run cdc --config shop.toml   the source alone; [bus] and [registry] say where to
  affluent run collect                  clicks and log lines over HTTP; brings `api` along
  affluent run score                    payments scored by another process; brings `api` along
  affluent run schedule                 the batch pipelines to the warehouse, on their calendars
  affluent run bi                       the warehouse for dashboards, over the PostgreSQL protocol
  affluent run batch-scheduler          a cluster for [batch] engine: this once, and batch-executor on many machines
  affluent run sink-lake api            more processes of a sink share its partitions";

/// Threads left over at the end get this long.
const LEAVE: Duration = Duration::from_millis(500);

/// Options of `affluent up`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = UP_EXAMPLES)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    gap: GapArgs,
}

/// Options of `affluent run`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// Which roles
    #[arg(required = true, value_name = "ROLE", value_parser = PossibleValuesParser::new(role_values()))]
    roles: Vec<String>,
    #[command(flatten)]
    gap: GapArgs,
}

/// The two ways on when the source's slot no longer continues where we stopped.
#[derive(Debug, Clone, Default, clap::Args)]
struct GapArgs {
    /// Go on although changes between our position and the slot's are lost
    #[arg(long, conflicts_with = "resnapshot")]
    accept_gap: bool,
    /// Read every table again and go on from now
    #[arg(long)]
    resnapshot: bool,
}

fn role_values() -> Vec<clap::builder::PossibleValue> {
    ROLES.iter().map(|role| clap::builder::PossibleValue::new(role.name).help(role.about)).collect()
}

/// Runs every role that the configuration has work for.
///
/// # Errors
/// What keeps the platform from starting, or the error that a role gave up with.
pub(crate) fn up(args: &UpArgs, config: Config) -> anyhow::Result<Exit> {
    let roles = needed(&config);
    play(roles, &args.gap, config)
}

/// Runs the roles named on the command line.
///
/// # Errors
/// As [`up`].
pub(crate) fn run(args: &RunArgs, config: Config) -> anyhow::Result<Exit> {
    // The collector and the scores answer through the HTTP interface.
    let asked = |name: &str| args.roles.iter().any(|role| role == name);
    let answers = asked("collect") || asked("score");
    let named = |role: &&Role| asked(role.name) || (role.name == "api" && answers);
    play(ROLES.iter().filter(named).collect(), &args.gap, config)
}

/// Everything that can fail without waiting fails before the runtime starts.
fn play(roles: Vec<&'static Role>, gap: &GapArgs, mut config: Config) -> anyhow::Result<Exit> {
    config.cdc.accept_gap |= gap.accept_gap;
    config.cdc.resnapshot |= gap.resnapshot;
    let platform = prepare(config, &roles)?;
    raise_file_limit();
    let runtime = crate::runtime()?;
    let ended = runtime.block_on(until_told(platform, roles));
    runtime.shutdown_timeout(LEAVE);
    ended
}

/// Runs until a signal comes or a role gives up.
async fn until_told(platform: Arc<Platform>, roles: Vec<&'static Role>) -> anyhow::Result<Exit> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let names: Vec<&str> = roles.iter().map(|role| role.name).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), roles = names.join(" "), "affluent starts");
    let mut running = Running::start(Arc::clone(&platform), roles);
    let announced = tokio::spawn(announce(platform));
    let failed = tokio::select! {
        error = running.failed() => Some(error),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    announced.abort();
    tracing::info!("affluent stops");
    let stopped = tokio::select! {
        stopped = running.stop() => stopped,
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped at once by a second signal")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped at once by a second signal")),
    };
    match failed {
        Some(error) => Err(error),
        None => stopped.map(|()| Exit::Done),
    }
}

/// One line when everything works, with the address to look at.
async fn announce(platform: Arc<Platform>) {
    all_ready(platform.health().clone()).await;
    tracing::info!(
        status = platform.http_url(),
        seconds = platform.uptime().as_secs_f32(),
        "every role is ready"
    );
}

/// Segments, tables and connections each take a file; the default soft limit is small.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < 4096 => {
            tracing::warn!(limit, "few files may be open; raise the limit with `ulimit -n 65536`");
        }
        Ok(limit) => tracing::debug!(limit, "limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}
