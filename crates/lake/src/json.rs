//! The lake without Iceberg: NDJSON files by table and day, each record once.
//!
//! ```text
//! <warehouse>/json/raw/transactions/day=2026-11-22/0000000017-<uuid>.ndjson   what readers read
//!                                  /_offsets.json                              how far it has read
//!                                  /_staged/                                   files not yet counted
//! ```
//! A batch is written to `_staged` and flushed; then `_offsets.json` is replaced, which names the
//! staged files and the new offsets: that is the commit. Then the files move to their day. A crash
//! after the commit leaves the moving to the next writer; a crash before it leaves files that
//! nobody counts, which the next writer deletes. One writer at a time, by a lock on the directory.

use crate::table::off_worker;
use crate::values::types::MICROS_A_DAY;
use crate::{Advance, LakeError, Offsets, RowBatch, files};
use affluent_model::{Row, Value};
use affluent_telemetry::failpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const OFFSETS_FILE: &str = "_offsets.json";
const STAGED: &str = "_staged";
const LOCK: &str = "_lock";

/// A directory of NDJSON tables.
#[derive(Debug, Clone)]
pub struct JsonLake {
    root: PathBuf,
}

/// One NDJSON table.
#[derive(Debug, Clone)]
pub struct JsonTable {
    directory: PathBuf,
}

/// What `_offsets.json` holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    /// Number of the last batch.
    batch: u64,
    offsets: Offsets,
    /// Staged name and final place (below the table's directory) of the last batch's files.
    moves: Vec<(String, String)>,
}

impl JsonLake {
    /// The tables below `<warehouse>/json`.
    #[must_use]
    pub fn new(warehouse: &Path) -> Self {
        JsonLake { root: warehouse.join("json") }
    }

    /// A table; its directory appears with the first batch.
    #[must_use]
    pub fn table(&self, namespace: &str, name: &str) -> JsonTable {
        JsonTable { directory: self.root.join(namespace).join(name) }
    }
}

impl JsonTable {
    /// How far the table has read its topics.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn offsets(&self) -> Result<Offsets, LakeError> {
        Ok(self.ledger()?.offsets)
    }

    /// Appends the rows, divided by the UTC day of the timestamp column `day`, and advances the
    /// offsets, both or neither. On disk when this returns.
    ///
    /// # Errors
    /// [`LakeError::OffsetConflict`]: nothing was stored. Faults of the disk: the offsets tell.
    pub async fn append(
        &self,
        batch: Arc<RowBatch>,
        day: &str,
        advance: Vec<Advance>,
    ) -> Result<(), LakeError> {
        let (table, day) = (self.clone(), day.to_owned());
        off_worker(move || async move { table.append_here(&batch, &day, &advance) }).await
    }

    fn append_here(&self, batch: &RowBatch, day: &str, advance: &[Advance]) -> Result<(), LakeError> {
        files::create_dirs(&self.directory.join(STAGED))?;
        let _lock = self.lock()?;
        let last = self.ledger()?;
        self.move_staged(&last)?;
        let mut next =
            Ledger { batch: last.batch + 1, offsets: last.offsets.advanced(advance)?, moves: Vec::new() };
        let day = batch.columns.iter().position(|column| column.name == day);
        for (day, lines) in lines_by_day(batch, day)? {
            let staged = format!("{}.ndjson", Uuid::now_v7());
            files::write_durable(&self.directory.join(STAGED).join(&staged), &lines)?;
            let place = format!("day={day}/{:010}-{staged}", next.batch);
            next.moves.push((staged, place));
        }
        failpoint("lake::json_staged");
        let ledger = serde_json::to_vec(&next).map_err(|error| self.malformed(&error))?;
        let fresh = self.directory.join(format!("{OFFSETS_FILE}.new"));
        files::remove(&fresh)?;
        files::write_durable(&fresh, &ledger)?;
        self.rename(&fresh, &self.directory.join(OFFSETS_FILE))?;
        files::sync_dir(&self.directory)?;
        failpoint("lake::json_counted");
        self.move_staged(&next)
    }

    /// Moves the counted files to their days and deletes what was never counted.
    fn move_staged(&self, ledger: &Ledger) -> Result<(), LakeError> {
        let staging = self.directory.join(STAGED);
        for (staged, place) in &ledger.moves {
            let (staged, place) = (staging.join(staged), self.directory.join(place));
            if place.exists() {
                continue;
            }
            if let Some(day) = place.parent() {
                files::create_dirs(day)?;
                self.rename(&staged, &place)?;
                files::sync_dir(day)?;
            }
        }
        let entries = fs::read_dir(&staging).map_err(|error| files::io("list", &staging, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| files::io("list", &staging, error))?;
            files::remove(&entry.path())?;
        }
        Ok(())
    }

    /// The lock is the process's until the file is dropped.
    fn lock(&self) -> Result<File, LakeError> {
        let path = self.directory.join(LOCK);
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        open.and_then(|file| file.lock().map(|()| file)).map_err(|error| files::io("lock", &path, error))
    }

    fn ledger(&self) -> Result<Ledger, LakeError> {
        let path = self.directory.join(OFFSETS_FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.malformed(&error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(files::io("read", &path, error)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), LakeError> {
        fs::rename(from, to).map_err(|error| files::io("rename", from, error))
    }

    fn malformed(&self, error: &serde_json::Error) -> LakeError {
        let what = self.directory.join(OFFSETS_FILE).display().to_string();
        LakeError::Malformed { what, error: error.to_string() }
    }
}

/// The rows as lines, by day; rows without a time are of the day they were written.
fn lines_by_day(batch: &RowBatch, day: Option<usize>) -> Result<BTreeMap<String, Vec<u8>>, LakeError> {
    let mut days: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for row in &batch.rows {
        let micros = match day.and_then(|index| row.get(index)) {
            Some(Value::TimestampTz(micros) | Value::Timestamp(micros)) => *micros,
            _ => affluent_model::time::now_micros(),
        };
        let day = i32::try_from(micros.div_euclid(MICROS_A_DAY)).unwrap_or(0);
        let lines = days.entry(affluent_model::time::format_date(day)).or_default();
        serde_json::to_writer(&mut *lines, &object(batch, row))
            .map_err(|error| LakeError::Malformed { what: "a row".to_owned(), error: error.to_string() })?;
        lines.push(b'\n');
    }
    Ok(days)
}

fn object(batch: &RowBatch, row: &Row) -> Json {
    let fields = batch.columns.iter().zip(row).filter(|(_, value)| !value.is_null());
    Json::Object(
        fields.map(|(column, value)| (column.name.clone(), exact_json(value))).collect::<Map<_, _>>(),
    )
}

/// The value as JSON that no reader rounds: decimals are text.
#[must_use]
pub fn exact_json(value: &Value) -> Json {
    match value {
        Value::Decimal(decimal) => Json::String(decimal.to_plain_string()),
        Value::Array(items) => items.iter().map(exact_json).collect(),
        other => other.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Column, ColumnType};

    fn batch(ids: std::ops::Range<i64>) -> Arc<RowBatch> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
        let columns = [
            column("id", ColumnType::Int64),
            column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
            column("at", ColumnType::TimestampTz),
        ];
        let row = |id: i64| {
            let amount = Value::Decimal(bigdecimal::BigDecimal::new((id * 10_001).into(), 4));
            vec![Value::Int(id), amount, Value::TimestampTz(id * MICROS_A_DAY / 2)]
        };
        Arc::new(RowBatch { columns: columns.into(), rows: ids.map(row).collect() })
    }

    fn advance(expected: Option<i64>, next: i64) -> Vec<Advance> {
        vec![Advance { topic: "t".into(), partition: 0, expected, next }]
    }

    /// Ids and amounts that a reader of `*/*.ndjson` sees.
    fn read(table: &JsonTable) -> BTreeMap<i64, String> {
        let mut rows = BTreeMap::new();
        for day in fs::read_dir(&table.directory).unwrap().map(|entry| entry.unwrap().path()) {
            if !day.file_name().unwrap().to_str().unwrap().starts_with("day=") {
                continue;
            }
            for file in fs::read_dir(&day).unwrap() {
                for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
                    let row: Json = serde_json::from_str(line).unwrap();
                    let id = row["id"].as_i64().unwrap();
                    let twice = rows.insert(id, row["amount"].as_str().unwrap().to_owned());
                    assert_eq!(twice, None, "row {id} is there twice");
                }
            }
        }
        rows
    }

    #[tokio::test]
    async fn each_row_is_there_once_by_day_and_replays_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let table = JsonLake::new(dir.path()).table("raw", "t");
        assert!(table.offsets().unwrap().is_empty());
        table.append(batch(0..4), "at", advance(None, 4)).await.unwrap();
        table.append(batch(4..6), "at", advance(Some(4), 6)).await.unwrap();
        let refused = table.append(batch(4..6), "at", advance(Some(4), 6)).await.unwrap_err();
        assert!(matches!(refused, LakeError::OffsetConflict(_)), "{refused}");
        assert_eq!(table.offsets().unwrap().get("t", 0), Some(6));
        assert!(table.directory.join("day=1970-01-03").is_dir());
        let rows = read(&table);
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[&3], "3.0003");
    }

    #[tokio::test]
    async fn a_crash_before_the_count_leaves_nothing_and_after_it_everything() {
        let dir = tempfile::tempdir().unwrap();
        let table = JsonLake::new(dir.path()).table("raw", "t");
        table.append(batch(0..2), "at", advance(None, 2)).await.unwrap();
        // Before: a staged file that no ledger names.
        let orphan = table.directory.join(STAGED).join("orphan.ndjson");
        fs::write(&orphan, "{\"id\": 99, \"amount\": \"1\"}\n").unwrap();
        // After: the ledger names a file that has not moved yet.
        let ledger = table.ledger().unwrap();
        let (staged, place) = &ledger.moves[0];
        fs::rename(table.directory.join(place), table.directory.join(STAGED).join(staged)).unwrap();
        assert_eq!(read(&table).len(), 0);
        table.append(batch(2..3), "at", advance(Some(2), 3)).await.unwrap();
        assert_eq!(read(&table).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!orphan.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let lake = JsonLake::new(dir.path());
        let write = |partition: i32| {
            let table = lake.table("raw", "t");
            tokio::spawn(async move {
                for n in 0..25 {
                    let from = i64::from(partition) * 100 + n;
                    let expected = (n > 0).then_some(n);
                    let advance = Advance { topic: "t".into(), partition, expected, next: n + 1 };
                    table.append(batch(from..from + 1), "at", vec![advance]).await.unwrap();
                }
            })
        };
        let (first, second) = (write(0), write(1));
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(read(&lake.table("raw", "t")).len(), 50);
    }
}
