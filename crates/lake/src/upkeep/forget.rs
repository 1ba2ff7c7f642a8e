//! Ending a table's history now: older snapshots go, and the files that only these referred to, without the grace of `clean`.
//!
//! Only files that a snapshot of the table has referred to are deleted, so no writer loses what it is about to commit. Whoever reads an older
//! snapshot meanwhile fails. Killed between the two, the files are found by `clean` as unreferenced.

use crate::LakeError;
use crate::files::{self, local};
use crate::table::{LakeTable, off_worker};
use crate::upkeep::{clean, tags};
use crate::write::commits::Alteration;
use affluent_telemetry::failpoint;
use iceberg::TableUpdate;
use iceberg::spec::MAIN_BRANCH;
use std::collections::HashSet;
use std::path::Path;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub snapshots: usize,
    pub files: usize,
}

impl LakeTable {
    /// Drops every snapshot but the current one and those of the tags that `keeps` is true for; then deletes the files that nothing
    /// refers to any more.
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
        let before = clean::referenced(&self.refreshed().await?).await?;
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
        let after = clean::referenced(&self.refreshed().await?).await?;
        for path in before.difference(&after) {
            files::remove(Path::new(local(path)))?;
            forgotten.files += 1;
        }
        Ok(forgotten)
    }
}
