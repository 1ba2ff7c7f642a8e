//! The blocking write side of the embedded store.
//!
//! One writer at a time. Each batch is staged in memory (one [`Slot`] an id, so that several writes of
//! one id become one), then committed with everything that follows from it.

use super::collections::{Collection, Definition, Index, count_key, definition_key, entry_value, expiry_key};
use crate::convergence::{Fill, State};
use crate::encoding::{self, Head};
use crate::{Action, ApplyOutcome, CollectionSpec, DocumentError, EmbeddedOptions, Ttl, VersionedWrite};
use affluent_model::{Position, time::now_micros};
use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Journals kept on disk before write buffers are forced out, bytes.
const JOURNAL_BYTES: u64 = 256 * 1024 * 1024;
/// Threads that flush and merge. With more than one, the library's first keeps itself free for flushes by handing merges on, to
/// itself too while the others are busy: it spins on a processor for as long as a merge takes.
const WORKERS: usize = 1;
/// Flushed files of a collection that are merged together.
const FILES_MERGED: u8 = 8;

pub(super) struct Engine {
    pub(super) database: Database,
    pub(super) meta: Keyspace,
    pub(super) expiry: Keyspace,
    pub(super) collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    pub(super) writer: Mutex<()>,
    pub(super) memtable_bytes: u64,
    pub(super) batch_writes: usize,
    tombstone_ttl_us: i64,
}

/// One id inside a batch.
#[derive(Default)]
pub(super) struct Slot {
    /// As it is on disk.
    pub(super) before: Option<(Head, Slice)>,
    pub(super) state: State,
    /// `state` has the fields, not only the head.
    decoded: bool,
    pub(super) changed: bool,
    /// Index entries on disk; known once decoded.
    entries: Vec<Vec<u8>>,
}

/// A batch that is being put together.
pub(super) struct Staging<'a> {
    engine: &'a Engine,
    collection: &'a Collection,
    definition: Definition,
    now: i64,
    slots: HashMap<String, Slot>,
}

impl Engine {
    pub(super) fn open(options: &EmbeddedOptions, tombstone_ttl_s: u64) -> Result<Self, DocumentError> {
        let path = options.path.as_ref().ok_or_else(|| {
            DocumentError::Config("documents.embedded.path is missing: name a directory".into())
        })?;
        let create = |error| DocumentError::Unavailable(format!("create {}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(create)?;
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKERS)
            .open()
            .map_err(|error| DocumentError::Unavailable(format!("open {}: {error}", path.display())))?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(4 * 1024 * 1024);
        let (meta, expiry) = (database.keyspace("meta", small)?, database.keyspace("expiry", small)?);
        let ttl = i64::try_from(tombstone_ttl_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let engine = Engine {
            database,
            meta,
            expiry,
            collections: RwLock::default(),
            writer: Mutex::default(),
            memtable_bytes: options.memtable_bytes,
            batch_writes: options.batch_writes,
            tombstone_ttl_us: ttl,
        };
        engine.load()?;
        Ok(engine)
    }

    /// Write buffer of a collection's index entries, bytes.
    pub(super) fn entry_bytes(&self) -> u64 {
        self.memtable_bytes / 2
    }

    /// Opens the collections that exist, and ends truncations that a crash interrupted.
    fn load(&self) -> Result<(), DocumentError> {
        for entry in self.meta.prefix("c/") {
            let (key, value) = entry.into_inner()?;
            let name = String::from_utf8_lossy(&key[2..]).into_owned();
            let definition: Definition =
                serde_json::from_slice(&value).map_err(|error| DocumentError::Corrupt {
                    collection: name.clone(),
                    id: String::new(),
                    error: error.to_string(),
                })?;
            let collection = self.attach(&name, definition)?;
            if collection.definition().truncating {
                self.sweep_truncated(&collection)?;
            }
        }
        Ok(())
    }

    fn attach(&self, name: &str, definition: Definition) -> Result<Arc<Collection>, DocumentError> {
        // More files at a time are merged, and so each of them less often.
        let options = || {
            let merged = Leveled::default().with_l0_threshold(FILES_MERGED);
            KeyspaceCreateOptions::default()
                .max_memtable_size(self.memtable_bytes)
                .compaction_strategy(Arc::new(merged))
        };
        let documents = self.database.keyspace(&format!("d.{name}"), options)?;
        // Entries are read in ranges, for which filters are of no use.
        let entries =
            || options().max_memtable_size(self.entry_bytes()).filter_policy(FilterPolicy::disabled());
        let entries = self.database.keyspace(&format!("i.{name}"), entries)?;
        let count = self.meta.get(count_key(definition.number))?;
        let count = count.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u64::from_be_bytes);
        let collection = Arc::new(Collection::new(name.to_owned(), documents, entries, definition, count));
        self.collections.write().insert(name.to_owned(), Arc::clone(&collection));
        Ok(collection)
    }

    pub(super) fn collection(&self, name: &str) -> Result<Arc<Collection>, DocumentError> {
        let collections = self.collections.read();
        collections.get(name).cloned().ok_or_else(|| DocumentError::UnknownCollection(name.to_owned()))
    }

    pub(super) fn ensure(&self, spec: &CollectionSpec) -> Result<(), DocumentError> {
        if spec.name.is_empty() || spec.name.len() > 200 {
            return Err(DocumentError::Config(format!("collection name {:?}: 1 to 200 bytes", spec.name)));
        }
        let _writer = self.writer.lock();
        let existing = self.collections.read().get(&spec.name).cloned();
        let collection = match existing {
            Some(collection) => collection,
            None => {
                let used = self.collections.read().values().map(|c| c.definition().number + 1).max();
                let definition = Definition::new(used.unwrap_or(0));
                self.define(&spec.name, &definition)?;
                self.attach(&spec.name, definition)?
            }
        };
        let mut definition = collection.definition();
        let added = definition.extend(spec)?;
        self.build_indexes(&collection, &added)?;
        self.define(&spec.name, &definition)?;
        collection.redefine(definition);
        Ok(())
    }

    fn define(&self, name: &str, definition: &Definition) -> Result<(), DocumentError> {
        let json =
            serde_json::to_vec(definition).map_err(|error| DocumentError::Config(error.to_string()))?;
        self.meta.insert(definition_key(name), json)?;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn build_indexes(&self, collection: &Collection, indexes: &[Index]) -> Result<(), DocumentError> {
        if indexes.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for entry in collection.documents.iter() {
            let (key, value) = entry.into_inner()?;
            let (state, _) = encoding::decode(&value).map_err(|error| collection.corrupt(&key, error))?;
            let id = std::str::from_utf8(&key).map_err(|error| collection.corrupt(&key, error))?;
            if state.live {
                for index in indexes {
                    batch.insert(&collection.entries, index.entry(id, &state.fields), entry_value(id));
                }
            }
            if batch.len() >= self.batch_writes {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
            }
        }
        Ok(batch.commit()?)
    }

    pub(super) fn apply(
        &self,
        collection: &str,
        writes: Vec<VersionedWrite>,
    ) -> Result<ApplyOutcome, DocumentError> {
        let collection = self.collection(collection)?;
        let mut outcome = ApplyOutcome::default();
        let mut writes = writes.into_iter().peekable();
        while writes.peek().is_some() {
            collection.wait_for_room(self)?;
            let _writer = self.writer.lock();
            let mut staging = self.stage(&collection);
            for write in writes.by_ref().take(self.batch_writes) {
                if staging.apply(write)? {
                    outcome.applied += 1;
                } else {
                    outcome.stale += 1;
                }
            }
            staging.commit(writes.peek().is_none())?;
        }
        Ok(outcome)
    }

    pub(super) fn truncate(&self, collection: &str, position: Position) -> Result<(), DocumentError> {
        let collection = self.collection(collection)?;
        let _writer = self.writer.lock();
        let mut definition = collection.definition();
        if position <= definition.truncated_at {
            return Ok(());
        }
        definition.truncated_at = position;
        definition.truncating = true;
        self.define(&collection.name, &definition)?;
        collection.redefine(definition);
        self.sweep_truncated(&collection)
    }

    /// Removes what the truncation made obsolete, in bounded batches.
    fn sweep_truncated(&self, collection: &Collection) -> Result<(), DocumentError> {
        let mut definition = collection.definition();
        let snapshot = self.database.snapshot();
        let mut staging = self.stage(collection);
        for entry in fjall::Readable::iter(&snapshot, &collection.documents) {
            let (key, value) = entry.into_inner()?;
            let head = encoding::head(&value).map_err(|error| collection.corrupt(&key, error))?;
            if head.plain && head.version >= definition.truncated_at {
                continue;
            }
            let id = std::str::from_utf8(&key).map_err(|error| collection.corrupt(&key, error))?;
            let slot = staging.decoded(id)?;
            slot.changed = true;
            if !slot.state.truncate(definition.truncated_at) {
                slot.state = State::default();
            }
            if staging.slots.len() >= self.batch_writes {
                std::mem::replace(&mut staging, self.stage(collection)).commit(false)?;
            }
        }
        staging.commit(true)?;
        definition.truncating = false;
        self.define(&collection.name, &definition)?;
        collection.redefine(definition);
        Ok(())
    }

    pub(super) fn stage<'a>(&'a self, collection: &'a Collection) -> Staging<'a> {
        let definition = collection.definition();
        Staging { engine: self, collection, definition, now: now_micros(), slots: HashMap::new() }
    }
}

impl Staging<'_> {
    /// Applies one write and what follows from it; false where it said nothing new.
    fn apply(&mut self, write: VersionedWrite) -> Result<bool, DocumentError> {
        if write.version < self.definition.truncated_at {
            return Ok(false);
        }
        let indexed = !self.definition.indexes.is_empty();
        let slot = self.slot(&write.id)?;
        if let (false, Some((head, _))) = (slot.decoded, &slot.before) {
            let replaces = matches!(write.action, Action::Put(_) | Action::Delete);
            let departs = matches!(write.action, Action::Depart { .. });
            if head.plain && write.version <= slot.state.version && !departs {
                return Ok(false);
            }
            if indexed || !head.plain || !replaces {
                self.decoded(&write.id)?;
            }
        }
        let slot = self.slot(&write.id)?;
        let transition = slot.state.advance(write);
        slot.changed |= transition.changed;
        let mut fills: Vec<Fill> = transition.fills;
        // Ends: each round only goes on where a register became newer.
        while let Some(fill) = fills.pop() {
            let slot = self.decoded(&fill.to)?;
            let carried = slot.state.fill(&fill);
            slot.changed |= carried.changed;
            fills.extend(carried.fills);
        }
        Ok(transition.changed)
    }

    fn slot(&mut self, id: &str) -> Result<&mut Slot, DocumentError> {
        if !self.slots.contains_key(id) {
            let mut slot = Slot { decoded: true, ..Slot::default() };
            if let Some(bytes) = self.collection.documents.get(id)? {
                let head =
                    encoding::head(&bytes).map_err(|error| self.collection.corrupt(id.as_bytes(), error))?;
                slot.state.version = head.version;
                slot.state.live = head.live;
                slot.before = Some((head, bytes));
                slot.decoded = false;
            }
            self.slots.insert(id.to_owned(), slot);
        }
        self.slots.get_mut(id).ok_or_else(|| DocumentError::Unavailable("slot vanished".into()))
    }

    /// The slot with its fields.
    pub(super) fn decoded(&mut self, id: &str) -> Result<&mut Slot, DocumentError> {
        self.slot(id)?;
        let Some(slot) = self.slots.get_mut(id) else {
            return Err(DocumentError::Unavailable("slot vanished".into()));
        };
        if let (false, false, Some((head, bytes))) = (slot.decoded, slot.changed, &slot.before) {
            let corrupt = |error| self.collection.corrupt(id.as_bytes(), error);
            (slot.state, _) = encoding::decode(bytes).map_err(corrupt)?;
            if head.live {
                let entry = |index: &Index| index.entry(id, &slot.state.fields);
                slot.entries = self.definition.indexes.iter().map(entry).collect();
            }
        }
        slot.decoded = true;
        Ok(slot)
    }

    /// Commits everything in one atomic batch; with `sync`, durably.
    pub(super) fn commit(self, sync: bool) -> Result<(), DocumentError> {
        let mut batch =
            OwnedWriteBatch::with_capacity(self.engine.database.clone(), self.slots.len() * 2 + 1);
        let number = self.definition.number;
        let mut count = self.collection.count();
        let ttl = self.definition.ttl.as_ref();
        for (id, slot) in self.slots.iter().filter(|(_, slot)| slot.changed) {
            let was = slot.before.as_ref().map(|(head, _)| *head);
            let gone = slot.state == State::default();
            let expires_at = if gone { None } else { self.expires_at(&slot.state, ttl) };
            if gone {
                batch.remove(&self.collection.documents, id.as_str());
            } else {
                let mut bytes = Vec::with_capacity(256);
                encoding::encode(&slot.state, expires_at, &mut bytes);
                batch.insert(&self.collection.documents, id.as_str(), bytes);
            }
            self.collection.note(id);
            // What is in a list stays there: the document's own expiry decides.
            let before = was.filter(|head| !head.listed).and_then(|head| head.expires_at);
            if before != expires_at {
                if let Some(at) = before {
                    batch.remove(&self.engine.expiry, expiry_key(at, number, id));
                }
                if let Some(at) = expires_at {
                    batch.insert(&self.engine.expiry, expiry_key(at, number, id), []);
                }
            }
            self.index(&mut batch, id, slot);
            count += u64::from(slot.state.live);
            count -= u64::from(was.is_some_and(|head| head.live));
        }
        if count != self.collection.count() {
            batch.insert(&self.engine.meta, count_key(number), count.to_be_bytes());
        }
        if sync && batch.is_empty() {
            // Batches before this one may not be durable yet.
            self.engine.database.persist(PersistMode::SyncData)?;
        }
        batch.durability(sync.then_some(PersistMode::SyncData)).commit()?;
        self.collection.set_count(count);
        Ok(())
    }

    fn index(&self, batch: &mut OwnedWriteBatch, id: &str, slot: &Slot) {
        let entry = |index: &Index| index.entry(id, &slot.state.fields);
        let entries: Vec<Vec<u8>> =
            if slot.state.live { self.definition.indexes.iter().map(entry).collect() } else { Vec::new() };
        for old in slot.entries.iter().filter(|old| !entries.contains(old)) {
            batch.remove(&self.collection.entries, old.as_slice());
        }
        for new in entries.into_iter().filter(|new| !slot.entries.contains(new)) {
            batch.insert(&self.collection.entries, new, entry_value(id));
        }
    }

    fn expires_at(&self, state: &State, ttl: Option<&Ttl>) -> Option<i64> {
        match (state.live, ttl) {
            (true, ttl) => ttl.map(|ttl| ttl.expiry(&state.fields, self.now)),
            (false, _) => Some(self.now.saturating_add(self.engine.tombstone_ttl_us)),
        }
    }
}
