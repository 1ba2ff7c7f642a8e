//! Named snapshots, and the way back to an older one.
//!
//! A tag keeps its snapshot from expiry until it is taken away; other engines read it by its name. A
//! return makes an older kept snapshot the current one and keeps the newer ones in the history.

use crate::table::LakeTable;
use crate::write::commits::{Alteration, COMMITS_PROPERTY, Commits};
use crate::{LakeError, OFFSETS_PROPERTY};
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};
use std::collections::{BTreeMap, HashMap};

/// Longest name of a tag, bytes.
const TAG_BYTES_MAX: usize = 256;

impl LakeTable {
    /// Names a kept snapshot, so that it does not expire. A tag of this name is moved.
    ///
    /// # Errors
    /// [`LakeError::NoSnapshot`], [`LakeError::Options`] for a name that is empty, too long or a branch's;
    /// [`LakeError::Contention`], disk and catalog.
    pub async fn tag(&self, name: &str, snapshot: i64) -> Result<(), LakeError> {
        if name.is_empty() || name.len() > TAG_BYTES_MAX || name == MAIN_BRANCH {
            return Err(LakeError::Options(format!("{name:?} cannot be the name of a tag")));
        }
        let reference = SnapshotReference::new(snapshot, SnapshotRetention::Tag { max_ref_age_ms: None });
        self.alter(|table| {
            self.kept(table, snapshot)?;
            let now = references(table)?.get(name).copied();
            if now == Some(snapshot) {
                return Ok(None);
            }
            let update =
                TableUpdate::SetSnapshotRef { ref_name: name.to_owned(), reference: reference.clone() };
            Ok(Some(Alteration { requirements: vec![stands(name, now)], updates: vec![update] }))
        })
        .await
        .map(drop)
    }

    /// Takes a tag away; one that is not there is fine.
    ///
    /// # Errors
    /// [`LakeError::Options`] for a branch; [`LakeError::Contention`], disk and catalog.
    pub async fn untag(&self, name: &str) -> Result<(), LakeError> {
        if name == MAIN_BRANCH {
            return Err(LakeError::Options(format!("{name} is a branch, no tag")));
        }
        self.alter(|table| {
            let Some(now) = references(table)?.get(name).copied() else { return Ok(None) };
            let update = TableUpdate::RemoveSnapshotRef { ref_name: name.to_owned() };
            Ok(Some(Alteration { requirements: vec![stands(name, Some(now))], updates: vec![update] }))
        })
        .await
        .map(drop)
    }

    /// The snapshot of every tag and branch; the branch `main` is the current one.
    ///
    /// # Errors
    /// The catalog or the metadata cannot be read.
    pub async fn tags(&self) -> Result<BTreeMap<String, i64>, LakeError> {
        references(&self.refreshed().await?)
    }

    /// Makes an older kept snapshot the current one, as a commit. Offsets go back with the rows, and the
    /// keys of the commits that are undone are forgotten: each may be committed anew.
    ///
    /// # Errors
    /// [`LakeError::NoSnapshot`]; [`LakeError::Malformed`] where the table has offsets and the snapshot kept
    /// none; [`LakeError::Contention`], disk and catalog.
    pub async fn rollback_to(&self, snapshot: i64) -> Result<(), LakeError> {
        self.alter(|table| {
            self.kept(table, snapshot)?;
            if table.metadata().current_snapshot_id() == Some(snapshot) {
                return Ok(None);
            }
            let updates = self.rollback(table.metadata(), snapshot)?;
            Ok(Some(Alteration { requirements: Vec::new(), updates }))
        })
        .await
        .map(drop)
    }

    fn rollback(&self, metadata: &TableMetadata, snapshot: i64) -> Result<Vec<TableUpdate>, LakeError> {
        let reference = SnapshotReference::new(snapshot, SnapshotRetention::branch(None, None, None));
        let mut updates = vec![TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference }];
        let mut properties = HashMap::new();
        if metadata.properties().contains_key(OFFSETS_PROPERTY) {
            let offsets = offsets_at(metadata, snapshot).ok_or_else(|| LakeError::Malformed {
                what: format!("snapshot {snapshot} of {}", self.name()),
                error: "it keeps no offsets: its rows and the table's offsets would part".to_owned(),
            })?;
            properties.insert(OFFSETS_PROPERTY.to_owned(), offsets);
        }
        if metadata.properties().contains_key(COMMITS_PROPERTY) {
            let sequence = metadata.snapshot_by_id(snapshot).map_or(0, |kept| kept.sequence_number());
            let commits = Commits::of(metadata)?.until(sequence);
            properties.insert(COMMITS_PROPERTY.to_owned(), commits.to_text()?);
        }
        if !properties.is_empty() {
            updates.push(TableUpdate::SetProperties { updates: properties });
        }
        Ok(updates)
    }

    fn kept(&self, table: &Table, snapshot: i64) -> Result<(), LakeError> {
        let kept = table.metadata().snapshot_by_id(snapshot).is_some();
        kept.then_some(()).ok_or_else(|| LakeError::NoSnapshot { table: self.name(), snapshot })
    }
}

/// That a tag has not been moved since.
fn stands(tag: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch { r#ref: tag.to_owned(), snapshot_id }
}

/// The offsets that the table had at a snapshot: its own, or those of the nearest snapshot before it.
fn offsets_at(metadata: &TableMetadata, snapshot: i64) -> Option<String> {
    let mut at = metadata.snapshot_by_id(snapshot);
    while let Some(snapshot) = at {
        if let Some(offsets) = snapshot.summary().additional_properties.get(OFFSETS_PROPERTY) {
            return Some(offsets.clone());
        }
        at = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    None
}

/// The snapshot of every branch and tag; the metadata shows its references only as JSON.
pub(crate) fn references(table: &Table) -> Result<BTreeMap<String, i64>, LakeError> {
    let malformed = |error: serde_json::Error| LakeError::Malformed {
        what: format!("metadata of {}", table.identifier()),
        error: error.to_string(),
    };
    let json = serde_json::to_value(table.metadata()).map_err(malformed)?;
    let references = json.get("refs").and_then(serde_json::Value::as_object);
    let named = references.into_iter().flatten();
    Ok(named
        .filter_map(|(name, reference)| Some((name.clone(), reference["snapshot-id"].as_i64()?)))
        .collect())
}
