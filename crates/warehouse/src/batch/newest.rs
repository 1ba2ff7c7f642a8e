//! The newest change of each unit of a staged table: `newest.<name>` in the body of a model.
//!
//! Found in two passes, so that whole rows are neither sorted nor held: keys and positions first, then the rows of the
//! records that came out, in the order of their files. Invariant: of a unit the change with the highest (`_lsn`,
//! `_ordinal`) is there, of one that is in Kafka more than once the first record; changes without a unit are not.

use super::model::{Model, NEWEST};
use super::{Batch, BatchError, sql};
use affluent_lake::sql::{RecordSet, Session};

/// The columns of a record's place.
const RECORD: [&str; 3] = ["_kafka_topic", "_kafka_partition", "_kafka_offset"];

impl Batch {
    /// Names the newest changes, of the table that drives `model` as the session sees it by now.
    pub(crate) async fn name_newest(&self, session: &Session, model: &Model) -> Result<(), BatchError> {
        let Some((from, name)) = driving(model) else { return Ok(()) };
        let unit = model.unit.keys().map(String::as_str);
        let present: Vec<String> =
            model.unit.keys().map(|column| format!("{} is not null", sql::ident(column))).collect();
        let text = format!(
            "select r['topic'], r['partition'], r['offset'] from (\
             select newest_change(_lsn, _ordinal, {}) as r from {from} where {} group by {}) as newest",
            RECORD.join(", "),
            present.join(" and "),
            sql::list("", unit)
        );
        let failed = || BatchError::sql(model.file.clone());
        let mut records = RecordSet::default();
        let mut rows = session.sql(&text).await.map_err(failed())?;
        while let Some(batch) = rows.next_batch().await {
            records.insert(&batch.map_err(failed())?).map_err(failed())?;
        }
        let is_newest = format!("is_newest_{name}");
        session.register_records(&is_newest, records);
        let text = format!("select * from {from} where {is_newest}({})", RECORD.join(", "));
        self.view(session, &format!("{NEWEST}.{name}"), &text).await
    }

    /// Gives the name the columns alone, for planning.
    pub(crate) async fn name_newest_columns(
        &self,
        session: &Session,
        model: &Model,
    ) -> Result<(), BatchError> {
        let Some((from, name)) = driving(model) else { return Ok(()) };
        self.view(session, &format!("{NEWEST}.{name}"), &format!("select * from {from}")).await
    }
}

/// The staged table whose newest changes a model reads, in quotes, and its own name.
fn driving(model: &Model) -> Option<(String, &str)> {
    let from = model.header.from.as_deref().filter(|_| model.reads_newest)?;
    Some((sql::table(from), from.strip_prefix("staged.")?))
}
