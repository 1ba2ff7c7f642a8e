//! Section `[features]`: where definitions come from, and how values are kept up with the topics.

use affluent_feature_store::stream::StreamOptions;
use affluent_stream::consume::ConsumeOptions;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Features: definitions, history and the stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FeatureOptions {
    /// Directory of definitions that override the shipped ones or are added to them; empty: the shipped ones alone.
    pub(crate) definitions: PathBuf,
    /// Memory for the state of a view or a training set that is computed from history, and for the vectors of one instant.
    pub(crate) memory_bytes: u64,
    /// Logged vectors that are computed again each time.
    pub(crate) parity_sample: usize,
    /// What the role `features` reads.
    pub(crate) consume: ConsumeOptions,
    pub(crate) stream: StreamOptions,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        FeatureOptions {
            definitions: PathBuf::new(),
            memory_bytes: 512 << 20,
            parity_sample: 200,
            consume: ConsumeOptions::default(),
            stream: StreamOptions::default(),
        }
    }
}

impl FeatureOptions {
    /// The directory, where there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.definitions.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}
