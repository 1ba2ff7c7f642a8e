//! What is known of the rows of a training set beside their features: whose they are, what they are about, where and of what kind they
//! were. In the table `features.training_<name>_beside`, written once, so that a set that is read again is the same.

use super::NAMESPACE;
use crate::history::HistoryError;
use crate::offline::{Offline, Writer};
use affluent_lake::{Commit, Overwrite, Partition, Remove};
use affluent_model::{Column, ColumnType};

/// The words by which rows are told apart.
pub const CATEGORIES: [&str; 2] = ["country", "merchant_category"];

/// Writes the table beside a set of payments; its name. Rows are those of the set's table, which has to be whole.
///
/// # Errors
/// [`HistoryError`]: no set of this name, no payments in the warehouse.
pub async fn write_beside(
    offline: &Offline,
    name: &str,
    writer: &dyn Writer,
) -> Result<String, HistoryError> {
    let (set, own) = (format!("training_{name}"), format!("training_{name}_beside"));
    let failed = || HistoryError::lake(format!("write {NAMESPACE}.{own}"));
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let columns = [
        column("id", ColumnType::Text),
        column("card", ColumnType::Text),
        column("amount", ColumnType::Int64),
        column(CATEGORIES[0], ColumnType::Text),
        column(CATEGORIES[1], ColumnType::Text),
    ];
    let made = offline.lake().ensure_table(NAMESPACE, &own, &columns, &Partition::None).await;
    let table = made.map_err(failed())?;
    let session = offline.history().session().await?;
    let batches = session.collect(&query(&set)).await;
    let rows = batches.map_err(HistoryError::sql(format!("read what is known of {NAMESPACE}.{set}")))?;
    writer.permit().await?;
    let commit = Commit { fence: writer.fence(), ..Commit::named("rows") };
    let overwrite = Overwrite { remove: Remove::Nothing, rows };
    table.overwrite(commit, overwrite).await.map_err(failed())?;
    Ok(table.name())
}

/// A payment without a customer is its own card. Amounts are in hundredths of the reporting currency.
fn query(set: &str) -> String {
    format!(
        "select t.id, coalesce(cast(p.customer_id as varchar), t.id) as card, \
         cast(round(coalesce(cast(p.amount_reporting as double), cast(0 as double)) * cast(100 as double)) as bigint) as amount, \
         coalesce(p.geo_country, '??') as country, coalesce(p.merchant_category, 'unknown') as merchant_category \
         from {NAMESPACE}.{set} t left join curated.transactions p on p.transaction_id = t.id"
    )
}
