//! Checks before publication: what the headers ask for, the balance between zones, and unusual volumes.
//!
//! Keys, nulls, accepted values, references and the balance are looked at where something changed since the last check
//! that passed; everywhere by the rebuild, and where very much has changed. So are the queries of headers, unless they
//! ask for the whole table. The balances of headers are of whole tables, file by file (`file_sums`). Results go to
//! `ops.checks`. Invariant: how far has been checked is the offsets of `ops.checks`, and moves only with results that let
//! readers see it.

mod balance;
mod file_sums;
mod pass;
mod positions;
mod queries;
mod volume;

use super::fence::Fence;
use super::frontier::Frontier;
use super::model::{Model, Severity};
use super::tables::Done;
use super::window::Window;
use super::{Batch, BatchError, Difference};
use affluent_lake::sql::Session;
use affluent_lake::{Advance, LakeTable, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Value, time::now_micros};
use affluent_telemetry::failpoint;
use file_sums::FileSums;
use std::fmt;
use std::sync::Arc;

const NAMESPACE: &str = "ops";
const TABLE: &str = "checks";
/// What a check looks at: the rows of the changed units, or all.
const CHECKED: &str = "batch.checked";

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    pub table: String,
    pub check: String,
    pub severity: Severity,
    /// Rows that are wrong; for a volume 1.
    pub failures: u64,
    /// What was counted, where the check counts.
    pub measured: Option<i64>,
    pub detail: String,
}

impl CheckResult {
    fn new(model: &Model, check: impl Into<String>, severity: Severity, failures: u64) -> Self {
        let (table, check) = (model.table(), check.into());
        CheckResult { table, check, severity, failures, measured: None, detail: String::new() }
    }

    fn stops(&self) -> bool {
        self.failures > 0 && self.severity == Severity::Error
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} rows)", self.table, self.check, self.failures)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl Batch {
    /// Checks every table; with `full` all rows, whatever was checked before.
    ///
    /// # Errors
    /// [`BatchError::Checks`] where a check of severity `error` failed, after the results were stored.
    pub async fn check(
        &self,
        run: i64,
        full: bool,
        fence: &dyn Fence,
    ) -> Result<(Done, Vec<CheckResult>), BatchError> {
        let frontier = self.frontier().await?;
        let table = self.checks_table().await?;
        let stored = table.offsets().await.map_err(BatchError::lake("read ops.checks"))?;
        let window = Window::next(&stored, &frontier.end, u64::MAX);
        let checked = table.snapshots().await.map_err(BatchError::lake("read ops.checks"))?;
        if window.is_none() && !full && !checked.is_empty() {
            return Ok((Done::default(), Vec::new()));
        }
        let mut results = Vec::new();
        let mut sums = if full { FileSums::default() } else { self.known_sums().await? };
        for model in self.models.iter() {
            if self.table_of(model).await?.is_some() {
                results.extend(self.check_model(model, &frontier, window.as_ref(), full).await?);
                results.extend(self.check_sums(model, &mut sums).await?);
            }
        }
        self.keep_sums(&sums, fence).await?;
        self.known_versions.clear();
        let failed: Vec<String> =
            results.iter().filter(|result| result.stops()).map(ToString::to_string).collect();
        for result in results.iter().filter(|result| result.failures > 0) {
            tracing::warn!(check = %result, severity = result.severity.as_str(), "check failed");
        }
        let advances = match window {
            Some(window) if failed.is_empty() => window.advances(),
            Some(_) | None => Vec::new(),
        };
        fence.check().await?;
        failpoint("batch::before_checks");
        self.store(&table, run, &results, advances).await?;
        failpoint("batch::after_checks");
        if failed.is_empty() {
            let done = Done { rows_in: results.len() as u64, ..Done::default() };
            Ok((done, results))
        } else {
            Err(BatchError::Checks(failed))
        }
    }

    async fn check_model(
        &self,
        model: &Model,
        frontier: &Frontier,
        window: Option<&Window>,
        full: bool,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let session = self.session_at(model, frontier, window).await?;
        // To find the rows of very many units takes longer than to look at all rows.
        let full = full || window.is_some_and(|window| window.rows() > self.options.rows_max);
        let mut results = Vec::new();
        let is_in_scope = self.scope(&session, model, frontier, window, full).await?;
        if is_in_scope {
            results.extend(self.check_rows(&session, model).await?);
        }
        results.extend(self.check_queries(&session, model, is_in_scope).await?);
        if let Some(window) = window {
            results.extend(self.check_volume(&session, model, frontier, window).await?);
        }
        results.extend(self.check_balance(model, frontier, window.filter(|_| !full)).await?);
        Ok(results)
    }

    /// Names the rows that are to be looked at [`CHECKED`]; false where there are none.
    async fn scope(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
        window: Option<&Window>,
        full: bool,
    ) -> Result<bool, BatchError> {
        let table = model.quoted();
        // Few rows are looked for once, whatever is asked of them.
        let mut few = false;
        let text = match window {
            _ if full => format!("select * from {table}"),
            None => return Ok(false),
            Some(window) if model.zone == "staged" => {
                let topics = frontier.topics(&model.table());
                few = true;
                format!("select * from {table} where {}", window.condition_of(&topics))
            }
            Some(window) if model.is_by_unit() => {
                let units = self.units(session, model, frontier, window).await?;
                if units.is_empty() {
                    return Ok(false);
                }
                few = units.rows() <= self.options.rows_max;
                let unit = model.unit.iter().map(|(from, to)| (to, from));
                self.of_units(session, model, &units, &model.table(), unit).await?
            }
            Some(_) => format!("select * from {table}"),
        };
        if few {
            let rows = self.collect(session, model, &text).await?;
            rows.register(session, CHECKED).map_err(BatchError::sql(model.file.clone()))?;
        } else {
            self.view(session, CHECKED, &text).await?;
        }
        Ok(true)
    }

    /// Writes down in what the tables of a rebuild differed.
    pub(crate) async fn tell(
        &self,
        run: i64,
        differences: &[Difference],
        fence: &dyn Fence,
    ) -> Result<(), BatchError> {
        if differences.is_empty() {
            return Ok(());
        }
        let result = |difference: &Difference| CheckResult {
            table: difference.table.clone(),
            check: "rebuild_equal".to_owned(),
            severity: Severity::Warn,
            failures: 1,
            measured: i64::try_from(difference.days.len()).ok(),
            detail: difference.to_string(),
        };
        let results: Vec<CheckResult> = differences.iter().map(result).collect();
        fence.check().await?;
        let table = self.checks_table().await?;
        self.store(&table, run, &results, Vec::new()).await
    }

    async fn store(
        &self,
        table: &LakeTable,
        run: i64,
        results: &[CheckResult],
        advances: Vec<Advance>,
    ) -> Result<(), BatchError> {
        let now = now_micros();
        let row = |result: &CheckResult| {
            vec![
                Value::TimestampTz(now),
                Value::Int(run),
                Value::Text(result.table.clone()),
                Value::Text(result.check.clone()),
                Value::Text(result.severity.as_str().to_owned()),
                Value::Int(i64::try_from(result.failures).unwrap_or(i64::MAX)),
                result.measured.map_or(Value::Null, Value::Int),
                Value::Text(result.detail.clone()),
            ]
        };
        let batch = RowBatch { columns: columns(), rows: results.iter().map(row).collect() };
        table.append(Arc::new(batch), advances).await.map_err(BatchError::lake("write ops.checks"))?;
        Ok(())
    }

    async fn checks_table(&self) -> Result<LakeTable, BatchError> {
        let day = Partition::Day("checked_at".to_owned());
        let ensured = self.lake.ensure_table(NAMESPACE, TABLE, &columns(), &day).await;
        ensured.map_err(BatchError::lake("make ops.checks"))
    }
}

fn columns() -> Arc<[Column]> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    Arc::new([
        column("checked_at", ColumnType::TimestampTz),
        column("run", ColumnType::Int64),
        column("table", ColumnType::Text),
        column("check", ColumnType::Text),
        column("severity", ColumnType::Text),
        column("failures", ColumnType::Int64),
        column("measured", ColumnType::Int64),
        column("detail", ColumnType::Text),
    ])
}
