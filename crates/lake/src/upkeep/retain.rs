//! Which snapshots are kept, and dropping the others from the metadata.
//!
//! Dropping is metadata only: files that become unreferenced are deleted by `clean`, after a grace
//! period, so a reader that began on a dropped snapshot ends in peace.

use crate::table::{LakeTable, off_worker};
use crate::upkeep::tags;
use crate::write::commits::Alteration;
use crate::write::snapshot;
use crate::{LakeError, MaintenanceOptions};
use iceberg::TableUpdate;
use iceberg::table::Table;
use std::collections::HashSet;

/// A snapshot, as far as retention looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) id: i64,
    /// Commit time, milliseconds UTC.
    pub(crate) at_ms: i64,
}

/// The snapshots to drop. Kept are: `pinned` ones (the current one, branches, tags), the newest
/// `keep_min`, all younger than `keep_all_s`, and of the older ones the last of each
/// `keep_every_s`, up to `keep_age_s`.
pub(crate) fn expired(
    snapshots: &[Aged],
    pinned: &HashSet<i64>,
    now_ms: i64,
    options: &MaintenanceOptions,
) -> Vec<i64> {
    let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let (all, every, age) = (ms(options.keep_all_s), ms(options.keep_every_s), ms(options.keep_age_s));
    let mut newest_first = snapshots.to_vec();
    newest_first.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.at_ms, snapshot.id)));
    let mut expired = Vec::new();
    let mut slot = None;
    for (rank, snapshot) in newest_first.iter().enumerate() {
        let elapsed = now_ms.saturating_sub(snapshot.at_ms);
        let own_slot = Some(snapshot.at_ms.div_euclid(every.max(1)));
        let last_of_slot = slot != own_slot;
        slot = own_slot;
        let keep = pinned.contains(&snapshot.id)
            || rank < options.keep_min
            || elapsed < all
            || (elapsed < age && last_of_slot);
        if !keep {
            expired.push(snapshot.id);
        }
    }
    expired
}

impl LakeTable {
    /// Drops the snapshots that the options no longer keep. Returns how many.
    ///
    /// # Errors
    /// [`LakeError::Contention`], disk and catalog; nothing is dropped then.
    pub async fn expire(&self) -> Result<usize, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.expire_here().await }).await
    }

    async fn expire_here(&self) -> Result<usize, LakeError> {
        let mut count = 0;
        self.alter(|base| {
            let aged = |snapshot: &iceberg::spec::SnapshotRef| Aged {
                id: snapshot.snapshot_id(),
                at_ms: snapshot.timestamp_ms(),
            };
            let snapshots: Vec<Aged> = base.metadata().snapshots().map(aged).collect();
            let options = &self.0.options.maintenance;
            let snapshot_ids = expired(&snapshots, &pinned(base)?, snapshot::now_ms(), options);
            count = snapshot_ids.len();
            if count == 0 {
                return Ok(None);
            }
            let updates = vec![TableUpdate::RemoveSnapshots { snapshot_ids }];
            Ok(Some(Alteration { requirements: Vec::new(), updates }))
        })
        .await?;
        Ok(count)
    }
}

/// Snapshots that a branch or tag names.
fn pinned(table: &Table) -> Result<HashSet<i64>, LakeError> {
    let named = tags::references(table)?.into_values();
    Ok(named.chain(table.metadata().current_snapshot_id()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000_000;

    fn kept(ages_s: &[i64], pinned: &[i64]) -> Vec<i64> {
        let options = MaintenanceOptions {
            keep_all_s: 60,
            keep_every_s: 3_600,
            keep_age_s: 86_400,
            keep_min: 2,
            ..MaintenanceOptions::default()
        };
        let snapshots: Vec<Aged> =
            ages_s.iter().map(|&age| Aged { id: age, at_ms: NOW - age * 1_000 }).collect();
        let pinned = pinned.iter().copied().collect();
        let expired = expired(&snapshots, &pinned, NOW, &options);
        ages_s.iter().copied().filter(|age| !expired.contains(age)).collect()
    }

    #[test]
    fn young_ones_all_older_ones_one_an_hour_and_old_ones_none() {
        // NOW is 2,800 s into its hour.
        assert_eq!(kept(&[0, 10, 59, 61, 100, 2_700, 2_900, 3_000, 90_000], &[]), [0, 10, 59, 2_900]);
        assert_eq!(kept(&[70, 80, 90], &[]), [70, 80], "the newest two stay");
        assert_eq!(kept(&[70, 80, 90, 200_000], &[200_000]), [70, 80, 200_000], "a tag stays");
        assert_eq!(kept(&[100_000, 200_000, 300_000], &[]), [100_000, 200_000]);
        assert_eq!(kept(&[], &[]), [] as [i64; 0]);
    }
}
