//! Which models and seeds have changed since their tables were last computed in full: `ops.batch_models` holds a
//! fingerprint for each.
//!
//! An increment computes by the model as it is now, but only what changed in the source; the rest of the table stays
//! as the model was then, until the next rebuild. Tables that are computed whole every time are not concerned.

use super::digest::{Digests, text_hash};
use super::fence::Fence;
use super::model::{Model, Strategy};
use super::rows::{Collected, number, text};
use super::{Batch, BatchError};
use affluent_lake::{Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value, time::now_micros};
use std::collections::BTreeMap;
use std::sync::Arc;

const TABLE: (&str, &str) = ("ops", "batch_models");

impl Batch {
    /// The tables whose model, or a seed that it reads, is not what it was when they were computed in full.
    ///
    /// # Errors
    /// Disk and catalog.
    pub async fn changed(&self) -> Result<Vec<String>, BatchError> {
        let noted = self.noted().await?;
        let mut changed = Vec::new();
        for model in self.models.iter() {
            let table = model.table();
            if noted.get(&table).is_some_and(|noted| *noted != self.fingerprint(model)) {
                changed.push(table);
            }
        }
        Ok(changed)
    }

    /// Notes by which models these tables were computed: all of them after a rebuild, else those that are not
    /// known yet.
    pub(crate) async fn note<'a>(
        &self,
        models: impl Iterator<Item = &'a Model>,
        rebuilt: bool,
        fence: &dyn Fence,
    ) -> Result<(), BatchError> {
        let noted = self.noted().await?;
        let mut rows: Vec<Row> = Vec::new();
        for model in models.filter(|model| model.header.strategy != Strategy::Rebuild) {
            let (table, fingerprint) = (model.table(), self.fingerprint(model));
            let is_news = noted.get(&table).is_none_or(|noted| rebuilt && *noted != fingerprint);
            if is_news && self.table_of(model).await?.is_some() {
                let at = Value::TimestampTz(now_micros());
                rows.push(vec![Value::Text(table), Value::Text(fingerprint), at]);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let what = || BatchError::lake("write ops.batch_models");
        let columns = columns();
        let table =
            self.lake.ensure_table(TABLE.0, TABLE.1, &columns, &Partition::None).await.map_err(what())?;
        fence.check().await?;
        table.append(Arc::new(RowBatch { columns, rows }), Vec::new()).await.map_err(what())?;
        Ok(())
    }

    /// The newest fingerprint of each table.
    async fn noted(&self) -> Result<BTreeMap<String, String>, BatchError> {
        let name = format!("{}.{}", TABLE.0, TABLE.1);
        if self.find(&name).await?.is_none() {
            return Ok(BTreeMap::new());
        }
        let session = self.any_session().await?;
        let query = format!("select \"table\", fingerprint, noted_at from {name}");
        let rows = Collected::of(&session, &query).await.map_err(BatchError::sql("read ops.batch_models"))?;
        let mut newest: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for batch in &rows.batches {
            for row in 0..batch.num_rows() {
                let (Some(table), Some(fingerprint), Some(at)) =
                    (text(batch, 0, row), text(batch, 1, row), number(batch, 2, row))
                else {
                    continue;
                };
                if newest.get(&table).is_none_or(|known| known.0 <= at) {
                    newest.insert(table, (at, fingerprint));
                }
            }
        }
        Ok(newest.into_iter().map(|(table, (_, fingerprint))| (table, fingerprint)).collect())
    }

    /// Of the model's file and the rows of the seeds that it reads.
    fn fingerprint(&self, model: &Model) -> String {
        let mut all = text_hash(&model.text);
        for seed in self.seeds.of(model) {
            let columns: Vec<String> =
                seed.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
            let mut rows = Digests::default();
            // Seeds are text, which any digest takes.
            if rows.add(seed, &columns, None).is_ok() {
                all = text_hash(&format!("{all} {columns:?} {:?}", rows.0));
            }
        }
        all
    }
}

fn columns() -> Arc<[Column]> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    Arc::new([
        column("table", ColumnType::Text),
        column("fingerprint", ColumnType::Text),
        column("noted_at", ColumnType::TimestampTz),
    ])
}
