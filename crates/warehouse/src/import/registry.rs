//! `ops.imports`: each import has a number, found again by the digest of file and mapping.
//!
//! Invariant: one digest, one number. The number counts an offset of the table, so that of two processes one gets it.

use super::{Import, ImportError};
use affluent_lake::{Advance, Lake, LakeError, LakeTable, Partition, RowBatch, Scan};
use affluent_model::names::NAMESPACE_OPS;
use affluent_model::{Column, ColumnType, Value, time::now_micros};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// The table of imports, and the topic under which it counts them.
const TABLE: &str = "imports";
/// Attempts against other imports that begin at the same time.
const ATTEMPTS: u32 = 10;
const PIECE: usize = 1 << 20;

/// An import that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) number: i32,
    /// Microseconds UTC.
    pub(super) begun_at: i64,
}

impl Entry {
    /// Where Kafka's partitions are counted from 0, those of imports are below.
    pub(super) fn partition(&self) -> i32 {
        -self.number
    }
}

/// SHA-256 of what is done and of the file it is done with, in hexadecimal.
pub(super) fn digest(file: &Path, identity: &str) -> Result<String, ImportError> {
    let mut digest = Sha256::new();
    digest.update((identity.len() as u64).to_le_bytes());
    digest.update(identity.as_bytes());
    let mut reader = File::open(file).map_err(ImportError::io(file))?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = reader.read(&mut piece).map_err(ImportError::io(file))?;
        if read == 0 {
            break;
        }
        digest.update(&piece[..read]);
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The entry of the import with this digest, made where there is none.
pub(super) async fn register(lake: &Lake, import: &Import, digest: &str) -> Result<Entry, ImportError> {
    let failed = || ImportError::lake("write ops.imports");
    let table = lake
        .ensure_table(NAMESPACE_OPS, TABLE, &columns(), &Partition::None)
        .await
        .map_err(ImportError::lake("make ops.imports"))?;
    for _ in 0..ATTEMPTS {
        let stored = table.offsets().await.map_err(failed())?.get(TABLE, 0);
        if let Some(entry) = find(&table, digest).await.map_err(ImportError::lake("read ops.imports"))? {
            return Ok(entry);
        }
        let number = stored.unwrap_or(0) + 1;
        let advance = Advance { topic: TABLE.into(), partition: 0, expected: stored, next: number };
        let begun_at = now_micros();
        let row = vec![
            Value::Int(number),
            Value::Text(import.mapping.table.clone()),
            Value::Text(import.file.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            Value::Text(digest.to_owned()),
            Value::Text(format!("{:?}", import.mapping.meaning())),
            Value::TimestampTz(begun_at),
        ];
        let batch = RowBatch { columns: columns().into(), rows: vec![row] };
        match table.append(Arc::new(batch), vec![advance]).await {
            Ok(_) => {
                let number =
                    i32::try_from(number).map_err(|_| ImportError::Mapping("too many imports".to_owned()))?;
                return Ok(Entry { number, begun_at });
            }
            // Another import has begun: look again, it may be this one.
            Err(LakeError::OffsetConflict(_)) => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(ImportError::Twice(import.mapping.table.clone()))
}

async fn find(table: &LakeTable, digest: &str) -> Result<Option<Entry>, LakeError> {
    let wanted = ["number", "digest", "begun_at"].map(str::to_owned).to_vec();
    let mut rows = table.scan(Scan { columns: wanted, ..Scan::default() }).await?;
    while let Some(batch) = rows.next().await {
        for row in batch? {
            if let [Value::Int(number), Value::Text(found), Value::TimestampTz(begun_at)] = row.as_slice()
                && found == digest
                && let Ok(number) = i32::try_from(*number)
            {
                return Ok(Some(Entry { number, begun_at: *begun_at }));
            }
        }
    }
    Ok(None)
}

fn columns() -> Vec<Column> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    vec![
        column("number", ColumnType::Int64),
        column("table", ColumnType::Text),
        column("file", ColumnType::Text),
        column("digest", ColumnType::Text),
        column("mapping", ColumnType::Text),
        column("begun_at", ColumnType::TimestampTz),
    ]
}
