//! Every change of the rows that have changed since: `versions.<name>` in the `changes` of a model.
//!
//! What is looked for by the ids of what changed is looked for once a run, whatever number of models asks. Invariant:
//! `versions.x` holds every row of `staged.x`, as the session sees it, whose id is one of `delta.x`; what was found before
//! counts for the same snapshot, the same end and the same records alone.

use super::frontier::Frontier;
use super::model::{DELTA, Model, VERSIONS};
use super::rows::Collected;
use super::window::{Records, Window};
use super::{Batch, BatchError, sql};
use affluent_lake::Offsets;
use affluent_lake::sql::Session;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

impl Batch {
    /// Names the versions that `changes` of `model` reads. The session is one of [`Batch::session_at`] with this window.
    pub(crate) async fn name_versions(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
        window: &Window,
    ) -> Result<(), BatchError> {
        for staged in &model.reads_versions {
            let (Some(name), Some(column)) =
                (staged.strip_prefix("staged."), self.models.row_column(staged).map(str::to_owned))
            else {
                continue;
            };
            let versions = format!("{VERSIONS}.{name}");
            let failed = || BatchError::sql(model.file.clone());
            let seen = session.tables().iter().find(|state| state.name == *staged);
            let of = State {
                snapshot: seen.and_then(|state| state.snapshot),
                end: frontier.of(staged),
                records: window.records_of(&frontier.topics(staged)),
            };
            if let Some(rows) = self.known_versions.get(staged, &of) {
                rows.register(session, &versions).map_err(failed())?;
                continue;
            }
            let id = sql::ident(&column);
            let delta = sql::table(&format!("{DELTA}.{name}"));
            let text = format!("select distinct {id} from {delta} where {id} is not null");
            let ids = self.collect(session, model, &text).await?;
            let text = if ids.is_empty() {
                format!("select * from {} where false", sql::table(staged))
            } else {
                self.of_units(session, model, &ids, staged, std::iter::once((&column, &column))).await?
            };
            match Collected::few(session, &text, self.options.rows_max).await.map_err(failed())? {
                Some(rows) => {
                    rows.register(session, &versions).map_err(failed())?;
                    self.known_versions.put(staged, of, rows);
                }
                None => self.view(session, &versions, &text).await?,
            }
        }
        Ok(())
    }
}

/// What versions hold for.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// Of the staged table.
    snapshot: Option<i64>,
    /// How far the table is taken further.
    end: Offsets,
    /// What changed.
    records: Vec<Records>,
}

/// The versions that were found last, by staged table; at most `batch.rows_max` rows of each.
#[derive(Debug, Default)]
pub(crate) struct KnownVersions(Mutex<BTreeMap<String, (State, Collected)>>);

impl KnownVersions {
    /// Lets the rows go: the run is over.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, staged: &str, of: &State) -> Option<Collected> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(staged).filter(|known| known.0 == *of).map(|known| known.1.clone())
    }

    fn put(&self, staged: &str, of: State, rows: Collected) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(staged.to_owned(), (of, rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::Schema;
    use std::sync::Arc;

    #[test]
    fn what_was_found_counts_for_the_same_state_alone() {
        let state = |snapshot, end: i64, to| State {
            snapshot: Some(snapshot),
            end: serde_json::from_value(serde_json::json!({"t": {"0": end}})).unwrap(),
            records: vec![("t".into(), 0, 5, to)],
        };
        let rows = Collected { schema: Arc::new(Schema::empty()), batches: Vec::new() };
        let known = KnownVersions::default();
        known.put("staged.a", state(1, 9, 9), rows);
        assert!(known.get("staged.a", &state(1, 9, 9)).is_some());
        for other in [state(2, 9, 9), state(1, 10, 9), state(1, 9, 8)] {
            assert!(known.get("staged.a", &other).is_none(), "{other:?}");
        }
        assert!(known.get("staged.b", &state(1, 9, 9)).is_none());
        known.clear();
        assert!(known.get("staged.a", &state(1, 9, 9)).is_none());
    }
}
