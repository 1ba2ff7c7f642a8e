//! A catalog behind Iceberg's REST protocol: Polaris, Nessie, Lakekeeper, Gravitino, Iceberg's own server.
//!
//! What lives here: the port's operations and how a commit is settled whose outcome the network hid.
//! Requests and tokens are in `client` and `auth`, their bodies in `wire`. The crate `iceberg-catalog-rest`
//! is not used: its commits cannot be built from outside, and beside our own client it would be a second one.
//!
//! Invariant: a server compares only what is required of it, so whatever a commit was computed from is
//! required. Properties cannot be; a commit that sets those of ours moves `main`, which can.

mod auth;
mod client;
mod wire;

use super::{Catalog, Ground, conflict, sqlite};
use crate::store::Store;
use crate::upkeep::clean;
use crate::write::snapshot::{self, Change, Produced};
use crate::{COMMITS_PROPERTY, FENCE_PROPERTY, LakeError, LakeOptions, OFFSETS_PROPERTY, files};
use affluent_telemetry::failpoint;
use async_trait::async_trait;
use bytes::Bytes;
use client::{Failure, RestClient, encoded, pause};
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{MAIN_BRANCH, Operation};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate};
use reqwest::{Method, StatusCode};
use sqlx::sqlite::SqlitePool;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;
use wire::{CommitBody, CreateBody, Loaded, Namespaces, NewNamespace, Tables};

/// Sendings of one commit whose outcome is unknown, over about ten seconds.
const SENDINGS_MAX: u32 = 9;
/// Tables that are loaded at once.
const LOADS_AT_ONCE: usize = 8;
/// Pages of one list.
const PAGES_MAX: usize = 10_000;
/// Namespaces in one another.
const DEPTH_MAX: usize = 8;
/// In the lake's directory: what `clean` has seen.
const SIGHTINGS: &str = "unreferenced.db";

/// A REST catalog.
#[derive(Debug)]
pub(super) struct RestCatalog {
    client: RestClient,
    /// The namespace under which ours lie.
    root: Vec<String>,
    ground: Ground,
    manifests_max: usize,
    sightings_path: PathBuf,
    sightings: OnceCell<SqlitePool>,
}

/// What became of a commit, seen from the table.
enum Seen {
    Stored(Box<Table>),
    /// Not stored, and it still can be.
    Open,
    /// Not stored, and it cannot be any more: the table has moved.
    Lost,
}

impl RestCatalog {
    /// Asks the server at `url` for its configuration. Creates nothing.
    pub(super) async fn open(url: &str, options: &LakeOptions) -> Result<Self, LakeError> {
        let root = options.rest.namespace.split('.').filter(|part| !part.is_empty());
        Ok(RestCatalog {
            client: RestClient::connect(url, &options.rest).await?,
            root: root.map(str::to_owned).collect(),
            ground: Ground::new(options).await?,
            manifests_max: options.manifests_max,
            sightings_path: options.directory().join(SIGHTINGS),
            sightings: OnceCell::new(),
        })
    }

    /// A namespace of ours as the server has it.
    fn remote(&self, namespace: &[String]) -> Vec<String> {
        self.root.iter().chain(namespace).cloned().collect()
    }

    fn tables_path(&self, namespace: &[String]) -> String {
        format!("/namespaces/{}/tables", joined(&self.remote(namespace)))
    }

    fn table_path(&self, ident: &TableIdent) -> String {
        format!("{}/{}", self.tables_path(ident.namespace()), encoded(ident.name()))
    }

    fn table(&self, ident: &TableIdent, loaded: Loaded) -> Result<Table, LakeError> {
        self.ground.table(ident, loaded.metadata_location, Arc::new(loaded.metadata))
    }

    /// Every page of a list; an empty one where the server has no such namespace.
    async fn pages<T: wire::Page>(&self, path: &str) -> Result<Vec<T::Item>, LakeError> {
        let mut items = Vec::new();
        let mut at = path.to_owned();
        for _ in 0..PAGES_MAX {
            let page: T = match self.client.get(&at).await {
                Err(failure) if failure.is_status(StatusCode::NOT_FOUND) => return Ok(items),
                answer => answer.map_err(|failure| self.client.error(path, &failure))?,
            };
            let (found, next) = page.into_parts();
            items.extend(found);
            let Some(next) = next.filter(|token| !token.is_empty()) else { return Ok(items) };
            let sign = if path.contains('?') { '&' } else { '?' };
            at = format!("{path}{sign}pageToken={}", encoded(&next));
        }
        Err(LakeError::Rest(format!("{path}: the list has more than {PAGES_MAX} pages")))
    }

    /// Every namespace of ours, without the root.
    async fn namespaces(&self) -> Result<Vec<Vec<String>>, LakeError> {
        let mut found: Vec<Vec<String>> = Vec::new();
        let mut level = vec![self.root.clone()];
        for _ in 0..DEPTH_MAX {
            let mut below = Vec::new();
            for parent in &level {
                let path = match parent.is_empty() {
                    true => "/namespaces".to_owned(),
                    false => format!("/namespaces?parent={}", joined(parent)),
                };
                below.extend(self.pages::<Namespaces>(&path).await?);
            }
            found.extend(
                below.iter().filter_map(|names| names.get(self.root.len()..).map(<[String]>::to_vec)),
            );
            level = below;
            if level.is_empty() {
                break;
            }
        }
        found.retain(|names| !names.is_empty());
        Ok(found)
    }

    /// Creates the namespace with those above it, where they are missing.
    async fn create_namespace(&self, namespace: &[String]) -> Result<(), LakeError> {
        let full = self.remote(namespace);
        for depth in 1..=full.len() {
            let body = wire::json(&NewNamespace { namespace: &full[..depth], properties: HashMap::new() })?;
            match self.client.repeat(Method::POST, "/namespaces", Some(&body)).await {
                Ok(_) => {}
                Err(failure) if failure.is_status(StatusCode::CONFLICT) => {}
                Err(failure) => return Err(self.client.error("/namespaces", &failure)),
            }
        }
        Ok(())
    }

    /// Puts an empty snapshot before updates that set properties of ours and leave `main` where it is.
    async fn comparable(
        &self,
        base: &Table,
        updates: Vec<TableUpdate>,
    ) -> Result<(Vec<TableUpdate>, Option<Produced>), LakeError> {
        let Some(set) = computed_properties(&updates) else { return Ok((updates, None)) };
        let offsets =
            set.get(OFFSETS_PROPERTY).or_else(|| base.metadata().properties().get(OFFSETS_PROPERTY));
        let change = Change {
            operation: match base.metadata().current_snapshot_id() {
                Some(_) => Operation::Replace,
                None => Operation::Append,
            },
            added: Vec::new(),
            removed: HashSet::new(),
            summary: offsets.map(|text| (OFFSETS_PROPERTY.to_owned(), text.clone())).into_iter().collect(),
        };
        let produced = snapshot::produce(base, &change, self.manifests_max).await?;
        let mut all = produced.as_ref().map_or_else(Vec::new, |produced| produced.updates.clone());
        all.extend(updates);
        Ok((all, produced))
    }

    /// Sends the commit until it is certain what became of it. A sending that comes late, or twice, does nothing
    /// that the one before it has not: it carries the same snapshot and the same requirements.
    async fn settle(
        &self,
        base: &Table,
        requirements: &[TableRequirement],
        snapshot: Option<i64>,
        body: &Bytes,
    ) -> Result<Table, LakeError> {
        let ident = base.identifier();
        let path = self.table_path(ident);
        let mut doubt: Option<String> = None;
        let mut sending = 0;
        loop {
            sending += 1;
            let failure = match self.client.once(Method::POST, &path, Some(body)).await {
                Ok(answer) => match wire::loaded(&answer) {
                    Ok(loaded) => return self.table(ident, loaded),
                    Err(error) => Failure::Unknown(error.to_string()),
                },
                Err(failure) => failure,
            };
            let may_be_stored = match &failure {
                Failure::Unknown(_) => true,
                // What was sent once may have come twice: then the conflict is with ourselves.
                Failure::Refused { status, .. } => *status == StatusCode::CONFLICT && snapshot.is_some(),
                Failure::Unsent(_) => false,
            };
            if may_be_stored {
                tracing::debug!(table = %ident, %failure, sending, "outcome of a commit unknown, looking");
                doubt = Some(failure.to_string());
            } else if doubt.is_none() && (!failure.is_passing() || sending == SENDINGS_MAX) {
                return Err(self.refused_on(base, &path, &failure).await);
            }
            if let Some(error) = &doubt {
                match self.look(ident, requirements, snapshot).await {
                    Ok(Seen::Stored(table)) => return Ok(*table),
                    Ok(Seen::Lost) => return Err(conflict(ident)),
                    Ok(Seen::Open) | Err(_) if sending < SENDINGS_MAX => {}
                    Ok(Seen::Open) | Err(_) => {
                        let (table, error) = (ident.to_string(), error.clone());
                        return Err(LakeError::Unsettled { table, error });
                    }
                }
            }
            pause(sending).await;
        }
    }

    /// What became of a commit that may have been stored.
    async fn look(
        &self,
        ident: &TableIdent,
        requirements: &[TableRequirement],
        snapshot: Option<i64>,
    ) -> Result<Seen, LakeError> {
        let now = self.load(ident, None).await?;
        if snapshot.is_some_and(|id| now.metadata().snapshot_by_id(id).is_some()) {
            return Ok(Seen::Stored(Box::new(now)));
        }
        let holds = requirements.iter().all(|required| required.check(Some(now.metadata())).is_ok());
        Ok(if holds { Seen::Open } else { Seen::Lost })
    }

    /// Why a commit was refused. One that no longer fits the table may be refused otherwise than as a conflict:
    /// Iceberg 1.10 answers 400 where snapshots are to be removed that are gone already.
    async fn refused_on(&self, base: &Table, path: &str, failure: &Failure) -> LakeError {
        let ident = base.identifier();
        if failure.is_status(StatusCode::BAD_REQUEST)
            && let Ok(now) = self.load(ident, Some(base)).await
            && now.metadata_location() != base.metadata_location()
        {
            return conflict(ident);
        }
        self.refused(ident, path, failure)
    }

    fn refused(&self, ident: &TableIdent, path: &str, failure: &Failure) -> LakeError {
        if failure.is_status(StatusCode::CONFLICT) {
            conflict(ident)
        } else if failure.is_status(StatusCode::NOT_FOUND) {
            LakeError::NotFound(ident.to_string())
        } else {
            self.client.error(path, failure)
        }
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn tables(&self) -> Result<Vec<TableIdent>, LakeError> {
        let mut tables = Vec::new();
        for namespace in self.namespaces().await? {
            let ident = NamespaceIdent::from_vec(namespace.clone())?;
            let found = self.pages::<Tables>(&self.tables_path(&namespace)).await?;
            tables.extend(found.into_iter().map(|table| TableIdent::new(ident.clone(), table.name)));
        }
        tables.sort_unstable();
        Ok(tables)
    }

    /// One after the other: each is of one moment, all of them are not.
    async fn load_all(&self, known: &HashMap<TableIdent, Table>) -> Result<Vec<Table>, LakeError> {
        let load = async |ident: TableIdent| match self.load(&ident, known.get(&ident)).await {
            // Dropped since it was listed.
            Err(LakeError::NotFound(_)) => Ok(None),
            other => other.map(Some),
        };
        let loading = futures::stream::iter(self.tables().await?).map(load).buffered(LOADS_AT_ONCE);
        loading.try_filter_map(|table| async { Ok(table) }).try_collect().await
    }

    async fn load(&self, ident: &TableIdent, known: Option<&Table>) -> Result<Table, LakeError> {
        let path = self.table_path(ident);
        let loaded: Loaded =
            self.client.get(&path).await.map_err(|failure| self.refused(ident, &path, &failure))?;
        let same = known.filter(|known| {
            known.metadata_location().is_some()
                && known.metadata_location() == loaded.metadata_location.as_deref()
        });
        same.map_or_else(|| self.table(ident, loaded), |known| Ok(known.clone()))
    }

    async fn create(&self, namespace: &NamespaceIdent, creation: TableCreation) -> Result<Table, LakeError> {
        self.create_namespace(namespace).await?;
        let ident = TableIdent::new(namespace.clone(), creation.name.clone());
        let path = self.tables_path(namespace);
        let location = self.ground.location(namespace, &creation.name);
        // The server need not flush what it makes.
        files::create_metadata_dir(&location)?;
        let body = wire::json(&CreateBody::new(creation, location))?;
        match self.client.repeat(Method::POST, &path, Some(&body)).await {
            Ok(answer) => self.table(&ident, wire::loaded(&answer)?),
            // Somebody was faster, or it was us with an answer that got lost.
            Err(failure) if failure.is_status(StatusCode::CONFLICT) => self.load(&ident, None).await,
            Err(failure) => Err(self.client.error(&path, &failure)),
        }
    }

    async fn commit(
        &self,
        base: &Table,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Result<Table, LakeError> {
        for required in requirements {
            required.check(Some(base.metadata()))?;
        }
        let (updates, empty) = self.comparable(base, updates).await?;
        let snapshot = updates.iter().find_map(|update| match update {
            TableUpdate::AddSnapshot { snapshot } => Some(snapshot.snapshot_id()),
            _ => None,
        });
        let ident = base.identifier();
        let namespace = self.remote(ident.namespace());
        let body = wire::json(&CommitBody::new(&namespace, ident.name(), requirements, &updates))?;
        if snapshot.is_some() {
            // The manifests are flushed, their names are not.
            files::sync_metadata_dir(base.metadata().location())?;
        }
        failpoint("lake::before_swap");
        let committed = self.settle(base, requirements, snapshot, &body).await;
        match &committed {
            Ok(_) => failpoint("lake::after_swap"),
            Err(LakeError::Unsettled { .. }) => {}
            Err(_) => {
                if let Some(empty) = empty {
                    empty.discard();
                }
            }
        }
        committed
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<(), LakeError> {
        let path = format!("{}?purgeRequested=false", self.table_path(ident));
        let dropped = self.client.once(Method::DELETE, &path, None).await;
        dropped.map(drop).map_err(|failure| self.refused(ident, &path, &failure))
    }

    fn store(&self) -> Option<&Store> {
        self.ground.store.as_ref()
    }

    async fn sightings(&self) -> Result<SqlitePool, LakeError> {
        let open = async || {
            let pool = sqlite::connect(&self.sightings_path).await?;
            clean::prepare(&pool).await?;
            Ok::<_, LakeError>(pool)
        };
        self.sightings.get_or_try_init(open).await.cloned()
    }
}

/// Properties whose value is computed from the one before.
const COMPUTED: [&str; 3] = [OFFSETS_PROPERTY, COMMITS_PROPERTY, FENCE_PROPERTY];

/// The properties that are set and were computed from what they were, where `main` does not move with them.
fn computed_properties(updates: &[TableUpdate]) -> Option<&HashMap<String, String>> {
    let mut set = None;
    for update in updates {
        match update {
            TableUpdate::SetSnapshotRef { ref_name, .. } if ref_name == MAIN_BRANCH => return None,
            TableUpdate::SetProperties { updates }
                if COMPUTED.iter().any(|key| updates.contains_key(*key)) =>
            {
                set = Some(updates);
            }
            _ => {}
        }
    }
    set
}

/// A namespace as a part of a path: its levels are parted by the unit separator.
fn joined(namespace: &[String]) -> String {
    encoded(&namespace.join("\u{1f}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{SnapshotReference, SnapshotRetention};

    #[test]
    fn properties_of_ours_are_compared_by_way_of_main() {
        let set = |key: &str| TableUpdate::SetProperties {
            updates: HashMap::from([(key.to_owned(), "x".to_owned())]),
        };
        let point = |name: &str| TableUpdate::SetSnapshotRef {
            ref_name: name.to_owned(),
            reference: SnapshotReference::new(1, SnapshotRetention::branch(None, None, None)),
        };
        for (updates, alone) in [
            (vec![set(OFFSETS_PROPERTY)], true),
            (vec![set("filter"), set(COMMITS_PROPERTY)], true),
            (vec![point("a tag"), set(COMMITS_PROPERTY)], true),
            (vec![point(MAIN_BRANCH), set(OFFSETS_PROPERTY)], false),
            (vec![set(OFFSETS_PROPERTY), point(MAIN_BRANCH)], false),
            (vec![set("filter")], false),
            (vec![], false),
        ] {
            assert_eq!(computed_properties(&updates).is_some(), alone, "{updates:?}");
        }
        assert_eq!(joined(&["a".to_owned(), "b c".to_owned()]), "a%1Fb%20c");
    }
}
