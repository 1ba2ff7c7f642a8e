//! Nothing is lost between the zones: counts and sums of amounts, per currency, exactly.
//!
//! Raw rows are staged or refused; the newest staged row of each unit is its curated row, unless it says that the
//! unit is gone.

use super::CheckResult;
use super::positions::{self, Newest, Sums};
use crate::batch::frontier::Frontier;
use crate::batch::model::{Model, Severity, Strategy, Task};
use crate::batch::refused::same;
use crate::batch::window::{Window, before};
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::Session;
use affluent_model::ColumnType;

const BALANCE: &str = "balance";
/// The session's own table of what the changes come to.
const NEWEST_SUMS: &str = "batch.newest_sums";

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
            return self.balance_staged(&session, model, frontier, window).await;
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

    /// Of all records, or of those in `window`: raw and staged tables only grow, so the others balance as they did.
    async fn balance_staged(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
        window: Option<&Window>,
    ) -> Result<Option<CheckResult>, BatchError> {
        let raw = format!("raw.{}", model.raw().unwrap_or_default());
        if self.find(&raw).await?.is_none() {
            return Ok(None);
        }
        let money = self.has_money(&raw).await? && self.has_money(&model.table()).await?;
        let known = match window {
            Some(window) => window.condition_of(&frontier.topics(&model.table())),
            None => before(&frontier.of(&model.table())),
        };
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
        let text = unequal(&sums(&left), &sums(&right));
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
            let (table, unit) = (model.table(), model.unit.iter());
            let own = unit.clone().map(|(from, _)| (from, from));
            let in_from = self.of_units(&session, model, &units, from, own).await?;
            let other = unit.map(|(from, to)| (to, from));
            let in_result = self.of_units(&session, model, &units, &table, other).await?;
            (changes, curated) = (format!("({in_from})"), format!("({in_result}) as t"));
        }
        let money = self.has_money(from).await? && self.has_money(&model.table()).await?;
        let known = before(&frontier.of(from));
        // A truncation ends every row before it.
        let cut = format!("select coalesce(max(_lsn), -1) as cut from {staged} where {known} and _op = 't'");
        let changes =
            format!("{changes} as s cross join ({cut}) as t where {known} and _op <> 't' and _lsn > cut");
        let rows = session.tables().iter().find(|state| state.name == from).map_or(0, |state| state.rows);
        self.name_newest_sums(&session, model, &changes, (money, rows)).await?;
        let columns = if money { "currency as c, amount as a" } else { "null as c, 0 as a" };
        let left = format!("select c, n, s from {NEWEST_SUMS}");
        let text = unequal(&left, &sums(&format!("select {columns} from {curated}")));
        self.counted(&session, model, BALANCE, Severity::Error, &text).await.map(Some)
    }

    /// Names rows and sums of the newest among `changes` [`NEWEST_SUMS`], by currency.
    async fn name_newest_sums(
        &self,
        session: &Session,
        model: &Model,
        changes: &str,
        (has_money, rows): (bool, u64),
    ) -> Result<(), BatchError> {
        let refuse = |message: String| BatchError::Model { file: model.file.clone(), message };
        let what = format!("{}, check {BALANCE}", model.file);
        let unit = sql::list("", model.unit.keys().map(String::as_str));
        let money = ("coalesce(currency, '')", "coalesce(amount, 0)");
        let (currency, amount) = if has_money { money } else { ("''", "0") };
        let text = format!(
            "select {unit}, cast(_lsn as bigint), cast(coalesce(_ordinal, 9223372036854775807) as bigint), \
             coalesce(_op <> 'd', true), {currency}, cast({amount} as decimal(38, 10)) from {changes}"
        );
        let unit: Vec<String> = model.unit.keys().cloned().collect();
        let mut found = Sums::new();
        let rounds = positions::rounds(rows);
        for round in 0..rounds {
            let mut newest = Newest::new(&unit, round, rounds);
            self.each(session, &text, &what, &mut |batch| newest.add(batch).map_err(refuse)).await?;
            newest.sum(&mut found).map_err(refuse)?;
        }
        let batch = positions::batch(&found).map_err(|error| refuse(error.to_string()))?;
        session.register_batches(NEWEST_SUMS, batch.schema(), vec![batch]).map_err(BatchError::sql(what))
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

/// Rows `n` and sum `s` of each currency in a set of (c, a).
pub(super) fn sums(rows: &str) -> String {
    format!(
        "select coalesce(c, '') as c, count(*) as n, coalesce(sum(cast(a as decimal(38, 10))), 0) as s \
         from ({rows}) as x group by coalesce(c, '')"
    )
}

/// Counts the currencies of which two sets of sums differ.
fn unequal(left: &str, right: &str) -> String {
    format!(
        "select count(*) from ({left}) as l full outer join ({right}) as r on l.c = r.c \
         where (l.n is distinct from r.n) or (l.s is distinct from r.s)"
    )
}
