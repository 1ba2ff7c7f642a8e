//! Finding rows by a text key: statistics and Bloom filters leave out what cannot hold it.
//!
//! A table keeps Bloom filters of a column from [`LakeTable::keep_filter`] on, under Iceberg's own
//! property, so other writers keep them too. Invariant: a row of the table is found whether its file
//! has a filter or not; a file without one is read.

use crate::LakeError;
use crate::read::choose::{ColumnRange, Wanted};
use crate::read::data_file::{self, Columns, FileBatches};
use crate::read::scan;
use crate::read::sought::Sought;
use crate::table::{LakeTable, off_worker};
use crate::values::decode;
use crate::values::schema;
use crate::write::commits::Alteration;
use affluent_model::{Row, Value};
use iceberg::TableUpdate;
use iceberg::table::Table;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Iceberg's property that turns the Bloom filter of a column on; the column's name follows.
const FILTER_PROPERTY: &str = "write.parquet.bloom-filter-enabled.column.";
/// Part of the absent keys that a filter takes for present. At 30 bits a key: of 20,000 keys that are looked
/// for at once, none is taken to be in most row groups.
pub(crate) const FALSE_POSITIVES: f64 = 0.000_01;
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
        let decide = |base: &Table| {
            if base.metadata().properties().get(&property).is_some_and(|value| value == "true") {
                return Ok(None);
            }
            let updates = HashMap::from([(property.clone(), "true".to_owned())]);
            let updates = vec![TableUpdate::SetProperties { updates }];
            Ok(Some(Alteration { requirements: Vec::new(), updates }))
        };
        self.alter(decide).await.map(drop)
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
        let sought = Sought::texts(lookup.keys.iter());
        let mut found = Vec::new();
        for task in scan::tasks(&table, snapshot, wanted).await? {
            let groups = sought.groups(&data_file::source(&table, &task)?, key)?.map(|groups| groups.hit);
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
