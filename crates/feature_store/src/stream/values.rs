//! Values of changed keys, written to the online store in batches, and how far they cover the topics.
//!
//! After a crash the state is older than the values: until it has read again what they cover, nothing is written, so that no value
//! goes back in time. Versions are the time of writing, and never go back either.

use super::ends::ends_of;
use super::live::LiveState;
use super::state::{Offsets, State};
use crate::online::{self, Vector, log};
use affluent_bus::{Admin, TopicPartition};
use affluent_documents::{Action, CollectionSpec, DocumentError, DocumentStore, VersionedWrite};
use affluent_features::definition::Freshness;
use affluent_features::plan::EntityId;
use affluent_features::{At, Key};
use affluent_model::{Position, Value, time::now_micros};
use affluent_stream::sinks::SinkError;
use affluent_telemetry::failpoint;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Keys whose values are computed before others get the state.
const KEYS_LOCKED: usize = 64;
/// One document a consumer group: up to where its values cover the topics.
const PROGRESS: &str = "features_progress";

/// What is still to be written.
pub(super) struct Values {
    store: Arc<dyn DocumentStore>,
    /// The consumer group: its name is that of its progress.
    group: String,
    options: super::StreamOptions,
    /// Keys whose values changed since they were written, with their text. Bounded by the keys of the state.
    changed: HashMap<(EntityId, Key), String>,
    /// What the values in the store cover; those of the state may be behind.
    covered: watch::Sender<log::Applied>,
    /// The version that was written last.
    version: u64,
}

impl Values {
    pub(super) fn new(store: Arc<dyn DocumentStore>, group: String, options: super::StreamOptions) -> Self {
        let (changed, covered) = (HashMap::new(), watch::Sender::default());
        Values { store, group, options, changed, covered, version: 0 }
    }

    /// Makes the collections, and reads what the values cover of `topics`.
    pub(super) async fn begin(&mut self, admin: &Admin, topics: &[&str]) -> Result<(), SinkError> {
        let (values, logged) = (self.options.ttl_days, self.options.logged_days);
        for spec in [online::collection(values), log::collection(logged), CollectionSpec::new(PROGRESS)] {
            self.store.ensure(&spec).await?;
        }
        let Some(progress) = self.store.get(PROGRESS, std::slice::from_ref(&self.group)).await?.pop() else {
            return Ok(());
        };
        self.version = self.version.max(progress.version.lsn.0);
        let mut covered = log::Applied::new();
        if let Some(Value::Json(offsets)) = progress.field("offsets") {
            covered = log::applied(offsets).unwrap_or_default();
        }
        // Nothing waits for topics that are not read any more.
        covered.retain(|partition, _| topics.contains(&&*partition.topic));
        let ends = ends_of(admin, covered.keys().cloned().collect()).await;
        let ends = ends.map_err(|error| SinkError::Passing(error.to_string()))?;
        self.covered.send_replace(within(&covered, &ends));
        Ok(())
    }

    pub(super) fn change(&mut self, entity: EntityId, key: Key, text: String) {
        self.changed.insert((entity, key), text);
    }

    /// What the values in the store cover, from now on.
    pub(super) fn coverage(&self) -> watch::Receiver<log::Applied> {
        self.covered.subscribe()
    }

    /// The partition begins anew: nothing of it is covered.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.covered.send_modify(|covered| covered.retain(|known, _| known != partition));
    }

    /// Whether the state has read all that the values cover.
    pub(super) fn is_caught_up(&self, offsets: &Offsets) -> bool {
        let covered = self.covered.borrow();
        covered.iter().all(|(partition, next)| offsets.get(partition).is_some_and(|p| p.next >= *next))
    }

    /// Whether a record was part of what the values in the store cover.
    pub(super) fn covers(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.covered.borrow().get(partition).is_some_and(|next| offset < *next)
    }

    /// Writes the values of every changed key as the state has them. What was not written when it fails is written at the next call.
    /// Nothing is applied meanwhile: the caller does that.
    pub(super) async fn write(&mut self, live: &LiveState) -> Result<(), DocumentError> {
        let applied = live.with(|state| state.applied());
        while !self.changed.is_empty() {
            let batch: Vec<((EntityId, Key), String)> = self
                .changed
                .iter()
                .take(self.options.batch_documents)
                .map(|(key, text)| (*key, text.clone()))
                .collect();
            self.version = (self.version + 1).max(now_micros().cast_unsigned());
            let (mut writes, mut logged) = (Vec::with_capacity(batch.len()), Vec::new());
            for keys in batch.chunks(KEYS_LOCKED) {
                live.with(|state| {
                    for ((entity, key), text) in keys {
                        self.put(state, (*entity, *key, text), &applied, &mut writes, &mut logged);
                    }
                });
            }
            self.store.apply(online::COLLECTION, writes).await?;
            failpoint("features::after_values");
            if !logged.is_empty() {
                self.store.apply(log::COLLECTION, logged).await?;
            }
            for (key, _) in &batch {
                self.changed.remove(key);
            }
        }
        if applied != *self.covered.borrow() {
            let fields = vec![("offsets".to_owned(), Value::Json(log::offsets(&applied)))];
            let version = Position::new(self.version, 0);
            let write = VersionedWrite { id: self.group.clone(), version, action: Action::Put(fields) };
            self.store.apply(PROGRESS, vec![write]).await?;
            self.covered.send_replace(applied);
        }
        Ok(())
    }

    /// The writes of one key's values after its newest event; none where its events were all let go.
    fn put(
        &self,
        state: &mut State,
        (entity, key, text): (EntityId, Key, &str),
        applied: &log::Applied,
        writes: &mut Vec<VersionedWrite>,
        logged: &mut Vec<VersionedWrite>,
    ) {
        let plan = Arc::clone(state.engine.plan());
        let Some((source, at)) = state.engine.newest(entity, key) else { return };
        let shape = plan.entity_shape(entity);
        let mut values = vec![f64::NAN; shape.features.len()];
        let is_exact = state.engine.vector(entity, Some(key), at, Some(source), &mut values);
        let At { time: as_of, order } = at;
        let (name, features, values) = (shape.name.as_str(), shape.features.as_slice(), values.as_slice());
        let vector = Vector { entity: name, key: text, as_of, is_exact, features, values };
        writes.push(vector.write(Freshness::Stream, self.version));
        if is_exact && log::is_logged(order, self.options.logged_share) {
            let source = &plan.source_shape(source).name;
            logged.push(log::write(&vector, source, at, applied, self.version));
        }
    }
}

/// What of the coverage can be read again. A topic that was made anew ends before what was read of the old one; a partition that has no end is gone,
/// or of an import, which is read at every start as far as the lake has it: nothing waits for it.
fn within(covered: &log::Applied, ends: &log::Applied) -> log::Applied {
    let within = |(partition, next): (&TopicPartition, &i64)| {
        let end = ends.get(partition)?;
        Some((partition.clone(), (*next).min(*end)))
    };
    covered.iter().filter_map(within).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_what_is_gone() {
        let at = |offsets: &[(i32, i64)]| -> log::Applied {
            offsets.iter().map(|(number, next)| (TopicPartition::new("t", *number), *next)).collect()
        };
        let covered = at(&[(-1, 500), (0, 7), (1, 9), (2, 4)]);
        // The topic has two partitions now, and the second one was made anew.
        assert_eq!(within(&covered, &at(&[(0, 8), (1, 3)])), at(&[(0, 7), (1, 3)]));
        assert_eq!(within(&covered, &at(&[])), at(&[]));
    }
}
