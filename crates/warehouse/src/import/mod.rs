//! `affluent import`: history that lies in a file, into the raw zone, as if it had come through Kafka when it happened.
//!
//! [`Mapping`] says which column is which, `file` reads Parquet, CSV and NDJSON, `cell` makes values exactly, `raw` the rows of
//! the raw tables, `registry` gives each import its number. From the raw zone on, imported rows go the way of all others.
//!
//! Invariants: a row of a file is in its table once, however often the import is run or killed: the table keeps how far it has the
//! file, in the commit that adds the rows. A row that cannot be read exactly is in `ops.quarantine`, with its reason and as it
//! came. Memory holds one chunk of rows, however long the file.

mod cell;
mod error;
mod file;
mod mapping;
mod quarantine;
mod raw;
mod registry;

pub use error::ImportError;
pub use file::FileKind;
pub use mapping::{Label, Mapping};

use crate::batch::Models;
use affluent_lake::{Advance, Lake, LakeError, LakeTable, Partition, RowBatch};
use affluent_model::names::NAMESPACE_RAW;
use affluent_model::{Column, Row};
use affluent_telemetry::failpoint;
use file::Record;
use quarantine::Quarantine;
use raw::{Place, RawTable};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// Rows of a commit.
const CHUNK_ROWS: usize = 50_000;
/// Chunks that are read ahead.
const CHUNKS_AHEAD: usize = 1;

/// A file, and what is to become of it.
#[derive(Debug, Clone)]
pub struct Import {
    pub file: PathBuf,
    pub kind: FileKind,
    pub mapping: Mapping,
    /// The name of the source whose topics the tables are of: `oltp`.
    pub source: String,
}

/// How far an import is, in rows of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportProgress {
    pub rows: u64,
    /// Where the file says how many it has.
    pub rows_total: Option<u64>,
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Its number in `ops.imports`; its rows have the partition of this number below zero.
    pub number: i32,
    /// Rows of the file.
    pub rows: u64,
    /// Rows that were added to the raw tables now, disputes of marked payments included.
    pub added: u64,
    /// Of these, the disputes.
    pub labels: u64,
    /// Rows that were quarantined now.
    pub quarantined: u64,
}

/// A raw table that rows go to, and how far it has the file.
struct Target {
    raw: RawTable,
    table: LakeTable,
    stored: Option<i64>,
}

impl Import {
    /// Reads the file and appends what the tables do not have of it yet. `progress` is told after each chunk.
    ///
    /// # Errors
    /// [`ImportError`]: a mapping that does not fit the file or the table, a file that is none, disk and catalog. What was
    /// committed stays; the next call goes on from there.
    pub async fn run(
        &self,
        lake: &Lake,
        models: &Models,
        mut progress: impl FnMut(ImportProgress),
    ) -> Result<Imported, ImportError> {
        self.copy(lake, models, &mut progress).await
    }

    /// Boxed, so that it is compiled here, once.
    fn copy<'a>(
        &'a self,
        lake: &'a Lake,
        models: &'a Models,
        progress: &'a mut dyn FnMut(ImportProgress),
    ) -> Pin<Box<dyn Future<Output = Result<Imported, ImportError>> + 'a>> {
        Box::pin(self.read_into(lake, models, progress))
    }

    async fn read_into(
        &self,
        lake: &Lake,
        models: &Models,
        progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Imported, ImportError> {
        let (file, kind) = (self.file.clone(), self.kind);
        let (there, rows_total) = blocking(move || file::columns(&file, kind)).await?;
        let plan = raw::plan(self, &there, lake, models).await?;
        let digest = {
            let (file, identity) = (self.file.clone(), self.identity());
            blocking(move || registry::digest(&file, &identity)).await?
        };
        let entry = registry::register(lake, self, &digest).await?;
        let mut targets = Vec::new();
        for raw in plan.tables {
            targets.push(Target::open(lake, raw, entry.partition()).await?);
        }
        let mut quarantine = Quarantine::open(lake, &targets[0].raw.topic, entry.partition()).await?;
        let mut done = Imported { number: entry.number, ..Imported::default() };
        let mut chunks = self.chunks(plan.columns.clone());
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let first = i64::try_from(done.rows).unwrap_or(i64::MAX);
            done.rows += chunk.len() as u64;
            self.chunk(&plan.columns, &mut targets, &mut quarantine, (&entry, first), &chunk, &mut done)
                .await?;
            progress(ImportProgress { rows: done.rows, rows_total });
        }
        Ok(done)
    }

    /// Appends a chunk of the file, that begins at row `first`, to each table that lacks it.
    async fn chunk(
        &self,
        columns: &[String],
        targets: &mut [Target],
        quarantine: &mut Quarantine,
        (entry, first): (&registry::Entry, i64),
        chunk: &[Record],
        done: &mut Imported,
    ) -> Result<(), ImportError> {
        let next = first + i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        if targets.iter().all(|target| target.stored.is_some_and(|stored| stored >= next)) {
            return Ok(());
        }
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); targets.len()];
        for (record, row) in chunk.iter().zip(first..) {
            let place = Place { number: entry.number, row, begun_at: entry.begun_at };
            let made = match record {
                Record::Row(values) => targets
                    .iter()
                    .map(|target| target.raw.row(values, &place))
                    .collect::<Result<Vec<Option<Row>>, String>>(),
                Record::Broken { error, .. } => Err(error.clone()),
            };
            match made {
                Ok(made) => {
                    for ((rows, target), made) in rows.iter_mut().zip(targets.iter()).zip(made) {
                        rows.extend(made.filter(|_| target.stored.is_none_or(|stored| row >= stored)));
                    }
                }
                Err(error) => quarantine.refuse(row, columns, record, error),
            }
        }
        // Before the rows: what has advanced past a row that was refused must have it in quarantine.
        done.quarantined += quarantine.commit(next).await?;
        for (place, (target, rows)) in targets.iter_mut().zip(rows).enumerate() {
            let added = rows.len() as u64;
            if target.commit(rows, next, entry.partition()).await? {
                done.added += added;
                done.labels += if place > 0 { added } else { 0 };
            }
        }
        Ok(())
    }

    /// What makes this import another one than that of the same file in another way.
    fn identity(&self) -> String {
        format!("{} {} {:?}", self.source, self.kind.name(), self.mapping.meaning())
    }

    /// Reads the file on a thread of its own.
    fn chunks(&self, columns: Vec<String>) -> tokio::sync::mpsc::Receiver<Result<Vec<Record>, ImportError>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(CHUNKS_AHEAD);
        let (file, kind) = (self.file.clone(), self.kind);
        tokio::task::spawn_blocking(move || {
            let sent = file::read(&file, kind, &columns, CHUNK_ROWS, |chunk| {
                // Nobody listens any more: the import has failed.
                sender.blocking_send(Ok(chunk)).is_ok()
            });
            if let Err(error) = sent {
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}

impl Target {
    async fn open(lake: &Lake, raw: RawTable, partition: i32) -> Result<Self, ImportError> {
        let day = Partition::Day(raw::ARRIVED.to_owned());
        let opened = async {
            let table = lake.ensure_table(NAMESPACE_RAW, &raw.name, &raw.columns, &day).await?;
            let stored = table.offsets().await?.get(&raw.topic, partition);
            Ok::<_, LakeError>((table, stored))
        };
        let (table, stored) = opened.await.map_err(ImportError::lake(format!("open raw.{}", raw.name)))?;
        Ok(Target { raw, table, stored })
    }

    /// Adds the rows and notes how far the table has the file; false where it had them before.
    async fn commit(&mut self, rows: Vec<Row>, next: i64, partition: i32) -> Result<bool, ImportError> {
        if self.stored.is_some_and(|stored| stored >= next) {
            return Ok(false);
        }
        let topic = Arc::clone(&self.raw.topic);
        let advance = Advance { topic, partition, expected: self.stored, next };
        let columns: Arc<[Column]> = self.raw.columns.as_slice().into();
        failpoint("import::before_commit");
        let appended = self.table.append(Arc::new(RowBatch { columns, rows }), vec![advance]).await;
        failpoint("import::after_commit");
        match appended {
            Ok(_) => {
                self.stored = Some(next);
                Ok(true)
            }
            Err(LakeError::OffsetConflict(_)) => Err(ImportError::Twice(self.raw.name.clone())),
            Err(error) => Err(ImportError::lake(format!("write raw.{}", self.raw.name))(error)),
        }
    }
}

/// Work on files, away from the threads that wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ImportError::Task(error.to_string()))?
}
