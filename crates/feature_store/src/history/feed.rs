//! Sources side by side: their events in one order of arrival, so many at a time.

use super::HistoryError;
use super::events::{Events, Kept, Wanted};
use crate::event::Mapping;
use affluent_features::definition::Source;
use affluent_features::replay::{Row, replay};
use affluent_features::{Engine, Plan, SourceId};
use affluent_lake::sql::Rows;
use std::sync::Arc;

/// What became of the rows of history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events that were handed on.
    pub events: u64,
    /// Events that arrived later than their source allows.
    pub late: u64,
    /// Rows that are no events, and why the first was not.
    pub refused: u64,
    pub first_refused: Option<String>,
}

impl Counted {
    pub(crate) fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.first_refused.get_or_insert(why);
    }

    pub(crate) fn add(&mut self, other: Counted) {
        self.events += other.events;
        self.late += other.late;
        self.refused += other.refused;
        self.first_refused = self.first_refused.take().or(other.first_refused);
    }
}

/// One source.
struct Stream {
    mapping: Mapping,
    file: String,
    rows: Rows,
    held: Events,
    ended: bool,
    /// Its event time is computed of several columns, so that the query's order within an arrival says nothing.
    by_arrival_alone: bool,
    wanted: Wanted,
}

/// Sources in one order of arrival.
#[derive(Default)]
pub(crate) struct Feed {
    streams: Vec<Stream>,
    pub(crate) counted: Counted,
}

/// Events of each source that stand next in the order, by source.
pub(crate) type Piece = Vec<(SourceId, Events)>;

impl Feed {
    /// Adds a source whose rows come in the order of arrival.
    pub(super) fn add(
        &mut self,
        source: &Source,
        mapping: Mapping,
        plan: &Arc<Plan>,
        rows: Rows,
        kept: &Kept,
    ) {
        let shape = plan.source_shape(mapping.source());
        let entity = kept
            .entity
            .as_ref()
            .and_then(|wanted| shape.entities.iter().position(|(name, _)| name == wanted));
        let held = Events::none(plan, mapping.source());
        let ids = kept.ids_of.as_ref().is_some_and(|source| *source == shape.name);
        let wanted = Wanted { entity, keys: kept.keys.clone(), ids, places: kept.places, texts: kept.texts };
        let by_arrival_alone = source.derived.contains_key(&source.event_time);
        let file = source.file.clone();
        self.streams.push(Stream { mapping, file, rows, held, ended: false, by_arrival_alone, wanted });
    }

    /// The events that arrive next, up to and including `until`; none where there are no more up to there. Events of one
    /// arrival and time come together.
    pub(crate) async fn next(&mut self, until: i64) -> Result<Option<Piece>, HistoryError> {
        loop {
            for stream in &mut self.streams {
                while stream.held.is_empty() && !stream.ended {
                    stream.pull(&mut self.counted).await?;
                }
            }
            // What may still come of a source is not before the last that it has brought.
            let open = self.streams.iter().filter(|stream| !stream.ended);
            let cut = open.filter_map(Stream::last).min();
            let piece: Piece = self.streams.iter_mut().map(|stream| stream.before(cut, until)).collect();
            if piece.iter().any(|(_, events)| !events.is_empty()) {
                return Ok(Some(piece));
            }
            let Some(cut) = cut.filter(|cut| cut.0 <= until) else { return Ok(None) };
            // All that a source has brought is of one instant: the rest of the instant is wanted too.
            for stream in self.streams.iter_mut().filter(|stream| !stream.ended && stream.last() == Some(cut))
            {
                stream.pull(&mut self.counted).await?;
            }
        }
    }

    /// Applies the events that arrive next, up to and including `until`, and hands on the rows of those of `rows_of`. The events come
    /// back; none where there are no more.
    pub(crate) async fn step(
        &mut self,
        engine: &mut Engine,
        until: i64,
        rows_of: Option<SourceId>,
        sink: &mut (dyn FnMut(&Events, Row<'_>) + Send),
    ) -> Result<Option<Piece>, HistoryError> {
        let Some(piece) = self.next(until).await? else { return Ok(None) };
        let parts: Vec<_> = piece.iter().map(|(_, events)| events.parts()).collect();
        let inputs: Vec<_> = piece
            .iter()
            .zip(&parts)
            .map(|((source, events), parts)| events.columns(*source, parts, rows_of == Some(*source)))
            .collect();
        let replayed = replay(engine, &inputs, |row| sink(&piece[row.input].1, row));
        replayed.map_err(|source| HistoryError::Replay { what: "replay history".to_owned(), source })?;
        drop(inputs);
        drop(parts);
        Ok(Some(piece))
    }
}

impl Stream {
    /// Takes in the next batch of rows.
    async fn pull(&mut self, counted: &mut Counted) -> Result<(), HistoryError> {
        match self.rows.next_batch().await {
            None => self.ended = true,
            Some(batch) => {
                let batch = batch.map_err(HistoryError::sql(&self.file))?;
                self.held
                    .extend(&self.mapping, &self.wanted, &batch, counted)
                    .map_err(|message| HistoryError::Definition(format!("{}: {message}", self.file)))?;
            }
        }
        Ok(())
    }

    /// Arrival and time of the last event that has come.
    fn last(&self) -> Option<(i64, i64)> {
        self.held.len().checked_sub(1).map(|last| self.instant(last))
    }

    /// What a held event is ordered by.
    fn instant(&self, place: usize) -> (i64, i64) {
        let (arrived, time) = self.held.instant(place);
        (arrived, if self.by_arrival_alone { i64::MIN } else { time })
    }

    /// Takes out the events before `cut` that arrived by `until`.
    fn before(&mut self, cut: Option<(i64, i64)>, until: i64) -> (SourceId, Events) {
        let mut count = 0;
        while count < self.held.len()
            && self.held.arrived[count] <= until
            && cut.is_none_or(|cut| self.instant(count) < cut)
        {
            count += 1;
        }
        (self.mapping.source(), self.held.take(count))
    }
}
