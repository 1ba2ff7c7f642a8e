//! The collections of the embedded store: their definitions, and the keys of their entries.
//!
//! Keyspaces: `meta` (definitions as JSON under `c/<name>`, counts under `n/<number>`), `expiry`
//! (time, collection number, id -> nothing, or a list), and for each collection `d.<name>` (documents by
//! id) and `i.<name>` (index number, value keys, id -> length of the id).

use super::engine::Engine;
use super::recent::{LOAD_MAX, Recent};
use crate::order::put_key;
use crate::{CollectionSpec, DocumentError, Fields, IndexSpec, Ttl};
use affluent_model::{Position, Value};
use fjall::{AbstractTree as _, Keyspace, PersistMode};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Full write buffers that may wait for the disk, beside the one that is being filled.
const BUFFERS_WAITING: usize = 2;
/// Pause between two looks at them, and between two questions to the store whether it has failed.
const ROOM_PAUSE: Duration = Duration::from_millis(2);
const ROOM_ASKED: Duration = Duration::from_secs(2);

/// What is stored of a collection beside its documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) number: u32,
    pub(super) indexes: Vec<Index>,
    pub(super) ttl: Option<Ttl>,
    /// Whatever is older is gone.
    pub(super) truncated_at: Position,
    /// Older documents are still on disk (and hidden).
    pub(super) truncating: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) number: u16,
    pub(super) spec: IndexSpec,
}

pub(super) struct Collection {
    pub(super) name: String,
    pub(super) documents: Keyspace,
    pub(super) entries: Keyspace,
    definition: RwLock<Definition>,
    count: AtomicU64,
    recent: Mutex<Recent>,
}

impl Definition {
    pub(super) fn new(number: u32) -> Self {
        Definition {
            number,
            indexes: Vec::new(),
            ttl: None,
            truncated_at: Position::default(),
            truncating: false,
        }
    }

    /// Takes over what `spec` adds; returns the indexes that have to be built.
    ///
    /// # Errors
    /// Where an index of the same name covers other fields.
    pub(super) fn extend(&mut self, spec: &CollectionSpec) -> Result<Vec<Index>, DocumentError> {
        let mut added = Vec::new();
        for wanted in &spec.indexes {
            match self.indexes.iter().find(|index| index.spec.name == wanted.name) {
                Some(index) if index.spec != *wanted => {
                    return Err(DocumentError::Config(format!(
                        "index {:?} of {:?} covers {:?}, not {:?}: choose another name",
                        wanted.name, spec.name, index.spec.fields, wanted.fields
                    )));
                }
                Some(_) => {}
                None => {
                    let number = self.indexes.iter().map(|index| index.number + 1).max().unwrap_or(0);
                    let index = Index { number, spec: wanted.clone() };
                    self.indexes.push(index.clone());
                    added.push(index);
                }
            }
        }
        self.ttl.clone_from(&spec.ttl);
        Ok(added)
    }
}

impl Index {
    /// The key of a document's entry.
    pub(super) fn entry(&self, id: &str, fields: &Fields) -> Vec<u8> {
        let mut key = self.prefix(&[]);
        for name in &self.spec.fields {
            let value =
                fields.iter().find(|(field, _)| field == name).map_or(&Value::Null, |(_, value)| value);
            put_key(&mut key, value);
        }
        key.extend_from_slice(id.as_bytes());
        key
    }

    /// What the entries begin with whose first fields have these values.
    pub(super) fn prefix(&self, equal: &[Value]) -> Vec<u8> {
        let mut key = self.number.to_be_bytes().to_vec();
        for value in equal {
            put_key(&mut key, value);
        }
        key
    }
}

impl Collection {
    pub(super) fn new(
        name: String,
        documents: Keyspace,
        entries: Keyspace,
        definition: Definition,
        count: u64,
    ) -> Self {
        let (definition, count) = (RwLock::new(definition), AtomicU64::new(count));
        Collection { name, documents, entries, definition, count, recent: Mutex::default() }
    }

    pub(super) fn definition(&self) -> Definition {
        self.definition.read().clone()
    }

    pub(super) fn redefine(&self, definition: Definition) {
        *self.definition.write() = definition;
    }

    pub(super) fn truncated_at(&self) -> Position {
        self.definition.read().truncated_at
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn set_count(&self, count: u64) {
        self.count.store(count, Ordering::Release);
    }

    /// True where memory tells that nothing is stored under `id`, nor noted; it is noted then.
    pub(super) fn claim(&self, id: &str) -> Result<bool, DocumentError> {
        self.recent.lock().claim(id, |prefix| self.ids(prefix))
    }

    /// True where something is stored under `id`, be it a tombstone. Asks the disk.
    pub(super) fn is_stored(&self, id: &str) -> Result<bool, DocumentError> {
        Ok(self.documents.contains_key(id)?)
    }

    /// Waits while too many full write buffers wait for the disk: they are memory.
    ///
    /// The library seals a full buffer on the thread that merges files, so not while it merges: it is sealed here.
    ///
    /// # Errors
    /// When the store has failed: then nothing goes to disk any more.
    pub(super) fn wait_for_room(&self, engine: &Engine) -> Result<(), DocumentError> {
        for (keyspace, limit) in
            [(&self.documents, engine.memtable_bytes), (&self.entries, engine.entry_bytes())]
        {
            if keyspace.tree.active_memtable().size() > limit {
                keyspace.rotate_memtable()?;
            }
        }
        let is_full = || {
            let waiting = |keyspace: &Keyspace| keyspace.sealed_memtable_count() >= BUFFERS_WAITING;
            waiting(&self.documents) || waiting(&self.entries)
        };
        let mut asked = Instant::now();
        while is_full() {
            std::thread::sleep(ROOM_PAUSE);
            if asked.elapsed() > ROOM_ASKED {
                engine.database.persist(PersistMode::Buffer)?;
                asked = Instant::now();
            }
        }
        Ok(())
    }

    /// Notes that `id` is about to be stored.
    pub(super) fn note(&self, id: &str) {
        self.recent.lock().note(id);
    }

    /// The stored ids that begin with `prefix`; `None` where there are many.
    fn ids(&self, prefix: &str) -> Result<Option<Vec<String>>, DocumentError> {
        let mut ids = Vec::new();
        for entry in self.documents.prefix(prefix).take(LOAD_MAX + 1) {
            ids.push(String::from_utf8_lossy(&entry.key()?).into_owned());
        }
        Ok((ids.len() <= LOAD_MAX).then_some(ids))
    }

    /// The index of this name.
    pub(super) fn index(&self, name: &str) -> Result<Index, DocumentError> {
        let definition = self.definition.read();
        definition.indexes.iter().find(|index| index.spec.name == name).cloned().ok_or_else(|| {
            DocumentError::UnknownIndex { collection: self.name.clone(), index: name.to_owned() }
        })
    }

    pub(super) fn corrupt(&self, id: &[u8], error: impl ToString) -> DocumentError {
        DocumentError::Corrupt {
            collection: self.name.clone(),
            id: String::from_utf8_lossy(id).into_owned(),
            error: error.to_string(),
        }
    }
}

/// The value of an index entry: how long the id at the end of its key is. (UTF-8 never begins with this
/// byte: older entries have the id itself.)
pub(super) fn entry_value(id: &str) -> [u8; 3] {
    let length = u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes();
    [0xFF, length[0], length[1]]
}

/// The id of an index entry.
pub(super) fn entry_id<'a>(key: &'a [u8], value: &'a [u8]) -> &'a [u8] {
    match value {
        [0xFF, high, low] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            &key[key.len().saturating_sub(length)..]
        }
        id => id,
    }
}

/// `c/<name>` in `meta`.
pub(super) fn definition_key(name: &str) -> String {
    format!("c/{name}")
}

/// `n/<number>` in `meta`.
pub(super) fn count_key(number: u32) -> String {
    format!("n/{number}")
}

/// The key in `expiry`; its order is that of time.
pub(super) fn expiry_key(at: i64, number: u32, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(12 + id.len());
    key.extend_from_slice(&(at as u64 ^ 1 << 63).to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// Time, collection number and id of a key in `expiry`.
pub(super) fn parse_expiry_key(key: &[u8]) -> Option<(i64, u32, &str)> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (number, id) = rest.split_first_chunk::<4>()?;
    let at = (u64::from_be_bytes(*at) ^ 1 << 63) as i64;
    Some((at, u32::from_be_bytes(*number), std::str::from_utf8(id).ok()?))
}
