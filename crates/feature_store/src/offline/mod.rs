//! The offline store: tables `features.<view>` of the lake, with the vectors that its keys had at instants of the past.
//!
//! `view` decides what is computed for a view, `slices` how many of its keys at once, `table` how its rows lie in the lake; `pass`
//! reads history, `materialise` writes.
//!
//! A vector as of an instant is a function of the events that had arrived by then and lie in its windows. So a materialisation reads
//! the windows, not all of history, wherever it begins; killed or repeated it gives the same rows.
//!
//! Invariant: the rows of an instant and of one meaning of the view's features are in the table once, all or none of them.

mod materialise;
mod pass;
pub(crate) mod slices;
mod table;
mod view;

pub use materialise::{Materialised, Writer};
pub(crate) use materialise::{digest, instants};
pub use view::ViewPlan;
pub(crate) use view::{reach, sources};

use crate::history::{History, HistoryError};
use affluent_lake::Lake;

/// The offline store over a lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Offline {
    lake: Lake,
    history: History,
    memory_bytes: u64,
}

impl Offline {
    /// A store over `lake`, whose state of one view or training set takes at most about `memory_bytes`, and so do its rows of an instant.
    #[must_use]
    pub fn new(lake: Lake, history: History, memory_bytes: u64) -> Self {
        Offline { lake, history, memory_bytes }
    }

    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.lake
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// What a view needs and is not there, in words; none where it can be materialised.
    ///
    /// # Errors
    /// Disk and catalog, a query that is wrong.
    pub async fn missing(&self, view: &ViewPlan) -> Result<Option<String>, HistoryError> {
        let session = self.history.session().await?;
        for name in &view.sources {
            if let Some(missing) = self.history.unreadable(&session, self.history.source(name)?).await? {
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }

    /// From the day on which the first event that a view reads arrived to the end of the day of the last; none where there is no event.
    ///
    /// # Errors
    /// Disk and catalog, a query that is wrong.
    pub async fn span(&self, view: &ViewPlan) -> Result<Option<(i64, i64)>, HistoryError> {
        let session = self.history.session().await?;
        let mut all: Option<(i64, i64)> = None;
        for name in &view.sources {
            if let Some((first, last)) = self.history.span(&session, name).await? {
                let (from, to) = all.unwrap_or((first, last));
                all = Some((from.min(first), to.max(last)));
            }
        }
        Ok(all)
    }

    /// The newest instant up to which the warehouse, which the sources read, has taken everything in; none before the first.
    ///
    /// # Errors
    /// Disk and catalog.
    pub async fn known_until(&self) -> Result<Option<i64>, HistoryError> {
        let session = self.history.session().await?;
        if !session.tables().iter().any(|table| table.name == "ops.batch_frontier") {
            return Ok(None);
        }
        let found =
            materialise::instants(&session, "select max(as_of) as as_of from ops.batch_frontier").await?;
        Ok(found.into_iter().next())
    }
}
