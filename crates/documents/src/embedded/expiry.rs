//! When documents expire: the entries of the keyspace `expiry`, ordered by time.
//!
//! A document written alone has an entry of its own: time, collection number, id. Documents that were
//! inserted together share lists: the key is that of the first to expire, the value holds all of them.
//! What became of a document since is not followed there; its own expiry decides.

use super::collections::{Collection, expiry_key, parse_expiry_key};
use super::engine::Engine;
use crate::DocumentError;
use crate::convergence::State;
use crate::encoding::{Malformed, put_unsigned};
use crate::encoding_reader::Reader;
use fjall::{OwnedWriteBatch, PersistMode, Slice};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Documents and tombstones removed by one call of [`Engine::expire`].
const EXPIRE_MAX: usize = 20_000;
/// Documents in one list.
const LIST_MAX: usize = 512;

/// What is due of one collection.
#[derive(Default)]
struct Due {
    documents: Vec<(i64, String)>,
    lists: Vec<List>,
}

/// A list of which something is due.
struct List {
    key: Slice,
    /// What is not due yet.
    rest: Vec<(i64, String)>,
}

impl Engine {
    pub(super) fn expire(&self, now: i64) -> Result<u64, DocumentError> {
        let _writer = self.writer.lock();
        let mut due = self.due(now)?;
        let collections: Vec<Arc<Collection>> = self.collections.read().values().cloned().collect();
        let mut expired = 0;
        for collection in collections {
            let number = collection.definition().number;
            let Some(due) = due.remove(&number) else { continue };
            let mut ids = due.documents.into_iter().peekable();
            while ids.peek().is_some() {
                let mut staging = self.stage(&collection);
                for (at, id) in ids.by_ref().take(self.batch_writes) {
                    let slot = staging.decoded(&id)?;
                    if slot.before.as_ref().is_some_and(|(head, _)| head.expires_at == Some(at)) {
                        slot.state = State::default();
                        slot.changed = true;
                        expired += 1;
                    }
                }
                staging.commit(true)?;
            }
            self.settle_lists(number, due.lists)?;
        }
        Ok(expired)
    }

    /// What is due, by collection number.
    fn due(&self, now: i64) -> Result<BTreeMap<u32, Due>, DocumentError> {
        let end = expiry_key(now.saturating_add(1), 0, "");
        let (mut due, mut taken) = (BTreeMap::<u32, Due>::new(), 0);
        for entry in self.expiry.range(..end) {
            let (key, value) = entry.into_inner()?;
            let Some((at, number, id)) = parse_expiry_key(&key) else { continue };
            let due = due.entry(number).or_default();
            if value.is_empty() {
                due.documents.push((at, id.to_owned()));
                taken += 1;
            } else {
                let listed = decode(&value).map_err(|error| DocumentError::Corrupt {
                    collection: format!("expiry of collection {number}"),
                    id: id.to_owned(),
                    error: error.to_string(),
                })?;
                taken += listed.len();
                let (over, rest) = listed.into_iter().partition(|(at, _)| *at <= now);
                let over: Vec<(i64, String)> = over;
                due.documents.extend(over);
                due.lists.push(List { key, rest });
            }
            if taken >= EXPIRE_MAX {
                break;
            }
        }
        Ok(due)
    }

    /// Removes lists whose due documents are gone; what is left of them moves to its own time.
    fn settle_lists(&self, number: u32, lists: Vec<List>) -> Result<(), DocumentError> {
        if lists.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for List { key, mut rest } in lists {
            batch.remove(&self.expiry, key);
            put_lists(&mut batch, self, number, &mut rest);
        }
        Ok(batch.commit()?)
    }
}

/// Adds lists of these documents and times to a batch.
pub(super) fn put_lists<Id: AsRef<str> + Ord>(
    batch: &mut OwnedWriteBatch,
    engine: &Engine,
    number: u32,
    expiries: &mut [(i64, Id)],
) {
    expiries.sort_unstable();
    for list in expiries.chunks(LIST_MAX) {
        if let Some((at, id)) = list.first() {
            batch.insert(&engine.expiry, expiry_key(*at, number, id.as_ref()), encode(list));
        }
    }
}

/// For each document: its time after that of the one before, then its id; a zero and 16 bytes where it is a
/// UUID, else its length and one, and its text.
fn encode<Id: AsRef<str>>(list: &[(i64, Id)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + list.len() * 20);
    let mut last = 0;
    for (at, id) in list {
        let id = id.as_ref();
        put_unsigned(&mut out, at.wrapping_sub(last) as u64);
        last = *at;
        match uuid(id) {
            Some(uuid) => {
                out.push(0);
                out.extend_from_slice(uuid.as_bytes());
            }
            None => {
                put_unsigned(&mut out, id.len() as u64 + 1);
                out.extend_from_slice(id.as_bytes());
            }
        }
    }
    out
}

/// The UUID that `id` is the canonical form of.
fn uuid(id: &str) -> Option<Uuid> {
    if id.len() != 36 || id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse_ascii(id.as_bytes()).ok()
}

fn decode(value: &[u8]) -> Result<Vec<(i64, String)>, Malformed> {
    let mut reader = Reader { bytes: value };
    let (mut list, mut last) = (Vec::new(), 0_i64);
    while !reader.bytes.is_empty() {
        last = last.wrapping_add(reader.unsigned()? as i64);
        let id = match reader.unsigned()? {
            0 => Uuid::from_bytes(reader.array()?).to_string(),
            length => {
                let id = std::str::from_utf8(reader.bytes(length - 1)?);
                id.map_err(|_| Malformed("an id is not UTF-8"))?.to_owned()
            }
        };
        list.push((last, id));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_round_trip(list in vec((any::<i64>(), prop_oneof![
            ".{0,40}",
            any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string()),
            any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string().to_uppercase()),
        ]), 0..20)) {
            prop_assert_eq!(decode(&encode(&list)), Ok(list));
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
