//! Deleting files that nothing refers to: left by crashes, or by snapshots that were dropped.
//!
//! A file goes only after it was seen unreferenced, and the grace period later still is; the first
//! sighting is kept in a database (the catalog's, where that is SQLite), so it counts across restarts and processes. Files
//! younger than the grace period are not even looked at: their commit may be under way.

use crate::files::plain;
use crate::table::{LakeTable, off_worker};
use crate::write::snapshot;
use crate::{LakeError, files};
use iceberg::table::Table;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// What a search for unreferenced files found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Files that nothing refers to and that wait for the end of their grace.
    pub waiting: usize,
    pub deleted: usize,
}

/// Creates the table of what was seen.
pub(crate) async fn prepare(pool: &SqlitePool) -> Result<(), LakeError> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS affluent_unreferenced (
             path TEXT PRIMARY KEY, table_location TEXT NOT NULL, since_ms INTEGER NOT NULL)",
    )
    .execute(pool)
    .await?;
    Ok(())
}

impl LakeTable {
    /// Deletes the table's files that nothing has referred to for the grace period.
    ///
    /// # Errors
    /// Disk and catalog; whatever was not deleted is found again.
    pub async fn clean(&self) -> Result<Cleaned, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.clean_here().await }).await
    }

    async fn clean_here(&self) -> Result<Cleaned, LakeError> {
        let grace = Duration::from_secs(self.0.options.maintenance.grace_s);
        let root = plain(self.known().metadata().location()).into_owned();
        let before = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        // First what is there, then what is referred to: a commit in between only adds references.
        let settled = files::list(self.0.catalog.store(), &root, before).await?;
        let table = self.refreshed().await?;
        let referenced = referenced(&table).await?;
        let unreferenced: Vec<String> =
            settled.into_iter().filter(|path| !referenced.contains(path)).collect();

        let now = snapshot::now_ms();
        let pool = &self.0.catalog.sightings().await?;
        let known = sqlx::query("SELECT path, since_ms FROM affluent_unreferenced WHERE table_location = ?")
            .bind(&root)
            .fetch_all(pool)
            .await?;
        let mut known: std::collections::HashMap<String, i64> = known
            .into_iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, sqlx::Error>>()?;
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut cleaned = Cleaned::default();
        let mut forget = Vec::new();
        let mut remember = Vec::new();
        for path in unreferenced {
            match known.remove(&path) {
                Some(since) if now.saturating_sub(since) >= grace_ms => {
                    files::remove(table.file_io(), &path).await?;
                    cleaned.deleted += 1;
                    forget.push(path);
                }
                Some(_) => cleaned.waiting += 1,
                None => {
                    cleaned.waiting += 1;
                    remember.push(path);
                }
            }
        }
        // The rest is referred to again, or gone.
        forget.extend(known.into_keys());
        let mut transaction = pool.begin().await?;
        for path in remember {
            sqlx::query("INSERT OR IGNORE INTO affluent_unreferenced VALUES (?, ?, ?)")
                .bind(path)
                .bind(&root)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
        }
        for path in forget {
            sqlx::query("DELETE FROM affluent_unreferenced WHERE path = ?")
                .bind(path)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(cleaned)
    }
}

/// Every path, as [`plain`] has it, that the table's metadata and kept snapshots refer to.
pub(crate) async fn referenced(table: &Table) -> Result<HashSet<String>, LakeError> {
    let metadata = table.metadata();
    let mut paths: HashSet<String> = HashSet::new();
    let mut manifests = HashSet::new();
    paths.extend(table.metadata_location().map(|path| plain(path).into_owned()));
    paths.extend(metadata.metadata_log().iter().map(|log| plain(&log.metadata_file).into_owned()));
    paths.extend(metadata.statistics_iter().map(|file| plain(&file.statistics_path).into_owned()));
    paths.extend(metadata.partition_statistics_iter().map(|file| plain(&file.statistics_path).into_owned()));
    for snapshot in metadata.snapshots() {
        paths.insert(plain(snapshot.manifest_list()).into_owned());
        let list = table.manifest_list_reader(snapshot).load().await?;
        for manifest in list.entries() {
            if !manifests.insert(manifest.manifest_path.clone()) {
                continue;
            }
            paths.insert(plain(&manifest.manifest_path).into_owned());
            let loaded = manifest.load_manifest(table.file_io()).await?;
            let live = loaded.entries().iter().filter(|entry| entry.is_alive());
            paths.extend(live.map(|entry| plain(entry.file_path()).into_owned()));
        }
    }
    Ok(paths)
}
