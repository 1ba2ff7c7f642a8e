//! Vectors of all keys as of instants of the past, computed of the windows before them and appended.

use super::pass::Pass;
use super::slices::{most_within, slices};
use super::table::{self, Vectors};
use super::{Offline, ViewPlan};
use crate::history::{Counted, HistoryError, Keys, Range, instant};
use affluent_features::definition::Freshness;
use affluent_lake::sql::Session;
use affluent_lake::{Commit, LakeError, LakeTable, Outcome, Overwrite, Partition, Remove};
use affluent_model::time::now_micros;
use affluent_telemetry::failpoint;
use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use async_trait::async_trait;
use std::collections::BTreeSet;

/// The right to write, asked for right before every commit.
#[async_trait]
pub trait Writer: Send + Sync {
    /// # Errors
    /// [`HistoryError::Stopped`].
    async fn permit(&self) -> Result<(), HistoryError>;

    /// The number that grows from one holder of the right to the next; `None` outside of any run.
    fn fence(&self) -> Option<i64>;
}

/// What a materialisation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materialised {
    /// What became of the rows that were read.
    pub read: Counted,
    /// Rows that were written, of so many instants.
    pub rows: u64,
    pub instants: u64,
    /// Instants that were there already.
    pub before: u64,
    /// Instants at which no key had an event in its windows.
    pub empty: u64,
    /// Rows with a window that reached back to events that had been let go.
    pub inexact: u64,
}

impl Offline {
    /// Appends the vectors of a view as of these instants, in ascending order, where they are not there yet. `progress` is told of each
    /// instant with the rows that were written so far.
    ///
    /// # Errors
    /// [`HistoryError`]; instants before the one that failed are written.
    pub async fn materialise(
        &self,
        view: &ViewPlan,
        as_of: &[i64],
        writer: &dyn Writer,
        mut progress: impl FnMut(i64, u64) + Send,
    ) -> Result<Materialised, HistoryError> {
        let mut done = Materialised::default();
        let session = self.history().session().await?;
        let there = self.there(&session, view, as_of).await?;
        let wanted: Vec<i64> = as_of.iter().copied().filter(|instant| !there.contains(instant)).collect();
        done.before = there.len() as u64;
        let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { return Ok(done) };
        let table = self.table(view).await?;
        let slices = self.slices(&session, view, first, last).await?;
        // Where the keys do not fit into memory at once: instant by instant, slice by slice, each from its own windows.
        let passes =
            if slices == 1 { vec![wanted] } else { wanted.into_iter().map(|one| vec![one]).collect() };
        for instants in passes {
            if let ([instant], 2..) = (instants.as_slice(), slices) {
                let (vectors, counted) = self.sliced(&session, view, *instant, slices).await?;
                self.write(view, &table, *instant, &vectors, writer, &mut done).await?;
                done.read.add(counted);
                progress(*instant, done.rows);
                continue;
            }
            let mut pass = Pass::new(self, &session, view, (first, last), Keys::All).await?;
            for instant in instants {
                let vectors = pass.until(view, instant).await?;
                self.write(view, &table, instant, &vectors, writer, &mut done).await?;
                progress(instant, done.rows);
            }
            done.read.add(pass.counted());
        }
        Ok(done)
    }

    /// The vectors of all features of an entity that a job of this freshness serves, as of an instant; none where there are none.
    pub(crate) async fn served(
        &self,
        entity: &str,
        class: Freshness,
        instant: i64,
    ) -> Result<Option<(ViewPlan, Vectors, Counted)>, HistoryError> {
        let Some(view) = ViewPlan::served(self.history().definitions(), entity, class)? else {
            return Ok(None);
        };
        if self.missing(&view).await?.is_some() {
            return Ok(None);
        }
        let session = self.history().session().await?;
        let slices = self.slices(&session, &view, instant, instant).await?;
        let (vectors, counted) = self.sliced(&session, &view, instant, slices).await?;
        Ok(Some((view, vectors, counted)))
    }

    /// The vectors of one instant, from so many slices of the keys.
    async fn sliced(
        &self,
        session: &Session,
        view: &ViewPlan,
        instant: i64,
        slices: u32,
    ) -> Result<(Vectors, Counted), HistoryError> {
        let (mut vectors, mut counted) = (Vectors::new(view), Counted::default());
        for slice in 0..slices {
            let keys = if slices == 1 { Keys::All } else { Keys::Slice(slice, slices) };
            let mut pass = Pass::new(self, session, view, (instant, instant), keys).await?;
            vectors.append(pass.until(view, instant).await?);
            counted.add(pass.counted());
            if vectors.bytes() > self.memory_bytes() {
                let what = format!("the rows of {} of one instant", view.name);
                let (bytes, limit) = (vectors.bytes(), self.memory_bytes());
                return Err(HistoryError::Memory { what, bytes, limit });
            }
        }
        Ok((vectors, counted))
    }

    async fn write(
        &self,
        view: &ViewPlan,
        table: &LakeTable,
        as_of: i64,
        vectors: &Vectors,
        writer: &dyn Writer,
        done: &mut Materialised,
    ) -> Result<(), HistoryError> {
        if vectors.len() == 0 {
            done.empty += 1;
            return Ok(());
        }
        let failed = || HistoryError::lake(format!("write features.{}", view.name));
        let rows =
            vectors.batch(view, as_of, now_micros()).map_err(|error| failed()(LakeError::Arrow(error)))?;
        writer.permit().await?;
        let key = format!("{as_of}/{}", digest(&view.meaning));
        let commit = Commit { fence: writer.fence(), ..Commit::named(key) };
        failpoint("materialise::before_commit");
        let overwrite = Overwrite { remove: Remove::Nothing, rows: vec![rows] };
        let outcome = table.overwrite(commit, overwrite).await.map_err(failed())?;
        failpoint("materialise::after_commit");
        match outcome {
            Outcome::Committed(written) => {
                done.rows += written.rows_added;
                done.instants += 1;
                done.inexact += vectors.inexact();
            }
            Outcome::AlreadyCommitted(_) => done.before += 1,
        }
        Ok(())
    }

    /// The view's table, made where it is missing.
    async fn table(&self, view: &ViewPlan) -> Result<LakeTable, HistoryError> {
        let (day, columns) = (Partition::Day(table::AS_OF.to_owned()), table::columns(view));
        let made = self
            .lake()
            .ensure_sorted_table(table::NAMESPACE, &view.name, &columns, &day, &[table::KEY])
            .await;
        made.map_err(HistoryError::lake(format!("make features.{}", view.name)))
    }

    /// Which of these instants the table has, of what the features mean now.
    async fn there(
        &self,
        session: &Session,
        view: &ViewPlan,
        as_of: &[i64],
    ) -> Result<BTreeSet<i64>, HistoryError> {
        let name = format!("{}.{}", table::NAMESPACE, view.name);
        let (Some(first), Some(last)) = (as_of.iter().min(), as_of.iter().max()) else {
            return Ok(BTreeSet::new());
        };
        if !session.tables().iter().any(|table| table.name == name) {
            return Ok(BTreeSet::new());
        }
        let text = format!(
            "select distinct {0} from {name} where {0} >= {1} and {0} <= {2} and {3} = '{4}'",
            table::AS_OF,
            instant(*first),
            instant(*last),
            table::MEANING,
            view.meaning.replace('\'', "''")
        );
        let found: BTreeSet<i64> = instants(session, &text).await?.into_iter().collect();
        Ok(as_of.iter().copied().filter(|instant| found.contains(instant)).collect())
    }

    /// In how many slices the keys of a view are computed.
    async fn slices(
        &self,
        session: &Session,
        view: &ViewPlan,
        first: i64,
        last: i64,
    ) -> Result<u32, HistoryError> {
        let range = Range { since: first.saturating_sub(view.reach), until: last };
        let mut bytes = 0_u64;
        for name in &view.sources {
            let days = self.history().days(session, name, range).await?;
            let kept = view.plan.kept().into_iter().filter(|kept| kept.source == *name);
            let width = kept.map(|kept| kept.event_bytes as u64).sum::<u64>();
            bytes = bytes.saturating_add(super::slices::bytes(most_within(&days, view.reach), width));
        }
        slices(bytes, self.memory_bytes()).ok_or_else(|| HistoryError::Memory {
            what: format!("the state of {}", view.name),
            bytes,
            limit: self.memory_bytes(),
        })
    }
}

/// The instants of a query's one column.
pub(crate) async fn instants(session: &Session, text: &str) -> Result<Vec<i64>, HistoryError> {
    let batches = session.collect(text).await.map_err(HistoryError::sql(text))?;
    let mut found = Vec::new();
    for batch in &batches {
        found.extend(batch.column(0).as_primitive::<TimestampMicrosecondType>().iter().flatten());
    }
    Ok(found)
}

/// A short name of what features mean, for the key of a commit.
pub(crate) fn digest(meaning: &str) -> String {
    format!("{:016x}", affluent_features::event::fingerprint(meaning))
}
