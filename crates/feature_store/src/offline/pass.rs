//! The engine on its way through the history of one view.

use super::table::Vectors;
use super::{Offline, ViewPlan};
use crate::history::{Counted, Feed, HistoryError, Kept, Keys, Range};
use affluent_features::{At, Engine, Key, Options};
use affluent_lake::sql::Session;
use affluent_model::time::format_micros;
use std::collections::{BTreeSet, HashMap};

/// One reading of history, from the windows before its first instant on.
pub(super) struct Pass {
    engine: Engine,
    feed: Feed,
    /// The keys that have come, as text.
    texts: HashMap<Key, String>,
    /// The newest event of a key so far that is not later than the instant.
    newest: Option<i64>,
}

impl Pass {
    /// From the windows before `first` on, up to `last`; of these keys.
    pub(super) async fn new(
        offline: &Offline,
        session: &Session,
        view: &ViewPlan,
        (first, last): (i64, i64),
        keys: Keys,
    ) -> Result<Self, HistoryError> {
        let kept = Kept { entity: Some(view.entity.clone()), keys, ..Kept::default() };
        let range = Range { since: first.saturating_sub(view.reach), until: last };
        let what = (&*view.definitions, &view.plan);
        let feed = offline.history().feed(session, what, &view.sources, range, &kept).await?;
        let options = Options { any_order: true, ..Options::default() };
        let engine = Engine::new(view.plan.clone(), options);
        Ok(Pass { engine, feed, texts: HashMap::new(), newest: None })
    }

    /// The vectors of every key that has an event in its windows as of `instant`, later than those before.
    pub(super) async fn until(&mut self, view: &ViewPlan, instant: i64) -> Result<Vectors, HistoryError> {
        while let Some(piece) = self.feed.step(&mut self.engine, instant, None, &mut |_, _| {}).await? {
            for (_, events) in piece {
                let newest = events.time.iter().copied().filter(|time| *time <= instant).max();
                self.newest = self.newest.max(newest);
                self.texts.extend(events.texts);
            }
        }
        self.engine.evict(instant);
        let keys: BTreeSet<Key> = self.engine.keys_of(view.entity_id).collect();
        self.texts.retain(|key, _| keys.contains(key));
        let mut vectors = Vectors::new(view);
        let mut vector = vec![f64::NAN; view.plan.entity_shape(view.entity_id).features.len()];
        for key in keys {
            let Some(text) = self.texts.get(&key) else { continue };
            let exact = self.engine.vector(view.entity_id, Some(key), At::time(instant), None, &mut vector);
            vectors.push(view, text.clone(), &vector, exact);
        }
        self.check(view, instant, vectors.len())?;
        Ok(vectors)
    }

    /// Refuses that nothing comes of events of which something has to come.
    fn check(&self, view: &ViewPlan, instant: i64, rows: usize) -> Result<(), HistoryError> {
        let counted = &self.feed.counted;
        let has_key = self.newest.is_some_and(|newest| newest > instant.saturating_sub(view.least));
        let all_refused = counted.events == 0 && counted.refused > 0;
        if rows > 0 || !(has_key || all_refused) {
            return Ok(());
        }
        let first =
            counted.first_refused.as_ref().map(|why| format!(", the first: {why}")).unwrap_or_default();
        let what = format!("{} as of {}", view.name, format_micros(instant, true));
        let (events, refused) = (counted.events + counted.refused, counted.refused);
        Err(HistoryError::NoRows { what, events, refused, first })
    }

    /// What became of the rows that were read.
    pub(super) fn counted(self) -> Counted {
        self.feed.counted
    }
}
