//! Copies each version once it is published.

use super::tables::{NewTable, ZONE, ident, is_current, wanted};
use super::target::Target;
use super::{PublishError, PublishOptions};
use affluent_lake::Lake;
use affluent_lake::sql::{Engine, EngineOptions, Limits};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::metrics_list;
use affluent_warehouse::batch::{Models, Version, versions};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The role by which its health is told.
const ROLE: &str = "publish";

/// Reaches the PostgreSQL; sessions are in UTC, with ISO dates.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<tokio_postgres::Client, String>> + Send + Sync>;

/// What became of the newest version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It has been copied, with so many rows of all tables.
    Now { version: i64, rows: u64 },
    /// It was there already, or a newer one.
    Before { version: i64 },
    /// Another process is at it.
    Elsewhere,
    /// Nothing is published yet.
    Nothing,
}

/// Copies published versions into a PostgreSQL.
pub struct Publisher {
    options: PublishOptions,
    lake: Lake,
    engine: Engine,
    models: Models,
    connect: Connect,
    health: Health,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("schema", &self.options.schema).finish_non_exhaustive()
    }
}

impl Publisher {
    /// `models` tell keys and meanings of the tables.
    ///
    /// # Errors
    /// [`PublishError::Options`].
    pub fn new(
        options: PublishOptions,
        lake: Lake,
        models: Models,
        connect: Connect,
        health: Health,
    ) -> Result<Self, PublishError> {
        options.check().map_err(PublishError::Options)?;
        let engine = Engine::new(lake.clone(), EngineOptions::default())?;
        Ok(Publisher { options, lake, engine, models, connect, health })
    }

    /// Copies each version that is newer than what is there, until `shutdown`. Failures are told by the role's health,
    /// and tried again.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pause = self.options.retry_first_ms;
        // When the version that is there was published: as long as it is the newest, nobody need be asked.
        let mut done = None;
        self.health.set(ROLE, State::Ready);
        loop {
            let Some(ended) = shutdown.run_until_cancelled(self.follow(&mut done)).await else { return };
            let wait = match ended {
                Ok(()) => {
                    pause = self.options.retry_first_ms;
                    self.health.set(ROLE, State::Ready);
                    self.options.poll_ms
                }
                Err(error) => {
                    tracing::warn!(%error, retry_ms = pause, "warehouse not copied");
                    metrics_list::bi_publication("failed");
                    self.health.set(ROLE, State::Degraded(error.to_string()));
                    let wait = pause;
                    pause = pause.saturating_mul(2).min(self.options.retry_max_ms);
                    wait
                }
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(Duration::from_millis(wait))).await.is_none() {
                return;
            }
        }
    }

    /// Copies the newest version, unless it is there.
    ///
    /// # Errors
    /// [`PublishError`]; what was there before is still there.
    pub fn publish(&self) -> BoxFuture<'_, Result<Copied, PublishError>> {
        Box::pin(async {
            match self.newest().await? {
                Some(version) => self.copy_in_time(&version).await,
                None => Ok(Copied::Nothing),
            }
        })
    }

    /// Copies the newest version where it is another than the one that is `done`.
    async fn follow(&self, done: &mut Option<i64>) -> Result<(), PublishError> {
        let Some(version) = self.newest().await? else { return Ok(()) };
        if *done == Some(version.published_at) {
            return Ok(());
        }
        match self.copy_in_time(&version).await? {
            Copied::Now { version: number, rows } => {
                tracing::info!(
                    version = number,
                    rows,
                    schema = self.options.schema.as_str(),
                    "warehouse copied"
                );
                metrics_list::bi_publication("copied");
            }
            Copied::Before { .. } => {}
            // That process may die.
            Copied::Elsewhere | Copied::Nothing => return Ok(()),
        }
        *done = Some(version.published_at);
        Ok(())
    }

    async fn newest(&self) -> Result<Option<Version>, PublishError> {
        Ok(versions(&self.lake).await?.into_iter().next())
    }

    async fn copy_in_time(&self, version: &Version) -> Result<Copied, PublishError> {
        let limit = Duration::from_secs(self.options.timeout_s);
        let copying = tokio::time::timeout(limit, Box::pin(self.copy(version))).await;
        copying.unwrap_or(Err(PublishError::Timeout(self.options.timeout_s)))
    }

    /// One transaction; where it is given up, the server takes it back.
    async fn copy(&self, version: &Version) -> Result<Copied, PublishError> {
        let names = wanted(version, &self.options.tables)?;
        let mut client = (self.connect)().await.map_err(PublishError::Connect)?;
        let transaction =
            client.transaction().await.map_err(|error| PublishError::postgres("begin", &error))?;
        let schema = self.options.schema.as_str();
        let target = Target { transaction: &transaction, schema };
        if !target.lock().await? {
            return Ok(Copied::Elsewhere);
        }
        let stored = target.stored().await?;
        if is_current(&stored, version, &names) {
            return Ok(Copied::Before { version: version.version });
        }
        let all: Vec<&String> = stored.keys().chain(&names).collect();
        let (old, foreign): (Vec<String>, Vec<String>) =
            target.existing(&all).await?.into_iter().partition(|name| stored.contains_key(name));
        if !foreign.is_empty() {
            return Err(PublishError::Foreign { schema: schema.to_owned(), tables: foreign });
        }
        let new = self.fill(&target, version, &names).await?;
        target.swap(version, &old, &new).await?;
        let rows = new.iter().map(|(_, rows)| rows).sum();
        transaction.commit().await.map_err(|error| PublishError::postgres("commit", &error))?;
        Ok(Copied::Now { version: version.version, rows })
    }

    /// New tables with the rows of the version; how many each.
    async fn fill(
        &self,
        target: &Target<'_>,
        version: &Version,
        names: &[String],
    ) -> Result<Vec<(NewTable, u64)>, PublishError> {
        let session = self.engine.session(version.pins()).await?;
        version.hide_later(&session).await?;
        let mut filled = Vec::with_capacity(names.len());
        for (number, name) in names.iter().enumerate() {
            let text = format!("select * from {ZONE}.{}", ident(name));
            let rows = session.query(&text, Limits::default()).await?;
            let model = self.models.get(&format!("{ZONE}.{name}"));
            let table = NewTable::new(target.schema, name, number, &rows.schema(), model);
            let count = target.fill(&table, rows).await?;
            filled.push((table, count));
        }
        Ok(filled)
    }
}
