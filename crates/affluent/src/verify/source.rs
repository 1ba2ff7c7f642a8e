//! The source's side: which tables are captured, their rows in one snapshot, and the barrier.
//!
//! The snapshot is that of one REPEATABLE READ transaction. Which change events it saw is told by their
//! transaction ids: PostgreSQL names the transactions that were open when the snapshot was made. So the
//! source may go on changing, and the comparison is still exact.

use super::canonical::Kind;
use super::compare::Rows;
use super::digest::{ColumnShape, KEY_SEPARATOR, Measures, TableShape};
use super::keyless::Bag;
use affluent_model::names::change_topic;
use affluent_model::{Lsn, TableId};
use affluent_stream::cdc::{CdcOptions, connect_source};
use anyhow::{Context as _, bail};
use futures::TryStreamExt as _;
use std::collections::BTreeSet;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

/// A read-only transaction whose snapshot stays the same, and what tells which changes it saw.
pub(super) struct SourceSnapshot {
    client: Client,
    visible: Visible,
    /// Every transaction that the snapshot saw was committed before this position.
    pub(super) barrier: Lsn,
}

/// Which transactions a snapshot saw (`pg_current_snapshot`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visible {
    /// This and later ones were not begun.
    next: u64,
    /// These were open.
    open: Vec<u64>,
}

/// The rows of a table at the snapshot.
pub(super) enum SourceRows {
    Keyed(Rows),
    Keyless(Bag),
}

impl SourceSnapshot {
    pub(super) async fn take(options: &CdcOptions) -> anyhow::Result<Self> {
        let client = connect_source(options).await.context("connect to the source")?;
        client.batch_execute("begin isolation level repeatable read read only").await?;
        let sql = "select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text";
        let row = client.query_one(sql, &[]).await.context("take a snapshot of the source")?;
        let visible = Visible::parse(row.get(0)).context("read the snapshot's transactions")?;
        let barrier: String = row.get(1);
        Ok(SourceSnapshot { client, visible, barrier: barrier.parse()? })
    }

    pub(super) fn visible(&self) -> &Visible {
        &self.visible
    }

    /// A captured table that is not among `read`, the tables whose first reading has ended.
    pub(super) async fn unread(
        &self,
        options: &CdcOptions,
        read: &BTreeSet<u32>,
    ) -> anyhow::Result<Option<TableId>> {
        let sql = "select t.schemaname::text, t.tablename::text, c.oid from pg_publication_tables t \
                   join pg_namespace n on n.nspname = t.schemaname \
                   join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename \
                   where t.pubname = $1 order by 1, 2";
        let rows = self.client.query(sql, &[&options.publication]).await.context("read the publication")?;
        let tables = rows.iter().filter(|row| !read.contains(&row.get::<_, u32>(2)));
        let mut tables = tables.map(|row| TableId::new(row.get::<_, String>(0), row.get::<_, String>(1)));
        Ok(tables.find(|table| options.selects(&table.schema, &table.name)))
    }

    /// The captured tables: what the publication holds and the options select.
    pub(super) async fn tables(&self, options: &CdcOptions) -> anyhow::Result<Vec<TableShape>> {
        let sql = "select schemaname::text, tablename::text from pg_publication_tables \
                   where pubname = $1 order by 1, 2";
        let rows = self.client.query(sql, &[&options.publication]).await.context("read the publication")?;
        let mut shapes = Vec::new();
        for row in rows {
            let table = TableId::new(row.get::<_, String>(0), row.get::<_, String>(1));
            if options.selects(&table.schema, &table.name) {
                shapes.push(self.shape(options, table).await?);
            }
        }
        if shapes.is_empty() {
            bail!(
                "publication {:?} holds no table that [cdc] tables = {:?} selects: nothing is captured",
                options.publication,
                options.tables
            );
        }
        Ok(shapes)
    }

    async fn shape(&self, options: &CdcOptions, table: TableId) -> anyhow::Result<TableShape> {
        // Domains count as their base type, as on the wire.
        let sql = "
            with recursive base(attnum, type) as (
                select attnum, atttypid from pg_attribute where attrelid = $1::text::regclass
                union all
                select base.attnum, t.typbasetype from base join pg_type t on t.oid = base.type
                where t.typtype = 'd'
            )
            select a.attname::text, t.typname::text, coalesce(i.indexrelid is not null, false)
            from pg_attribute a
            join pg_class c on c.oid = a.attrelid
            join base b on b.attnum = a.attnum
            join pg_type t on t.oid = b.type and t.typtype <> 'd'
            left join pg_index i on i.indrelid = a.attrelid and a.attnum = any (i.indkey::int2[])
                and case when c.relreplident = 'i' then i.indisreplident else i.indisprimary end
            where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
                and a.attgenerated = ''
            order by a.attnum";
        let name = format!("{}.{}", quoted(&table.schema), quoted(&table.name));
        let rows =
            self.client.query(sql, &[&name]).await.with_context(|| format!("read the columns of {table}"))?;
        let mut key = Vec::new();
        let mut columns = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: String = row.get(0);
            if row.get(2) {
                key.push(columns.len());
            }
            let protected = options.protection(&table, &name).is_some();
            columns.push(ColumnShape { kind: Kind::of_type(row.get(1)), protected, name });
        }
        // A protected key has other values in the copies: rows are then compared without their key.
        if key.iter().any(|&index| columns[index].protected) {
            key.clear();
        }
        Ok(TableShape { topic: change_topic(&options.source, &table), table, columns, key })
    }

    /// Reads the whole table at the snapshot.
    pub(super) async fn rows(&self, shape: &TableShape, measures: &Measures) -> anyhow::Result<SourceRows> {
        let columns = shape.columns.iter().map(|column| column.kind.expression(&quoted(&column.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let table = format!("{}.{}", quoted(&shape.table.schema), quoted(&shape.table.name));
        let sql = format!("select {columns} from {table}");
        let read = || format!("read {}", shape.table);
        let parameters: [&(dyn ToSql + Sync); 0] = [];
        let rows = self.client.query_raw(&sql, parameters).await.with_context(read)?;
        let mut rows = std::pin::pin!(rows);
        let (mut keyed, mut bag) = (Rows::new(), Bag::default());
        while let Some(row) = rows.try_next().await.with_context(read)? {
            let text = |index: usize| -> Option<&str> { row.get(index) };
            let digest = shape
                .digest(measures, |index, column| Some(text(index).map(|text| column.kind.of_source(text))));
            if shape.key.is_empty() {
                bag.change(shape, measures, &digest, 1);
                continue;
            }
            let key = shape.key.iter().map(|&index| {
                text(index).map(|text| shape.columns[index].kind.of_source(text)).unwrap_or_default()
            });
            keyed.insert(key.collect::<Vec<_>>().join(&KEY_SEPARATOR.to_string()), digest);
        }
        Ok(if shape.key.is_empty() { SourceRows::Keyless(bag) } else { SourceRows::Keyed(keyed) })
    }

    /// Ends the snapshot, which keeps the server from cleaning up.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.client.batch_execute("rollback").await.context("end the snapshot of the source")
    }
}

/// Watches how far capture has come.
pub(super) struct Slot {
    client: Client,
    name: String,
}

impl Slot {
    pub(super) async fn watch(options: &CdcOptions) -> anyhow::Result<Self> {
        let client = connect_source(options).await.context("connect to the source")?;
        Ok(Slot { client, name: options.slot.clone() })
    }

    /// Writes a marker into the write-ahead log, so that the slot moves past the barrier also when
    /// nothing else happens. It changes no data; a reader without the right to write goes without.
    pub(super) async fn mark(&self) {
        let sql = "select pg_logical_emit_message(true, 'affluent.verify', '')";
        if let Err(error) = self.client.query_one(sql, &[]).await {
            tracing::debug!(%error, "no marker written");
        }
    }

    /// Everything before this position is acknowledged by Kafka.
    pub(super) async fn confirmed(&self) -> anyhow::Result<Lsn> {
        let sql = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1";
        let row = self.client.query_opt(sql, &[&self.name]).await.context("read the slot")?;
        let Some(row) = row else {
            bail!(
                "the source has no replication slot {:?}: capture has never run, or the slot was dropped",
                self.name
            )
        };
        let confirmed: Option<String> = row.get(0);
        Ok(confirmed.as_deref().unwrap_or("0/0").parse()?)
    }
}

impl Visible {
    /// The text form of `pg_snapshot`: `xmin:xmax:open,open`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(':').skip(1);
        let next = parts.next().context("no xmax")?.parse()?;
        let open = parts.next().unwrap_or_default().split(',').filter(|id| !id.is_empty());
        Ok(Visible { next, open: open.map(str::parse).collect::<Result<_, _>>()? })
    }

    /// Whether the snapshot saw the (committed) transaction. Its 32-bit id is taken for the newest
    /// that is not more than half the number space ahead of the snapshot, as PostgreSQL does.
    pub(super) fn saw(&self, tx_id: u32) -> bool {
        let ahead = tx_id.wrapping_sub(self.next as u32);
        ahead > u32::MAX / 2 && !self.open.iter().any(|&open| open as u32 == tx_id)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_what_it_saw() {
        let visible = Visible::parse("10:14:10,12").unwrap();
        let seen: Vec<u32> = (5..16).filter(|&id| visible.saw(id)).collect();
        assert_eq!(seen, [5, 6, 7, 8, 9, 11, 13]);
        // Ids wrap around after 2^32; the snapshot counts on.
        let visible = Visible::parse("4294967290:4294967300:").unwrap();
        assert!(visible.saw(4_294_967_295) && visible.saw(3) && !visible.saw(4) && !visible.saw(1_000));
        assert!(Visible::parse("nonsense").is_err());
    }
}
