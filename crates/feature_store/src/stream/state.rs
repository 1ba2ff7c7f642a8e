//! The state of the stream: the engine, and up to where in each partition its events were read.
//!
//! Both are stored together, in one file that is replaced whole. The one before is kept: it serves where the newest is damaged.
//!
//! Invariant: what is restored has applied exactly the records below its offsets (more of them do no harm: events are known).

use affluent_bus::TopicPartition;
use affluent_features::engine::SnapshotError;
use affluent_features::{Engine, Options, Plan};
use affluent_telemetry::failpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

const NEWEST: &str = "state";
const BEFORE: &str = "state.before";
const UNFINISHED: &str = "state.new";
/// What is read or written at a time.
const BUFFER: usize = 1 << 20;

/// How far one partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The next record's offset.
    pub(super) next: i64,
    /// The latest arrival of an event of it, microseconds UTC.
    pub(super) arrived: i64,
}

/// Progress by topic and partition, as it is written.
pub(super) type Offsets = BTreeMap<TopicPartition, Progress>;

/// The engine and its offsets.
#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) offsets: Offsets,
}

/// Why the state cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("store the state in {directory}: {source}")]
pub(super) struct StoreError {
    directory: String,
    source: SnapshotError,
}

impl State {
    fn new(plan: Arc<Plan>, options: Options) -> Self {
        State { engine: Engine::new(plan, options), offsets: Offsets::new() }
    }

    /// The state as it was stored last; a new one where none can be used.
    pub(super) fn restore(directory: &Path, plan: &Arc<Plan>, options: Options) -> Self {
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
                    return state;
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "stored features cannot be used");
                }
            }
        }
        tracing::info!("features begin with what the topics hold");
        State::new(Arc::clone(plan), options)
    }

    /// Stores the state; how many bytes.
    ///
    /// # Errors
    /// [`StoreError`]: what was stored before is still there.
    pub(super) fn store(&self, directory: &Path) -> Result<u64, StoreError> {
        let failed =
            |source: SnapshotError| StoreError { directory: directory.display().to_string(), source };
        let io = |source: std::io::Error| failed(source.into());
        let [newest, before, unfinished] = [NEWEST, BEFORE, UNFINISHED].map(|name| directory.join(name));
        fs::create_dir_all(directory).map_err(io)?;
        let file = File::create(&unfinished).map_err(io)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        self.engine.snapshot(&offsets_bytes(&self.offsets), &mut file).map_err(failed)?;
        file.flush().map_err(io)?;
        let file = file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        failpoint("features::before_rename");
        match fs::rename(&newest, &before) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        failpoint("features::between_renames");
        fs::rename(&unfinished, &newest).map_err(io)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(bytes)
    }

    /// Up to when every partition has been read: the arrival that no further event comes before.
    pub(super) fn settled(&self) -> Option<i64> {
        self.offsets.values().map(|progress| progress.arrived).filter(|arrived| *arrived > 0).min()
    }
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
    use affluent_features::definition::Definitions;
    use affluent_features::{Event, Key};

    fn plan() -> Arc<Plan> {
        let definitions = Definitions::load(None).unwrap().select(&["ip_payments_1h"]).unwrap();
        Arc::new(Plan::new(&definitions).unwrap())
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
        state.offsets.insert(TopicPartition::new("t", 3), Progress { next, arrived: 7 });
        state
    }

    #[test]
    fn the_newest_good_file_counts() {
        let directory = tempfile::tempdir().unwrap();
        let next = || {
            let state = State::restore(directory.path(), &plan(), Options::default());
            state.offsets.get(&TopicPartition::new("t", 3)).map(|progress| progress.next)
        };
        assert_eq!(next(), None);
        with_events(1).store(directory.path()).unwrap();
        with_events(2).store(directory.path()).unwrap();
        assert_eq!(next(), Some(2));
        // Killed between the renames.
        fs::rename(directory.path().join(NEWEST), directory.path().join(UNFINISHED)).unwrap();
        assert_eq!(next(), Some(1));
        // Cut off.
        let bytes = fs::read(directory.path().join(UNFINISHED)).unwrap();
        fs::write(directory.path().join(NEWEST), &bytes[..bytes.len() - 9]).unwrap();
        assert_eq!(next(), Some(1));
    }
}
