//! The events of the past: each source's query over the lake, its rows in the order in which they arrived.
//!
//! `query` writes the text, `events` makes columns of events of the rows, `feed` merges the sources by arrival. Nothing is computed
//! here; who reads drives the engine.
//!
//! Invariants: events come in the order of (arrival, time), those of one instant together, so what is read in pieces is what is
//! read at once. Memory holds a few batches a source, however long the history. All sources are read at one state of the lake.

mod error;
mod events;
mod feed;
mod query;

pub use error::HistoryError;
pub(crate) use events::{Events, Kept, Keys, Place, slice_of};
pub use feed::Counted;
pub(crate) use feed::{Feed, Piece};
pub(crate) use query::instant;

use crate::event::{Mapping, References};
use affluent_features::Plan;
use affluent_features::definition::{Definitions, Source};
use affluent_features::event::DAY;
use affluent_lake::sql::{Engine, Pins, Session, SqlError};
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use std::sync::Arc;

/// Nothing arrives later: 2112. Microseconds UTC.
pub(crate) const FOREVER: i64 = 1 << 52;

/// The history of all sources. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    engine: Arc<Engine>,
    definitions: Arc<Definitions>,
    references: Arc<References>,
}

/// Which events: those that had arrived by `until`, and may have happened after `since`. Microseconds UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) since: i64,
    pub(crate) until: i64,
}

impl History {
    /// History as these definitions read it through `engine`, with the tables of `references`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, definitions: Arc<Definitions>, references: Arc<References>) -> Self {
        History { engine, definitions, references }
    }

    #[must_use]
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// A session over the newest state of the lake.
    pub(crate) async fn session(&self) -> Result<Session, HistoryError> {
        self.session_at(Pins::default()).await
    }

    /// The same over the snapshots that are named, and the newest of the other tables.
    pub(crate) async fn session_at(&self, pins: Pins) -> Result<Session, HistoryError> {
        self.engine.session(pins).await.map_err(HistoryError::sql("open a session over the lake"))
    }

    /// The table that a source reads and that is not there yet, in words; none where its history can be read.
    pub(crate) async fn unreadable(
        &self,
        session: &Session,
        source: &Source,
    ) -> Result<Option<String>, HistoryError> {
        let Some(query) = &source.query else {
            return Ok(Some(format!("source {} has no query", source.name)));
        };
        match session.schema(query).await {
            Ok(_) => Ok(None),
            Err(SqlError::UnknownTable { name, .. }) => Ok(Some(format!("{name} is not there yet"))),
            Err(error) => Err(HistoryError::sql(&source.file)(error)),
        }
    }

    /// The events of these sources that are in `range`, for a plan of `definitions`.
    pub(crate) async fn feed(
        &self,
        session: &Session,
        (definitions, plan): (&Definitions, &Arc<Plan>),
        sources: &[String],
        range: Range,
        kept: &Kept,
    ) -> Result<Feed, HistoryError> {
        let mut feed = Feed::default();
        for name in sources {
            let source = self.source(name)?;
            let Some(mapping) = Mapping::new(definitions, plan, name, &self.references) else { continue };
            let mut wanted = mapping.fields().to_vec();
            if kept.places {
                wanted.extend(events::PLACE.map(str::to_owned));
            }
            let text = query::events(source, &wanted, &self.fields(session, source).await?, range);
            let rows = session.sql(&text).await.map_err(HistoryError::sql(&source.file))?;
            feed.add(source, mapping, plan, rows, kept);
        }
        Ok(feed)
    }

    /// How many events of a source each day brought in `range`, by day since 1970.
    pub(crate) async fn days(
        &self,
        session: &Session,
        name: &str,
        range: Range,
    ) -> Result<Vec<(i64, u64)>, HistoryError> {
        let source = self.source(name)?;
        let text = query::days(source, &self.fields(session, source).await?, range);
        let batches = session.collect(&text).await.map_err(HistoryError::sql(&source.file))?;
        let mut days = Vec::new();
        for batch in &batches {
            let (day, count) =
                (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            let of_row = |row: usize| (day.value(row), u64::try_from(count.value(row)).unwrap_or(0));
            days.extend((0..batch.num_rows()).map(of_row));
        }
        days.sort_unstable();
        Ok(days)
    }

    /// When the first and the last event of a source arrived; none where there is no event.
    pub(crate) async fn span(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<Option<(i64, i64)>, HistoryError> {
        let days = self.days(session, name, Range { since: 0, until: FOREVER }).await?;
        let bounds = days.first().zip(days.last());
        Ok(bounds.map(|(first, last)| (first.0.saturating_mul(DAY), (last.0 + 1).saturating_mul(DAY))))
    }

    pub(crate) fn source(&self, name: &str) -> Result<&Source, HistoryError> {
        let found = self.definitions.sources.get(name);
        found.ok_or_else(|| HistoryError::Definition(format!("there is no source {name}")))
    }

    /// The columns of a source's query.
    async fn fields(&self, session: &Session, source: &Source) -> Result<Vec<String>, HistoryError> {
        let query = source.query.as_deref().unwrap_or_default();
        let schema = session.schema(query).await.map_err(HistoryError::sql(&source.file))?;
        Ok(schema.fields().iter().map(|field| field.name().clone()).collect())
    }
}
