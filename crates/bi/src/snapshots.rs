//! What statements see: the newest published version of the warehouse, and the other tables as they stand, for each set
//! of grants.
//!
//! A state is shared by the statements of a while, and as long as nothing in the lake has changed: making one reads the
//! catalog of the lake. Invariant: all tables of a state are of one version.

use crate::auth::{Grants, Users};
use crate::catalog::Catalog;
use crate::error::{PgError, code};
use affluent_lake::sql::{Engine, Session, SqlError, TableState};
use affluent_lake::{Lake, LakeError};
use affluent_warehouse::batch::{VERSIONS, Version, versions};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Attempts to find a version and its tables as they belong together.
const ATTEMPTS: u32 = 5;

/// A state of the lake as some users see it.
pub(crate) struct Snapshot {
    pub(crate) catalog: Catalog,
    /// `None`: nothing is published yet.
    pub(crate) version: Option<i64>,
}

/// Makes states, and keeps them for as long as they are new enough.
pub(crate) struct Snapshots {
    lake: Lake,
    engine: Engine,
    users: Arc<Users>,
    age_max: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    published: Option<Published>,
    states: BTreeMap<Grants, State>,
}

/// The version that is in force while the table of versions stands at `seen`.
struct Published {
    seen: Option<i64>,
    version: Option<Version>,
}

struct State {
    looked_at: Instant,
    tables: Vec<TableState>,
    snapshot: Arc<Snapshot>,
}

impl Snapshots {
    pub(crate) fn new(lake: Lake, engine: Engine, users: Arc<Users>, age_max: Duration) -> Self {
        Snapshots { lake, engine, users, age_max, kept: Mutex::default() }
    }

    /// The state that a statement which begins now is to see.
    ///
    /// # Errors
    /// Disk and catalog of the lake.
    pub(crate) fn newest<'a>(&'a self, grants: &'a Grants) -> BoxFuture<'a, Result<Arc<Snapshot>, PgError>> {
        Box::pin(self.look(grants))
    }

    async fn look(&self, grants: &Grants) -> Result<Arc<Snapshot>, PgError> {
        let mut kept = self.kept.lock().await;
        let looked_at = Instant::now();
        if let Some(state) = kept.states.get(grants)
            && looked_at.duration_since(state.looked_at) < self.age_max
        {
            return Ok(Arc::clone(&state.snapshot));
        }
        let session = self.session(&mut kept.published).await?;
        if let Some(state) = kept.states.get_mut(grants)
            && state.tables == session.tables()
        {
            state.looked_at = looked_at;
            return Ok(Arc::clone(&state.snapshot));
        }
        let version = kept.published.as_ref().and_then(|published| published.version.as_ref());
        if let Some(version) = version {
            version.hide_later(&session).await?;
        }
        let (version, tables) = (version.map(|version| version.version), session.tables().to_vec());
        let catalog = Catalog::new(session, grants, &self.users).await?;
        let snapshot = Arc::new(Snapshot { catalog, version });
        let state = State { looked_at, tables, snapshot: Arc::clone(&snapshot) };
        kept.states.insert(grants.clone(), state);
        Ok(snapshot)
    }

    /// A session over the newest version, of which `published` tells afterwards.
    async fn session(&self, published: &mut Option<Published>) -> Result<Session, PgError> {
        for _ in 0..ATTEMPTS {
            let version = published.as_ref().and_then(|published| published.version.as_ref());
            let pins = version.map(Version::pins).unwrap_or_default();
            let session = match self.engine.session(pins).await {
                Ok(session) => session,
                // The version is too old to be kept: there are many newer ones.
                Err(SqlError::Lake(LakeError::NoSnapshot { .. } | LakeError::NotFound(_)))
                    if published.is_some() =>
                {
                    *published = None;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let seen = session.tables().iter().find(|table| table.name == VERSIONS);
            let seen = seen.and_then(|table| table.snapshot);
            if published.as_ref().is_some_and(|published| published.seen == seen) {
                return Ok(session);
            }
            let newest = versions(&self.lake).await;
            let newest = newest.map_err(|error| PgError::new(code::IO, error.to_string()))?;
            *published = Some(Published { seen, version: newest.into_iter().next() });
        }
        Err(PgError::new(code::IO, "versions of the warehouse come faster than they can be looked at"))
    }
}
