//! The checked configuration of staging: section `[stage]`.

use super::StageError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How often and how much is staged, and what helps in reading an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageOptions {
    /// Pause between two rounds, milliseconds.
    pub interval_ms: u64,
    /// Most rows of one commit; a backlog takes several.
    pub rows_max: u64,
    /// An event that was staged within so many hours is not staged again.
    pub window_h: u32,
    /// MaxMind database (`.mmdb`) that tells country, region and city of an address; empty: these
    /// columns stay empty.
    pub geo: PathBuf,
}

impl Default for StageOptions {
    fn default() -> Self {
        StageOptions { interval_ms: 10_000, rows_max: 25_000, window_h: 24, geo: PathBuf::new() }
    }
}

impl StageOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// [`StageError::Options`].
    pub fn check(&self) -> Result<(), StageError> {
        let refuse = |text: &str| Err(StageError::Options(text.to_owned()));
        if self.interval_ms == 0 {
            return refuse("interval_ms must be above 0");
        }
        if self.rows_max == 0 {
            return refuse("rows_max must be above 0");
        }
        if self.window_h == 0 {
            return refuse("window_h must be above 0");
        }
        Ok(())
    }

    /// The window in microseconds.
    pub(super) fn window_micros(&self) -> i64 {
        i64::from(self.window_h) * 3_600_000_000
    }

    /// The file that tells where an address is.
    pub(super) fn geo_file(&self) -> Option<&Path> {
        Some(self.geo.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}
