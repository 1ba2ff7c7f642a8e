//! Options of the stream, checked.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How state is kept and values are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamOptions {
    /// Directory of the snapshots; each process has its own.
    pub directory: PathBuf,
    /// The state is stored this often, seconds; but never more than a twentieth of the time.
    pub snapshot_interval_s: u64,
    /// Keys of an entity; events of further ones are counted, not applied.
    pub keys_max: usize,
    /// Documents of one write to the online store.
    pub batch_documents: usize,
    /// Days that values stay after they were written last.
    pub ttl_days: u32,
    /// Which part of the vectors is logged, to be recomputed from the lake: 0 to 1.
    pub logged_share: f64,
    /// Days that logged vectors stay.
    pub logged_days: u32,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions {
            directory: PathBuf::new(),
            snapshot_interval_s: 30,
            keys_max: 50_000_000,
            batch_documents: 4_096,
            ttl_days: 90,
            logged_share: 0.001,
            logged_days: 14,
        }
    }
}

impl StreamOptions {
    /// Checks what no default can mend.
    ///
    /// # Errors
    /// The name of the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        let wrong = if self.directory.as_os_str().is_empty() {
            "directory is empty: name one for the snapshots"
        } else if self.keys_max == 0 || self.batch_documents == 0 {
            "keys_max and batch_documents must be at least 1"
        } else if self.ttl_days == 0 || self.logged_days == 0 {
            "ttl_days and logged_days must be at least 1"
        } else if !(0.0..=1.0).contains(&self.logged_share) {
            "logged_share must be from 0 to 1"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}
