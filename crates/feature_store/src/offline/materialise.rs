//! Vectors of all keys as of instants of the past, computed of the windows before them and appended.

use super::slices::{most_within, slices};
use super::table::{self, Vectors};
use super::ViewPlan;
use crate::history::{Counted, History, HistoryError, Kept, Range, instant};
use affluent_features::{At, Engine, Key, Options};
use affluent_lake::sql::Session;
use affluent_lake::{Commit, Lake, LakeError, LakeTable, Outcome, Overwrite, Partition, Remove};
use affluent_model::time::{format_micros, now_micros};
use affluent_telemetry::failpoint;
use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use async_trait::async_trait;
use std::collections::{BTreeSet, HashMap};

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
    /// Events that were read, rows that were refused among them not.
    pub read: Counted,
    /// Rows that were written, of so many instants.
    pub rows: u64,
    pub instants: u64,
    /// Instants that were there already.
    pub before: u64,
    /// Instants at which no key had an event in its windows.
    pub empty: u64,
    /// Vectors that are not exact.
    pub inexact: u64,
}

/// The offline store over a lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Offline {
    lake: Lake,
    history: History,
    /// Memory for the state of a view, and for the rows of an instant.
    memory_bytes: u64,
}

impl Offline {
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

    /// Which table a view needs and has not; none where it can be materialised.
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

    /// When the first and the last event that a view reads arrived, to the day; none where there is no event.
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
        let text = "select max(as_of) as as_of from ops.batch_frontier";
        let found = instants(&session, text).await?;
        Ok(found.into_iter().next())
    }

    /// Appends the vectors of a view as of these instants, in ascending order, where they are not there yet. `progress` is told of each
    /// instant with the rows that were written.
    ///
    /// # Errors
    /// [`HistoryError`]; instants before the one that failed are written.
    pub async fn materialise(
        &self,
        view: &ViewPlan,
        as_of: &[i64],
        writer: &dyn Writer,
        mut progress: impl FnMut(i64, u64),
    ) -> Result<Materialised, HistoryError> {
        let mut done = Materialised::default();
        let session = self.history.session().await?;
        let there = self.there(&session, view, as_of).await?;
        let wanted: Vec<i64> = as_of.iter().copied().filter(|instant| !there.contains(instant)).collect();
        done.before = there.len() as u64;
        let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { return Ok(done) };
        let table = self.table(view).await?;
        let slices = self.slices(&session, view, first, last).await?;
        if slices == 1 {
            let mut pass = Pass::new(self, &session, view, first, last, None).await?;
            for instant in wanted {
                let vectors = pass.until(view, instant).await?;
                self.write(view, &table, instant, vectors, &pass.feed.counted, writer, &mut done).await?;
                progress(instant, done.rows);
            }
            done.read.add(pass.feed.counted);
            return Ok(done);
        }
        // The keys do not fit into memory at once: instant by instant, slice by slice, each from its own windows.
        for instant in wanted {
            let (mut vectors, mut counted) = (Vectors::new(view), Counted::default());
            for slice in 0..slices {
                let mut pass = Pass::new(self, &session, view, instant, instant, Some((slice, slices))).await?;
                vectors.append(pass.until(view, instant).await?);
                counted.add(pass.feed.counted);
            }
            self.write(view, &table, instant, vectors, &counted, writer, &mut done).await?;
            done.read.add(counted);
            progress(instant, done.rows);
        }
        Ok(done)
    }

    #[expect(clippy::too_many_arguments, reason = "what one commit is made of")]
    async fn write(
        &self,
        view: &ViewPlan,
        table: &LakeTable,
        as_of: i64,
        vectors: Vectors,
        counted: &Counted,
        writer: &dyn Writer,
        done: &mut Materialised,
    ) -> Result<(), HistoryError> {
        if vectors.len() == 0 {
            if counted.events == 0 && counted.refused > 0 {
                let first = counted.first_refused.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let what = format!("features.{} as of {}", view.name, format_micros(as_of, true));
                return Err(HistoryError::NoRows { what, events: counted.refused, refused: counted.refused, first });
            }
            done.empty += 1;
            return Ok(());
        }
        if vectors.bytes() > self.memory_bytes {
            let what = format!("the rows of features.{} of one instant", view.name);
            return Err(HistoryError::Memory { what, bytes: vectors.bytes(), limit: self.memory_bytes });
        }
        let rows = vectors
            .batch(view, as_of, now_micros())
            .map_err(|error| HistoryError::lake(format!("features.{}", view.name))(LakeError::Arrow(error)))?;
        let inexact = vectors.inexact();
        writer.permit().await?;
        let commit = Commit { fence: writer.fence(), ..Commit::named(format!("{as_of}/{}", digest(&view.meaning))) };
        failpoint("features::before_materialised");
        let overwrite = Overwrite { remove: Remove::Nothing, rows: vec![rows] };
        let outcome = table
            .overwrite(commit, overwrite)
            .await
            .map_err(HistoryError::lake(format!("write features.{}", view.name)))?;
        failpoint("features::after_materialised");
        match outcome {
            Outcome::Committed(written) => {
                done.rows += written.rows_added;
                done.instants += 1;
                done.inexact += inexact;
            }
            Outcome::AlreadyCommitted(_) => done.before += 1,
        }
        Ok(())
    }

    /// The view's table, made where it is missing.
    async fn table(&self, view: &ViewPlan) -> Result<LakeTable, HistoryError> {
        let day = Partition::Day(table::AS_OF.to_owned());
        let made =
            self.lake.ensure_sorted_table(table::NAMESPACE, &view.name, &table::columns(view), &day, &[table::KEY]);
        made.await.map_err(HistoryError::lake(format!("make features.{}", view.name)))
    }

    /// Which of these instants the table has, of what the features mean now.
    async fn there(&self, session: &Session, view: &ViewPlan, as_of: &[i64]) -> Result<BTreeSet<i64>, HistoryError> {
        let name = format!("{}.{}", table::NAMESPACE, view.name);
        let (Some(first), Some(last)) = (as_of.iter().min(), as_of.iter().max()) else { return Ok(BTreeSet::new()) };
        if !session.tables().iter().any(|table| table.name == name) {
            return Ok(BTreeSet::new());
        }
        let text = format!(
            "select distinct {} from {name} where {} >= {} and {} <= {} and {} = '{}'",
            table::AS_OF,
            table::AS_OF,
            instant(*first),
            table::AS_OF,
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
        let (mut events, mut bytes) = (0, 0);
        for name in &view.sources {
            let days = self.history.days(session, name, range).await?;
            let kept = view.plan.kept().into_iter().filter(|kept| kept.source == *name);
            let width = kept.map(|kept| kept.event_bytes as u64).sum::<u64>();
            events += most_within(&days, view.reach);
            bytes = bytes.max(width);
        }
        let what = || format!("the state of view {}", view.name);
        slices(events, bytes, self.memory_bytes).ok_or_else(|| HistoryError::Memory {
            what: what(),
            bytes: events.saturating_mul(bytes),
            limit: self.memory_bytes,
        })
    }
}

/// The engine on its way through history.
struct Pass {
    engine: Engine,
    feed: crate::history::Feed,
    /// The keys that have come, as text.
    texts: HashMap<Key, String>,
}

impl Pass {
    /// From the windows before `first` on, up to `last`; of all keys or of a slice of them.
    async fn new(
        offline: &Offline,
        session: &Session,
        view: &ViewPlan,
        first: i64,
        last: i64,
        slice: Option<(u32, u32)>,
    ) -> Result<Self, HistoryError> {
        let kept = Kept { entity: Some(view.entity.clone()), slice, ..Kept::default() };
        let range = Range { since: first.saturating_sub(view.reach), until: last };
        let what = (&*view.definitions, &view.plan);
        let feed = offline.history.feed(session, what, &view.sources, range, &kept).await?;
        let options = Options { any_order: true, ..Options::default() };
        Ok(Pass { engine: Engine::new(view.plan.clone(), options), feed, texts: HashMap::new() })
    }

    /// The vectors of every key that has an event in its windows as of `instant`.
    async fn until(&mut self, view: &ViewPlan, instant: i64) -> Result<Vectors, HistoryError> {
        let Pass { engine, feed, texts } = self;
        while let Some(piece) = feed.step(engine, instant, None, &mut |_, _| {}).await? {
            for (key, text) in piece.into_iter().flat_map(|(_, events)| events.texts).flatten() {
                texts.entry(key).or_insert(text);
            }
        }
        engine.evict(instant);
        let keys: BTreeSet<Key> = engine.keys_of(view.entity_id).collect();
        texts.retain(|key, _| keys.contains(key));
        let mut vectors = Vectors::new(view);
        let mut vector = vec![f64::NAN; view.plan.entity_shape(view.entity_id).features.len()];
        for key in keys {
            let Some(text) = texts.get(&key) else { continue };
            let exact = engine.vector(view.entity_id, Some(key), At::time(instant), None, &mut vector);
            vectors.push(view, text.clone(), &vector, exact);
        }
        Ok(vectors)
    }
}

/// The instants of a query's one column.
async fn instants(session: &Session, text: &str) -> Result<Vec<i64>, HistoryError> {
    let batches = session.collect(text).await.map_err(HistoryError::sql(text))?;
    let mut found = Vec::new();
    for batch in &batches {
        found.extend(batch.column(0).as_primitive::<TimestampMicrosecondType>().iter().flatten());
    }
    Ok(found)
}

/// A short name of what the features mean, for the key of a commit.
pub(crate) fn digest(meaning: &str) -> String {
    format!("{:016x}", affluent_features::event::fingerprint(meaning))
}
