//! What the source's catalogue says: tables, keys, types. One SQL session, opened again as needed.

use super::connect::address::Address;
use super::connect::{self, quote_ident};
use super::decode::pgoutput::{Relation, RelationColumn};
use super::types::TypeCatalog;
use super::{CdcError, CdcOptions};
use affluent_model::TableId;
use std::sync::Arc;
use tokio_postgres::Client;

/// A table under the name it was first captured by, and where its changes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) table: TableId,
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
}

/// A table of the source that the options select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceTable {
    pub(crate) oid: u32,
    pub(crate) table: TableId,
    pub(crate) partitioned: bool,
}

impl SourceTable {
    /// `"schema"."name"`.
    pub(crate) fn sql_name(&self) -> String {
        sql_name(&self.table)
    }
}

/// `"schema"."name"`.
pub(crate) fn sql_name(table: &TableId) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}

/// The session and the types it has read.
pub(crate) struct Catalog {
    address: Address,
    client: Option<Client>,
    types: TypeCatalog,
}

impl Catalog {
    pub(crate) fn new(address: Address) -> Self {
        Catalog { address, client: None, types: TypeCatalog::default() }
    }

    /// The session, opened where there is none.
    pub(crate) async fn client(&mut self) -> Result<&Client, CdcError> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let client = connect::sql(&self.address).await?;
            self.types = TypeCatalog::load(&client).await?;
            self.client = Some(client);
        }
        self.client.as_ref().ok_or_else(|| CdcError::Checkpoint("no session".into()))
    }

    /// The types, read again where the relation has one that is new.
    pub(crate) async fn types_for(&mut self, relation: &Relation) -> Result<&TypeCatalog, CdcError> {
        self.client().await?;
        if !relation.columns.iter().all(|column| self.types.knows(column.type_oid)) {
            let client = self.client().await?;
            let types = TypeCatalog::load(client).await?;
            self.types = types;
        }
        Ok(&self.types)
    }

    /// The columns of the table's primary key; empty where it has none (any more).
    pub(crate) async fn primary_key(&mut self, oid: u32) -> Result<Vec<String>, CdcError> {
        let sql = "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
                   AND a.attnum = ANY (i.indkey) WHERE i.indrelid = $1 AND i.indisprimary ORDER BY a.attnum";
        let rows = self.client().await?.query(sql, &[&oid]).await;
        let rows = rows.map_err(|e| CdcError::sql("read the primary key", &e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The tables that exist and are selected: ordinary and partitioned ones, the partitions
    /// themselves not, as their changes come under the name of their root.
    pub(crate) async fn selected(&mut self, options: &CdcOptions) -> Result<Vec<SourceTable>, CdcError> {
        let sql = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p' FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition \
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 2, 3";
        let rows = self.client().await?.query(sql, &[]).await;
        let rows = rows.map_err(|e| CdcError::sql("list the tables", &e))?;
        let table = |row: &tokio_postgres::Row| SourceTable {
            oid: row.get(0),
            table: TableId::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            partitioned: row.get(3),
        };
        Ok(rows.iter().map(table).filter(|t| options.selects(&t.table.schema, &t.table.name)).collect())
    }

    /// The relation as pgoutput would describe it now: published columns only; none where the
    /// table is gone or not in the publication.
    pub(crate) async fn relation(
        &mut self,
        oid: u32,
        publication: &str,
    ) -> Result<Option<Relation>, CdcError> {
        let client = self.client().await?;
        let sql = "SELECT n.nspname::text, c.relname::text, c.relreplident::text FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
        let head = client.query_opt(sql, &[&oid]).await.map_err(|e| CdcError::sql("read the table", &e))?;
        let Some(head) = head else { return Ok(None) };
        let (schema, name): (String, String) = (head.get(0), head.get(1));
        let identity: String = head.get(2);
        let sql = "SELECT a.attname::text, a.atttypid, a.atttypmod, coalesce(i.indexrelid IS NOT NULL, false) \
                   FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid \
                   AND a.attnum = ANY (i.indkey::int2[]) \
                   AND CASE $2 WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END \
                   WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
                   ORDER BY a.attnum";
        let rows = client.query(sql, &[&oid, &identity]).await;
        let rows = rows.map_err(|e| CdcError::sql("read the columns", &e))?;
        let Some(published) = published_columns(client, publication, &schema, &name).await? else {
            return Ok(None);
        };
        let column = |row: &tokio_postgres::Row| RelationColumn {
            identity: row.get(3),
            name: row.get(0),
            type_oid: row.get(1),
            type_modifier: row.get(2),
        };
        let columns =
            rows.iter().map(column).filter(|c| published.as_ref().is_none_or(|p| p.contains(&c.name)));
        let replica_identity = identity.bytes().next().unwrap_or(b'd');
        Ok(Some(Relation { oid, schema, name, replica_identity, columns: columns.collect() }))
    }
}

/// The column list of a published table: `Some(None)` is all, `None` is not published. Before
/// version 15 there are no lists.
async fn published_columns(
    client: &Client,
    publication: &str,
    schema: &str,
    name: &str,
) -> Result<Option<Option<Vec<String>>>, CdcError> {
    // The column is absent in version 14: the whole row as JSON has it or not.
    let sql = "SELECT (SELECT array_agg(x) FROM jsonb_array_elements_text(to_jsonb(t) -> 'attnames') x) \
               FROM pg_publication_tables t WHERE t.pubname = $1 AND t.schemaname = $2 AND t.tablename = $3";
    let row = client.query_opt(sql, &[&publication, &schema, &name]).await;
    let row = row.map_err(|e| CdcError::sql("read the publication", &e))?;
    Ok(row.map(|row| row.get::<_, Option<Vec<String>>>(0)))
}
