//! The upkeep of every table, running beside the sinks of this or any other process.

use crate::{Lake, LakeError, LakeTable};
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Merges small files, drops old snapshots and deletes unreferenced files, for every table of the
/// lake. Safe to run in several processes: each step is a commit of its own that loses cleanly.
#[derive(Debug, Clone)]
pub struct MaintenanceService {
    lake: Lake,
}

impl MaintenanceService {
    #[must_use]
    pub fn new(lake: Lake) -> Self {
        MaintenanceService { lake }
    }

    /// Runs until `shutdown`. A table that cannot be kept up is logged and tried again next round.
    ///
    /// # Errors
    /// None today; the signature is that of every service.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), LakeError>> {
        Box::pin(self.rounds(shutdown))
    }

    async fn rounds(self, shutdown: CancellationToken) -> Result<(), LakeError> {
        let options = &self.lake.options().maintenance;
        let interval = Duration::from_secs(options.interval_s);
        let clean_interval = Duration::from_secs(options.clean_interval_s);
        let mut cleaned = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(interval) => {}
            }
            let clean = cleaned.elapsed() >= clean_interval;
            if clean {
                cleaned = Instant::now();
            }
            if let Err(error) = self.round(clean, &shutdown).await {
                tracing::warn!(%error, "lake upkeep failed, trying again next round");
            }
        }
    }

    /// One round over every table. The first error is returned after the other tables had their
    /// turn.
    ///
    /// # Errors
    /// Disk, catalog, contention.
    pub async fn round(&self, clean: bool, shutdown: &CancellationToken) -> Result<(), LakeError> {
        let mut outcome = Ok(());
        for (namespace, name) in self.lake.tables().await? {
            if shutdown.is_cancelled() {
                break;
            }
            let kept_up = match self.lake.table(&namespace, &name).await {
                Ok(table) => keep_up(&table, clean, shutdown).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept_up {
                tracing::debug!(table = format!("{namespace}.{name}"), %error, "upkeep of a table failed");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }
}

async fn keep_up(table: &LakeTable, clean: bool, shutdown: &CancellationToken) -> Result<(), LakeError> {
    let compacted = table.compact(shutdown.clone()).await?;
    if compacted.merges > 0 {
        tracing::info!(
            table = table.name(),
            merges = compacted.merges,
            files_before = compacted.files_before,
            files_after = compacted.files_after,
            rows = compacted.rows,
            "lake files merged"
        );
    }
    let expired = table.expire().await?;
    if expired > 0 {
        tracing::debug!(table = table.name(), expired, "snapshots dropped");
    }
    if clean {
        let cleaned = table.clean().await?;
        if cleaned.deleted > 0 {
            tracing::info!(
                table = table.name(),
                deleted = cleaned.deleted,
                waiting = cleaned.waiting,
                "unreferenced files deleted"
            );
        }
    }
    Ok(())
}
