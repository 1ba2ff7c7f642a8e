//! What an engine may use, and what a query may take.

use super::SqlError;
use super::cluster::ClusterAddress;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// What all queries of an engine may use together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineOptions {
    /// Memory of sorts, joins and groups, in bytes. Sorts and groups beyond it go to disk; a join that
    /// does not fit is an error.
    pub memory_bytes: u64,
    /// Directory for what does not fit into memory; absent: the system's temporary directory.
    pub spill_directory: Option<PathBuf>,
    /// Bytes there at most; beyond them a query fails.
    pub spill_bytes_max: u64,
    /// Parts of a query that run at once; 0: as many as the machine has cores.
    pub partitions: usize,
    /// The cluster that queries run on; absent: this process.
    pub cluster: Option<ClusterAddress>,
    /// Queries that read fewer rows run in this process all the same.
    pub cluster_rows_min: u64,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Manifests that are kept between queries: entries (data files) of them, about 5 KiB each.
    pub manifest_entries_max: usize,
    /// Footers of data files that are kept between queries, in bytes.
    pub footer_bytes_max: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            memory_bytes: 1 << 30,
            spill_directory: None,
            spill_bytes_max: 100 << 30,
            partitions: 0,
            cluster: None,
            cluster_rows_min: 500_000,
            batch_rows: 8 * 1024,
            manifest_entries_max: 20_000,
            footer_bytes_max: 32 << 20,
        }
    }
}

impl EngineOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// [`SqlError::Options`].
    pub fn check(&self) -> Result<(), SqlError> {
        let refuse = |text: &str| Err(SqlError::Options(text.to_owned()));
        if self.memory_bytes < 1 << 20 {
            return refuse("memory_bytes is below 1048576");
        }
        if !(1..=1 << 20).contains(&self.batch_rows) {
            return refuse("batch_rows must be between 1 and 1048576");
        }
        if self.partitions > 1_024 {
            return refuse("partitions is above 1024");
        }
        Ok(())
    }

    /// Parts of a query that run at once.
    pub(crate) fn partitions(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if self.partitions == 0 { cores() } else { self.partitions }
    }
}

/// What one query may take. Without any, it runs to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From the start of planning to the last row.
    pub timeout: Option<Duration>,
    /// Rows that are returned; [`super::Rows::truncated`] tells whether there were more.
    pub rows: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_nonsense_does_not() {
        EngineOptions::default().check().unwrap();
        EngineOptions { memory_bytes: 10, ..EngineOptions::default() }.check().unwrap_err();
        EngineOptions { batch_rows: 0, ..EngineOptions::default() }.check().unwrap_err();
        assert!(EngineOptions::default().partitions() >= 1);
    }
}
