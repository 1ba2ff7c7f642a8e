//! Versions of the warehouse: which snapshot of each dwh table readers see.
//!
//! A version is the rows of one commit to `ops.warehouse_versions`; the newest is in force. Invariants: a
//! version's tables are computed up to one and the same frontier; its snapshots are tagged before anybody can
//! see it and stay for as long as it is kept; the number of the newest version is an offset of the table, so
//! that two processes cannot make the same one.

use super::fence::Fence;
use super::rows::{Collected, number, text};
use super::tables::Done;
use super::window::reached;
use super::{Batch, BatchError};
use affluent_lake::sql::{At, Engine, EngineOptions, Pins, Session, SqlError};
use affluent_lake::{Advance, Lake, LakeError, LakeTable, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value, time::now_micros};
use affluent_telemetry::failpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

/// Where versions stand: a new state of this table is a new version.
pub const VERSIONS: &str = "ops.warehouse_versions";
const NAMESPACE: &str = "ops";
const TABLE: &str = "warehouse_versions";
/// The offset that counts versions.
const COUNTER: &str = "warehouse.versions";
/// What the tags of versions begin with.
const TAG: &str = "warehouse-";
/// Attempts to read tables and offsets of one moment.
const ATTEMPTS: u32 = 5;

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub version: i64,
    /// Everything that had arrived in the raw zone by this time is in it, microseconds UTC.
    pub as_of: Option<i64>,
    /// Microseconds UTC.
    pub published_at: i64,
    /// The run that published it; 0 where a person did.
    pub run: i64,
    /// The version that this one returned to.
    pub same_as: Option<i64>,
    /// Table as `dwh.name` to snapshot; `None`: it had no rows yet.
    pub snapshots: BTreeMap<String, Option<i64>>,
}

impl Version {
    /// The state of the tables; those of other zones are seen at their newest.
    #[must_use]
    pub fn pins(&self) -> Pins {
        let snapshots =
            self.snapshots.iter().filter_map(|(table, snapshot)| Some((table.clone(), (*snapshot)?)));
        Pins { at: At::Newest, snapshots: snapshots.collect() }
    }

    /// Shows the tables as empty that had no rows when the version was published: no snapshot can be pinned of them.
    ///
    /// # Errors
    /// As [`Session::register_view`].
    pub async fn hide_later(&self, session: &Session) -> Result<(), SqlError> {
        let known: Vec<&str> = session.tables().iter().map(|table| table.name.as_str()).collect();
        for (table, snapshot) in &self.snapshots {
            if snapshot.is_none() && known.contains(&table.as_str()) {
                let text = format!("select * from {} where false", super::sql::table(table));
                session.register_view(table, &text).await?;
            }
        }
        Ok(())
    }
}

/// What a reader of the warehouse is to see: the newest published version; nothing is pinned before the first.
///
/// # Errors
/// Disk and catalog.
pub async fn published_pins(lake: &Lake) -> Result<Pins, BatchError> {
    let newest = versions(lake).await?.into_iter().next();
    Ok(newest.map(|version| version.pins()).unwrap_or_default())
}

/// The published versions that can be returned to, the newest first.
///
/// # Errors
/// Disk and catalog.
pub fn versions(lake: &Lake) -> Pin<Box<dyn Future<Output = Result<Vec<Version>, BatchError>> + Send + '_>> {
    Box::pin(read_versions(lake))
}

async fn read_versions(lake: &Lake) -> Result<Vec<Version>, BatchError> {
    match lake.table(NAMESPACE, TABLE).await {
        Ok(_) => {}
        Err(LakeError::NotFound(_)) => return Ok(Vec::new()),
        Err(error) => return Err(BatchError::lake("open ops.warehouse_versions")(error)),
    }
    let what = || BatchError::sql("read ops.warehouse_versions");
    let read = async {
        let engine = Engine::new(lake.clone(), EngineOptions::default())?;
        let session = engine.session(Pins::default()).await?;
        let text = "select version, as_of, published_at, run, same_as, \"table\", snapshot_id \
                    from ops.warehouse_versions";
        Collected::of(&session, text).await
    };
    let rows: Collected = read.await.map_err(|error: SqlError| what()(error))?;
    let mut versions: BTreeMap<i64, Version> = BTreeMap::new();
    for batch in &rows.batches {
        for row in 0..batch.num_rows() {
            let (Some(version), Some(table)) = (number(batch, 0, row), text(batch, 5, row)) else { continue };
            let entry = versions.entry(version).or_insert_with(|| Version {
                version,
                as_of: number(batch, 1, row),
                published_at: number(batch, 2, row).unwrap_or_default(),
                run: number(batch, 3, row).unwrap_or_default(),
                same_as: number(batch, 4, row),
                snapshots: BTreeMap::new(),
            });
            entry.snapshots.insert(table, number(batch, 6, row));
        }
    }
    Ok(versions.into_values().rev().collect())
}

impl Batch {
    /// Makes the dwh tables as they stand visible to readers, all at once. Nothing happens where the newest version
    /// shows the same snapshots.
    ///
    /// # Errors
    /// [`BatchError::Unpublishable`] for a table that is not computed up to the frontier.
    pub async fn publish(&self, run: i64, fence: &dyn Fence) -> Result<(Done, Option<i64>), BatchError> {
        let frontier = self.frontier().await?;
        let mut snapshots = BTreeMap::new();
        for model in self.models.iter().filter(|model| model.zone == "dwh") {
            let Some(table) = self.table_of(model).await? else { continue };
            let name = model.table();
            let end = frontier.behind(&self.models.staged_behind(&name));
            let (snapshot, offsets) =
                state(&table).await.map_err(BatchError::lake(format!("read {name}")))?;
            if !reached(&offsets, &end) {
                return Err(BatchError::Unpublishable { table: name });
            }
            snapshots.insert(name, snapshot);
        }
        if snapshots.is_empty() {
            return Ok((Done::default(), None));
        }
        let kept = versions(&self.lake).await?;
        if is_published(&kept, &snapshots) {
            return Ok((Done::default(), None));
        }
        let version = Version {
            version: kept.first().map_or(0, |newest| newest.version) + 1,
            as_of: self.as_of().await?,
            published_at: now_micros(),
            run,
            same_as: None,
            snapshots,
        };
        self.put(&version, fence).await?;
        self.forget(&kept).await?;
        let tables = version.snapshots.len() as u64;
        Ok((Done { tables, rows_out: tables, ..Done::default() }, Some(version.version)))
    }

    /// Publishes the version before the newest one again, or the one that is named.
    ///
    /// # Errors
    /// [`BatchError::NoVersion`] where there is none, or it is no longer kept.
    pub async fn rollback(&self, to: Option<i64>) -> Result<Version, BatchError> {
        let kept = versions(&self.lake).await?;
        let newest = kept.first().ok_or_else(|| BatchError::NoVersion("to return from".to_owned()))?;
        // What a return stands for, so that returning again goes further back.
        let at = newest.same_as.unwrap_or(newest.version);
        let wanted = kept.iter().find(|version| match to {
            Some(to) => version.version == to,
            None => version.version < at && version.same_as.is_none(),
        });
        let wanted = wanted.ok_or_else(|| match to {
            Some(to) => BatchError::NoVersion(to.to_string()),
            None => BatchError::NoVersion(format!("before {at}")),
        })?;
        let version = Version {
            version: newest.version + 1,
            published_at: now_micros(),
            run: 0,
            same_as: Some(wanted.same_as.unwrap_or(wanted.version)),
            ..wanted.clone()
        };
        self.put(&version, &super::Unfenced).await?;
        Ok(version)
    }

    /// Tags the snapshots, then commits the version.
    async fn put(&self, version: &Version, fence: &dyn Fence) -> Result<(), BatchError> {
        let what = || "write ops.warehouse_versions".to_owned();
        let columns = columns();
        let ensured = self.lake.ensure_table(NAMESPACE, TABLE, &columns, &Partition::None);
        let table = ensured.await.map_err(BatchError::lake(what()))?;
        fence.check().await?;
        for (name, snapshot) in &version.snapshots {
            let (Some(snapshot), Some(tagged)) = (snapshot, self.find(name).await?) else { continue };
            tagged.tag(&tag(version), *snapshot).await.map_err(BatchError::lake(format!("tag {name}")))?;
        }
        let stored = table.offsets().await.map_err(BatchError::lake(what()))?.get(COUNTER, 0);
        let expected = Some(version.version - 1).filter(|before| *before > 0);
        if stored != expected {
            let message = format!("version {} was published by another process", version.version);
            return Err(BatchError::Stopped { message, retryable: true });
        }
        fence.check().await?;
        failpoint("batch::before_publish");
        let advance = Advance { topic: COUNTER.into(), partition: 0, expected, next: version.version };
        let rows = Arc::new(RowBatch { columns, rows: rows(version) });
        table.append(rows, vec![advance]).await.map_err(BatchError::lake(what()))?;
        failpoint("batch::after_publish");
        tracing::info!(
            version = version.version,
            tables = version.snapshots.len(),
            "warehouse version published"
        );
        Ok(())
    }

    /// Takes the tags of versions away that are too old to be returned to, published or not.
    async fn forget(&self, kept: &[Version]) -> Result<(), BatchError> {
        let newest_forgotten = kept.get(self.options.versions_kept as usize);
        let Some(newest_forgotten) = newest_forgotten.map(|version| version.version) else { return Ok(()) };
        for name in kept.iter().flat_map(|version| version.snapshots.keys()).collect::<BTreeSet<_>>() {
            let what = || BatchError::lake(format!("untag {name}"));
            let Some(table) = self.find(name).await? else { continue };
            for tag in table.tags().await.map_err(what())?.keys() {
                if version_of(tag).is_some_and(|version| version <= newest_forgotten) {
                    table.untag(tag).await.map_err(what())?;
                }
            }
        }
        Ok(())
    }
}

/// Whether readers see these snapshots, or a person has turned back from them: what was turned back from is
/// published again once something new has been computed.
fn is_published(kept: &[Version], snapshots: &BTreeMap<String, Option<i64>>) -> bool {
    let Some(newest) = kept.first() else { return false };
    let since = newest.same_as.unwrap_or(newest.version);
    kept.iter().any(|version| version.version >= since && version.snapshots == *snapshots)
}

/// The name by which the version's snapshots are kept. The run is in it: one that lost its lease moves no tag of
/// the run that replaced it, which may be at the same version.
fn tag(version: &Version) -> String {
    format!("{TAG}{}-{}", version.version, version.run)
}

/// The version that a tag is for.
fn version_of(tag: &str) -> Option<i64> {
    tag.strip_prefix(TAG)?.split('-').next()?.parse().ok()
}

/// Snapshot and offsets of one moment.
async fn state(table: &LakeTable) -> Result<(Option<i64>, affluent_lake::Offsets), LakeError> {
    let mut offsets = table.offsets().await?;
    for _ in 0..ATTEMPTS {
        let snapshot = table.snapshots().await?.last().map(|snapshot| snapshot.id);
        let after = table.offsets().await?;
        if after == offsets {
            return Ok((snapshot, offsets));
        }
        offsets = after;
    }
    Err(LakeError::Contention { table: table.name(), attempts: ATTEMPTS })
}

fn columns() -> Arc<[Column]> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    Arc::new([
        column("version", ColumnType::Int64),
        column("as_of", ColumnType::TimestampTz),
        column("published_at", ColumnType::TimestampTz),
        column("run", ColumnType::Int64),
        column("same_as", ColumnType::Int64),
        column("table", ColumnType::Text),
        column("snapshot_id", ColumnType::Int64),
    ])
}

fn rows(version: &Version) -> Vec<Row> {
    let int = |value: Option<i64>| value.map_or(Value::Null, Value::Int);
    let row = |(table, snapshot): (&String, &Option<i64>)| {
        vec![
            Value::Int(version.version),
            version.as_of.map_or(Value::Null, Value::TimestampTz),
            Value::TimestampTz(version.published_at),
            Value::Int(version.run),
            int(version.same_as),
            Value::Text(table.clone()),
            int(*snapshot),
        ]
    };
    version.snapshots.iter().map(row).collect()
}
