//! A write that happens once: its key, its offsets, and the two loops that store against other writers:
//! [`LakeTable::store`] for rows, [`LakeTable::alter`] for metadata alone.
//!
//! Invariant: rows, offsets and the key change in one commit. A repeat of a key finds it and writes
//! nothing, also after the snapshot is gone, as long as fewer than [`COMMITS_KEPT`] others came after it.

use crate::catalog::is_conflict;
use crate::table::{LakeTable, pause};
use crate::write::snapshot::{self, Change};
use crate::{Advance, LakeError, OFFSETS_PROPERTY, Offsets};
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Table property with the keys of the last commits; summary entry with the key of its snapshot.
pub const COMMITS_PROPERTY: &str = "affluent.commits";
/// Table property with the highest [`Commit::fence`] that has written.
pub const FENCE_PROPERTY: &str = "affluent.fence";
/// Keys that a table remembers beside those in the summaries of its snapshots.
pub const COMMITS_KEPT: usize = 100;
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 256;

/// What makes a write happen once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// A name of the write (at most 256 bytes), unique in its table. A repeat writes nothing.
    pub key: Option<String>,
    /// Offsets that the rows bring the table to, under the rule of [`LakeTable::append`].
    pub advance: Vec<Advance>,
    /// The writer's fencing token, from whoever decides which one writer may write: it grows from writer to
    /// writer. Once a table has seen one, it refuses all lower ones.
    pub fence: Option<i64>,
}

impl Commit {
    /// A write of this name.
    #[must_use]
    pub fn named(key: impl Into<String>) -> Self {
        Commit { key: Some(key.into()), ..Commit::default() }
    }

    pub(crate) fn check(&self) -> Result<(), LakeError> {
        let fits = |key: &String| !key.is_empty() && key.len() <= KEY_BYTES_MAX;
        if self.key.as_ref().is_none_or(fits) {
            return Ok(());
        }
        Err(LakeError::Options(format!("the key of a commit has 1 to {KEY_BYTES_MAX} bytes")))
    }

    /// Refuses a writer that another one has replaced; true where its token is new to the table.
    fn passes(&self, table: &Table) -> Result<bool, LakeError> {
        let Some(own) = self.fence else { return Ok(false) };
        let Some(text) = table.metadata().properties().get(FENCE_PROPERTY) else { return Ok(true) };
        let seen: i64 = text.parse().map_err(|error: std::num::ParseIntError| LakeError::Malformed {
            what: format!("table property {FENCE_PROPERTY}"),
            error: error.to_string(),
        })?;
        if own < seen {
            return Err(LakeError::Fenced { table: table.identifier().to_string(), own, seen });
        }
        Ok(own > seen)
    }
}

/// How a write with a [`Commit`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T> {
    Committed(T),
    /// The key was committed before, by this snapshot (`None`: a commit that changed no rows). Nothing was
    /// written now.
    AlreadyCommitted(Option<i64>),
}

impl<T> Outcome<T> {
    /// What was done, where it was done now.
    #[must_use]
    pub fn committed(self) -> Option<T> {
        match self {
            Outcome::Committed(done) => Some(done),
            Outcome::AlreadyCommitted(_) => None,
        }
    }
}

/// One remembered commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    key: String,
    snapshot: Option<i64>,
    /// The table's sequence number after it.
    sequence: i64,
}

/// The remembered commits of a table, oldest first. Text form: a JSON list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Commits(Vec<Remembered>);

impl Commits {
    pub(crate) fn of(metadata: &TableMetadata) -> Result<Self, LakeError> {
        let Some(text) = metadata.properties().get(COMMITS_PROPERTY) else { return Ok(Commits::default()) };
        serde_json::from_str(text).map_err(|error| malformed(&error))
    }

    /// These and one more; the oldest make room.
    fn with(mut self, key: &str, snapshot: Option<i64>, sequence: i64) -> Self {
        self.0.push(Remembered { key: key.to_owned(), snapshot, sequence });
        self.0.drain(..self.0.len().saturating_sub(COMMITS_KEPT));
        self
    }

    /// Those up to a snapshot's sequence number: what remains after a return to it.
    pub(crate) fn until(mut self, sequence: i64) -> Self {
        self.0.retain(|commit| commit.sequence <= sequence);
        self
    }

    pub(crate) fn to_text(&self) -> Result<String, LakeError> {
        serde_json::to_string(self).map_err(|error| malformed(&error))
    }
}

fn malformed(error: &serde_json::Error) -> LakeError {
    LakeError::Malformed { what: format!("table property {COMMITS_PROPERTY}"), error: error.to_string() }
}

/// The snapshot under which `commit` is in the table already, if it is.
pub(crate) fn committed(table: &Table, commit: &Commit) -> Result<Option<Option<i64>>, LakeError> {
    let Some(key) = &commit.key else { return Ok(None) };
    let metadata = table.metadata();
    if let Some(found) = Commits::of(metadata)?.0.iter().rfind(|remembered| remembered.key == *key) {
        return Ok(Some(found.snapshot));
    }
    // Older ones are found in the history of the current snapshot, as far as it is kept.
    let mut at = metadata.current_snapshot();
    while let Some(snapshot) = at {
        if snapshot.summary().additional_properties.get(COMMITS_PROPERTY) == Some(key) {
            return Ok(Some(Some(snapshot.snapshot_id())));
        }
        at = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    Ok(None)
}

/// How an attempt to store a change ended.
pub(crate) enum Stored {
    /// With its snapshot; `None` where only offsets or the key were to be stored.
    Now(Option<i64>),
    /// The key was stored before; nothing was stored now.
    Before(Option<i64>),
    /// The change no longer fits the table: plan again.
    Stale,
}

/// A change of a table's metadata that touches no file.
pub(crate) struct Alteration {
    /// What it was computed from, beside the table's identity and current snapshot.
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
}

/// Commits that one write may lose against others.
pub(crate) struct Attempts {
    used: u32,
    max: u32,
}

impl LakeTable {
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { used: 0, max: self.0.options.commit_attempts }
    }

    /// Waits a little before the next attempt.
    ///
    /// # Errors
    /// [`LakeError::Contention`] after the last.
    pub(crate) async fn again(&self, attempts: &mut Attempts) -> Result<(), LakeError> {
        attempts.used += 1;
        if attempts.used >= attempts.max {
            return Err(self.contention());
        }
        pause(attempts.used).await;
        Ok(())
    }

    /// Stores what `decide` makes of the table as it stands; asked again after every lost race, and
    /// `None` from it means that the plan is stale. So is one that was made under another schema.
    ///
    /// # Errors
    /// [`LakeError::Unsettled`]: the key or the offsets tell what became of it. After all others nothing was
    /// stored.
    pub(crate) async fn store(
        &self,
        commit: &Commit,
        schema_id: i32,
        attempts: &mut Attempts,
        mut decide: impl AsyncFnMut(&Table) -> Result<Option<Change>, LakeError>,
    ) -> Result<Stored, LakeError> {
        loop {
            let turn = self.committing().await;
            let now = self.refreshed().await?;
            if let Some(snapshot) = committed(&now, commit)? {
                return Ok(Stored::Before(snapshot));
            }
            commit.passes(&now)?;
            let offsets = Offsets::of(now.metadata().properties())?.advanced(&commit.advance)?;
            if now.metadata().current_schema_id() != schema_id {
                return Ok(Stored::Stale);
            }
            let Some(change) = decide(&now).await? else { return Ok(Stored::Stale) };
            match self.store_on(&now, commit, &offsets, change).await {
                Ok(stored) => return Ok(stored),
                Err(error) if is_conflict(&error) => {
                    drop(turn);
                    self.again(attempts).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn store_on(
        &self,
        now: &Table,
        commit: &Commit,
        offsets: &Offsets,
        mut change: Change,
    ) -> Result<Stored, LakeError> {
        let metadata = now.metadata();
        let is_new = commit.passes(now)?;
        if !offsets.is_empty() {
            change.summary.insert(OFFSETS_PROPERTY.to_owned(), offsets.to_text()?);
        }
        if let Some(key) = &commit.key {
            change.summary.insert(COMMITS_PROPERTY.to_owned(), key.clone());
        }
        let produced = if change.added.is_empty() && change.removed.is_empty() {
            None
        } else {
            match snapshot::produce(now, &change, self.0.options.manifests_max).await? {
                Some(produced) => Some(produced),
                None => return Ok(Stored::Stale),
            }
        };
        let snapshot = produced.as_ref().map(|produced| produced.snapshot_id);
        let mut properties = HashMap::new();
        if !commit.advance.is_empty() {
            properties.insert(OFFSETS_PROPERTY.to_owned(), offsets.to_text()?);
        }
        if let Some(key) = &commit.key {
            let sequence = metadata.last_sequence_number() + i64::from(snapshot.is_some());
            let commits = Commits::of(metadata)?.with(key, snapshot, sequence);
            properties.insert(COMMITS_PROPERTY.to_owned(), commits.to_text()?);
        }
        if let Some(fence) = commit.fence.filter(|_| is_new) {
            properties.insert(FENCE_PROPERTY.to_owned(), fence.to_string());
        }
        let mut updates = produced.as_ref().map_or_else(Vec::new, |produced| produced.updates.clone());
        if !properties.is_empty() {
            updates.push(TableUpdate::SetProperties { updates: properties });
        }
        if updates.is_empty() {
            return Ok(Stored::Now(None));
        }
        let mut requirements = snapshot::requirements(now);
        let current_schema_id = metadata.current_schema_id();
        requirements.push(TableRequirement::CurrentSchemaIdMatch { current_schema_id });
        match self.0.catalog.commit(now, &requirements, updates).await {
            Ok(table) => {
                self.know(table);
                Ok(Stored::Now(snapshot))
            }
            Err(error) => {
                if let Some(produced) = produced.filter(|_| error.is_settled()) {
                    produced.discard();
                }
                Err(error)
            }
        }
    }

    /// Changes the metadata by what `decide` makes of the table as it stands; asked again after every lost
    /// race. False where it says `None`: there was nothing to change.
    ///
    /// # Errors
    /// Those of `decide`; [`LakeError::Contention`]; disk and catalog.
    pub(crate) async fn alter(
        &self,
        mut decide: impl FnMut(&Table) -> Result<Option<Alteration>, LakeError>,
    ) -> Result<bool, LakeError> {
        let mut attempts = self.attempts();
        loop {
            let turn = self.committing().await;
            let base = self.refreshed().await?;
            let Some(alteration) = decide(&base)? else { return Ok(false) };
            let mut requirements = snapshot::requirements(&base);
            requirements.extend(alteration.requirements);
            match self.0.catalog.commit(&base, &requirements, alteration.updates).await {
                Ok(table) => {
                    self.know(table);
                    return Ok(true);
                }
                Err(error) if is_conflict(&error) => {
                    drop(turn);
                    self.again(&mut attempts).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_commits_are_remembered_and_forgotten_with_a_return() {
        let mut commits = Commits::default();
        for n in 0..150_i64 {
            commits = commits.with(&format!("key {n}"), Some(n), n);
        }
        assert_eq!(commits.0.len(), COMMITS_KEPT);
        assert_eq!(commits.0[0].key, "key 50");
        let text = commits.to_text().unwrap();
        assert_eq!(serde_json::from_str::<Commits>(&text).unwrap(), commits);
        assert_eq!(commits.until(60).0.last().unwrap().key, "key 60");
    }

    #[test]
    fn a_key_is_neither_empty_nor_long() {
        Commit::default().check().unwrap();
        Commit::named("2026-11-22T00:15").check().unwrap();
        for key in [String::new(), "k".repeat(KEY_BYTES_MAX + 1)] {
            Commit::named(key).check().unwrap_err();
        }
    }
}
