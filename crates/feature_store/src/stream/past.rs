//! What the topics do not hold (any more), from the lake: once, when the role starts.
//!
//! The raw zone has every record of a topic at its partition and offset, and the rows of an import at a partition below zero. So how
//! far the state has read is told in the same numbers wherever a record was read, and parity finds the imported ones too. Imports come
//! before the topic's own partitions, as parity reads them: of two versions of one event the first counts.
//!
//! Invariant: of each partition the state has the events of the records below its offset, as far as any window reaches; or values that reach what it
//! lacks are not exact.

use super::state::{Offsets, State};
use super::values::Values;
use super::{Streamed, used};
use crate::event::{Mapping, OPTIONAL};
use crate::history::{FOREVER, History, HistoryError, Kept, Range};
use crate::offline::reach;
use affluent_bus::{Admin, BusError, TopicPartition};
use affluent_features::engine::Counters;
use affluent_lake::sql::Engine;
use affluent_lake::{Lake, LakeError};
use affluent_model::time::now_micros;
use affluent_stream::sinks::SinkError;
use affluent_stream::sinks::lake::table_of;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lake, for what the topics do not hold.
#[derive(Debug, Clone)]
pub struct Past {
    lake: Lake,
    engine: Arc<Engine>,
    streamed: Streamed,
}

/// Records that the lake has, and neither the state nor the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    partition: TopicPartition,
    from: i64,
    to: i64,
}

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Caught {
    pub(super) counters: Counters,
    pub(super) late: u64,
    /// Whether there was anything to be read.
    pub(super) any: bool,
}

impl Past {
    /// The past of the streamed features, read from `lake` through `engine`.
    #[must_use]
    pub fn new(lake: Lake, engine: Arc<Engine>, streamed: &Streamed) -> Self {
        Past { lake, engine, streamed: streamed.clone() }
    }

    /// Applies to the state what it has not read and its topics do not hold, and has the values of those keys written, where any are.
    ///
    /// # Errors
    /// [`SinkError::Passing`] while lake or broker are away, [`SinkError::Fatal`] where a raw table cannot be read. A part may have been applied.
    pub(super) async fn read(
        &self,
        admin: &Admin,
        state: &mut State,
        mut values: Option<&mut Values>,
    ) -> Result<Caught, SinkError> {
        let mut caught = Caught::default();
        for (topic, source) in used(&self.streamed.definitions) {
            for gap in self.gaps(admin, topic, &state.offsets).await? {
                let filled = self.fill(source, &gap, state, values.as_deref_mut(), &mut caught).await;
                filled.map_err(|error| failed(&error))?;
            }
        }
        Ok(caught)
    }

    async fn gaps(&self, admin: &Admin, topic: &str, applied: &Offsets) -> Result<Vec<Gap>, SinkError> {
        let (namespace, name) = table_of(topic);
        let in_lake = match self.lake.table(namespace, &name).await {
            Ok(table) => table.offsets().await,
            Err(LakeError::NotFound(_)) => return Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let in_lake = in_lake.map_err(HistoryError::lake(format!("read {namespace}.{name}")));
        let in_lake = in_lake.map_err(|error| failed(&error))?;
        let passing = |error: BusError| SinkError::Passing(error.to_string());
        let mut firsts = BTreeMap::new();
        for number in 0..admin.partitions(topic).await.map_err(passing)?.unwrap_or(0) {
            let (first, _) = admin.watermarks(&TopicPartition::new(topic, number)).await.map_err(passing)?;
            firsts.insert(number, first);
        }
        let of_topic = in_lake.iter().filter(|(other, ..)| *other == topic);
        Ok(gaps(topic, of_topic.map(|(_, partition, next)| (partition, next)), &firsts, applied))
    }

    /// Applies the events of a gap.
    async fn fill(
        &self,
        source: &str,
        gap: &Gap,
        state: &mut State,
        mut values: Option<&mut Values>,
        caught: &mut Caught,
    ) -> Result<(), HistoryError> {
        let Streamed { definitions, plan, references } = &self.streamed;
        let (namespace, name) = table_of(&gap.partition.topic);
        let table = format!("{namespace}.\"{name}\"");
        let Some(mapping) = Mapping::new(definitions, plan, source, references) else { return Ok(()) };
        let history =
            |definitions| History::new(Arc::clone(&self.engine), definitions, Arc::clone(references));
        let session = history(Arc::clone(definitions)).session().await?;
        let schema = session.schema(&format!("select * from {table}")).await;
        let schema = schema.map_err(HistoryError::sql(format!("read {table}")))?;
        let is_missing =
            |field: &&String| schema.column_with_name(field).is_none() && !OPTIONAL.contains(&field.as_str());
        let missing: Vec<&String> = mapping.fields().iter().filter(is_missing).collect();
        let mut of_raw = (**definitions).clone();
        if let Some(source) = of_raw.sources.get_mut(source) {
            source.query = Some(query(&table, &missing, gap));
        }
        // Values are as of the key's newest event: one that some window still reaches from now has windows of its own.
        let (now, reach) = (now_micros(), reach(plan));
        let over = now.saturating_sub(reach);
        let range = Range { since: over.saturating_sub(reach), until: FOREVER };
        let kept = Kept { texts: true, ..Kept::default() };
        let (what, sources) = ((&**definitions, plan), [source.to_owned()]);
        let mut feed = history(Arc::new(of_raw)).feed(&session, what, &sources, range, &kept).await?;
        let shape = plan.source_shape(mapping.source());
        let entities = shape.entities.iter().enumerate();
        let entities: Vec<_> =
            entities.filter_map(|(key, (entity, _))| Some((plan.entity(entity)?, key))).collect();
        // Records before these are gone: they had happened by now.
        state.bound_hole(&gap.partition, mapping.source(), now);
        let mut arrived = 0;
        while let Some(piece) = feed.next(range.until).await? {
            for (source, events) in piece {
                arrived = events.arrived.iter().copied().fold(arrived, i64::max);
                for place in 0..events.len() {
                    let applied = events.with(source, place, |event| state.engine.apply(event));
                    let applied = applied.map_err(|error| HistoryError::Definition(error.to_string()))?;
                    caught.counters.add(applied);
                    let Some(values) = values.as_deref_mut() else { continue };
                    if applied.new + applied.corrected == 0 {
                        continue;
                    }
                    for &(entity, key) in &entities {
                        // Of a key that is over, what its windows reach may not have been read.
                        if let Some((of_event, text)) =
                            events.key(key, place).zip(events.key_text(key, place))
                            && state.engine.newest(entity, of_event).is_some_and(|(_, at)| at.time >= over)
                        {
                            values.change(entity, of_event, text.to_owned());
                        }
                    }
                }
            }
        }
        let read = &feed.counted;
        tracing::info!(
            partition = %gap.partition, from = gap.from, to = gap.to, events = read.events, late = read.late,
            refused = read.refused, first_refused = read.first_refused.as_deref(), "read from the lake what the topic does not hold"
        );
        caught.late += read.late;
        caught.any = true;
        let progress = state.offsets.entry(gap.partition.clone()).or_default();
        // An import says nothing of what may still come.
        let arrived = if gap.partition.partition < 0 { 0 } else { arrived };
        (progress.next, progress.arrived) = (gap.to, progress.arrived.max(arrived));
        Ok(())
    }
}

/// What to read of a topic, imports first: `in_lake` are the partitions that its raw table has, each with the offset behind its last
/// record, `firsts` the topic's with the first offset that it holds.
fn gaps(
    topic: &str,
    in_lake: impl Iterator<Item = (i32, i64)>,
    firsts: &BTreeMap<i32, i64>,
    applied: &Offsets,
) -> Vec<Gap> {
    let gap = |(number, stored): (i32, i64)| {
        let partition = TopicPartition::new(topic, number);
        let to = if number < 0 { stored } else { stored.min(*firsts.get(&number)?) };
        let from = applied.get(&partition).map_or(0, |progress| progress.next);
        (from < to).then_some(Gap { partition, from, to })
    };
    let mut gaps: Vec<Gap> = in_lake.filter_map(gap).collect();
    gaps.sort_by_key(|gap| gap.partition.partition);
    gaps
}

/// The records of a gap; columns that the table does not have are null, as in records of the topic.
fn query(table: &str, missing: &[&String], gap: &Gap) -> String {
    let nulls: Vec<String> =
        missing.iter().map(|name| format!(", cast(null as varchar) as \"{name}\"")).collect();
    format!(
        "select *{} from {table} where _kafka_topic = '{}' and _kafka_partition = {} and _kafka_offset >= {} and _kafka_offset < {}",
        nulls.concat(),
        gap.partition.topic.replace('\'', "''"),
        gap.partition.partition,
        gap.from,
        gap.to
    )
}

fn failed(error: &HistoryError) -> SinkError {
    let message = format!("what the topics do not hold cannot be read: {error}");
    if error.is_passing() { SinkError::Passing(message) } else { SinkError::Fatal(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::state::Progress;

    #[test]
    fn a_gap_is_what_neither_state_nor_topic_has() {
        let partition = |number| TopicPartition::new("t", number);
        let progress = |next| Progress { next, arrived: 1, ..Progress::default() };
        let applied: Offsets = [(partition(0), progress(40)), (partition(-1), progress(500))].into();
        let firsts = BTreeMap::from([(0, 60), (1, 0), (2, 70), (3, 9)]);
        // Partition 7 is of a topic that had more of them; the lake lags behind in partition 2 and has nothing of 3.
        let in_lake = [(0, 90), (1, 90), (2, 30), (7, 10), (-1, 500), (-2, 8)];
        let found = gaps("t", in_lake.into_iter(), &firsts, &applied);
        let gap = |number, from, to| Gap { partition: partition(number), from, to };
        assert_eq!(found, [gap(-2, 0, 8), gap(0, 40, 60), gap(2, 0, 30)]);
        let text = query("raw.\"t\"", &[&"device".to_owned()], &found[1]);
        let expected = "select *, cast(null as varchar) as \"device\" from raw.\"t\" where _kafka_topic = 't' \
                        and _kafka_partition = 0 and _kafka_offset >= 40 and _kafka_offset < 60";
        assert_eq!(text, expected);
    }
}
