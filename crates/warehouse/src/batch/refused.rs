//! Raw rows that a rule refuses: found, and kept in `ops.rejected` with the rule and the row as it came.
//!
//! Invariant: a raw row is refused by one rule, the first that applies, and is in `ops.rejected` once, however
//! often it is looked at; the staged table does not have it.

use super::fence::{Fence, permit};
use super::model::Model;
use super::rows::{Collected, number, text};
use super::{Batch, BatchError, sql};
use affluent_lake::sql::{Renderer, Session, TextFormat, referenced_tables};
use affluent_lake::{LakeTable, Partition, Upsert};
use affluent_model::{Column, ColumnType, time::now_micros};
use affluent_telemetry::failpoint;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where refused rows are kept.
pub(crate) const REJECTED: (&str, &str) = ("ops", "rejected");
/// The session's own table of refused positions.
pub(crate) const REFUSED: &str = "batch.refused";
const KEY: &[&str] = &["model", "_kafka_topic", "_kafka_partition", "_kafka_offset"];

/// Topic, partition, offset.
type Position = (String, i32, i64);

/// Refused positions with the rule that refused them.
pub(crate) type Refused = BTreeMap<Position, String>;

impl Batch {
    /// The rows of the raw table `raw`, as the session sees it, that a rule of the model refuses; they are named
    /// [`REFUSED`] in the session.
    pub(crate) async fn refused(
        &self,
        session: &Session,
        model: &Model,
        raw: &str,
    ) -> Result<Refused, BatchError> {
        let mut refused = Refused::new();
        for rule in &model.header.rules {
            let text = format!(
                "select _kafka_topic, _kafka_partition, _kafka_offset from {} where ({})",
                sql::table(raw),
                rule.when
            );
            let what = || format!("{}, rule {}", model.file, rule.name);
            let reads = referenced_tables(&text).map_err(BatchError::sql(what()))?;
            self.seeds.register(session, &reads)?;
            let rows = Collected::of(session, &text).await.map_err(BatchError::sql(what()))?;
            for batch in &rows.batches {
                for row in 0..batch.num_rows() {
                    if let Some(position) = position(batch, row) {
                        refused.entry(position).or_insert_with(|| rule.name.clone());
                    }
                }
            }
        }
        let batch = positions(&refused)
            .map_err(|error| BatchError::Model { file: model.file.clone(), message: error.to_string() })?;
        session
            .register_batches(REFUSED, batch.schema(), vec![batch])
            .map_err(BatchError::sql(model.file.clone()))?;
        Ok(refused)
    }

    /// Brings `ops.rejected` to what the rules say of the rows of the raw table, as the session sees it: those that
    /// are refused are there, those that a changed rule lets pass are no longer.
    pub(crate) async fn settle_refused(
        &self,
        session: &Session,
        model: &Model,
        raw: &str,
        refused: &Refused,
        fence: &dyn Fence,
    ) -> Result<(), BatchError> {
        let refuse = |message: String| BatchError::Model { file: model.file.clone(), message };
        let kept = self.kept_refused(session, model, raw).await?;
        let missing: Refused = refused
            .iter()
            .filter(|(position, rule)| kept.get(*position) != Some(*rule))
            .map(|(position, rule)| (position.clone(), rule.clone()))
            .collect();
        let passing: Refused =
            kept.into_iter().filter(|(position, _)| !refused.contains_key(position)).collect();
        if missing.is_empty() && passing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "select r.* from {} as r left semi join {REFUSED} as q on {}",
            sql::table(raw),
            same("r", "q")
        );
        let mut rows = Vec::new();
        if !missing.is_empty() {
            for batch in &self.collect(session, model, &text).await?.batches {
                rows.push(rejected(model, batch, &missing).map_err(refuse)?);
            }
        }
        let delete = vec![keys(model, &passing).map_err(|error| refuse(error.to_string()))?];
        let key = KEY.iter().map(|column| (*column).to_owned()).collect();
        let upsert = Upsert { rows, delete, key, ..Upsert::default() };
        let table = self.rejected_table().await?;
        let commit = permit(fence, Vec::new()).await?;
        failpoint("batch::before_rejected");
        table.upsert(commit, upsert).await.map_err(BatchError::lake("write ops.rejected"))?;
        failpoint("batch::after_rejected");
        Ok(())
    }

    /// The rows of the raw table that `ops.rejected` has.
    async fn kept_refused(&self, session: &Session, model: &Model, raw: &str) -> Result<Refused, BatchError> {
        let name = format!("{}.{}", REJECTED.0, REJECTED.1);
        let mut kept = Refused::new();
        if !session.tables().iter().any(|table| table.name == name) {
            return Ok(kept);
        }
        let query = format!(
            "select q._kafka_topic, q._kafka_partition, q._kafka_offset, q.rule from \
             (select * from {name} where model = {}) as q left semi join {} as r on {}",
            sql::text(&model.table()),
            sql::table(raw),
            same("q", "r")
        );
        let rows = Collected::of(session, &query).await.map_err(BatchError::sql("read ops.rejected"))?;
        for batch in &rows.batches {
            for row in 0..batch.num_rows() {
                if let (Some(position), Some(rule)) = (position(batch, row), text(batch, 3, row)) {
                    kept.insert(position, rule);
                }
            }
        }
        Ok(kept)
    }

    /// `ops.rejected`, made where it is missing.
    pub(crate) async fn rejected_table(&self) -> Result<LakeTable, BatchError> {
        let column = |(name, column_type): (&str, ColumnType)| Column {
            name: name.to_owned(),
            column_type,
            nullable: true,
        };
        let columns = [
            ("model", ColumnType::Text),
            ("rule", ColumnType::Text),
            ("rejected_at", ColumnType::TimestampTz),
            ("_kafka_topic", ColumnType::Text),
            ("_kafka_partition", ColumnType::Int32),
            ("_kafka_offset", ColumnType::Int64),
            ("row", ColumnType::Json),
        ]
        .map(column);
        self.lake
            .ensure_table(REJECTED.0, REJECTED.1, &columns, &Partition::None)
            .await
            .map_err(BatchError::lake("make ops.rejected"))
    }
}

/// Rows of two tables come from the same record.
pub(crate) fn same(left: &str, right: &str) -> String {
    sql::equal(left, right, KEY.iter().skip(1).map(|column| (*column, *column)))
}

/// Of a batch that begins with topic, partition and offset.
fn position(batch: &RecordBatch, row: usize) -> Option<Position> {
    Some((text(batch, 0, row)?, i32::try_from(number(batch, 1, row)?).ok()?, number(batch, 2, row)?))
}

/// The keys of rows in `ops.rejected`.
fn keys(model: &Model, refused: &Refused) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let positions = positions(refused)?;
    let models = Arc::new(StringArray::from(vec![model.table(); refused.len()])) as ArrayRef;
    let own = positions.columns().iter().cloned();
    RecordBatch::try_from_iter(KEY.iter().copied().zip(std::iter::once(models).chain(own)))
}

fn positions(refused: &Refused) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let topics: StringArray = refused.keys().map(|position| Some(position.0.as_str())).collect();
    let partitions: Int32Array = refused.keys().map(|position| Some(position.1)).collect();
    let offsets: Int64Array = refused.keys().map(|position| Some(position.2)).collect();
    RecordBatch::try_from_iter([
        ("_kafka_topic", Arc::new(topics) as ArrayRef),
        ("_kafka_partition", Arc::new(partitions) as ArrayRef),
        ("_kafka_offset", Arc::new(offsets) as ArrayRef),
    ])
}

/// The rows of `ops.rejected` for raw rows.
fn rejected(model: &Model, raw: &RecordBatch, refused: &Refused) -> Result<RecordBatch, String> {
    let place = |name: &str| raw.schema_ref().index_of(name).map_err(|error| error.to_string());
    let places = [place("_kafka_topic")?, place("_kafka_partition")?, place("_kafka_offset")?];
    let at = raw.project(&places).map_err(|error| error.to_string())?;
    let json = Renderer::new(TextFormat::Json, raw.schema()).batch(raw).map_err(|error| error.to_string())?;
    let mut rows: Vec<(Position, &str, &str)> = Vec::with_capacity(raw.num_rows());
    for (row, line) in json.lines().enumerate() {
        let Some(position) = position(&at, row) else { continue };
        let Some(rule) = refused.get(&position) else { continue };
        rows.push((position, rule, line));
    }
    let texts = |text: fn(&(Position, &str, &str)) -> String| {
        Arc::new(rows.iter().map(|row| Some(text(row))).collect::<StringArray>()) as ArrayRef
    };
    let partitions: Int32Array = rows.iter().map(|(position, _, _)| Some(position.1)).collect();
    let offsets: Int64Array = rows.iter().map(|(position, _, _)| Some(position.2)).collect();
    let now = TimestampMicrosecondArray::from(vec![now_micros(); rows.len()]).with_timezone("+00:00");
    RecordBatch::try_from_iter([
        ("model", Arc::new(StringArray::from(vec![model.table(); rows.len()])) as ArrayRef),
        ("rule", texts(|(_, rule, _)| (*rule).to_owned())),
        ("rejected_at", Arc::new(now)),
        ("_kafka_topic", texts(|(position, _, _)| position.0.clone())),
        ("_kafka_partition", Arc::new(partitions)),
        ("_kafka_offset", Arc::new(offsets)),
        ("row", texts(|(_, _, line)| (*line).to_owned())),
    ])
    .map_err(|error| error.to_string())
}
