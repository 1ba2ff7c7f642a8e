//! A table above the staged zone brought up to the frontier: filled the first time, by changed units after
//! that, or whole where it is small.

use super::digest::Digests;
use super::fence::{Fence, permit};
use super::frontier::Frontier;
use super::model::{Model, Strategy, Task};
use super::rows::{Collected, plain};
use super::tables::{Done, added};
use super::window::Window;
use super::{Batch, BatchError};
use affluent_lake::sql::Session;
use affluent_lake::{LakeTable, Offsets, Overwrite, Remove, Upsert};
use affluent_telemetry::failpoint;
use arrow_array::RecordBatch;
use std::time::Instant;

impl Batch {
    /// Brings every table of a task up to the frontier, each in commits of its own. A table that is up is left
    /// alone, so this goes on wherever an earlier call was killed.
    ///
    /// # Errors
    /// [`BatchError`], with the model's file or the table.
    pub async fn compute(&self, task: Task, fence: &dyn Fence) -> Result<Done, BatchError> {
        let frontier = self.frontier().await?;
        let mut done = Done::default();
        for model in self.models.of(task) {
            done += self.compute_model(model, &frontier, fence).await?;
        }
        if done.tables > 0 {
            self.note(self.models.of(task), false, fence).await?;
        }
        Ok(done)
    }

    /// One model.
    pub(crate) async fn compute_model(
        &self,
        model: &Model,
        frontier: &Frontier,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        if let Some(missing) = self.missing(model).await? {
            tracing::warn!(table = model.table(), missing, "not computed: what it reads is not there yet");
            return Ok(Done::default());
        }
        self.check_upstream(model, frontier).await?;
        let began = Instant::now();
        let done = match model.header.strategy {
            Strategy::Rebuild => self.compute_whole(model, frontier, fence).await?,
            Strategy::Upsert | Strategy::Scd2 => self.compute_units(model, frontier, fence).await?,
            // The task `clean` does these, from the raw zone.
            Strategy::Incremental => Done::default(),
        };
        if done.tables > 0 {
            tracing::info!(
                table = model.table(),
                rows_in = done.rows_in,
                rows_out = done.rows_out,
                seconds = began.elapsed().as_secs_f32(),
                "table computed"
            );
        }
        Ok(done)
    }

    async fn compute_units(
        &self,
        model: &Model,
        frontier: &Frontier,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        let end = frontier.behind(&self.models.staged_behind(&model.table()));
        let stored = self.offsets(&model.table()).await?;
        let is_there = self.find(&model.table()).await?.is_some();
        if stored.is_empty() && (!is_there || !end.is_empty()) {
            return self.fill(model, frontier, &end, fence).await;
        }
        let mut done = Done::default();
        loop {
            let stored = self.offsets(&model.table()).await?;
            let Some(window) = Window::next(&stored, &end, self.options.rows_max) else { return Ok(done) };
            done += self.increment(model, frontier, &window, fence).await?;
        }
    }

    /// The rows of the units that changed in the window.
    async fn increment(
        &self,
        model: &Model,
        frontier: &Frontier,
        window: &Window,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        let what = || format!("write {}", model.table());
        let session = self.session_at(model, frontier, Some(window)).await?;
        let units = self.units(&session, model, frontier, window).await?;
        let advance = window.advances();
        let mut done = Done { rows_in: units.rows(), ..Done::default() };
        if units.is_empty() {
            let table = self.find(&model.table()).await?;
            let commit = permit(fence, advance).await?;
            if let Some(table) = table {
                table.overwrite(commit, added(Vec::new())).await.map_err(BatchError::lake(what()))?;
            }
            return Ok(done);
        }
        self.narrow(&session, model, &units).await?;
        self.narrow_lookups(&session, model, &units).await?;
        self.name_newest(&session, model).await?;
        let result = self.result(&session, model).await?;
        let gone = self.gone(&session, model, &result).await?;
        let table = self.ensure(model, &result.schema).await?;
        done.rows_out = result.rows();
        let upsert = Upsert {
            rows: result.batches,
            delete: gone.batches,
            key: model.header.key.clone(),
            ..Upsert::default()
        };
        let commit = permit(fence, advance).await?;
        failpoint("batch::before_upsert");
        table.upsert(commit, upsert).await.map_err(BatchError::lake(what()))?;
        failpoint("batch::after_upsert");
        done.tables = 1;
        Ok(done)
    }

    /// The whole table for the first time, chunk by chunk; the last one carries the offsets, so a fill that was
    /// killed begins anew.
    async fn fill(
        &self,
        model: &Model,
        frontier: &Frontier,
        end: &Offsets,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        let what = || format!("fill {}", model.table());
        let session = self.session_at(model, frontier, None).await?;
        self.name_newest(&session, model).await?;
        let mut rows = session.sql(&model.body).await.map_err(BatchError::sql(model.file.clone()))?;
        let table = self.ensure(model, &rows.schema()).await?;
        // Of what a fill that was killed has left. An empty table gets to know this run too: one that was
        // replaced by it adds no rows between these.
        let commit = permit(fence, Vec::new()).await?;
        let clear = Overwrite { remove: Remove::Table, rows: Vec::new() };
        table.overwrite(commit, clear).await.map_err(BatchError::lake(what()))?;
        let mut done = Done { tables: 1, ..Done::default() };
        let mut chunk: Vec<RecordBatch> = Vec::new();
        let mut held = 0;
        while let Some(batch) = rows.next_batch().await {
            let batch = batch.map_err(BatchError::sql(model.file.clone()))?;
            held += batch.num_rows() as u64;
            let refuse = |message| BatchError::Model { file: model.file.clone(), message };
            chunk.push(plain(&batch).map_err(refuse)?);
            if held >= self.options.rows_max {
                done.rows_out += held;
                held = 0;
                let commit = permit(fence, Vec::new()).await?;
                failpoint("batch::before_fill");
                let full = added(std::mem::take(&mut chunk));
                table.overwrite(commit, full).await.map_err(BatchError::lake(what()))?;
                failpoint("batch::after_fill");
            }
        }
        done.rows_out += held;
        let window = Window::next(&Offsets::default(), end, u64::MAX);
        done.rows_in = window.as_ref().map_or(0, Window::rows);
        let advance = window.map(|window| window.advances()).unwrap_or_default();
        let commit = permit(fence, advance).await?;
        failpoint("batch::before_filled");
        table.overwrite(commit, added(chunk)).await.map_err(BatchError::lake(what()))?;
        failpoint("batch::after_filled");
        Ok(done)
    }

    /// A small table: computed whole, replaced where it differs.
    async fn compute_whole(
        &self,
        model: &Model,
        frontier: &Frontier,
        fence: &dyn Fence,
    ) -> Result<Done, BatchError> {
        let what = || format!("write {}", model.table());
        let end = frontier.behind(&self.models.staged_behind(&model.table()));
        let stored = self.offsets(&model.table()).await?;
        let session = self.session_at(model, frontier, None).await?;
        let result = self.result(&session, model).await?;
        let is_new = self.find(&model.table()).await?.is_none();
        let table = self.ensure(model, &result.schema).await?;
        let advance =
            Window::next(&stored, &end, u64::MAX).map(|window| window.advances()).unwrap_or_default();
        let same = !is_new && self.is_same(model, &session, &result).await?;
        let moves = !advance.is_empty();
        let commit = permit(fence, advance).await?;
        if same {
            if moves {
                table.overwrite(commit, added(Vec::new())).await.map_err(BatchError::lake(what()))?;
            }
            return Ok(Done::default());
        }
        let done = Done { rows_in: result.rows(), rows_out: result.rows(), rejected: 0, tables: 1 };
        failpoint("batch::before_overwrite");
        let overwrite = Overwrite { remove: Remove::Table, rows: result.batches };
        table.overwrite(commit, overwrite).await.map_err(BatchError::lake(what()))?;
        failpoint("batch::after_overwrite");
        Ok(done)
    }

    /// Whether the table, as the session sees it, holds these rows.
    async fn is_same(
        &self,
        model: &Model,
        session: &Session,
        result: &Collected,
    ) -> Result<bool, BatchError> {
        let refuse = |message: String| BatchError::Model { file: model.file.clone(), message };
        let columns = names(result);
        let has = self.columns_of(model).await?;
        if columns.iter().any(|column| !has.contains(column)) {
            return Ok(false);
        }
        let mut wanted = Digests::default();
        for batch in &result.batches {
            wanted.add(batch, &columns, None).map_err(refuse)?;
        }
        let mut found = Digests::default();
        let text = format!("select * from {}", model.quoted());
        let mut rows = session.sql(&text).await.map_err(BatchError::sql(model.table()))?;
        if columns.iter().any(|column| rows.schema().field_with_name(column).is_err()) {
            return Ok(false);
        }
        while let Some(batch) = rows.next_batch().await {
            let batch = batch.map_err(BatchError::sql(model.table()))?;
            found.add(&batch, &columns, None).map_err(refuse)?;
        }
        Ok(wanted == found)
    }

    async fn columns_of(&self, model: &Model) -> Result<Vec<String>, BatchError> {
        let Some(table) = self.find(&model.table()).await? else { return Ok(Vec::new()) };
        let columns = table.columns().await.map_err(BatchError::lake(format!("read {}", model.table())))?;
        Ok(columns.into_iter().map(|column| column.name).collect())
    }

    /// The table of a model, where it is there.
    pub(crate) async fn table_of(&self, model: &Model) -> Result<Option<LakeTable>, BatchError> {
        self.find(&model.table()).await
    }
}

/// The columns of a result.
pub(crate) fn names(result: &Collected) -> Vec<String> {
    result.schema.fields().iter().map(|field| field.name().clone()).collect()
}
