//! The nightly rebuild: every table computed again from what it reads, compared with what the increments made
//! of it, and put right where the two differ.
//!
//! Both are streamed and held against one another by sums of row hashes, day by day, so memory does not grow
//! with the tables; a rebuilt table need not be written to be compared. Invariant: a table is compared after
//! everything that it reads has been, so each is computed from tables that equal their own rebuild.

use super::digest::{Digests, days, row_hashes};
use super::fence::{Fence, permit};
use super::frontier::Frontier;
use super::model::{Model, Strategy, Task};
use super::rows::{number, plain, text};
use super::tables::Done;
use super::window::Window;
use super::{Batch, BatchError, sql};
use affluent_lake::{LakeError, LakeTable, Offsets, Overwrite, Remove};
use affluent_model::time::format_date;
use affluent_telemetry::failpoint;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::task::AbortOnDropHandle;

/// Keys that are named of each table.
const KEYS_MAX: usize = 5;
/// Rows of one side alone that are remembered while they are looked for.
const SEEN_MAX: usize = 200_000;

/// A table that was not what its rebuild is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub table: String,
    /// The UTC days that differ; none of a table that is not divided.
    pub days: Vec<String>,
    /// The first keys whose rows differ.
    pub keys: Vec<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: days [{}], first keys [{}]", self.table, self.days.join(", "), self.keys.join("; "))
    }
}

/// Rows handed on batch by batch.
pub(crate) type Take<'a> = &'a mut (dyn FnMut(&RecordBatch) -> Result<(), BatchError> + Send);

impl Batch {
    /// Brings the tables of a task up to the frontier, then computes each in full, compares, and puts right what
    /// differs.
    ///
    /// # Errors
    /// [`BatchError`], with the model's file or the table.
    pub async fn rebuild(
        &self,
        task: Task,
        fence: &dyn Fence,
    ) -> Result<(Done, Vec<Difference>), BatchError> {
        let mut done = if task == Task::Clean { self.clean(fence).await? } else { Done::default() };
        let frontier = self.frontier().await?;
        let mut differences = Vec::new();
        for model in self.models.of(task) {
            done += self.compute_model(model, &frontier, fence).await?;
            let Some(table) = self.table_of(model).await? else { continue };
            // Computed whole a moment ago, and replaced where it differed.
            if model.header.strategy == Strategy::Rebuild {
                continue;
            }
            let (rows, difference) = self.compare(model, &table, &frontier, fence).await?;
            done.rows_in += rows;
            done.tables += u64::from(difference.is_some());
            if let Some(difference) = &difference {
                tracing::error!(%difference, "a rebuilt table differs from its increments; it was put right");
            }
            differences.extend(difference);
        }
        self.note(self.models.of(task), true, fence).await?;
        Ok((done, differences))
    }

    /// Rows compared, and what differed.
    async fn compare(
        &self,
        model: &Model,
        table: &LakeTable,
        frontier: &Frontier,
        fence: &dyn Fence,
    ) -> Result<(u64, Option<Difference>), BatchError> {
        let refuse = |message: String| BatchError::Model { file: model.file.clone(), message };
        let day = model.header.partition.as_deref();
        let schema = self.result_schema(model, frontier).await?;
        self.ensure(model, &schema).await?;
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        // One side is read while the other is computed: neither keeps every core busy all the time.
        let reading = self.clone().digests(model.clone(), columns.clone());
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        let mut wanted = Digests::default();
        self.rebuilt(model, frontier, fence, &mut |batch| wanted.add(batch, &columns, day).map_err(refuse))
            .await?;
        let read = reading.await.map_err(LakeError::from);
        let found = read.map_err(BatchError::lake(format!("read {}", model.table())))??;
        let different = wanted.different(&found);
        if different.is_empty() {
            return Ok((wanted.rows(), None));
        }
        // Rows without a day cannot be removed by themselves.
        let whole = day.is_none() || different.contains(&None);
        let chosen: BTreeSet<Option<i32>> = different.iter().copied().collect();
        let of_days = |batch: &RecordBatch| match day {
            Some(day) if !whole => {
                let days = days(batch, day).map_err(refuse)?;
                let mask: BooleanArray = days.iter().map(|day| Some(chosen.contains(day))).collect();
                filter_record_batch(batch, &mask).map_err(|error| refuse(error.to_string()))
            }
            Some(_) | None => Ok(batch.clone()),
        };
        let mut rows = Vec::new();
        let mut keys = Keys::new(model, &columns);
        self.rebuilt(model, frontier, fence, &mut |batch| {
            let batch = of_days(batch)?;
            keys.add(&batch, 1).map_err(refuse)?;
            rows.push(batch);
            Ok(())
        })
        .await?;
        self.stored(model, &columns, &mut |batch| keys.add(&of_days(batch)?, -1).map_err(refuse)).await?;
        let remove =
            if whole { Remove::Table } else { Remove::Days(chosen.iter().flatten().copied().collect()) };
        let commit = permit(fence, Vec::new()).await?;
        failpoint("batch::before_replace");
        table
            .overwrite(commit, Overwrite { remove, rows })
            .await
            .map_err(BatchError::lake(format!("write {}", model.table())))?;
        failpoint("batch::after_replace");
        let days = different.iter().flatten().map(|&day| format_date(day)).collect();
        Ok((wanted.rows(), Some(Difference { table: model.table(), days, keys: keys.different() })))
    }

    async fn result_schema(&self, model: &Model, frontier: &Frontier) -> Result<SchemaRef, BatchError> {
        let session = if model.header.strategy == Strategy::Incremental {
            let session = self.session(model).await?;
            let raw = format!("raw.{}", model.raw().unwrap_or_default());
            self.raw_rows(&session, model, &raw, "false").await?;
            session
        } else {
            let session = self.session_at(model, frontier, None).await?;
            self.name_newest_columns(&session, model).await?;
            session
        };
        session.schema(&model.body).await.map_err(BatchError::sql(model.file.clone()))
    }

    /// The rows that the table should have. Raw rows that are refused go to `ops.rejected`, those that no longer are
    /// leave it.
    async fn rebuilt(
        &self,
        model: &Model,
        frontier: &Frontier,
        fence: &dyn Fence,
        take: Take<'_>,
    ) -> Result<(), BatchError> {
        if model.header.strategy == Strategy::Incremental {
            let raw = format!("raw.{}", model.raw().unwrap_or_default());
            let end = self.offsets(&model.table()).await?;
            let mut done = Offsets::default();
            while let Some(window) = Window::next(&done, &end, self.options.rows_max) {
                let session = self.session(model).await?;
                self.raw_rows(&session, model, &raw, &window.condition()).await?;
                let refused = self.refused(&session, model, &raw).await?;
                self.settle_refused(&session, model, &raw, &refused, fence).await?;
                if !refused.is_empty() {
                    self.accepted(&session, model, &raw).await?;
                }
                self.each(&session, &model.body, &model.file, &mut *take).await?;
                done = done.advanced(&window.advances()).map_err(|conflict| BatchError::Model {
                    file: model.file.clone(),
                    message: conflict.to_string(),
                })?;
            }
            return Ok(());
        }
        let session = self.session_at(model, frontier, None).await?;
        self.name_newest(&session, model).await?;
        self.each(&session, &model.body, &model.file, take).await
    }

    /// The digests of the rows that the table has.
    async fn digests(self, model: Model, columns: Vec<String>) -> Result<Digests, BatchError> {
        let refuse = |message: String| BatchError::Model { file: model.file.clone(), message };
        let day = model.header.partition.as_deref();
        let mut found = Digests::default();
        self.stored(&model, &columns, &mut |batch| found.add(batch, &columns, day).map_err(refuse)).await?;
        Ok(found)
    }

    /// The rows that the table has.
    async fn stored(&self, model: &Model, columns: &[String], take: Take<'_>) -> Result<(), BatchError> {
        let session = self.any_session().await?;
        let columns = sql::list("", columns.iter().map(String::as_str));
        let text = format!("select {columns} from {}", model.quoted());
        self.each(&session, &text, &model.table(), take).await
    }

    /// The rows of a query, with times as the lake has them, batch by batch.
    pub(crate) async fn each(
        &self,
        session: &affluent_lake::sql::Session,
        text: &str,
        what: &str,
        take: Take<'_>,
    ) -> Result<(), BatchError> {
        let mut rows = session.sql(text).await.map_err(BatchError::sql(what))?;
        while let Some(batch) = rows.next_batch().await {
            let batch = plain(&batch.map_err(BatchError::sql(what))?);
            take(&batch.map_err(|message| BatchError::Model { file: what.to_owned(), message })?)?;
        }
        Ok(())
    }
}

/// Rows of two sides by key and hash, to find those of one side alone.
struct Keys<'a> {
    key: &'a [String],
    columns: &'a [String],
    seen: BTreeMap<(String, [u64; 2]), i64>,
}

impl<'a> Keys<'a> {
    fn new(model: &'a Model, columns: &'a [String]) -> Self {
        Keys { key: &model.header.key, columns, seen: BTreeMap::new() }
    }

    fn add(&mut self, batch: &RecordBatch, side: i64) -> Result<(), String> {
        let place = |name: &String| batch.schema_ref().index_of(name).map_err(|error| error.to_string());
        let places = self.key.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        for (row, hash) in row_hashes(batch, self.columns)?.into_iter().enumerate() {
            let cell = |&place: &usize| {
                text(batch, place, row)
                    .or_else(|| number(batch, place, row).map(|number| number.to_string()))
                    .unwrap_or_else(|| "?".to_owned())
            };
            let key = places.iter().map(cell).collect::<Vec<_>>().join(", ");
            // Of a table that differs everywhere a part is enough.
            if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&(key.clone(), hash)) {
                continue;
            }
            let count = self.seen.entry((key.clone(), hash)).or_default();
            *count += side;
            if *count == 0 {
                self.seen.remove(&(key, hash));
            }
        }
        Ok(())
    }

    fn different(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.seen.keys().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        keys.truncate(KEYS_MAX);
        keys
    }
}
