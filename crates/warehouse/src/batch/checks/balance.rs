//! Nothing is lost between the zones: counts and sums of amounts, per currency, exactly.
//!
//! Raw rows are staged or refused; the newest staged row of each unit is its curated row, unless it says that the
//! unit is gone.

use super::CheckResult;
use crate::batch::frontier::Frontier;
use crate::batch::model::{Model, Severity, Strategy, Task};
use crate::batch::refused::same;
use crate::batch::units::UNITS;
use crate::batch::window::{Window, before};
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::Session;
use affluent_model::ColumnType;

const BALANCE: &str = "balance";

impl Batch {
    /// The balance between a table and the zone below it, where the model is one of those that keep it.
    pub(super) async fn check_balance(
        &self,
        model: &Model,
        frontier: &Frontier,
        window: Option<&Window>,
    ) -> Result<Option<CheckResult>, BatchError> {
        if model.header.strategy == Strategy::Incremental {
            self.rejected_table().await?;
        }
        let session = self.any_session().await?;
        if model.header.strategy == Strategy::Incremental {
            return self.balance_staged(&session, model, frontier).await;
        }
        let keeps = model.header.task == Task::Deduplicate && model.header.strategy == Strategy::Upsert;
        // Of changes alone: clicks have no order of their own.
        let is_model = |from: &&str| from.starts_with("staged.") && self.models.get(from).is_some();
        let from = model.header.from.as_deref().filter(is_model);
        match from {
            Some(from) if keeps && is_key(model) => self.balance_curated(model, from, frontier, window).await,
            Some(_) | None => Ok(None),
        }
    }

    async fn balance_staged(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
    ) -> Result<Option<CheckResult>, BatchError> {
        let raw = format!("raw.{}", model.raw().unwrap_or_default());
        if self.find(&raw).await?.is_none() {
            return Ok(None);
        }
        let money = self.has_money(&raw).await? && self.has_money(&model.table()).await?;
        let known = before(&frontier.of(&model.table()));
        let (raw, staged) = (sql::table(&raw), model.quoted());
        let of_raw = |alias: &str| {
            if money {
                format!("upper(trim({alias}.currency)) as c, {alias}.amount as a")
            } else {
                "null as c, 0 as a".to_owned()
            }
        };
        let of_staged = if money { "currency as c, amount as a" } else { "null as c, 0 as a" };
        let refused = format!(
            "select {} from (select * from {raw} where {known}) as r left semi join \
             (select * from ops.rejected where model = {}) as q on {}",
            of_raw("r"),
            sql::text(&model.table()),
            same("r", "q")
        );
        let left = format!("select {} from {raw} as r where {known}", of_raw("r"));
        let right = format!("select {of_staged} from {staged} where {known} union all {refused}");
        let text = unequal(&left, &right);
        self.counted(session, model, BALANCE, Severity::Error, &text).await.map(Some)
    }

    /// Of all units, or of those that changed in `window`: where the rest balanced before, it still does.
    async fn balance_curated(
        &self,
        model: &Model,
        from: &str,
        frontier: &Frontier,
        window: Option<&Window>,
    ) -> Result<Option<CheckResult>, BatchError> {
        let session = self.session_at(model, frontier, window).await?;
        let (staged, mut curated) = (sql::table(from), model.quoted());
        let mut changes = staged.clone();
        if let Some(window) = window {
            let units = self.units(&session, model, frontier, window).await?;
            if units.is_empty() {
                return Ok(None);
            }
            units.register(&session, UNITS).map_err(BatchError::sql(model.file.clone()))?;
            let unit = model.unit.iter();
            let in_from =
                self.of_units(&session, model, from, unit.clone().map(|(from, _)| (from, from))).await?;
            let in_result =
                self.of_units(&session, model, &model.table(), unit.map(|(from, to)| (to, from))).await?;
            (changes, curated) = (format!("({in_from})"), format!("({in_result}) as t"));
        }
        let money = self.has_money(from).await? && self.has_money(&model.table()).await?;
        let columns = if money { "currency as c, amount as a" } else { "null as c, 0 as a" };
        let known = before(&frontier.of(from));
        let unit = sql::list("s", model.unit.keys().map(String::as_str));
        // A truncation ends every row before it.
        let newest = format!(
            "select s.*, row_number() over (partition by {unit} order by s._lsn desc, s._ordinal desc) as newest \
             from (select * from {changes} as t where {known} and _op <> 't') as s \
             cross join (select coalesce(max(_lsn), -1) as cut from {staged} where {known} and _op = 't') as t \
             where s._lsn > t.cut"
        );
        let left = format!("select {columns} from ({newest}) as n where newest = 1 and _op <> 'd'");
        let right = format!("select {columns} from {curated}");
        self.counted(&session, model, BALANCE, Severity::Error, &unequal(&left, &right)).await.map(Some)
    }

    /// It has an exact `amount` beside a `currency`.
    async fn has_money(&self, table: &str) -> Result<bool, BatchError> {
        let Some(found) = self.find(table).await? else { return Ok(false) };
        let columns = found.columns().await.map_err(BatchError::lake(format!("read {table}")))?;
        let has = |name: &str, fits: fn(&ColumnType) -> bool| {
            columns.iter().any(|column| column.name == name && fits(&column.column_type))
        };
        let exact = |column_type: &ColumnType| matches!(column_type, ColumnType::Decimal { .. });
        Ok(has("amount", exact) && has("currency", |column_type| *column_type == ColumnType::Text))
    }
}

/// A unit is a row.
fn is_key(model: &Model) -> bool {
    let mut units: Vec<&String> = model.unit.values().collect();
    let mut keys: Vec<&String> = model.header.key.iter().collect();
    units.sort_unstable();
    keys.sort_unstable();
    units == keys
}

/// Counts the currencies of which two sets of (c, a) differ in rows or sum.
fn unequal(left: &str, right: &str) -> String {
    let sums = |rows: &str| {
        format!(
            "select coalesce(c, '') as c, count(*) as n, coalesce(sum(cast(a as decimal(38, 10))), 0) as s \
             from ({rows}) as x group by coalesce(c, '')"
        )
    };
    format!(
        "select count(*) from ({}) as l full outer join ({}) as r on l.c = r.c \
         where (l.n is distinct from r.n) or (l.s is distinct from r.s)",
        sums(left),
        sums(right)
    )
}
