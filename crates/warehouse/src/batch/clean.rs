//! The staged zone brought up to the raw one: new raw rows through the bodies of the staged models, window by
//! window, and then the frontier.

use super::columns::{CHANGES, NAMES, named};
use super::fence::{Fence, permit};
use super::model::{Model, Task};
use super::refused::{REFUSED, same};
use super::rows::Collected;
use super::tables::{Done, added};
use super::window::Window;
use super::{Batch, BatchError, sql};
use crate::staged::ensure_clicks;
use affluent_lake::sql::Session;
use affluent_model::time::now_micros;
use affluent_telemetry::failpoint;
use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{Field, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The staged table that the role `stage` makes.
const CLICKS: &str = "staged.clickstream_events";
/// The session's own row of nulls, for columns that the raw table lacks.
const NULLS: &str = "batch.nulls";

impl Batch {
    /// What is new in the raw zone, in records; makes the staged table of clicks where a model reads it and no
    /// click has come yet.
    ///
    /// # Errors
    /// Disk and catalog.
    pub async fn ingest(&self) -> Result<Done, BatchError> {
        if self.models.staged().contains(CLICKS) && self.find(CLICKS).await?.is_none() {
            ensure_clicks(&self.lake).await.map_err(BatchError::lake(format!("make {CLICKS}")))?;
        }
        let frontier = self.frontier().await?;
        let mut done = Done::default();
        for staged in self.models.staged() {
            let model = self.models.get(&staged);
            let source = model.and_then(|model| model.raw().map(|raw| format!("raw.{raw}")));
            let end = self.offsets(source.as_ref().unwrap_or(&staged)).await?;
            done.rows_in += Window::next(&frontier.end, &end, u64::MAX).as_ref().map_or(0, Window::rows);
        }
        Ok(done)
    }

    /// Stages every raw row that is there now, and moves the frontier.
    ///
    /// # Errors
    /// [`BatchError`], with the model's file or the table.
    pub async fn clean(&self, fence: &dyn Fence) -> Result<Done, BatchError> {
        let as_of = now_micros();
        let mut done = Done::default();
        for model in self.models.of(Task::Clean) {
            done += self.clean_model(model, fence).await?;
        }
        if done.tables > 0 {
            self.note(self.models.of(Task::Clean), false, fence).await?;
        }
        fence.check().await?;
        failpoint("batch::before_frontier");
        let moved = self.advance_frontier(as_of).await?;
        failpoint("batch::after_frontier");
        done.tables += u64::from(moved && done.tables == 0);
        Ok(done)
    }

    async fn clean_model(&self, model: &Model, fence: &dyn Fence) -> Result<Done, BatchError> {
        let raw = format!("raw.{}", model.raw().unwrap_or_default());
        if self.find(&raw).await?.is_none() && model.header.columns.is_empty() {
            tracing::warn!(
                table = model.table(),
                missing = raw,
                "not staged: the raw table is not there yet"
            );
            return Ok(Done::default());
        }
        // Raw tables only grow: every row before these offsets is seen by a session that begins after.
        let end = self.offsets(&raw).await?;
        let mut done = Done::default();
        loop {
            let stored = self.offsets(&model.table()).await?;
            let Some(window) = Window::next(&stored, &end, self.options.rows_max) else { break };
            done += self.clean_window(model, &raw, &window, fence).await?;
        }
        if self.table_of(model).await?.is_none() {
            // Nothing has come yet: those who read the table find it empty.
            let session = self.session(model).await?;
            self.raw_rows(&session, model, &raw, "false").await?;
            let schema = session.schema(&model.body).await.map_err(BatchError::sql(model.file.clone()))?;
            self.ensure(model, &schema).await?;
        }
        if done.rows_in > 0 {
            tracing::info!(
                table = model.table(),
                rows_in = done.rows_in,
                rows_out = done.rows_out,
                rejected = done.rejected,
                "raw rows staged"
            );
        }
        Ok(done)
    }

    async fn clean_window(
        &self,
        model: &Model,
        raw: &str,
        window: &Window,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        let session = self.session(model).await?;
        let rows_in = self.raw_rows(&session, model, raw, &window.condition()).await?;
        let refused = self.refused(&session, model, raw).await?;
        self.settle_refused(&session, model, raw, &refused, fence).await?;
        if !refused.is_empty() {
            self.accepted(&session, model, raw).await?;
        }
        let result = self.result(&session, model).await?;
        let table = self.ensure(model, &result.schema).await?;
        let done = Done { rows_in, rows_out: result.rows(), rejected: refused.len() as u64, tables: 1 };
        let commit = permit(fence, window.advances()).await?;
        failpoint("batch::before_stage");
        table
            .overwrite(commit, added(result.batches))
            .await
            .map_err(BatchError::lake(format!("write {}", model.table())))?;
        failpoint("batch::after_stage");
        Ok(done)
    }

    /// Takes the raw rows for which `condition` holds into memory, under the raw table's own name, with the columns
    /// that the model counts on. Returns how many.
    pub(crate) async fn raw_rows(
        &self,
        session: &Session,
        model: &Model,
        raw: &str,
        condition: &str,
    ) -> Result<u64, BatchError> {
        let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
        if !model.header.columns.is_empty() {
            wanted.extend(CHANGES.iter().copied());
            wanted.extend(
                model.header.columns.iter().map(|(name, data_type)| (name.as_str(), data_type.as_str())),
            );
        }
        let there = match self.find(raw).await? {
            Some(table) => table.columns().await.map_err(BatchError::lake(format!("read {raw}")))?,
            None => Vec::new(),
        };
        wanted.retain(|name, _| !there.iter().any(|column| column.name == *name));
        let nulls = nulls(&wanted, usize::from(!there.is_empty()))
            .map_err(|message| BatchError::Model { file: model.file.clone(), message })?;
        let name = if there.is_empty() { raw } else { NULLS };
        if there.is_empty() || !wanted.is_empty() {
            let schema = nulls.schema();
            session
                .register_batches(name, schema, vec![nulls])
                .map_err(BatchError::sql(model.file.clone()))?;
        }
        if there.is_empty() {
            return Ok(0);
        }
        let mut text = format!("select r.* from {} as r", sql::table(raw));
        if !wanted.is_empty() {
            let added = sql::list("n", wanted.keys().copied());
            text = format!("select r.*, {added} from {} as r cross join {NULLS} as n", sql::table(raw));
        }
        let rows = self.collect(session, model, &format!("{text} where {condition}")).await?;
        rows.register(session, raw).map_err(BatchError::sql(model.file.clone()))?;
        Ok(rows.rows())
    }

    /// Leaves the rows that no rule has refused.
    pub(crate) async fn accepted(
        &self,
        session: &Session,
        model: &Model,
        raw: &str,
    ) -> Result<(), BatchError> {
        let text = format!(
            "select r.* from {} as r left anti join {REFUSED} as q on {}",
            sql::table(raw),
            same("r", "q")
        );
        let rows: Collected = self.collect(session, model, &text).await?;
        rows.register(session, raw).map_err(BatchError::sql(model.file.clone()))
    }
}

/// So many rows of these columns, all null.
fn nulls(columns: &BTreeMap<&str, &str>, rows: usize) -> Result<RecordBatch, String> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (name, data_type) in columns {
        let data_type = named(data_type)
            .ok_or_else(|| format!("columns.{name}: there is no type {data_type}; there are {NAMES}"))?;
        arrays.push(new_null_array(&data_type, rows));
        fields.push(Field::new(*name, data_type, true));
    }
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_columns_are_null_and_types_have_to_exist() {
        let row = nulls(&BTreeMap::from([("a", "bigint"), ("b", "text[]")]), 1).unwrap();
        assert_eq!((row.num_rows(), row.num_columns(), row.column(0).null_count()), (1, 2, 1));
        assert_eq!(nulls(&BTreeMap::new(), 1).unwrap().num_rows(), 1);
        assert!(nulls(&BTreeMap::from([("a", "money")]), 1).unwrap_err().contains("columns.a"));
    }
}
