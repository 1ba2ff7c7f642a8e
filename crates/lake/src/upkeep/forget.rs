//! Ending a table's history now: older snapshots go, and all files that nothing refers to, without the grace of `clean`.
//!
//! Nobody else may write to the table or read it meanwhile: what another process is about to commit counts as unreferenced, too. Killed at any moment,
//! the next call finds what is left to do.

use crate::LakeError;
use crate::files;
use crate::table::{LakeTable, off_worker};
use crate::upkeep::{clean, tags};
use crate::write::commits::Alteration;
use affluent_telemetry::failpoint;
use iceberg::TableUpdate;
use iceberg::spec::MAIN_BRANCH;
use std::collections::HashSet;
use std::time::SystemTime;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub snapshots: usize,
    pub files: usize,
}

impl LakeTable {
    /// Drops every snapshot but the current one and those of the tags that `keeps` is true for; then deletes every file of the table that
    /// nothing refers to. The caller answers for it that no other process uses the table.
    ///
    /// # Errors
    /// [`LakeError::Contention`], disk and catalog.
    pub async fn forget(
        &self,
        keeps: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Forgotten, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.forget_here(&keeps).await }).await
    }

    async fn forget_here(&self, keeps: &impl Fn(&str) -> bool) -> Result<Forgotten, LakeError> {
        let mut forgotten = Forgotten::default();
        self.alter(|base| {
            let metadata = base.metadata();
            let (kept, gone): (Vec<_>, Vec<_>) =
                tags::references(base)?.into_iter().partition(|(name, _)| name == MAIN_BRANCH || keeps(name));
            let current = metadata.current_snapshot_id();
            let kept: HashSet<i64> = kept.into_iter().map(|(_, snapshot)| snapshot).chain(current).collect();
            let snapshots = metadata.snapshots().map(|snapshot| snapshot.snapshot_id());
            let snapshot_ids: Vec<i64> = snapshots.filter(|id| !kept.contains(id)).collect();
            forgotten.snapshots = snapshot_ids.len();
            let mut updates: Vec<TableUpdate> =
                gone.into_iter().map(|(ref_name, _)| TableUpdate::RemoveSnapshotRef { ref_name }).collect();
            if !snapshot_ids.is_empty() {
                updates.push(TableUpdate::RemoveSnapshots { snapshot_ids });
            }
            Ok((!updates.is_empty()).then(|| Alteration { requirements: Vec::new(), updates }))
        })
        .await?;
        failpoint("erase::before_files");
        let table = self.refreshed().await?;
        let root = table.metadata().location();
        let there = files::list(self.0.catalog.store(), root, SystemTime::now()).await?;
        let referenced = clean::referenced(&table).await?;
        for path in there {
            if !referenced.contains(&path) {
                files::remove(table.file_io(), &path).await?;
                forgotten.files += 1;
            }
        }
        Ok(forgotten)
    }
}
