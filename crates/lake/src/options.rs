//! The checked configuration of the lake: section `[lake]`.

use crate::LakeError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the raw zone is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LakeFormat {
    /// Iceberg tables of Parquet files.
    #[default]
    Iceberg,
    /// NDJSON files by table and day, below `<warehouse>/json`.
    Json,
}

/// Where the lake lives and how its files are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeOptions {
    /// What the raw zone is written as.
    pub format: LakeFormat,
    /// Directory of the tables.
    pub warehouse: PathBuf,
    /// SQLite file of the catalog; absent or empty: `<warehouse>/catalog.db`.
    pub catalog: Option<PathBuf>,
    /// Name under which other engines open the catalog (pyiceberg's `SqlCatalog(name, …)`).
    pub catalog_name: String,
    /// Size at which a data file is closed, and that compaction aims at.
    pub target_file_bytes: u64,
    /// A commit merges the small manifests of a table when there are more than this.
    pub manifests_max: usize,
    /// Attempts of a commit against other writers before it is reported as contention.
    pub commit_attempts: u32,
    pub maintenance: MaintenanceOptions,
}

/// When files are merged, snapshots dropped and unreferenced files deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceOptions {
    /// Pause between two rounds of compaction and expiry.
    pub interval_s: u64,
    /// Files of one partition and similar size that are merged once there are this many.
    pub compact_files_min: usize,
    /// Every snapshot younger than this is kept.
    pub keep_all_s: u64,
    /// Older ones are thinned to one in this time…
    pub keep_every_s: u64,
    /// …and dropped at this age.
    pub keep_age_s: u64,
    /// The newest snapshots that are kept whatever their age.
    pub keep_min: usize,
    /// Pause between two searches for unreferenced files.
    pub clean_interval_s: u64,
    /// A file is deleted when nothing has referenced it for this long: the longest time that a
    /// reader may work on a snapshot after it was dropped, and a writer on a commit.
    pub grace_s: u64,
}

impl Default for LakeOptions {
    fn default() -> Self {
        LakeOptions {
            format: LakeFormat::Iceberg,
            warehouse: PathBuf::from("data/lake"),
            catalog: None,
            catalog_name: "affluent".to_owned(),
            target_file_bytes: 128 << 20,
            manifests_max: 100,
            commit_attempts: 100,
            maintenance: MaintenanceOptions::default(),
        }
    }
}

impl Default for MaintenanceOptions {
    fn default() -> Self {
        MaintenanceOptions {
            interval_s: 30,
            compact_files_min: 16,
            keep_all_s: 60,
            keep_every_s: 3_600,
            keep_age_s: 7 * 86_400,
            keep_min: 20,
            clean_interval_s: 300,
            grace_s: 3_600,
        }
    }
}

impl LakeOptions {
    /// The file of the catalog.
    #[must_use]
    pub fn catalog_path(&self) -> PathBuf {
        let named = self.catalog.as_ref().filter(|path| !path.as_os_str().is_empty());
        named.cloned().unwrap_or_else(|| self.warehouse.join("catalog.db"))
    }

    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// [`LakeError::Options`].
    pub fn check(&self) -> Result<(), LakeError> {
        let refuse = |text: &str| Err(LakeError::Options(text.to_owned()));
        if self.warehouse.as_os_str().is_empty() {
            return refuse("warehouse is empty: name a directory");
        }
        if self.catalog_name.trim().is_empty() {
            return refuse("catalog_name is empty");
        }
        if self.target_file_bytes < 1 << 16 {
            return refuse("target_file_bytes is below 65536");
        }
        if self.manifests_max < 2 || self.commit_attempts == 0 {
            return refuse("manifests_max must be at least 2 and commit_attempts at least 1");
        }
        let m = &self.maintenance;
        if m.interval_s == 0 || m.clean_interval_s == 0 || m.keep_every_s == 0 {
            return refuse("maintenance.interval_s, clean_interval_s and keep_every_s must be above 0");
        }
        if m.keep_min == 0 || m.compact_files_min < 2 {
            return refuse("maintenance.keep_min must be at least 1 and compact_files_min at least 2");
        }
        Ok(())
    }
}
