//! Finding rows by a text key: statistics and Bloom filters leave out what cannot hold it.
//!
//! A table keeps Bloom filters of a column from [`LakeTable::keep_filter`] on, under Iceberg's own
//! property, so other writers keep them too. Invariant: a row of the table is found whether its file
//! has a filter or not; a file without one is read.

use crate::choose::{ColumnRange, Wanted};
use crate::read::{self, Columns, FileBatches};
use crate::table::{LakeTable, is_commit_conflict, off_worker, pause};
use crate::{LakeError, decode, scan, schema, snapshot};
use affluent_model::{Row, Value};
use iceberg::TableUpdate;
use iceberg::scan::FileScanTask;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Iceberg's property that turns the Bloom filter of a column on; the column's name follows.
const FILTER_PROPERTY: &str = "write.parquet.bloom-filter-enabled.column.";
/// Part of the absent keys that a filter takes for present. At 20 bits a key.
pub(crate) const FALSE_POSITIVES: f64 = 0.000_1;
/// Rows that are looked through at once.
const BATCH_ROWS: usize = 8 * 1024;

/// Which rows to find.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The text column that holds the keys, by its lake or source name.
    pub column: String,
    pub keys: Arc<BTreeSet<String>>,
    /// Leaves out files that hold no row in this range. Rows outside it may be found all the same.
    pub range: Option<ColumnRange>,
    /// What to return of each row, behind its key.
    pub columns: Vec<String>,
}

/// The columns that keep Bloom filters.
pub(crate) fn columns(properties: &HashMap<String, String>) -> impl Iterator<Item = &str> {
    let on = properties.iter().filter(|(_, value)| value.as_str() == "true");
    on.filter_map(|(key, _)| key.strip_prefix(FILTER_PROPERTY))
}

impl LakeTable {
    /// Files written from now on keep a Bloom filter of this column.
    ///
    /// # Errors
    /// [`LakeError::Contention`], disk and catalog.
    pub async fn keep_filter(&self, column: &str) -> Result<(), LakeError> {
        let property = format!("{FILTER_PROPERTY}{column}");
        for attempt in 1..=self.0.options.commit_attempts {
            let base = self.refreshed().await?;
            if base.metadata().properties().get(&property).is_some_and(|value| value == "true") {
                return Ok(());
            }
            let updates = HashMap::from([(property.clone(), "true".to_owned())]);
            let updates = vec![TableUpdate::SetProperties { updates }];
            match self.0.catalog.commit(&base, &snapshot::requirements(&base), updates).await {
                Ok(table) => {
                    self.know(table);
                    return Ok(());
                }
                Err(error) if is_commit_conflict(&error) => pause(attempt).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.contention())
    }

    /// The rows of the current snapshot whose key is one of the wanted, in no particular order: the key,
    /// then the columns asked for.
    ///
    /// # Errors
    /// [`LakeError::NoColumn`], disk and catalog.
    pub async fn find(&self, lookup: Lookup) -> Result<Vec<Row>, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.find_here(&lookup).await }).await
    }

    async fn find_here(&self, lookup: &Lookup) -> Result<Vec<Row>, LakeError> {
        let table = self.refreshed().await?;
        let metadata = table.metadata();
        let Some(snapshot) = metadata.current_snapshot().filter(|_| !lookup.keys.is_empty()) else {
            return Ok(Vec::new());
        };
        let schema = metadata.current_schema();
        let id = |name: &String| {
            schema::named(schema.as_struct().fields(), name)
                .map(|field| field.id)
                .ok_or_else(|| LakeError::NoColumn { table: self.name(), column: name.clone() })
        };
        let key = id(&lookup.column)?;
        let mut ids = vec![key];
        ids.extend(lookup.columns.iter().map(id).collect::<Result<Vec<_>, _>>()?);
        let columns = Columns::new(schema, ids)?;
        let wanted = Wanted { range: lookup.range.as_ref(), since: None };
        let mut found = Vec::new();
        for task in scan::tasks(&table, snapshot, wanted).await? {
            let groups = groups(&task, key, &lookup.keys)?;
            if groups.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let mut batches = FileBatches::open(&table, &task, &columns, BATCH_ROWS, groups)?;
            while let Some(batch) = batches.next().await {
                let rows = decode::rows(&batch?)?.into_iter();
                found.extend(rows.filter(
                    |row| matches!(row.first(), Some(Value::Text(text)) if lookup.keys.contains(text)),
                ));
            }
        }
        Ok(found)
    }
}

/// The row groups that may hold one of the keys; `None` where the file does not tell.
fn groups(task: &FileScanTask, key: i32, keys: &BTreeSet<String>) -> Result<Option<Vec<usize>>, LakeError> {
    let path = &task.data_file_path;
    let unreadable = |error| read::unreadable(path, &error);
    let file = read::open(path)?;
    let opened = file.try_clone().map_err(|error| crate::files::io("open", path.as_ref(), error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(unreadable)?;
    let own_id = |field: &arrow_schema::FieldRef| {
        field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse::<i32>().ok()) == Some(key)
    };
    let Some(root) = builder.schema().fields().iter().position(own_id) else { return Ok(None) };
    let parquet = builder.parquet_schema();
    let Some(leaf) = (0..parquet.num_columns()).find(|&leaf| parquet.get_column_root_idx(leaf) == root)
    else {
        return Ok(None);
    };
    let mut groups = Vec::new();
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        let near = near(group, leaf, keys);
        if near.is_empty() {
            continue;
        }
        let filter = Sbbf::read_from_column_chunk(group.column(leaf), &file).map_err(unreadable)?;
        if filter.is_none_or(|filter| near.iter().any(|key| filter.check(key.as_str()))) {
            groups.push(index);
        }
    }
    Ok(Some(groups))
}

/// The keys between the lowest and the highest of the row group.
fn near<'a>(group: &RowGroupMetaData, leaf: usize, keys: &'a BTreeSet<String>) -> Vec<&'a String> {
    let Some(Statistics::ByteArray(statistics)) = group.column(leaf).statistics() else {
        return keys.iter().collect();
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let from = statistics.min_opt().and_then(|bytes| text(bytes.data()));
    let to = statistics.max_opt().and_then(|bytes| text(bytes.data()));
    match (from, to) {
        (Some(from), Some(to)) if from <= to => keys.range(from..=to).collect(),
        _ => keys.iter().collect(),
    }
}
