//! Files of tables: on local disk, flushed before anything refers to them, or in an object store (`store`), which does so by itself.
//!
//! Which of the two is told by a file's location. What a disk needs beyond an object store (directories, flushing, renaming) is
//! here and nowhere else.

use crate::LakeError;
use crate::read::lookup;
use crate::store::Store;
use crate::values::dictionary;
use crate::write::sort::{self, Order};
use arrow_array::RecordBatch;
use iceberg::io::FileIO;
use iceberg::spec::{DataFile, DataFileFormat, PartitionKey};
use iceberg::table::Table;
use iceberg::writer::base_writer::data_file_writer::{DataFileWriter, DataFileWriterBuilder};
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultFileNameGenerator, DefaultLocationGenerator, LocationGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter, IcebergWriterBuilder};
use parking_lot::Mutex;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub(crate) use crate::store::{is_remote, local, plain};

/// Remembered directories of a table; a table has one a day.
const KNOWN_DIRS_MAX: usize = 4_000;
/// Rows of a row group: bounds what a writer holds in memory.
const ROW_GROUP_ROWS: usize = 64 * 1024;

type Inner = DataFileWriter<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;

/// Writes the Parquet files of one partition. Dropped before [`PartitionWriter::close`], it
/// deletes what it wrote; in an object store the file that is not finished, the others are found as unreferenced later.
pub(crate) struct PartitionWriter {
    table: Table,
    partition: Option<PartitionKey>,
    target_bytes: u64,
    level: ZstdLevel,
    generator: DefaultLocationGenerator,
    /// Opened with the first batch, which tells how its columns are best written.
    inner: Option<Inner>,
    /// Where they are, on local disk.
    directory: Option<PathBuf>,
    /// What the names of its files begin with.
    prefix: String,
}

impl PartitionWriter {
    /// A writer that closes its files near `target_bytes`. `level` is the zstd level.
    pub(crate) fn new(
        table: &Table,
        partition: Option<PartitionKey>,
        target_bytes: u64,
        level: i32,
    ) -> Result<Self, LakeError> {
        let generator = DefaultLocationGenerator::new(table.metadata())?;
        let prefix = uuid::Uuid::now_v7().to_string();
        let sample = generator.generate_location(partition.as_ref(), &prefix);
        let directory =
            Path::new(local(&sample)).parent().filter(|_| !is_remote(&sample)).map(Path::to_owned);
        let level =
            ZstdLevel::try_new(level).map_err(|error| LakeError::Options(format!("zstd level: {error}")))?;
        let table = table.clone();
        Ok(PartitionWriter {
            table,
            partition,
            target_bytes,
            level,
            generator,
            inner: None,
            directory,
            prefix,
        })
    }

    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        if self.inner.is_none() {
            self.inner = Some(self.open(&batch).await?);
        }
        if let Some(inner) = &mut self.inner {
            inner.write(batch).await?;
        }
        Ok(())
    }

    async fn open(&self, first: &RecordBatch) -> Result<Inner, LakeError> {
        let parquet =
            ParquetWriterBuilder::new(self.properties(first), self.table.metadata().current_schema().clone());
        let rolling = RollingFileWriterBuilder::new(
            parquet,
            usize::try_from(self.target_bytes).unwrap_or(usize::MAX),
            self.table.file_io().clone(),
            self.generator.clone(),
            DefaultFileNameGenerator::new(self.prefix.clone(), None, DataFileFormat::Parquet),
        );
        Ok(DataFileWriterBuilder::new(rolling).build(self.partition.clone()).await?)
    }

    /// Smaller row groups where the table is sorted: they are what a query skips.
    fn properties(&self, first: &RecordBatch) -> WriterProperties {
        let rows = if Order::of(&self.table).is_some() { sort::ROW_GROUP_ROWS } else { ROW_GROUP_ROWS };
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(self.level))
            .set_max_row_group_row_count(Some(rows));
        for column in dictionary::unique(first) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
        }
        for column in lookup::columns(self.table.metadata().properties()) {
            let path = ColumnPath::from(column);
            properties = properties
                .set_column_bloom_filter_fpp(path.clone(), lookup::FALSE_POSITIVES)
                .set_column_bloom_filter_enabled(path, true);
        }
        properties.build()
    }

    /// The written files. The storage has flushed each; their directories are still to be.
    pub(crate) async fn close(mut self) -> Result<Vec<DataFile>, LakeError> {
        let Some(inner) = &mut self.inner else { return Ok(Vec::new()) };
        let written = inner.close().await?;
        self.inner = None;
        Ok(written)
    }
}

impl Drop for PartitionWriter {
    fn drop(&mut self) {
        if self.inner.take().is_none() {
            return;
        }
        let Some(Ok(entries)) = self.directory.as_ref().map(fs::read_dir) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.prefix) {
                // What stays behind is found as unreferenced later.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Directories of a table whose own names are known to be on disk.
pub(crate) type KnownDirs = Mutex<HashSet<PathBuf>>;

/// Flushes the directories that hold `paths`, so that the names survive a power cut too; of their
/// parents, up to that of the table at `location`, those that may have got a new entry.
pub(crate) fn sync_parents<'a>(
    location: &str,
    paths: impl IntoIterator<Item = &'a str>,
    known: &KnownDirs,
) -> Result<(), LakeError> {
    if is_remote(location) {
        return Ok(());
    }
    let root = Path::new(local(location));
    let own: BTreeSet<&Path> = paths.into_iter().filter_map(|path| Path::new(local(path)).parent()).collect();
    let mut directories: BTreeSet<PathBuf> = own.iter().map(|&directory| directory.to_owned()).collect();
    let below_root = |directory: &&Path| *directory != root && directory.starts_with(root);
    let unknown: Vec<&Path> = {
        let known = known.lock();
        let chain = own.iter().flat_map(|directory| directory.ancestors().take_while(below_root));
        chain.filter(|&directory| !known.contains(directory)).collect()
    };
    directories.extend(unknown.iter().filter_map(|directory| directory.parent()).map(Path::to_owned));
    directories.iter().try_for_each(|directory| sync_dir(directory))?;
    let mut known = known.lock();
    if known.len() > KNOWN_DIRS_MAX {
        known.clear();
    }
    known.extend(unknown.into_iter().map(Path::to_owned));
    Ok(())
}

/// Writes a new file that is there for good when this returns.
pub(crate) async fn write(file_io: &FileIO, location: &str, bytes: Vec<u8>) -> Result<(), LakeError> {
    if is_remote(location) {
        return Ok(file_io.new_output(location)?.write(bytes.into()).await?);
    }
    write_durable(Path::new(local(location)), &bytes)
}

/// Writes a new file and flushes it and its directory.
fn write_durable(path: &Path, bytes: &[u8]) -> Result<(), LakeError> {
    if let Some(parent) = path.parent() {
        create_dirs(parent)?;
    }
    let written = OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| {
        // Half a file is of use to nobody, least of all on a full disk.
        let _ = fs::remove_file(path);
        io("write", path, source)
    })?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Creates a directory with its parents, and flushes each directory that got a new entry.
pub(crate) fn create_dirs(path: &Path) -> Result<(), LakeError> {
    let missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .map(Path::to_owned)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|source| io("create directory", path, source))?;
    for parent in missing.iter().filter_map(|dir| dir.parent()) {
        if !parent.as_os_str().is_empty() {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Makes room for the metadata of a table that another process will write.
pub(crate) fn create_metadata_dir(location: &str) -> Result<(), LakeError> {
    if is_remote(location) { Ok(()) } else { create_dirs(&Path::new(local(location)).join("metadata")) }
}

/// Flushes the names of a table's metadata files.
pub(crate) fn sync_metadata_dir(location: &str) -> Result<(), LakeError> {
    if is_remote(location) { Ok(()) } else { sync_dir(&Path::new(local(location)).join("metadata")) }
}

/// Flushes a directory's entries.
pub(crate) fn sync_dir(path: &Path) -> Result<(), LakeError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| io("flush", path, source))
}

/// Deletes a file; one that is gone already is fine.
pub(crate) async fn remove(file_io: &FileIO, location: &str) -> Result<(), LakeError> {
    if is_remote(location) { Ok(file_io.delete(location).await?) } else { remove_local(location) }
}

/// Deletes files that nothing refers to, and does not wait for an object store. What stays behind is found as
/// unreferenced later.
pub(crate) fn discard<'a>(file_io: &FileIO, locations: impl IntoIterator<Item = &'a str>) {
    let (remote, on_disk): (Vec<&str>, Vec<&str>) =
        locations.into_iter().partition(|location| is_remote(location));
    for location in on_disk {
        let _ = remove_local(location);
    }
    if let Ok(runtime) = tokio::runtime::Handle::try_current()
        && !remote.is_empty()
    {
        let (file_io, remote): (FileIO, Vec<String>) =
            (file_io.clone(), remote.into_iter().map(str::to_owned).collect());
        runtime.spawn(async move {
            if let Err(error) = file_io.delete_stream(futures::stream::iter(remote)).await {
                tracing::debug!(%error, "files that nothing refers to not deleted");
            }
        });
    }
}

/// Deletes all files of the table at `location`.
pub(crate) async fn remove_all(file_io: &FileIO, location: &str) -> Result<(), LakeError> {
    if is_remote(location) {
        return Ok(file_io.delete_prefix(location).await?);
    }
    let root = Path::new(local(location));
    match fs::remove_dir_all(root) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io("delete", root, source)),
        _ => Ok(()),
    }
}

/// The files below `location` that were last written at `before` or earlier, as [`plain`] has their locations.
pub(crate) async fn list(
    store: Option<&Store>,
    location: &str,
    before: SystemTime,
) -> Result<Vec<String>, LakeError> {
    if let Some(store) = store {
        return store.list(location, before).await;
    }
    let mut found = Vec::new();
    walk(Path::new(local(location)), before, &mut found)?;
    Ok(found.into_iter().filter_map(|path| path.into_os_string().into_string().ok()).collect())
}

/// Files last written at `before` or earlier, in all directories below.
fn walk(directory: &Path, before: SystemTime, found: &mut Vec<PathBuf>) -> Result<(), LakeError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| io("list", directory, error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| io("list", directory, error))?;
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&path, before, found)?,
            Ok(metadata) if metadata.modified().is_ok_and(|modified| modified <= before) => found.push(path),
            // Too young, or deleted since it was listed.
            _ => {}
        }
    }
    Ok(())
}

fn remove_local(location: &str) -> Result<(), LakeError> {
    let path = Path::new(local(location));
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io("delete", path, source)),
        _ => Ok(()),
    }
}

pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> LakeError {
    LakeError::Io { action, path: path.display().to_string(), source }
}
