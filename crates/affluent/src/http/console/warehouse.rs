//! The lake, for pages: one engine that all of them share, a few questions at once.
//!
//! Invariant: what pages ask together is bounded in memory, in number and in time, so that it takes nothing from what moves the data.

use super::features::Materialised;
use crate::http::Problem;
use crate::platform::Platform;
use crate::sql;
use affluent_lake::LakeFormat;
use affluent_lake::sql::{Engine, EngineOptions, Session};
use affluent_warehouse::batch::Version;
use anyhow::{Context as _, bail};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

/// Questions at once; more are told to come again.
const QUESTIONS: usize = 3;
/// Memory of all questions together, bytes; what does not fit goes to disk.
const MEMORY: u64 = 256 << 20;
/// What a page asks beside its main matter has this long.
const ASIDE: Duration = Duration::from_secs(5);

/// The way into the lake, opened by the first question.
pub(in crate::http) struct Warehouse {
    engine: OnceCell<Engine>,
    permits: Arc<Semaphore>,
    pub(super) materialised: Materialised,
}

impl Default for Warehouse {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(QUESTIONS));
        Warehouse { engine: OnceCell::new(), permits, materialised: Materialised::default() }
    }
}

impl Warehouse {
    /// The right to ask, for as long as it is kept.
    ///
    /// # Errors
    /// 503 where enough is being asked.
    pub(super) fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Problem::busy())
    }

    /// The lake as it is now, the warehouse as it was published last, and which version that is.
    ///
    /// # Errors
    /// A lake of JSON files, one that does not open within [`ASIDE`]; disk and catalog.
    pub(super) async fn session(&self, platform: &Platform) -> anyhow::Result<(Session, Option<Version>)> {
        match platform.config().lake.format {
            LakeFormat::Json => {
                bail!("the lake is written as JSON files, which are not asked: set `lake.format`")
            }
            LakeFormat::Iceberg => {}
        }
        let opening = async {
            let lake = platform.lake().await?;
            let open = || async {
                let options = EngineOptions { memory_bytes: MEMORY, ..EngineOptions::default() };
                Engine::new(lake.clone(), options)
            };
            let engine = self.engine.get_or_try_init(open).await?;
            sql::newest(&lake, engine).await
        };
        let opened = tokio::time::timeout(ASIDE, opening);
        Box::pin(opened)
            .await
            .with_context(|| format!("the lake does not open within {} s", ASIDE.as_secs()))?
    }

    /// The rows of a question that is asked aside, as texts; null is empty.
    ///
    /// # Errors
    /// As [`Warehouse::session`], what cannot be asked, and what takes longer than [`ASIDE`].
    pub(super) async fn aside(&self, session: &Session, text: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let asked = tokio::time::timeout(ASIDE, sql::rows(session, text));
        Box::pin(asked).await.with_context(|| format!("the lake needs more than {} s", ASIDE.as_secs()))?
    }
}

/// A text in SQL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name in SQL.
pub(super) fn named(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_a_text_or_a_name() {
        assert_eq!(quoted("it's '; drop"), "'it''s ''; drop'");
        assert_eq!(named("a\" from b"), "\"a\"\" from b\"");
    }

    #[test]
    fn few_ask_at_once() {
        let warehouse = Warehouse::default();
        let turns: Vec<_> = (0..QUESTIONS).map(|_| warehouse.turn().unwrap()).collect();
        assert_eq!(warehouse.turn().unwrap_err().status().as_u16(), 503);
        drop(turns);
        drop(warehouse.turn().unwrap());
    }
}
