//! What an increment of a model is about: the units that changed, and the session in which its body sees
//! them alone.

use super::frontier::Frontier;
use super::model::{DELTA, Model};
use super::rows::Collected;
use super::window::{Window, before, reached};
use super::{Batch, BatchError, sql};
use affluent_lake::sql::Session;

/// Names of a session's own tables.
pub(crate) const UNITS: &str = "batch.units";
pub(crate) const RESULT: &str = "batch.result";

impl Batch {
    /// A session in which the staged tables that `model` reads end at the frontier, and `delta.*` is what `window`
    /// holds of them.
    pub(crate) async fn session_at(
        &self,
        model: &Model,
        frontier: &Frontier,
        window: Option<&Window>,
    ) -> Result<Session, BatchError> {
        let session = self.session(model).await?;
        for staged in self.models.staged_behind(&model.table()) {
            let Some(name) = staged.strip_prefix("staged.") else { continue };
            if self.find(&staged).await?.is_none() {
                continue;
            }
            if let Some(window) = window {
                let topics = frontier.topics(&staged);
                let delta =
                    format!("select * from {} where {}", sql::table(&staged), window.condition_of(&topics));
                self.view(&session, &format!("{DELTA}.{name}"), &delta).await?;
            }
            // Looked at after the session began, so it cannot see more than this says.
            let end = frontier.of(&staged);
            if model.reads.contains(&staged) && !reached(&end, &self.offsets(&staged).await?) {
                let known = format!("select * from {} where {}", sql::table(&staged), before(&end));
                self.view(&session, &staged, &known).await?;
            }
        }
        Ok(session)
    }

    /// The units that changed in the window, under the names that `from` gives their columns.
    pub(crate) async fn units(&self, session: &Session, model: &Model) -> Result<Collected, BatchError> {
        let columns = sql::list("", model.unit.keys().map(String::as_str));
        let present: Vec<String> =
            model.unit.keys().map(|column| format!("{} is not null", sql::ident(column))).collect();
        let changes = self.models.changes(model)?;
        let text = format!(
            "select distinct {columns} from ({changes}\n) as changes where {}",
            present.join(" and ")
        );
        self.collect(session, model, &text).await
    }

    /// Narrows the driving table of `model` to `units`, under its own name.
    pub(crate) async fn narrow(
        &self,
        session: &Session,
        model: &Model,
        units: &Collected,
    ) -> Result<(), BatchError> {
        let Some(from) = &model.header.from else { return Ok(()) };
        units.register(session, UNITS).map_err(BatchError::sql(model.file.clone()))?;
        let same = sql::equal("f", "u", model.unit.keys().map(|column| (column.as_str(), column.as_str())));
        let text = format!(
            "select f.* from {} as f left semi join {} as u on {same}",
            sql::table(from),
            sql::table(UNITS)
        );
        self.view(session, from, &text).await
    }

    /// Keys of the rows that the changed units have in the table and no longer in `result`. The session is one
    /// over the table as it stands before the commit.
    pub(crate) async fn gone(
        &self,
        session: &Session,
        model: &Model,
        result: &Collected,
    ) -> Result<Collected, BatchError> {
        result.register(session, RESULT).map_err(BatchError::sql(model.file.clone()))?;
        let key = || model.header.key.iter().map(String::as_str);
        let by_key = sql::equal("t", "r", key().map(|column| (column, column)));
        let result = sql::table(RESULT);
        let mut units: Vec<&String> = model.unit.values().collect();
        let mut keys: Vec<&String> = model.header.key.iter().collect();
        units.sort_unstable();
        keys.sort_unstable();
        let text = if units == keys {
            // A unit is a row: those that yield none are gone, wherever they were.
            let names =
                model.unit.iter().map(|(from, to)| format!("u.{} as {}", sql::ident(from), sql::ident(to)));
            let names: Vec<String> = names.collect();
            let keys = format!("select {} from {} as u", names.join(", "), sql::table(UNITS));
            format!("select t.* from ({keys}) as t left anti join {result} as r on {by_key}")
        } else {
            let by_unit =
                sql::equal("t", "u", model.unit.iter().map(|(from, to)| (to.as_str(), from.as_str())));
            let (table, units) = (model.quoted(), sql::table(UNITS));
            let mut read: Vec<&str> = key().chain(model.unit.values().map(String::as_str)).collect();
            read.sort_unstable();
            read.dedup();
            let read = sql::list("", read);
            format!(
                "select {} from (select t.* from (select {read} from {table}) as t left semi join {units} as u on {by_unit}) \
                 as t left anti join {result} as r on {by_key}",
                sql::list("t", key())
            )
        };
        self.collect(session, model, &text).await
    }
}
