//! What a running source does now and then: heartbeats, the watch on retained log, new tables.
//!
//! None of it stops the stream: what fails is logged and tried again.

use super::begin::due_snapshot;
use super::catalog::Catalog;
use super::connect::address::Address;
use super::context::Context;
use super::emit::ROLE;
use super::options::SnapshotMode;
use super::{CdcError, slot};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::metrics_list;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// How often the slot's retained log is looked at.
const WATCH: Duration = Duration::from_secs(10);

/// Longer than any source lives.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Runs until `ending`. Tables that are to be read are sent to `due`.
pub(crate) async fn run(
    context: Context,
    address: Address,
    health: Health,
    due: mpsc::UnboundedSender<u32>,
    ending: CancellationToken,
) -> Result<(), CdcError> {
    let mut catalog = Catalog::new(address);
    let every = |seconds: u64| if seconds == 0 { NEVER } else { Duration::from_secs(seconds) };
    let timer = |period: Duration, first: Duration| {
        let mut timer = interval_at(Instant::now() + first, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer
    };
    let heartbeat = every(context.options.heartbeat_s);
    let discover = every(context.options.discover_s);
    let mut heartbeat = timer(heartbeat, heartbeat);
    let mut discover = timer(discover, discover);
    let mut watch = timer(WATCH, Duration::ZERO);
    let mut retaining = false;
    loop {
        let (what, result) = tokio::select! {
            () = ending.cancelled() => return Ok(()),
            _ = heartbeat.tick() => ("heartbeat", beat(&mut catalog).await),
            _ = watch.tick() => ("watch the slot", watch_slot(&context, &mut catalog, &health, &mut retaining).await),
            _ = discover.tick() => ("look for new tables", find_tables(&context, &mut catalog, &due).await),
        };
        if let Err(error) = result {
            tracing::warn!(%error, what, "upkeep failed");
        }
    }
}

/// A transactional message: it gives an idle database's slot something to confirm.
async fn beat(catalog: &mut Catalog) -> Result<(), CdcError> {
    let sql = "SELECT pg_logical_emit_message(true, 'affluent.heartbeat', '')";
    catalog.client().await?.batch_execute(sql).await.map_err(|e| CdcError::sql("write a heartbeat", &e))
}

async fn watch_slot(
    context: &Context,
    catalog: &mut Catalog,
    health: &Health,
    retaining: &mut bool,
) -> Result<(), CdcError> {
    let options = &context.options;
    let Some(bytes) = slot::retained_bytes(catalog.client().await?, &options.slot).await? else {
        return Ok(());
    };
    metrics_list::slot_retained(&options.slot, bytes, options.retained_warning_bytes);
    let too_much = bytes > options.retained_warning_bytes;
    if too_much {
        let limit = options.retained_warning_bytes;
        tracing::warn!(slot = options.slot, bytes, limit, "the slot keeps much write-ahead log");
        health.set(
            ROLE,
            State::Degraded(format!("slot {} keeps {bytes} bytes of write-ahead log", options.slot)),
        );
    } else if *retaining {
        health.set(ROLE, State::Ready);
    }
    *retaining = too_much;
    Ok(())
}

/// Adds new tables to the publication and has them read.
async fn find_tables(
    context: &Context,
    catalog: &mut Catalog,
    due: &mpsc::UnboundedSender<u32>,
) -> Result<(), CdcError> {
    let options = &context.options;
    let saved = context.checkpoints.saved().await;
    let mut new = catalog.selected(options).await?;
    let read = options.snapshot.mode == SnapshotMode::Initial;
    new.retain(|t| saved.tables.get(&t.oid).is_none_or(|entry| read && entry.snapshot.is_none()));
    if new.is_empty() {
        return Ok(());
    }
    if read {
        // Before the first change of these tables can come.
        context.fill_until.lock().extend(new.iter().map(|t| (t.oid, u64::MAX)));
        new.iter().for_each(|t| context.cuts.due(t.oid));
    }
    slot::ensure_publication(catalog, options, &new).await?;
    for found in new {
        let mut entry = context.ensure_table(found.oid, &found.table).await?;
        if read {
            let lsn = slot::wal_end(catalog.client().await?).await?;
            entry.snapshot = Some(due_snapshot(None, lsn, true));
            context.checkpoints.save_table(found.oid, entry).await?;
            let _ = due.send(found.oid);
        }
        tracing::info!(table = %found.table, "table captured from now on");
    }
    Ok(())
}
