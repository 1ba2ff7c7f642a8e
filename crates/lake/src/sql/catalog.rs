//! The names of a session: the lake's tables at their pinned states, and what the session registered.
//!
//! One catalog, `lake`; its schemas are the lake's namespaces, and `public`, where names without a
//! namespace are looked up. `table$snapshots` and `table$files` tell of a table itself. What a
//! session registers is its own and hides a table of the lake with the same name.

use super::history::{self, About};
use super::pins::Pinned;
use super::table::SnapshotTable;
use super::{SqlError, columns, files::ManifestCache};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Name of the one catalog.
pub(crate) const CATALOG: &str = "lake";
/// Where names without a namespace are looked up.
pub(crate) const DEFAULT_SCHEMA: &str = "public";

/// A table as a statement may name it.
#[derive(Debug, Clone)]
pub struct DescribedTable {
    pub namespace: String,
    pub name: String,
    pub schema: SchemaRef,
    /// What its maker wrote of it.
    pub comment: Option<String>,
    /// The same of each column; as long as the schema.
    pub column_comments: Vec<Option<String>>,
    /// Zero of what is not the lake's.
    pub rows: u64,
    pub bytes: u64,
}

/// The names of one session.
#[derive(Debug)]
pub(crate) struct Names {
    schemas: RwLock<HashMap<String, Arc<Namespace>>>,
    manifests: Arc<ManifestCache>,
}

/// The tables of one namespace, by name.
#[derive(Debug)]
pub(crate) struct Namespace {
    pinned: BTreeMap<String, Pinned>,
    registered: RwLock<HashMap<String, Arc<dyn TableProvider>>>,
    manifests: Arc<ManifestCache>,
}

impl Names {
    pub(crate) fn new(tables: Vec<Pinned>, manifests: &Arc<ManifestCache>) -> Self {
        let mut namespaces: BTreeMap<String, BTreeMap<String, Pinned>> = BTreeMap::new();
        namespaces.entry(DEFAULT_SCHEMA.to_owned()).or_default();
        for pinned in tables {
            let ident = pinned.table.identifier().clone();
            namespaces
                .entry(ident.namespace().join("."))
                .or_default()
                .insert(ident.name().to_owned(), pinned);
        }
        let namespace = |(name, pinned)| (name, Arc::new(Namespace::new(pinned, manifests)));
        let schemas = RwLock::new(namespaces.into_iter().map(namespace).collect());
        Names { schemas, manifests: Arc::clone(manifests) }
    }

    /// Adds a table of the session's own.
    pub(crate) fn register(&self, namespace: &str, name: &str, table: Arc<dyn TableProvider>) {
        let mut schemas = self.schemas.write();
        let fresh = || Arc::new(Namespace::new(BTreeMap::new(), &self.manifests));
        let namespace = schemas.entry(namespace.to_owned()).or_insert_with(fresh);
        namespace.registered.write().insert(name.to_owned(), table);
    }

    /// A table of the lake, unless the session has something of its own under its name.
    ///
    /// # Errors
    /// Metadata that is not whole.
    pub(crate) fn stored(&self, namespace: &str, name: &str) -> Result<Option<SnapshotTable>, SqlError> {
        let schemas = self.schemas.read();
        let Some(namespace) = schemas.get(namespace) else { return Ok(None) };
        if namespace.registered.read().contains_key(name) {
            return Ok(None);
        }
        let pinned = namespace.pinned.get(name).filter(|pinned| pinned.too_early.is_none());
        Ok(pinned.map(|pinned| SnapshotTable::new(pinned, Arc::clone(&self.manifests))).transpose()?)
    }

    /// Whether a statement may name this table.
    ///
    /// # Errors
    /// [`SqlError::TooEarly`] for a table that is younger than what the session sees.
    pub(crate) fn knows(&self, namespace: &str, name: &str) -> Result<bool, SqlError> {
        let schemas = self.schemas.read();
        let Some(namespace) = schemas.get(namespace) else { return Ok(false) };
        if namespace.table_exist(name) {
            return Ok(true);
        }
        let table = name.rsplit_once('$').map_or(name, |(table, _)| table);
        namespace.pinned.get(table).map_or(Ok(false), |pinned| pinned.check().map(|()| false))
    }

    /// Every table with its columns.
    ///
    /// # Errors
    /// Metadata that is not whole.
    pub(crate) fn describe(&self) -> Result<Vec<DescribedTable>, SqlError> {
        let schemas = self.schemas.read();
        let mut tables = Vec::new();
        for (namespace, held) in schemas.iter() {
            for name in held.table_names() {
                tables.extend(held.describe(namespace, &name)?);
            }
        }
        tables.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(tables)
    }

    /// Every table, as a statement names it.
    pub(crate) fn all(&self) -> Vec<String> {
        let schemas = self.schemas.read();
        let mut names: Vec<String> = Vec::new();
        for (namespace, tables) in schemas.iter() {
            let own = namespace == DEFAULT_SCHEMA;
            let full = |name: String| if own { name } else { format!("{namespace}.{name}") };
            names.extend(tables.table_names().into_iter().map(full));
        }
        names.sort_unstable();
        names
    }
}

impl Namespace {
    fn new(pinned: BTreeMap<String, Pinned>, manifests: &Arc<ManifestCache>) -> Self {
        Namespace { pinned, registered: RwLock::default(), manifests: Arc::clone(manifests) }
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
        if let Some(table) = self.registered.read().get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        if let Some(pinned) = self.pinned.get(name).filter(|pinned| pinned.too_early.is_none()) {
            return Ok(Some(Arc::new(SnapshotTable::new(pinned, Arc::clone(&self.manifests))?)));
        }
        let Some((pinned, about)) = self.about(name) else { return Ok(None) };
        let table = match about {
            About::Snapshots => history::snapshots(pinned)?,
            About::Files => {
                let table = SnapshotTable::new(pinned, Arc::clone(&self.manifests))?;
                history::files(&table.files(None).await?)?
            }
        };
        Ok(Some(table))
    }

    /// What is registered hides a table of the lake: its columns are shown, with the table's comments.
    fn describe(&self, namespace: &str, name: &str) -> Result<Option<DescribedTable>, SqlError> {
        let pinned = self.pinned.get(name).filter(|pinned| pinned.too_early.is_none());
        let (state, registered) = (pinned.map(Pinned::state), self.registered.read().get(name).cloned());
        let schema = match (&registered, pinned) {
            (Some(table), _) => table.schema(),
            (None, Some(pinned)) => columns::arrow_schema(&pinned.schema)?,
            (None, None) => return Ok(None),
        };
        let comment = pinned.and_then(|pinned| pinned.table.metadata().properties().get("comment").cloned());
        let comment_of = |column: &arrow_schema::FieldRef| {
            pinned.and_then(|pinned| pinned.schema.field_by_name(column.name())?.doc.clone())
        };
        let shown = state.filter(|_| registered.is_none());
        Ok(Some(DescribedTable {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            column_comments: schema.fields().iter().map(comment_of).collect(),
            schema,
            comment,
            rows: shown.as_ref().map_or(0, |state| state.rows),
            bytes: shown.map_or(0, |state| state.bytes),
        }))
    }

    /// What `name` asks about which table.
    fn about(&self, name: &str) -> Option<(&Pinned, About)> {
        let (table, about) = name.rsplit_once('$')?;
        let pinned = self.pinned.get(table).filter(|pinned| pinned.too_early.is_none())?;
        Some((pinned, About::named(about)?))
    }
}

impl CatalogProvider for Names {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.read().keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.read().get(name).map(|namespace| Arc::clone(namespace) as _)
    }
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn table_names(&self) -> Vec<String> {
        let seen = self.pinned.iter().filter(|(_, pinned)| pinned.too_early.is_none());
        let mut names: Vec<String> = seen.map(|(name, _)| name.clone()).collect();
        names.extend(self.registered.read().keys().filter(|name| !self.pinned.contains_key(*name)).cloned());
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.find(name).await.map_err(SqlError::external)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.pinned.get(name).is_some_and(|pinned| pinned.too_early.is_none())
            || self.registered.read().contains_key(name)
            || self.about(name).is_some()
    }
}
