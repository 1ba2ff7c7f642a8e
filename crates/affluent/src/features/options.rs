//! Section `[features]`: where definitions come from, and how values are kept up with the topics.

use affluent_feature_store::stream::StreamOptions;
use affluent_stream::consume::ConsumeOptions;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Features: definitions, and the stream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FeatureOptions {
    /// Directory of definitions that override the shipped ones or are added to them; empty: the shipped ones alone.
    pub(crate) definitions: PathBuf,
    /// What the role `features` reads.
    pub(crate) consume: ConsumeOptions,
    pub(crate) stream: StreamOptions,
}

impl FeatureOptions {
    /// The directory, where there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.definitions.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}
