//! Inserting documents that are not there yet: the way of events, by the hundred thousand.
//!
//! Fields come encoded and go to disk as they are; of each document only what its index entries and its
//! expiry need is looked at. A batch is one write to the journal. Its index entries are sorted first, so
//! that neighbours meet in the processor's cache.

use super::collections::{Collection, Definition, count_key, entry_value};
use super::engine::Engine;
use super::expiry::put_lists;
use crate::encoding::{self, Malformed};
use crate::encoding_reader::Reader;
use crate::inserts::{Insert, Inserts};
use crate::order::put_encoded_key;
use crate::{DocumentError, InsertOutcome};
use affluent_model::time::now_micros;
use fjall::{OwnedWriteBatch, PersistMode, Slice};
use std::collections::HashSet;
use std::sync::Arc;

/// Encoded null: what an index holds of a field that is not there.
const NULL: &[u8] = &[0];

/// A batch that is being put together.
struct Batch<'a> {
    engine: &'a Engine,
    collection: &'a Collection,
    definition: &'a Definition,
    now: i64,
    ids: HashSet<&'a str>,
    documents: Vec<(&'a str, Slice)>,
    /// Key and value of each index entry.
    entries: Vec<(Slice, [u8; 3])>,
    expiries: Vec<(i64, &'a str)>,
    /// Room for one document or key.
    scratch: Vec<u8>,
}

impl Engine {
    pub(super) fn insert_if_absent(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        let collection = self.collection(collection)?;
        let _writer = self.writer.lock();
        let definition = collection.definition();
        let mut outcome = InsertOutcome::default();
        let mut inserts = documents.iter().flat_map(|documents| documents.iter()).peekable();
        while inserts.peek().is_some() {
            let mut batch = Batch {
                engine: self,
                collection: &collection,
                definition: &definition,
                now: now_micros(),
                ids: HashSet::new(),
                documents: Vec::new(),
                entries: Vec::new(),
                expiries: Vec::new(),
                scratch: Vec::with_capacity(1_024),
            };
            for insert in inserts.by_ref().take(self.batch_writes) {
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
        if !self.ids.insert(insert.id) || !self.collection.is_absent(insert.id)? {
            return Ok(false);
        }
        self.put(insert).map_err(|error| self.collection.corrupt(insert.id.as_bytes(), error))?;
        self.collection.note(insert.id);
        Ok(true)
    }

    fn put(&mut self, insert: Insert<'a>) -> Result<(), Malformed> {
        let ttl = self.definition.ttl.as_ref();
        let stamp_field = ttl.and_then(|ttl| ttl.field.as_deref());
        let indexes = &self.definition.indexes;
        // The values of the indexed fields, index by index, then the stamp.
        let width: usize = indexes.iter().map(|index| index.spec.fields.len()).sum();
        let mut values = vec![NULL; width];
        let mut stamp = None;
        let mut fields = Reader { bytes: insert.fields };
        for _ in 0..insert.count {
            let (name, value) = fields.raw_field()?;
            let wanted = indexes.iter().flat_map(|index| &index.spec.fields);
            for (place, _) in values.iter_mut().zip(wanted).filter(|(_, field)| field.as_bytes() == name) {
                *place = value;
            }
            if stamp_field.is_some_and(|field| field.as_bytes() == name) {
                stamp = Some(encoding::decode_value(value)?);
            }
        }
        let mut values = values.into_iter();
        for index in indexes {
            self.scratch.clear();
            self.scratch.extend_from_slice(&index.number.to_be_bytes());
            for value in values.by_ref().take(index.spec.fields.len()) {
                put_encoded_key(&mut self.scratch, value)?;
            }
            self.scratch.extend_from_slice(insert.id.as_bytes());
            self.entries.push((Slice::from(self.scratch.as_slice()), entry_value(insert.id)));
        }
        let expires_at = ttl.map(|ttl| ttl.expiry_after(stamp.as_ref(), self.now));
        self.expiries.extend(expires_at.map(|at| (at, insert.id)));
        self.scratch.clear();
        encoding::encode_insert(insert, expires_at, &mut self.scratch);
        self.documents.push((insert.id, Slice::from(self.scratch.as_slice())));
        Ok(())
    }

    /// Commits everything in one atomic batch; with `sync`, durably.
    fn commit(mut self, sync: bool) -> Result<(), DocumentError> {
        let Batch { engine, collection, definition, .. } = self;
        if self.documents.is_empty() {
            // Batches before this one may not be durable yet.
            return if sync { Ok(engine.database.persist(PersistMode::SyncData)?) } else { Ok(()) };
        }
        let items = self.documents.len() + self.entries.len() + self.expiries.len() / 512 + 2;
        let mut batch = OwnedWriteBatch::with_capacity(engine.database.clone(), items);
        let count = collection.count() + self.documents.len() as u64;
        for (id, document) in self.documents {
            batch.insert(&collection.documents, id, document);
        }
        self.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in self.entries {
            batch.insert(&collection.entries, key, value);
        }
        put_lists(&mut batch, engine, definition.number, &mut self.expiries);
        batch.insert(&engine.meta, count_key(definition.number), count.to_be_bytes());
        batch.durability(sync.then_some(PersistMode::SyncData)).commit()?;
        collection.set_count(count);
        Ok(())
    }
}
