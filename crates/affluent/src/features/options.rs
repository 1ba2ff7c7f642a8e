//! Section `[features]`: where definitions come from.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where definitions of features come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FeatureOptions {
    /// Directory of definitions that override the shipped ones or are added to them; empty: the shipped ones alone.
    pub(crate) definitions: PathBuf,
}

impl FeatureOptions {
    /// The directory, where there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.definitions.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}
