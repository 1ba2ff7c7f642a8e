//! Rows of customers: of each instant and each customer who had paid shortly before it, the features as of the instant, whether anything of
//! the customer came in the time after it, and what was paid then, less what was given back.
//!
//! The table is `features.training_<name>_<digest>`, written once an instant; the digest is that of what the set means, so that one table
//! holds one set. Vectors are those of the offline store, which knows at an instant what had arrived by then.
//!
//! Invariant: a row looks at what came after its instant for its label and its value alone.

use super::NAMESPACE;
use crate::history::{HistoryError, instant};
use crate::offline::{Offline, ViewPlan, Writer, digest};
use affluent_features::definition::REQUEST;
use affluent_lake::sql::Session;
use affluent_lake::{Commit, LakeTable, Outcome, Overwrite, Partition, Remove};
use affluent_model::{Column, ColumnType};
use affluent_telemetry::failpoint;
use std::fmt::Write as _;

/// Instants of a set at most: as many as a table keeps the commits of.
pub const INSTANTS_MAX: usize = 90;
/// The word by which rows are told apart: from where the customer paid.
pub const CUSTOMER_CATEGORIES: [&str; 1] = ["country"];

/// What a set of customers is. Lengths of time in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerSet {
    pub name: String,
    /// Whose views the features are of: `customer`, and `user` where users of the web are customers.
    pub entities: Vec<String>,
    /// When the customers are looked at, in ascending order; microseconds UTC.
    pub instants: Vec<i64>,
    /// A customer who paid within so long before an instant has a row of it.
    pub active: i64,
    /// How long after an instant activity and payments count.
    pub horizon: i64,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomerRows {
    pub table: String,
    /// Name and version of each feature, in the order of the table's columns.
    pub features: Vec<(String, u32)>,
    /// Rows that were written now.
    pub written: u64,
    /// Views and tables that are not there, in words.
    pub left_out: Vec<String>,
}

/// Writes the rows of a set.
///
/// # Errors
/// [`HistoryError`]: no payments in the warehouse, no view that can be read, too many instants.
pub async fn customer_rows(
    offline: &Offline,
    set: &CustomerSet,
    writer: &dyn Writer,
    mut progress: impl FnMut(u64) + Send,
) -> Result<CustomerRows, HistoryError> {
    if set.instants.is_empty() || set.instants.len() > INSTANTS_MAX {
        let count = set.instants.len();
        let message =
            format!("{count} instants: a set of customers has 1 to {INSTANTS_MAX}; look at them less often");
        return Err(HistoryError::Definition(message));
    }
    let mut done = CustomerRows::default();
    let views = views(offline, set, &mut done).await?;
    for view in &views {
        offline.materialise(view, &set.instants, writer, |_, _| {}).await?;
    }
    // Once the vectors are there.
    let session = offline.history().session().await?;
    let tables = Tables::of(&session, &mut done)?;
    let meaning = meaning(set, &views, tables);
    let name = format!("training_{}_{}", set.name, digest(&meaning));
    let table = table(offline, &name, &done).await?;
    done.table = table.name();
    for &at in &set.instants {
        let what = format!("the rows of {}", done.table);
        let rows = session.collect(&query(set, at, &views, &tables)).await;
        let rows = rows.map_err(HistoryError::sql(what))?;
        writer.permit().await?;
        let commit = Commit { fence: writer.fence(), ..Commit::named(at.to_string()) };
        failpoint("customers::before_commit");
        let overwrite = Overwrite { remove: Remove::Nothing, rows };
        let written = table.overwrite(commit, overwrite).await;
        match written.map_err(HistoryError::lake(format!("write {}", done.table)))? {
            Outcome::Committed(written) => done.written += written.rows_added,
            Outcome::AlreadyCommitted(_) => {}
        }
        progress(done.written);
    }
    Ok(done)
}

/// When the first and the last payment of the warehouse were made; none where there is none.
///
/// # Errors
/// [`HistoryError`]
pub async fn payments_span(offline: &Offline) -> Result<Option<(i64, i64)>, HistoryError> {
    let session = offline.history().session().await?;
    if !has(&session, PAYMENTS) {
        return Ok(None);
    }
    let text = format!(
        "select min(created_at) as at from {PAYMENTS} union all select max(created_at) as at from {PAYMENTS}"
    );
    let mut found = crate::offline::instants(&session, &text).await?;
    found.sort_unstable();
    Ok(found.first().copied().zip(found.last().copied()))
}

const PAYMENTS: &str = "curated.transactions";
const REFUNDS: &str = "dwh.fact_refunds";
const CLICKS: &str = "curated.clicks";

fn has(session: &Session, table: &str) -> bool {
    session.tables().iter().any(|state| state.name == table && state.snapshot.is_some())
}

/// The views that can be read; what cannot is left out and said.
async fn views(
    offline: &Offline,
    set: &CustomerSet,
    done: &mut CustomerRows,
) -> Result<Vec<ViewPlan>, HistoryError> {
    let definitions = offline.history().definitions();
    let mut views = Vec::new();
    for (name, view) in &definitions.views {
        if view.entity == REQUEST || !set.entities.contains(&view.entity) {
            continue;
        }
        let plan = ViewPlan::new(definitions, name)?;
        match offline.missing(&plan).await? {
            Some(missing) => done.left_out.push(format!("view {name}: {missing}")),
            None => views.push(plan),
        }
    }
    for view in &views {
        for (name, _) in &view.features {
            let version = definitions.feature(name).map_or(0, |feature| feature.version);
            done.features.push((name.clone(), version));
        }
    }
    if done.features.is_empty() {
        let message = format!(
            "training set {}: no view of {} can be read ({})",
            set.name,
            set.entities.join(", "),
            done.left_out.join("; ")
        );
        return Err(HistoryError::Definition(message));
    }
    Ok(views)
}

/// Which tables beside that of payments are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tables {
    refunds: bool,
    clicks: bool,
}

impl Tables {
    fn of(session: &Session, done: &mut CustomerRows) -> Result<Self, HistoryError> {
        if !has(session, PAYMENTS) {
            let message = format!("{PAYMENTS} is not there yet: run raw-to-dwh");
            return Err(HistoryError::Definition(message));
        }
        for table in [REFUNDS, CLICKS].into_iter().filter(|table| !has(session, table)) {
            done.left_out.push(format!("{table} is not there: it counts for nothing"));
        }
        Ok(Tables { refunds: has(session, REFUNDS), clicks: has(session, CLICKS) })
    }
}

/// What the set means, as text. A label without clicks, or a value without refunds, is another one.
fn meaning(set: &CustomerSet, views: &[ViewPlan], tables: Tables) -> String {
    let mut text = format!("{} {} {:?} {tables:?} ", set.active, set.horizon, set.instants);
    for view in views {
        let _ = write!(text, "{} ", view.meaning);
    }
    text
}

async fn table(offline: &Offline, name: &str, done: &CustomerRows) -> Result<LakeTable, HistoryError> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let mut columns = vec![
        column("id", ColumnType::Text),
        column("event_time", ColumnType::TimestampTz),
        column("card", ColumnType::Text),
        column("amount", ColumnType::Int64),
        column(CUSTOMER_CATEGORIES[0], ColumnType::Text),
        column("label", ColumnType::Bool),
        column("value", ColumnType::Float64),
    ];
    columns.extend(done.features.iter().map(|(name, _)| column(name, ColumnType::Float64)));
    let made = offline.lake().ensure_table(NAMESPACE, name, &columns, &Partition::None).await;
    made.map_err(HistoryError::lake(format!("make {NAMESPACE}.{name}")))
}

/// The rows of one instant. A payment that was declined or voided is activity, but no money. A refund counts that was paid by the end of
/// the horizon: what becomes of it later was not known then.
fn query(set: &CustomerSet, at: i64, views: &[ViewPlan], tables: &Tables) -> String {
    let (now, before, after) =
        (instant(at), instant(at.saturating_sub(set.active)), instant(at.saturating_add(set.horizon)));
    let money = "case when status not in ('declined', 'voided') then cast(amount_reporting as double) end";
    let mut text = format!(
        "with payments as (\
         select cast(customer_id as varchar) as customer, \
         bool_or(created_at <= {now}) as is_active, bool_or(created_at > {now}) as is_back, \
         coalesce(sum(case when created_at <= {now} then {money} end), cast(0 as double)) as paid_before, \
         coalesce(sum(case when created_at > {now} then {money} end), cast(0 as double)) as paid, \
         min(case when created_at <= {now} then geo_country end) as country \
         from {PAYMENTS} where customer_id is not null and created_at > {before} and created_at <= {after} \
         group by customer_id)"
    );
    if tables.refunds {
        let _ = write!(
            text,
            ", refunds as (\
             select cast(p.customer_id as varchar) as customer, sum(cast(r.amount_reporting as double)) as refunded \
             from {REFUNDS} r join {PAYMENTS} p on p.transaction_id = r.transaction_id \
             where r.status = 'paid' and p.customer_id is not null and r.created_at > {now} and r.updated_at <= {after} \
             group by p.customer_id)"
        );
    }
    if tables.clicks {
        let _ = write!(
            text,
            ", clicks as (\
             select distinct user_id as customer from {CLICKS} \
             where user_id is not null and not is_bot and occurred_at > {now} and occurred_at <= {after})"
        );
    }
    let refunded =
        if tables.refunds { "coalesce(r.refunded, cast(0 as double))" } else { "cast(0 as double)" };
    let clicked = if tables.clicks { "c.customer is not null" } else { "false" };
    let _ = write!(
        text,
        " select p.customer as id, {now} as event_time, p.customer as card, \
         cast(round(p.paid_before * cast(100 as double)) as bigint) as amount, coalesce(p.country, '??') as country, \
         not (p.is_back or {clicked}) as \"label\", cast(p.paid - {refunded} as double) as \"value\""
    );
    for (nth, view) in views.iter().enumerate() {
        for (name, _) in &view.features {
            let _ = write!(text, ", v{nth}.\"{name}\"");
        }
    }
    text.push_str(" from payments p");
    if tables.refunds {
        text.push_str(" left join refunds r on r.customer = p.customer");
    }
    if tables.clicks {
        text.push_str(" left join clicks c on c.customer = p.customer");
    }
    for (nth, view) in views.iter().enumerate() {
        let (name, meaning) = (&view.name, view.meaning.replace('\'', "''"));
        let _ = write!(
            text,
            " left join (select * from {NAMESPACE}.{name} where as_of = {now} and meaning = '{meaning}') v{nth} \
             on v{nth}.key = p.customer"
        );
    }
    text.push_str(" where p.is_active");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_other_tables_are_another_set() {
        let set = CustomerSet {
            name: "churn".to_owned(),
            entities: vec!["customer".to_owned()],
            instants: vec![1],
            active: 2,
            horizon: 3,
        };
        let of = |refunds, clicks| digest(&meaning(&set, &[], Tables { refunds, clicks }));
        let all = [of(false, false), of(false, true), of(true, false), of(true, true)];
        assert_eq!(std::collections::BTreeSet::from(all.clone()).len(), 4, "{all:?}");
        assert_eq!(of(true, false), all[2]);
    }
}
