//! Rows for training: of each event of a source its features as they were then, and what is known of it now.
//!
//! A row sees the events that had happened and had arrived when its own did; its label is what had arrived by the set's `as_of`, and
//! null where the event is younger than the label's delay. The table `features.training_<name>` is written once: corrections that
//! come later change no set that there is.
//!
//! [`customer_rows`] are rows of customers at instants in place of events; [`load`] reads either as they were.
//!
//! Invariant: one name, one set. A call with the same name and meaning goes on where it was killed, or finds it done.

mod beside;
mod customers;
mod load;
mod rows;

pub use beside::{CATEGORIES, write_beside};
pub use customers::{
    CUSTOMER_CATEGORIES, CustomerRows, CustomerSet, INSTANTS_MAX, customer_rows, payments_span,
};
pub use load::{Loaded, Wanted, drop_table, events_between, load, table_of};

use crate::history::{Counted, Feed, HistoryError, Kept, Range};
use crate::offline::{Offline, Writer};
use affluent_features::definition::{Definitions, Feature, REQUEST, Source};
use affluent_features::event::DAY;
use affluent_features::{Engine, Options, Plan, SourceId};
use affluent_lake::{Advance, LakeError, LakeTable, Partition};
use affluent_telemetry::failpoint;
use rows::Rows;
pub use rows::TrainingColumns;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

const NAMESPACE: &str = "features";
/// Rows of a commit.
const CHUNK_ROWS: usize = 50_000;
/// Marked events that are held in memory.
const MARKED_MAX: usize = 20_000_000;

/// What a training set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingSet {
    /// Its table is `features.training_<name>`.
    pub name: String,
    /// The source whose events are its rows, such as `transactions`.
    pub source: String,
    /// Its features; empty: all of the event itself and of the entities it belongs to.
    pub features: Vec<String>,
    /// Events that happened from here, and before there; microseconds UTC.
    pub from: i64,
    pub to: i64,
    /// What had arrived by then is known.
    pub as_of: i64,
    pub label: Option<TrainingLabel>,
}

/// Which events are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingLabel {
    /// The source whose events mark those with the same time and id, such as `fraud_labels`.
    pub source: String,
    /// An event that is not marked so long after it happened counts as good; microseconds.
    pub delay: i64,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainingRows {
    pub table: String,
    /// The features, in the order of the table's columns.
    pub features: Vec<String>,
    pub rows: u64,
    /// Of these, rows that were written now.
    pub written: u64,
    pub marked: u64,
    /// Rows that are too young for their label to be known.
    pub unlabelled: u64,
    /// Rows with a window that reached back to events that had been let go.
    pub inexact: u64,
    pub read: Counted,
}

/// Writes the rows of a set. `progress` is told how many there are after each commit.
///
/// # Errors
/// [`HistoryError`]: names that there are not, tables that are missing, another set of this name; no event at all.
pub async fn training_rows(
    offline: &Offline,
    set: &TrainingSet,
    writer: &dyn Writer,
    mut progress: impl FnMut(u64) + Send,
) -> Result<TrainingRows, HistoryError> {
    let planned = Planned::new(offline.history().definitions(), set)?;
    let mut done = TrainingRows { features: planned.names(), ..TrainingRows::default() };
    let mut computing = Computing::begin(offline, set, &planned).await?;
    let mut output = Output::open(offline, set, &planned).await?;
    done.table = output.table.name();
    while computing.step(&mut done).await? {
        while computing.rows.len() >= CHUNK_ROWS {
            output.write(computing.rows.take(CHUNK_ROWS), writer, &mut done).await?;
            progress(done.rows);
        }
    }
    output.write(computing.rows.take(CHUNK_ROWS), writer, &mut done).await?;
    progress(done.rows);
    done.read = computing.feed.counted;
    check_any(set, done.rows, &done.read)?;
    output.complete(writer, done.rows).await?;
    Ok(done)
}

/// The same rows in memory, in the order of time, and no table: at most `rows_max`.
///
/// # Errors
/// As [`training_rows`]; more rows than that.
pub async fn training_columns(
    offline: &Offline,
    set: &TrainingSet,
    rows_max: usize,
    writer: &dyn Writer,
) -> Result<TrainingColumns, HistoryError> {
    let planned = Planned::new(offline.history().definitions(), set)?;
    let mut done = TrainingRows::default();
    let mut computing = Computing::begin(offline, set, &planned).await?;
    while computing.step(&mut done).await? {
        writer.permit().await?;
        if computing.rows.len() > rows_max {
            let message = format!("{}: more than {rows_max} rows; take a shorter time", set.name);
            return Err(HistoryError::Definition(message));
        }
    }
    check_any(set, computing.rows.len() as u64, &computing.feed.counted)?;
    Ok(computing.rows.into_columns())
}

fn check_any(set: &TrainingSet, rows: u64, read: &Counted) -> Result<(), HistoryError> {
    if rows > 0 {
        return Ok(());
    }
    let first = read.first_refused.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let (what, events, refused) = (format!("training set {}", set.name), read.events, read.refused);
    Err(HistoryError::NoRows { what, events, refused, first })
}

/// The rows of a set as they are computed, a piece of history after the other.
struct Computing<'a> {
    set: &'a TrainingSet,
    spine: SourceId,
    marked: HashSet<(i64, u64)>,
    feed: Feed,
    engine: Engine,
    /// What was not taken out yet.
    rows: Rows,
    day: i64,
}

impl<'a> Computing<'a> {
    async fn begin(
        offline: &Offline,
        set: &'a TrainingSet,
        planned: &Planned,
    ) -> Result<Computing<'a>, HistoryError> {
        let history = offline.history();
        let session = history.session().await?;
        let readable = planned.sources.iter().chain(set.label.as_ref().map(|label| &label.source));
        for name in readable {
            if let Some(missing) = history.unreadable(&session, history.source(name)?).await? {
                return Err(HistoryError::Definition(format!("training set {}: {missing}", set.name)));
            }
        }
        let marked = match &set.label {
            Some(label) => marked(offline, &session, planned, set, label).await?,
            None => HashSet::new(),
        };
        let range = Range { since: set.from.saturating_sub(planned.reach), until: set.as_of };
        let kept = Kept { ids_of: Some(set.source.clone()), ..Kept::default() };
        let what = (&planned.definitions, &planned.plan);
        let feed = history.feed(&session, what, &planned.sources, range, &kept).await?;
        let engine =
            Engine::new(Arc::clone(&planned.plan), Options { any_order: true, ..Options::default() });
        let rows = Rows::new(&planned.places, set.label.is_some());
        Ok(Computing { set, spine: planned.spine, marked, feed, engine, rows, day: i64::MIN })
    }

    /// Takes the next piece in; false at the end of history.
    async fn step(&mut self, done: &mut TrainingRows) -> Result<bool, HistoryError> {
        let Computing { set, spine, marked, feed, engine, rows, day } = self;
        let piece = {
            let (set, marked) = (&**set, &*marked);
            let mut sink = |events: &crate::history::Events, row: affluent_features::replay::Row<'_>| {
                let time = events.time[row.event];
                if !(set.from..set.to).contains(&time) {
                    return;
                }
                let label = set.label.as_ref().map(|label| {
                    let is_marked = marked.contains(&(time, events.order[row.event]));
                    let is_known = is_marked || time.saturating_add(label.delay) <= set.as_of;
                    done.marked += u64::from(is_marked);
                    done.unlabelled += u64::from(!is_known);
                    is_known.then_some(is_marked)
                });
                done.inexact += u64::from(!row.exact);
                rows.push(events, row, label.flatten());
            };
            feed.step(engine, set.as_of, Some(*spine), &mut sink).await?
        };
        let Some(piece) = piece else { return Ok(false) };
        // What no window needs any more goes, so that memory holds the windows and not the history.
        let newest =
            piece.iter().filter_map(|(_, events)| events.arrived.last()).max().copied().unwrap_or(*day);
        if newest.div_euclid(DAY) > *day {
            *day = newest.div_euclid(DAY);
            engine.evict(newest);
        }
        Ok(true)
    }
}

/// The features of an event of `source` that can be read, and in words why others cannot. A set without features of its own takes all
/// that there are, and none where a table is missing; this is for who would rather do without.
///
/// # Errors
/// [`HistoryError`]: no such source.
pub async fn readable(offline: &Offline, source: &str) -> Result<(Vec<String>, Vec<String>), HistoryError> {
    let history = offline.history();
    let definitions = history.definitions();
    let spine = history.source(source)?;
    let session = history.session().await?;
    let mut missing: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut features, mut left_out) = (Vec::new(), BTreeSet::new());
    for feature in definitions.features.iter().filter(|feature| belongs(definitions, spine, feature)) {
        let mut why = None;
        for name in definitions.sources_of(feature) {
            if !missing.contains_key(name) {
                let found = history.unreadable(&session, history.source(name)?).await?;
                missing.insert(name.to_owned(), found);
            }
            why = why.or(missing.get(name).cloned().flatten());
        }
        match why {
            None => features.push(feature.name.clone()),
            Some(why) => {
                left_out.insert(format!("features of {}: {why}", feature.view));
            }
        }
    }
    Ok((features, left_out.into_iter().collect()))
}

/// Whether it is a feature of an event of a source.
fn belongs(definitions: &Definitions, source: &Source, feature: &Feature) -> bool {
    match feature.entity.as_str() {
        REQUEST => definitions.sources_of(feature) == [source.name.as_str()],
        entity => source.entity(entity).is_some(),
    }
}

/// What is read and computed for a set.
struct Planned {
    definitions: Definitions,
    plan: Arc<Plan>,
    spine: SourceId,
    sources: Vec<String>,
    reach: i64,
    /// The set's features: names, and places in the row of an event.
    places: Vec<(String, usize)>,
    /// What the set means, as text.
    meaning: String,
}

impl Planned {
    fn new(all: &Definitions, set: &TrainingSet) -> Result<Self, HistoryError> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !is_name(&set.name) {
            let message = format!("{:?} is no name of a training set: small letters, digits and _", set.name);
            return Err(HistoryError::Definition(message));
        }
        let source = all.sources.get(&set.source);
        let source =
            source.ok_or_else(|| HistoryError::Definition(format!("there is no source {}", set.source)))?;
        let wanted: Vec<&str> = match set.features.as_slice() {
            [] => {
                let own = all.features.iter().filter(|feature| belongs(all, source, feature));
                own.map(|feature| feature.name.as_str()).collect()
            }
            names => names.iter().map(String::as_str).collect(),
        };
        let definitions = all.select(&wanted)?;
        let plan = Plan::new(&definitions)?;
        let no_source = || HistoryError::Definition(format!("no feature is of the events of {}", set.source));
        let spine = plan.source(&set.source).ok_or_else(no_source)?;
        let row = &plan.source_shape(spine).row;
        let mut places = Vec::new();
        for name in &wanted {
            let place = row.iter().position(|known| known == name).ok_or_else(|| {
                HistoryError::Definition(format!("{name} is no feature of an event of {}", set.source))
            })?;
            places.push(((*name).to_owned(), place));
        }
        let mut sources = crate::offline::sources(&definitions);
        if !sources.contains(&set.source) {
            sources.push(set.source.clone());
        }
        let mut meaning = format!("{} {} {} {} {:?} ", set.source, set.from, set.to, set.as_of, set.label);
        for feature in definitions.features.iter().filter(|feature| wanted.contains(&feature.name.as_str())) {
            let _ = write!(meaning, "{}@{}:{} ", feature.name, feature.version, feature.digest);
        }
        let reach = crate::offline::reach(&plan);
        Ok(Planned { plan: Arc::new(plan), definitions, spine, sources, reach, places, meaning })
    }

    fn names(&self) -> Vec<String> {
        self.places.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Time and order of the events that are marked.
async fn marked(
    offline: &Offline,
    session: &affluent_lake::sql::Session,
    planned: &Planned,
    set: &TrainingSet,
    label: &TrainingLabel,
) -> Result<HashSet<(i64, u64)>, HistoryError> {
    let history = offline.history();
    let range = Range { since: set.from, until: set.as_of };
    let what = (&planned.definitions, &planned.plan);
    let sources = std::slice::from_ref(&label.source);
    let mut feed = history.feed(session, what, sources, range, &Kept::default()).await?;
    let mut marked = HashSet::new();
    while let Some(piece) = feed.next(set.as_of).await? {
        for (_, events) in piece {
            let inside =
                events.time.iter().zip(&events.order).filter(|(time, _)| (set.from..set.to).contains(*time));
            marked.extend(inside.map(|(&time, &order)| (time, order)));
        }
        if marked.len() > MARKED_MAX {
            let message = format!(
                "training set {}: more than {MARKED_MAX} marked events; take a shorter time",
                set.name
            );
            return Err(HistoryError::Definition(message));
        }
    }
    Ok(marked)
}

/// The table of a set, and how far it has the rows.
struct Output {
    table: LakeTable,
    name: String,
    topic: Arc<str>,
    stored: Option<i64>,
}

impl Output {
    async fn open(offline: &Offline, set: &TrainingSet, planned: &Planned) -> Result<Self, HistoryError> {
        let name = format!("training_{}", set.name);
        let topic: Arc<str> = format!("rows@{}", crate::offline::digest(&planned.meaning)).into();
        let failed = |what: &str| HistoryError::lake(format!("{what} features.{name}"));
        match offline.lake().table(NAMESPACE, &name).await {
            Err(LakeError::NotFound(_)) => {}
            Err(error) => return Err(failed("open")(error)),
            Ok(table) => {
                let offsets = table.offsets().await.map_err(failed("open"))?;
                if let Some((other, _, _)) = offsets.iter().find(|(other, _, _)| *other != &*topic) {
                    return Err(HistoryError::Definition(format!(
                        "features.{name} is another training set ({other}): its times, label or features differ, or what a feature \
                         means has changed; give this one another name"
                    )));
                }
            }
        }
        let columns = rows::columns(&planned.places, set.label.is_some());
        let made = offline.lake().ensure_table(NAMESPACE, &name, &columns, &Partition::None).await;
        let table = made.map_err(failed("make"))?;
        let stored = table.offsets().await.map_err(failed("open"))?.get(&topic, 0);
        Ok(Output { table, name, topic, stored })
    }

    /// Appends the rows that the table has not yet; they come in the same order each time.
    async fn write(
        &mut self,
        rows: Rows,
        writer: &dyn Writer,
        done: &mut TrainingRows,
    ) -> Result<(), HistoryError> {
        let count = rows.len();
        if count == 0 {
            return Ok(());
        }
        let first = i64::try_from(done.rows).unwrap_or(i64::MAX);
        done.rows += count as u64;
        let next = i64::try_from(done.rows).unwrap_or(i64::MAX);
        let stored = self.stored.unwrap_or(0);
        if stored >= next {
            return Ok(());
        }
        let skipped = usize::try_from((stored - first).max(0)).unwrap_or(usize::MAX).min(count);
        let failed = || HistoryError::lake(format!("write features.{}", self.name));
        let batch = rows.batch().map_err(|error| failed()(error.into()))?.slice(skipped, count - skipped);
        let advance = self.advance(0, self.stored, next);
        writer.permit().await?;
        failpoint("training::before_commit");
        self.table.append_batches(vec![batch], vec![advance]).await.map_err(failed())?;
        failpoint("training::after_commit");
        self.stored = Some(next);
        done.written += (count - skipped) as u64;
        Ok(())
    }

    /// Notes that all rows are there.
    async fn complete(&self, writer: &dyn Writer, rows: u64) -> Result<(), HistoryError> {
        let failed = || HistoryError::lake(format!("write features.{}", self.name));
        let stored = self.table.offsets().await.map_err(failed())?.get(&self.topic, 1);
        if stored.is_some() {
            return Ok(());
        }
        writer.permit().await?;
        let advance = self.advance(1, None, i64::try_from(rows).unwrap_or(i64::MAX));
        self.table.append_batches(Vec::new(), vec![advance]).await.map_err(failed())?;
        Ok(())
    }

    fn advance(&self, partition: i32, expected: Option<i64>, next: i64) -> Advance {
        Advance { topic: Arc::clone(&self.topic), partition, expected, next }
    }
}
