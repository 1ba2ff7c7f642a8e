//! Inserting documents that are not there yet: the way of events, by the hundred thousand.
//!
//! Fields come encoded and go to disk as they are; of each document only what its index entries and its
//! expiry need is looked at. A batch is one write to the journal. Its documents share one piece of memory, and
//! so do its keys: an allocation of each costs more than copying them, and leaves memory in pieces. Index
//! entries are sorted first, so that neighbours meet in the processor's cache.

use super::collections::{Collection, Definition, count_key, entry_value};
use super::engine::Engine;
use super::expiry::put_lists;
use crate::encoding::{self, Malformed};
use crate::encoding_reader::Reader;
use crate::inserts::{Insert, Inserts};
use crate::order::put_encoded_key;
use crate::{DocumentError, InsertOutcome};
use affluent_model::time::now_micros;
use byteview::ByteView;
use fjall::{OwnedWriteBatch, PersistMode};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Encoded null: what an index holds of a field that is not there.
const NULL: &[u8] = &[0];
/// A batch ends at this size, bytes of its documents.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// A batch that is being put together.
struct Batch<'a> {
    engine: &'a Engine,
    collection: &'a Collection,
    definition: &'a Definition,
    now: i64,
    /// Ids in the batch; made where an id comes that may be among them.
    ids: Option<HashSet<&'a str>>,
    /// Each id, and behind it its document as it is stored.
    documents: Vec<u8>,
    parts: Vec<Part<'a>>,
    /// Keys of index entries.
    keys: Vec<u8>,
    /// The key and the value of each.
    entries: Vec<(Range<usize>, [u8; 3])>,
    expiries: Vec<(i64, &'a str)>,
    /// Room for the indexed values of one document.
    values: Vec<&'a [u8]>,
}

/// Where a document lies: its id, then what is stored, up to `end`; it begins where the one before ends.
struct Part<'a> {
    id: &'a str,
    end: usize,
}

impl Engine {
    pub(super) fn insert_if_absent(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        let collection = self.collection(collection)?;
        let mut outcome = InsertOutcome::default();
        let mut inserts = documents.iter().flat_map(|documents| documents.iter()).peekable();
        while inserts.peek().is_some() {
            collection.wait_for_room(self)?;
            let _writer = self.writer.lock();
            let definition = collection.definition();
            let mut batch = Batch {
                engine: self,
                collection: &collection,
                definition: &definition,
                now: now_micros(),
                ids: None,
                documents: Vec::new(),
                parts: Vec::new(),
                keys: Vec::new(),
                entries: Vec::new(),
                expiries: Vec::new(),
                values: Vec::new(),
            };
            for _ in 0..self.batch_writes {
                let Some(insert) = inserts.next_if(|_| batch.documents.len() < BATCH_BYTES) else { break };
                if batch.insert(insert)? {
                    outcome.inserted += 1;
                } else {
                    outcome.duplicates += 1;
                }
            }
            batch.commit(inserts.peek().is_none())?;
        }
        Ok(outcome)
    }
}

impl<'a> Batch<'a> {
    /// Adds a document; false where it is there already.
    fn insert(&mut self, insert: Insert<'a>) -> Result<bool, DocumentError> {
        // What can be claimed is not in this batch either, whose ids are noted with the stored ones.
        if !self.collection.claim(insert.id)? {
            if self.has(insert.id) || self.collection.is_stored(insert.id)? {
                return Ok(false);
            }
            self.collection.note(insert.id);
        }
        self.put(insert).map_err(|error| self.collection.corrupt(insert.id.as_bytes(), error))?;
        Ok(true)
    }

    /// The id is in this batch.
    fn has(&mut self, id: &str) -> bool {
        let parts = &self.parts;
        self.ids.get_or_insert_with(|| parts.iter().map(|part| part.id).collect()).contains(id)
    }

    fn put(&mut self, insert: Insert<'a>) -> Result<(), Malformed> {
        let ttl = self.definition.ttl.as_ref();
        let stamp_field = ttl.and_then(|ttl| ttl.field.as_deref());
        let indexes = &self.definition.indexes;
        // The values of the indexed fields, index by index, then the stamp.
        let width: usize = indexes.iter().map(|index| index.spec.fields.len()).sum();
        self.values.clear();
        self.values.resize(width, NULL);
        let mut stamp = None;
        let mut fields = Reader { bytes: insert.fields };
        for _ in 0..insert.count {
            let (name, value) = fields.raw_field()?;
            let wanted = indexes.iter().flat_map(|index| &index.spec.fields);
            for (place, _) in self.values.iter_mut().zip(wanted).filter(|(_, field)| field.as_bytes() == name)
            {
                *place = value;
            }
            if stamp_field.is_some_and(|field| field.as_bytes() == name) {
                stamp = Some(encoding::decode_value(value)?);
            }
        }
        let mut values = self.values.iter();
        for index in indexes {
            let start = self.keys.len();
            self.keys.extend_from_slice(&index.number.to_be_bytes());
            for value in values.by_ref().take(index.spec.fields.len()) {
                put_encoded_key(&mut self.keys, value)?;
            }
            self.keys.extend_from_slice(insert.id.as_bytes());
            self.entries.push((start..self.keys.len(), entry_value(insert.id)));
        }
        let expires_at = ttl.map(|ttl| ttl.expiry_after(stamp.as_ref(), self.now));
        self.expiries.extend(expires_at.map(|at| (at, insert.id)));
        self.documents.extend_from_slice(insert.id.as_bytes());
        encoding::encode_insert(insert, expires_at, &mut self.documents);
        self.parts.push(Part { id: insert.id, end: self.documents.len() });
        if let Some(ids) = &mut self.ids {
            ids.insert(insert.id);
        }
        Ok(())
    }

    /// Commits everything in one atomic batch; with `sync`, durably.
    fn commit(mut self, sync: bool) -> Result<(), DocumentError> {
        let Batch { engine, collection, definition, .. } = self;
        if self.parts.is_empty() {
            // Batches before this one may not be durable yet.
            return if sync { Ok(engine.database.persist(PersistMode::SyncData)?) } else { Ok(()) };
        }
        let items = self.parts.len() + self.entries.len() + self.expiries.len() / 512 + 2;
        let mut batch = OwnedWriteBatch::with_capacity(engine.database.clone(), items);
        let count = collection.count() + self.parts.len() as u64;
        let documents = ByteView::from(self.documents);
        let mut start = 0;
        for Part { id, end } in self.parts {
            let (key, value) = (start..start + id.len(), start + id.len()..end);
            batch.insert(&collection.documents, documents.slice(key), documents.slice(value));
            start = end;
        }
        let keys = ByteView::from(self.keys);
        self.entries.sort_unstable_by(|a, b| keys[a.0.clone()].cmp(&keys[b.0.clone()]));
        for (key, value) in self.entries {
            batch.insert(&collection.entries, keys.slice(key), value);
        }
        put_lists(&mut batch, engine, definition.number, &mut self.expiries);
        batch.insert(&engine.meta, count_key(definition.number), count.to_be_bytes());
        batch.durability(sync.then_some(PersistMode::SyncData)).commit()?;
        collection.set_count(count);
        Ok(())
    }
}
