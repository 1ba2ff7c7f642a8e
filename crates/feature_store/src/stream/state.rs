//! The state of the stream: the engine, and up to where in each partition its events were read.
//!
//! Both are stored together, in one file that is replaced whole. The one before is kept: it serves where the newest is damaged.
//!
//! Invariant: what is restored has applied the records below its offsets. Some later ones may be in it too: they are read again, and known.

use super::ends::Seen;
use super::live::LiveState;
use crate::online::log::Applied;
use affluent_bus::TopicPartition;
use affluent_features::engine::SnapshotError;
use affluent_features::{Engine, Options, Plan, SourceId};
use affluent_telemetry::failpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NEWEST: &str = "state";
const BEFORE: &str = "state.before";
const UNFINISHED: &str = "state.new";
/// Keys that are looked at before others get the state.
const KEYS_LOCKED: usize = 4_096;
/// What is read or written at a time.
const BUFFER: usize = 1 << 20;

/// How far one partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The next record's offset.
    pub(super) next: i64,
    /// The latest arrival of an event of it, microseconds UTC.
    pub(super) arrived: i64,
    /// The records right before `next` are gone, and were never applied: the next event tells how far back they lie.
    #[serde(default)]
    pub(super) after_hole: bool,
}

/// Progress by topic and partition, as it is written.
pub(super) type Offsets = BTreeMap<TopicPartition, Progress>;

/// The engine and its offsets.
#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) offsets: Offsets,
}

/// Why a stored state is not put aside for a new one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{source}, in {path}: raise `keys_max`, or remove the files of this directory, and the state is built anew from the topics and the lake"
)]
pub(super) struct RestoreError {
    path: String,
    source: SnapshotError,
}

/// Why the state cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("store the state in {directory}: {source}")]
pub(super) struct StoreError {
    directory: String,
    source: SnapshotError,
}

impl StoreError {
    /// The thread that stored it is gone.
    pub(super) fn ended(error: &tokio::task::JoinError) -> Self {
        let source = std::io::Error::other(error.to_string()).into();
        StoreError { directory: "its directory".to_owned(), source }
    }
}

impl State {
    fn new(plan: Arc<Plan>, options: Options) -> Self {
        State { engine: Engine::new(plan, options), offsets: Offsets::new() }
    }

    /// The state as it was stored last; a new one where none can be used.
    ///
    /// # Errors
    /// [`RestoreError`]: a good state has more keys than there may be.
    pub(super) fn restore(
        directory: &Path,
        plan: &Arc<Plan>,
        options: Options,
    ) -> Result<Self, RestoreError> {
        for name in [NEWEST, BEFORE] {
            let path = directory.join(name);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "stored features cannot be opened");
                    continue;
                }
            };
            let mut file = BufReader::with_capacity(BUFFER, file);
            let restored = Engine::restore(Arc::clone(plan), options, &mut file);
            match restored.and_then(|(engine, bytes)| Ok(State { engine, offsets: offsets_of(&bytes)? })) {
                Ok(state) => {
                    let (keys, partitions) = (state.engine.keys(), state.offsets.len());
                    tracing::info!(path = %path.display(), keys, partitions, "features restored");
                    return Ok(state);
                }
                Err(source @ SnapshotError::Keys { .. }) => {
                    return Err(RestoreError { path: path.display().to_string(), source });
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "stored features cannot be used");
                }
            }
        }
        tracing::info!("features begin with what the topics hold");
        Ok(State::new(Arc::clone(plan), options))
    }

    /// The first offset of a partition that was not applied.
    pub(super) fn next(&self, partition: &TopicPartition) -> i64 {
        self.offsets.get(partition).map_or(0, |progress| progress.next)
    }

    /// The records of a partition up to there were applied; what was read again from before changes nothing.
    pub(super) fn advance(&mut self, partition: TopicPartition, to: Progress) {
        let progress = self.offsets.entry(partition).or_default();
        progress.next = progress.next.max(to.next);
        progress.arrived = progress.arrived.max(to.arrived);
    }

    /// The records of a partition up to there are gone; how many of them were never applied.
    pub(super) fn skip(&mut self, partition: &TopicPartition, first: i64) -> u64 {
        let missing = u64::try_from(first - self.next(partition)).unwrap_or(0);
        if missing > 0 {
            let progress = self.offsets.entry(partition.clone()).or_default();
            (progress.next, progress.after_hole) = (first, true);
        }
        missing
    }

    /// What is missing of a partition had happened by `until`, microseconds UTC: values whose windows reach back to it are not exact.
    pub(super) fn bound_hole(&mut self, partition: &TopicPartition, source: SourceId, until: i64) {
        if let Some(progress) = self.offsets.get_mut(partition).filter(|progress| progress.after_hole) {
            progress.after_hole = false;
            self.engine.lose(source, until);
        }
    }

    /// Of each partition, the first offset that was not applied.
    pub(super) fn applied(&self) -> Applied {
        self.offsets.iter().map(|(partition, progress)| (partition.clone(), progress.next)).collect()
    }

    /// Up to when every partition has been read: the arrival that no further event comes before. None where one has been read to no event yet.
    ///
    /// A partition that was read to its end counts as read up to that look, so that one that falls silent holds back nothing. But not beyond the
    /// newest arrival of all: where nothing comes at all, what feeds the topics may be down, and time stands still.
    pub(super) fn settled(&self, seen: &Seen) -> Option<i64> {
        let newest = self.offsets.values().map(|progress| progress.arrived).max()?;
        let read = seen.ends.iter().map(|(partition, end)| {
            let Progress { next, arrived, .. } = self.offsets.get(partition).copied().unwrap_or_default();
            if next >= *end { arrived.max(seen.until.min(newest)) } else { arrived }
        });
        read.min().filter(|settled| *settled > 0)
    }
}

/// Lets go of the keys that are over, a few at a time.
pub(super) fn evict(live: &LiveState, seen: &Seen) {
    let Some(settled) = live.with(|state| state.settled(seen)) else { return };
    let mut place = Some((0, 0));
    while let Some(from) = place {
        place = live.with(|state| state.engine.evict_some(settled, from, KEYS_LOCKED));
    }
}

/// Writes the state beside what was stored before, slice by slice, so that events are applied in between; how many bytes. None where there is no
/// state, or `stop` says so.
///
/// # Errors
/// [`StoreError`].
pub(super) fn write(
    live: &LiveState,
    directory: &Path,
    stop: &AtomicBool,
) -> Result<Option<u64>, StoreError> {
    let failed = |source: SnapshotError| StoreError { directory: directory.display().to_string(), source };
    let io = |source: std::io::Error| failed(source.into());
    fs::create_dir_all(directory).map_err(io)?;
    let unfinished = directory.join(UNFINISHED);
    // Made anew: another thread may still write to the one that was given up.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::create(&unfinished).map_err(io)?;
    let mut slice = Vec::with_capacity(BUFFER);
    let begun = match live.lock().as_ref() {
        Some(state) => state.engine.snapshot_begin(&offsets_bytes(&state.offsets), &mut slice),
        None => return Ok(None),
    };
    let mut slices = begun.map_err(failed)?;
    let mut is_more = true;
    while is_more {
        file.write_all(&slice).map_err(io)?;
        slice.clear();
        is_more = match live.lock().as_ref() {
            Some(state) if !stop.load(Ordering::Relaxed) => {
                state.engine.snapshot_next(&mut slices, &mut slice).map_err(failed)?
            }
            Some(_) | None => return Ok(None),
        };
    }
    file.write_all(&slice).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(Some(file.metadata().map_err(io)?.len()))
}

/// Puts what was written in the place of what was stored before, which is kept.
///
/// # Errors
/// [`StoreError`]: what was stored before is still there.
pub(super) fn put_in_place(directory: &Path) -> Result<(), StoreError> {
    let io = |source: std::io::Error| StoreError {
        directory: directory.display().to_string(),
        source: source.into(),
    };
    let [newest, before, unfinished] = [NEWEST, BEFORE, UNFINISHED].map(|name| directory.join(name));
    failpoint("features::before_rename");
    match fs::rename(&newest, &before) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    failpoint("features::between_renames");
    fs::rename(&unfinished, &newest).map_err(io)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

fn offsets_bytes(offsets: &Offsets) -> Vec<u8> {
    let list: Vec<(&TopicPartition, &Progress)> = offsets.iter().collect();
    serde_json::to_vec(&list).unwrap_or_default()
}

fn offsets_of(bytes: &[u8]) -> Result<Offsets, SnapshotError> {
    let list: Result<Vec<(TopicPartition, Progress)>, _> = serde_json::from_slice(bytes);
    list.map(|list| list.into_iter().collect())
        .map_err(|_| SnapshotError::Damaged("its offsets are unreadable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Streamed;
    use affluent_features::definition::Definitions;
    use affluent_features::event::HOUR;
    use affluent_features::{At, Event, Key};

    fn plan() -> Arc<Plan> {
        let definitions = Definitions::load(None).unwrap().select(&["ip_payments_1h"]).unwrap();
        Arc::new(Plan::new(&definitions).unwrap())
    }

    fn store_with_events(directory: &Path, count: u64) {
        let definitions = Definitions::load(None).unwrap().select(&["ip_payments_1h"]).unwrap();
        let streamed = Streamed {
            plan: Arc::new(Plan::new(&definitions).unwrap()),
            definitions: Arc::new(definitions),
            references: Arc::default(),
        };
        let live = LiveState::new(&streamed);
        *live.lock() = Some(with_events(count));
        assert!(write(&live, directory, &AtomicBool::new(true)).unwrap().is_none(), "told to stop");
        assert!(write(&live, directory, &AtomicBool::new(false)).unwrap().is_some_and(|bytes| bytes > 0));
        put_in_place(directory).unwrap();
    }

    fn with_events(count: u64) -> State {
        let mut state = State::new(plan(), Options::default());
        let plan = Arc::clone(state.engine.plan());
        let source = plan.source("transactions").unwrap();
        let shape = plan.source_shape(source);
        let keys = vec![Some(Key::from(1)); shape.entities.len()];
        let cells = vec![0; shape.columns.len()];
        for order in 0..count {
            let event =
                Event { source, time: 5, order, version: 0, removed: false, keys: &keys, cells: &cells };
            state.engine.apply(&event).unwrap();
        }
        let next = i64::try_from(count).unwrap();
        state.advance(TopicPartition::new("t", 3), Progress { next, arrived: 7, ..Progress::default() });
        state
    }

    #[test]
    fn what_is_gone_is_skipped() {
        let (mut state, partition) = (with_events(2), TopicPartition::new("t", 3));
        for (first, next, missing) in [(0, 2, 0), (2, 2, 0), (9, 9, 7)] {
            assert_eq!(state.skip(&partition, first), missing);
            let after_hole = missing > 0;
            assert_eq!(state.offsets[&partition], Progress { next, arrived: 7, after_hole });
        }
        // Of a partition that has been empty always nothing is known.
        state.skip(&TopicPartition::new("t", 4), 0);
        assert_eq!(state.offsets.len(), 1);
        assert_eq!(state.skip(&TopicPartition::new("t", 4), 5), 5);
        assert_eq!(state.next(&TopicPartition::new("t", 4)), 5);
    }

    #[test]
    fn values_that_reach_a_hole_are_not_exact() {
        let (mut state, partition) = (with_events(2), TopicPartition::new("t", 3));
        let source = state.engine.plan().source("transactions").unwrap();
        let entity = state.engine.plan().entity("ip").unwrap();
        let is_exact = |state: &mut State, time| {
            let mut values = [0.0];
            state.engine.vector(entity, Some(Key::from(1)), At::time(time), None, &mut values)
        };
        state.bound_hole(&partition, source, 1_000);
        assert!(is_exact(&mut state, 1_000), "nothing is missing");
        state.skip(&partition, 9);
        state.bound_hole(&partition, source, 1_000);
        assert!(!is_exact(&mut state, 1_000) && is_exact(&mut state, 1_000 + HOUR));
        // Events after the next one say nothing of it.
        state.bound_hole(&partition, source, 1_000 + HOUR);
        assert!(is_exact(&mut state, 1_000 + HOUR));
    }

    #[test]
    fn a_silent_partition_does_not_stop_time() {
        let (mut state, partition) =
            (State::new(plan(), Options::default()), |n| TopicPartition::new("t", n));
        let settled = |state: &State, ends: [i64; 3], until| {
            let ends = (0..).zip(ends).map(|(number, end)| (partition(number), end)).collect();
            state.settled(&Seen { ends, until })
        };
        assert_eq!(settled(&state, [0, 0, 0], 90), None, "nothing was read");
        for (number, next, arrived) in [(0, 10, 100), (1, 4, 30), (9, 7, 5), (-1, 7, 0)] {
            state.advance(partition(number), Progress { next, arrived, ..Progress::default() });
        }
        // One that was read to its end has all up to the look; one that is gone, and imports, say nothing.
        assert_eq!(settled(&state, [10, 4, 0], 90), Some(90));
        assert_eq!(settled(&state, [10, 4, 0], 20), Some(20), "one without any event");
        assert_eq!(settled(&state, [12, 5, 0], 90), Some(30), "one that is behind");
        assert_eq!(settled(&state, [10, 4, 1], 90), None, "one of which nothing was read");
        assert_eq!(settled(&state, [10, 4, 0], 5_000), Some(100), "nothing comes at all");
    }

    #[test]
    fn the_newest_good_file_counts() {
        let directory = tempfile::tempdir().unwrap();
        let next = || {
            let state = State::restore(directory.path(), &plan(), Options::default()).unwrap();
            state.offsets.get(&TopicPartition::new("t", 3)).map(|progress| progress.next)
        };
        assert_eq!(next(), None);
        store_with_events(directory.path(), 1);
        store_with_events(directory.path(), 2);
        assert_eq!(next(), Some(2));
        // With more keys than there may be it is good all the same.
        let few = Options { keys_max: 0, ..Options::default() };
        let error = State::restore(directory.path(), &plan(), few).unwrap_err();
        assert!(error.to_string().contains("1 keys of ip, more than keys_max = 0"), "{error}");
        // Killed between the renames.
        fs::rename(directory.path().join(NEWEST), directory.path().join(UNFINISHED)).unwrap();
        assert_eq!(next(), Some(1));
        // Cut off.
        let bytes = fs::read(directory.path().join(UNFINISHED)).unwrap();
        fs::write(directory.path().join(NEWEST), &bytes[..bytes.len() - 9]).unwrap();
        assert_eq!(next(), Some(1));
    }
}
