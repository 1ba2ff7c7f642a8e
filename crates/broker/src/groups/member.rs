//! One member of a group, and the choice of the protocol that all members speak.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stands for a request that waits for its answer.
pub(crate) type Token = u64;

/// A member; what is not stored belongs to the running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    /// Assignor name and the member's metadata for it, the preferred first.
    pub protocols: Vec<(String, Vec<u8>)>,
    pub assignment: Vec<u8>,
    #[serde(skip)]
    pub joining: Option<Token>,
    #[serde(skip)]
    pub syncing: Option<Token>,
    /// When the session ends unless a heartbeat comes; monotonic milliseconds.
    #[serde(skip)]
    pub expires_ms: u64,
}

impl Member {
    /// The metadata for `protocol`.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| Bytes::copy_from_slice(metadata))
    }

    pub(crate) fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(crate) fn renew(&mut self, now_ms: u64) {
        self.expires_ms = now_ms + self.session_timeout_ms;
    }
}

/// The protocol that every member speaks and most prefer; of equals the first by name.
pub(crate) fn choose_protocol<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Option<String> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members.clone() {
        let common = |(name, _): &&(String, Vec<u8>)| members.clone().all(|other| other.speaks(name));
        if let Some((name, _)) = member.protocols.iter().find(common) {
            *votes.entry(name).or_default() += 1;
        }
    }
    let most = votes.values().copied().max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
}
