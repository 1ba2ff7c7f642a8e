//! What an increment of a model is about: the units that changed, and the session in which its body sees
//! them alone.

use super::frontier::Frontier;
use super::model::{DELTA, Model, target_of};
use super::rows::{Collected, date};
use super::window::{Records, Window, before, reached};
use super::{Batch, BatchError, sql};
use affluent_lake::sql::Session;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Days that a condition names at the most; rows that lie on more are looked for everywhere.
const DAYS_MAX: usize = 50;
/// Units of which so many lie on too many days to be looked up by them.
const UNITS_OF_DAYS_MAX: u64 = 10_000;
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

    /// The units that changed in the window, under the names that `from` gives their columns. The session is one
    /// of [`Batch::session_at`] with this window.
    pub(crate) async fn units(
        &self,
        session: &Session,
        model: &Model,
        frontier: &Frontier,
        window: &Window,
    ) -> Result<Collected, BatchError> {
        let staged = self.models.staged_behind(&model.table());
        let records = window.records_of(&staged.iter().flat_map(|staged| frontier.topics(staged)).collect());
        if let Some(units) = self.known_units.get(model, &records) {
            return Ok(units);
        }
        self.name_versions(session, model, frontier, window).await?;
        let units = self.changed_units(session, model).await?;
        if units.rows() <= self.options.rows_max {
            self.known_units.put(model, records, units.clone());
        }
        Ok(units)
    }

    async fn changed_units(&self, session: &Session, model: &Model) -> Result<Collected, BatchError> {
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
        let unit = model.unit.keys().map(|column| (column, column));
        let text = self.of_units(session, model, units, from, unit).await?;
        // Few rows that are read more than once are looked for once.
        if model.reads_newest
            && let Some(rows) = Collected::few(session, &text, self.options.rows_max)
                .await
                .map_err(BatchError::sql(model.file.clone()))?
        {
            return rows.register(session, from).map_err(BatchError::sql(model.file.clone()));
        }
        self.view(session, from, &text).await
    }

    /// Narrows the tables of the header's `lookups` to the rows that the narrowed driving table names.
    pub(crate) async fn narrow_lookups(
        &self,
        session: &Session,
        model: &Model,
        units: &Collected,
    ) -> Result<(), BatchError> {
        let Some(from) = model.header.from.as_ref().filter(|_| !model.header.lookups.is_empty()) else {
            return Ok(());
        };
        let failed = || BatchError::sql(model.file.clone());
        for (column, target) in &model.header.lookups {
            let (table, there) = target_of(column, target)
                .map_err(|message| BatchError::Model { file: model.file.clone(), message })?;
            let own = sql::ident(column);
            let text = format!("select distinct {own} from {} where {own} is not null", sql::table(from));
            let keys = Collected::few(session, &text, self.options.rows_max).await.map_err(failed())?;
            let Some(keys) = keys else { continue };
            let text = if keys.is_empty() {
                format!("select * from {} where false", sql::table(table))
            } else {
                let pair = (&there.to_owned(), column);
                self.of_units(session, model, &keys, table, std::iter::once(pair)).await?
            };
            self.view(session, table, &text).await?;
        }
        units.register(session, UNITS).map_err(failed())
    }

    /// The query for the rows of `table` that belong to `units`, which it names [`UNITS`]; `unit` are its columns and
    /// theirs.
    pub(crate) async fn of_units<'a>(
        &self,
        session: &Session,
        model: &Model,
        units: &Collected,
        table: &str,
        unit: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<String, BatchError> {
        units.register(session, UNITS).map_err(BatchError::sql(model.file.clone()))?;
        let pairs: Vec<(&str, &str)> = unit.map(|(own, other)| (own.as_str(), other.as_str())).collect();
        let same = sql::equal("f", "u", pairs.iter().copied());
        let rows = self.near_units(session, model, units, table, &pairs).await?;
        Ok(format!("select f.* from {rows} as f left semi join {} as u on {same}", sql::table(UNITS)))
    }

    /// What of `table` has to be read for the rows of `units`, as a query names it.
    ///
    /// Where Bloom filters leave little of the table, that is it. Else, where the table is divided by days, the days of
    /// the units are looked up, by two or three columns, so that whole rows are read of these days alone. Of very
    /// many units the rows are on most days: they are not looked up.
    async fn near_units(
        &self,
        session: &Session,
        model: &Model,
        units: &Collected,
        table: &str,
        pairs: &[(&str, &str)],
    ) -> Result<String, BatchError> {
        let quoted = sql::table(table);
        if let Some((own, other)) = pairs.first()
            && units.rows() <= self.options.rows_max
        {
            let part = format!("sought.{}", table.replace('.', "_"));
            let sought = session.register_sought(&part, table, own, &units.column(other)).await;
            if sought.map_err(BatchError::sql(model.file.clone()))? {
                return Ok(sql::table(&part));
            }
        }
        let partition = self.models.get(table).and_then(|model| model.header.partition.as_deref());
        let Some(day) = partition.filter(|_| units.rows() <= UNITS_OF_DAYS_MAX) else { return Ok(quoted) };
        let mut read: Vec<&str> = pairs.iter().map(|(own, _)| *own).chain([day]).collect();
        read.sort_unstable();
        read.dedup();
        let text = format!(
            "select distinct cast({} as date) as day from (select {} from {quoted}) as f left semi join {} as u on {}",
            sql::list("f", [day]),
            sql::list("", read),
            sql::table(UNITS),
            sql::equal("f", "u", pairs.iter().copied())
        );
        let found = self.collect(session, model, &text).await?;
        Ok(match on_days(day, &found) {
            Some(condition) => format!("(select * from {quoted} where {condition})"),
            None => quoted,
        })
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

/// The units that were found last, by table: what an increment has computed is checked next.
///
/// They hold for the same records, since what is behind a table is computed up to these before the table is, and up
/// to no others before the next ones come.
#[derive(Debug, Default)]
pub(crate) struct KnownUnits(Mutex<BTreeMap<String, (Vec<Records>, Collected)>>);

impl KnownUnits {
    fn get(&self, model: &Model, records: &[Records]) -> Option<Collected> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&model.table()).filter(|known| known.0 == records).map(|known| known.1.clone())
    }

    fn put(&self, model: &Model, records: Vec<Records>, units: Collected) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(model.table(), (records, units));
    }
}

/// The condition that a time is on one of these days; `None` where it would not help.
fn on_days(column: &str, days: &Collected) -> Option<String> {
    let mut known: Vec<i64> = Vec::new();
    for batch in &days.batches {
        for row in 0..batch.num_rows() {
            known.push(date(batch, 0, row)?);
        }
    }
    if known.is_empty() || known.len() > DAYS_MAX {
        return None;
    }
    known.sort_unstable();
    let column = sql::ident(column);
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for day in known {
        match ranges.last_mut() {
            Some((_, end)) if *end == day => *end = day + 1,
            _ => ranges.push((day, day + 1)),
        }
    }
    let range = |(from, to): (i64, i64)| {
        format!("({column} >= {} and {column} < {})", sql::midnight(from), sql::midnight(to))
    };
    Some(ranges.into_iter().map(range).collect::<Vec<_>>().join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Date32Array, RecordBatch};
    use std::sync::Arc;

    fn days(days: Vec<Option<i32>>) -> Option<String> {
        let column = Arc::new(Date32Array::from(days)) as ArrayRef;
        let batch = RecordBatch::try_from_iter_with_nullable([("day", column, true)]).unwrap();
        on_days("at", &Collected { schema: batch.schema(), batches: vec![batch] })
    }

    #[test]
    fn days_in_a_row_are_one_range_and_what_is_unknown_or_too_much_rules_nothing_out() {
        let range =
            |from, to| format!("(\"at\" >= {} and \"at\" < {})", sql::midnight(from), sql::midnight(to));
        assert_eq!(
            days(vec![Some(7), Some(3), Some(4)]),
            Some(format!("{} or {}", range(3, 5), range(7, 8)))
        );
        assert_eq!(days(vec![Some(3), None]), None);
        assert_eq!(days(Vec::new()), None);
        assert_eq!(days((0..=50).map(|day| Some(2 * day)).collect()), None);
    }
}
