//! Conditional bulk writes.
//!
//! Most writes replace a whole document by a newer version: one `update` with the version in its filter
//! and `upsert`, so that "older or absent" matches and "newer" runs into the duplicate key. What cannot
//! be said that way (patches, moves, documents with columns of their own age) is read, decided by
//! [`crate::convergence`], and written back on the condition that nothing changed since.

use super::{MongoStore, corrupt, passing, states};
use crate::convergence::{Fill, State};
use crate::{Action, ApplyOutcome, DocumentError, InsertOutcome, Inserts, Ttl, VersionedWrite};
use affluent_model::{Position, Reason, time::now_micros};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document as Bdoc, doc};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Rounds in which concurrent writers may win over a read-decide-write.
const ROUNDS_MAX: usize = 20;
/// Estimated bytes of one command; the limit of the protocol is 48 MB.
const COMMAND_BYTES: usize = 16 * 1024 * 1024;
const DUPLICATE_KEY: i32 = 11_000;

/// One state that was read, and what became of it.
struct Entry {
    state: State,
    /// Version and revision as stored; absent where nothing is.
    stored: Option<(Position, i64)>,
    changed: bool,
    /// Steps from a write to here along moves; deeper ones are written first, so that a crash in
    /// between leaves the origin to be done again.
    depth: usize,
}

impl MongoStore {
    pub(super) async fn insert(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        let ttl = self.spec(collection).await?.ttl;
        let now = now_micros();
        let mut outcome = InsertOutcome::default();
        let mut seen = HashSet::new();
        let mut updates = Vec::new();
        for document in documents.iter().flat_map(|documents| documents.documents()) {
            let document = document?;
            if !seen.insert(document.id.clone()) {
                outcome.duplicates += 1;
                continue;
            }
            let state = State { live: true, fields: document.fields, ..State::default() };
            let expires_at = self.expires_at(&state, ttl.as_ref(), now);
            let mut fields = states::encode(self.dialect, &document.id, &state, expires_at, 0);
            fields.remove("_id");
            let update =
                doc! { "q": { "_id": &document.id }, "u": { "$setOnInsert": fields }, "upsert": true };
            updates.push((document.id, update));
        }
        for chunk in chunks(updates, self.batch_writes) {
            let total = chunk.len() as u64;
            let answer = self.update(collection, chunk).await?;
            outcome.inserted += answer.upserted;
            outcome.duplicates += total - answer.upserted;
        }
        Ok(outcome)
    }

    pub(super) async fn write(
        &self,
        collection: &str,
        writes: Vec<VersionedWrite>,
    ) -> Result<ApplyOutcome, DocumentError> {
        let ttl = self.spec(collection).await?.ttl;
        let truncated_at = self.truncated_at(collection).await?;
        let total = writes.len() as u64;
        let writes: Vec<VersionedWrite> =
            writes.into_iter().filter(|write| write.version >= truncated_at).collect();
        let mut applied = 0;
        // Ids with one plain write take the short way.
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for write in &writes {
            *uses.entry(&write.id).or_default() += 1;
        }
        let short: Vec<bool> = writes
            .iter()
            .map(|write| {
                uses[write.id.as_str()] == 1 && matches!(write.action, Action::Put(_) | Action::Delete)
            })
            .collect();
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for (write, short) in writes.into_iter().zip(short) {
            if short { plain.push(write) } else { others.push(write) }
        }
        let now = now_micros();
        let updates = plain.iter().map(|write| {
            let update = self.replace_if_newer(write, ttl.as_ref(), now);
            (write.id.clone(), update)
        });
        let mut late = BTreeSet::new();
        for chunk in chunks(updates.collect(), self.batch_writes) {
            let total = chunk.len() as u64;
            let answer = self.update(collection, chunk).await?;
            applied += total - answer.duplicates.len() as u64;
            late.extend(answer.duplicates);
        }
        // Stored is something newer, or something with columns of their own age.
        others.extend(plain.into_iter().filter(|write| late.contains(&write.id)));
        for chunk in others.chunks(self.batch_writes) {
            applied += self.decide(collection, chunk, ttl.as_ref()).await?;
        }
        // Another member may have truncated meanwhile.
        let position = self.truncated_at(collection).await?;
        if position > truncated_at {
            self.sweep_truncated(collection, position).await?;
        }
        Ok(ApplyOutcome { applied, stale: total - applied })
    }

    fn replace_if_newer(&self, write: &VersionedWrite, ttl: Option<&Ttl>, now: i64) -> Bdoc {
        let mut state = State::default();
        state.advance(write.clone());
        let expires_at = self.expires_at(&state, ttl, now);
        let (lsn, ordinal) = (write.version.lsn.0 as i64, write.version.ordinal as i64);
        doc! {
            "q": { "_id": &write.id, "_s": { "$exists": false }, "$or": [
                { "_v": { "$exists": false } },
                { "_v.lsn": { "$lt": lsn } },
                { "_v.lsn": lsn, "_v.ordinal": { "$lt": ordinal } },
            ] },
            "u": states::encode(self.dialect, &write.id, &state, expires_at, 0),
            "upsert": true,
        }
    }

    /// Reads, decides, writes back; again where another writer was faster. Returns how many writes
    /// changed something.
    async fn decide(
        &self,
        collection: &str,
        writes: &[VersionedWrite],
        ttl: Option<&Ttl>,
    ) -> Result<u64, DocumentError> {
        let mut applied = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let mut entries = self.advance(collection, writes, &mut applied).await?;
            entries.retain(|_, entry| entry.changed);
            if self.write_back(collection, &entries, ttl).await? {
                return Ok(applied.len() as u64);
            }
        }
        Err(DocumentError::Unavailable(format!("{collection}: other writers were faster {ROUNDS_MAX} times")))
    }

    async fn advance(
        &self,
        collection: &str,
        writes: &[VersionedWrite],
        applied: &mut BTreeSet<usize>,
    ) -> Result<BTreeMap<String, Entry>, DocumentError> {
        let mut entries = BTreeMap::new();
        self.load(collection, writes.iter().map(|write| write.id.clone()).collect(), &mut entries).await?;
        let mut fills: Vec<(usize, Fill)> = Vec::new();
        for (i, write) in writes.iter().enumerate() {
            let Some(entry) = entries.get_mut(&write.id) else { continue };
            let transition = entry.state.advance(write.clone());
            entry.changed |= transition.changed;
            if transition.changed {
                applied.insert(i);
            }
            fills.extend(transition.fills.into_iter().map(|fill| (1, fill)));
        }
        // Ends: each round only goes on where a register became newer.
        while !fills.is_empty() {
            let ids = fills.iter().map(|(_, fill)| fill.to.clone()).collect();
            self.load(collection, ids, &mut entries).await?;
            for (depth, fill) in std::mem::take(&mut fills) {
                let Some(entry) = entries.get_mut(&fill.to) else { continue };
                let transition = entry.state.fill(&fill);
                entry.changed |= transition.changed;
                entry.depth = entry.depth.max(depth);
                fills.extend(transition.fills.into_iter().map(|fill| (depth + 1, fill)));
            }
        }
        Ok(entries)
    }

    /// False where something changed since it was read.
    async fn write_back(
        &self,
        collection: &str,
        entries: &BTreeMap<String, Entry>,
        ttl: Option<&Ttl>,
    ) -> Result<bool, DocumentError> {
        let now = now_micros();
        let depths: BTreeSet<usize> = entries.values().map(|entry| entry.depth).collect();
        for depth in depths.into_iter().rev() {
            let level = entries.iter().filter(|(_, entry)| entry.depth == depth);
            let updates = level.map(|(id, entry)| {
                let expires_at = self.expires_at(&entry.state, ttl, now);
                let revision = entry.stored.map_or(0, |(_, revision)| revision) + 1;
                let document = states::encode(self.dialect, id, &entry.state, expires_at, revision);
                (id.clone(), doc! { "q": unchanged(id, entry.stored), "u": document, "upsert": entry.stored.is_none() })
            });
            for chunk in chunks(updates.collect(), self.batch_writes) {
                let total = chunk.len() as u64;
                let answer = self.update(collection, chunk).await?;
                if answer.matched != total || !answer.duplicates.is_empty() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn load(
        &self,
        collection: &str,
        ids: BTreeSet<String>,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Result<(), DocumentError> {
        let missing: Vec<String> = ids.into_iter().filter(|id| !entries.contains_key(id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let filter = doc! { "_id": { "$in": &missing } };
        let mut cursor = self.collection(collection).find(filter).await.map_err(passing)?;
        while let Some(stored) = cursor.try_next().await.map_err(passing)? {
            let id = stored.get_str("_id").unwrap_or_default().to_owned();
            let (state, revision) =
                states::decode_state(stored).map_err(|error| corrupt(collection, &id, error))?;
            let stored = Some((state.version, revision));
            entries.insert(id, Entry { state, stored, changed: false, depth: 0 });
        }
        for id in missing {
            entries.entry(id).or_insert_with(|| Entry {
                state: State::default(),
                stored: None,
                changed: false,
                depth: 0,
            });
        }
        Ok(())
    }

    /// Removes what is older than `position`.
    pub(super) async fn sweep_truncated(
        &self,
        collection: &str,
        position: Position,
    ) -> Result<(), DocumentError> {
        if position == Position::default() {
            return Ok(());
        }
        let (lsn, ordinal) = (position.lsn.0 as i64, position.ordinal as i64);
        let older = doc! { "_s": { "$exists": false }, "$or": [
            { "_v": { "$exists": false } },
            { "_v.lsn": { "$lt": lsn } },
            { "_v.lsn": lsn, "_v.ordinal": { "$lt": ordinal } },
        ] };
        let documents = self.collection(collection);
        documents.delete_many(older).await.map_err(passing)?;
        let special = doc! { "_s": { "$exists": true } };
        let ids: Vec<String> = {
            let mut cursor = documents.find(special).projection(doc! { "_id": 1 }).await.map_err(passing)?;
            let mut ids = Vec::new();
            while let Some(stored) = cursor.try_next().await.map_err(passing)? {
                ids.extend(stored.get_str("_id").map(str::to_owned));
            }
            ids
        };
        let ttl = self.spec(collection).await?.ttl;
        for id in ids {
            self.truncate_one(collection, id, position, ttl.as_ref()).await?;
        }
        Ok(())
    }

    async fn truncate_one(
        &self,
        collection: &str,
        id: String,
        position: Position,
        ttl: Option<&Ttl>,
    ) -> Result<(), DocumentError> {
        for _ in 0..ROUNDS_MAX {
            let mut entries = BTreeMap::new();
            self.load(collection, BTreeSet::from([id.clone()]), &mut entries).await?;
            let Some(entry) = entries.get_mut(&id).filter(|entry| entry.stored.is_some()) else {
                return Ok(());
            };
            let before = entry.state.clone();
            if !entry.state.truncate(position) {
                let filter = unchanged(&id, entry.stored);
                if self.collection(collection).delete_one(filter).await.map_err(passing)?.deleted_count == 1 {
                    return Ok(());
                }
            } else if before == entry.state || self.write_back(collection, &entries, ttl).await? {
                return Ok(());
            }
        }
        Err(DocumentError::Unavailable(format!("{collection}: other writers were faster {ROUNDS_MAX} times")))
    }

    fn expires_at(&self, state: &State, ttl: Option<&Ttl>, now: i64) -> Option<i64> {
        match (state.live, ttl) {
            (true, ttl) => ttl.map(|ttl| ttl.expiry(&state.fields, now)),
            (false, _) => Some(now.saturating_add(self.tombstone_ttl_us)),
        }
    }

    /// One unordered bulk command; updates that ran into the duplicate key are part of the answer.
    async fn update(
        &self,
        collection: &str,
        mut updates: Vec<(String, Bdoc)>,
    ) -> Result<Answer, DocumentError> {
        let mut sum = Answer::default();
        loop {
            let command = doc! {
                "update": collection,
                "updates": updates.iter().map(|(_, update)| update.clone()).collect::<Vec<_>>(),
                "ordered": false,
                "writeConcern": { "w": "majority", "j": true },
            };
            let answer = self.database.run_command(command).await.map_err(passing)?;
            let failed = sum.add(&answer, &updates)?;
            match failed {
                // This server stopped there, whatever it was told.
                Some(index) if !self.dialect.complete && index + 1 < updates.len() => {
                    updates.drain(..=index);
                }
                _ => return Ok(sum),
            }
        }
    }
}

/// What a bulk command did.
#[derive(Default)]
struct Answer {
    /// Updates that found (or, by upsert, made) a document.
    matched: u64,
    upserted: u64,
    /// Ids whose document was there, but not as the filter wanted it.
    duplicates: Vec<String>,
}

impl Answer {
    /// Takes in the server's answer to `updates`; returns the index of the first that failed.
    fn add(&mut self, answer: &Bdoc, updates: &[(String, Bdoc)]) -> Result<Option<usize>, DocumentError> {
        if let Ok(concern) = answer.get_document("writeConcernError") {
            return Err(DocumentError::Unavailable(format!("mongodb: {concern}")));
        }
        self.matched += match answer.get("n") {
            Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
            Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
            _ => 0,
        };
        self.upserted += answer.get_array("upserted").map_or(0, Vec::len) as u64;
        let mut first = None;
        for error in answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
            let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
            let id = index.and_then(|index| updates.get(index)).map(|(id, _)| id.clone()).unwrap_or_default();
            match error.get_i32("code") {
                Ok(DUPLICATE_KEY) => self.duplicates.push(id),
                // BSONObjectTooLarge, keys too long, failed validation: never.
                Ok(10_334 | 17_280 | 17_419 | 121) => {
                    let error = error.get_str("errmsg").unwrap_or_default().to_owned();
                    return Err(DocumentError::Refused { id, reason: Reason::Refused, error });
                }
                _ => return Err(DocumentError::Unavailable(format!("mongodb: {error}"))),
            }
            first = first.min(index).or(index);
        }
        Ok(first)
    }
}

/// Matches the document only as it was read.
fn unchanged(id: &str, stored: Option<(Position, i64)>) -> Bdoc {
    let Some((version, revision)) = stored else {
        // Matches nothing: only the upsert can succeed, and only where the id is free.
        return doc! { "_id": id, "_absent": true };
    };
    let mut filter = doc! { "_id": id };
    if version == Position::default() {
        filter.insert("_v", doc! { "$exists": false });
    } else {
        filter.insert("_v.lsn", version.lsn.0 as i64);
        filter.insert("_v.ordinal", version.ordinal as i64);
    }
    let revision = if revision == 0 { Bson::Document(doc! { "$exists": false }) } else { revision.into() };
    filter.insert("_r", revision);
    filter
}

/// Splits by number and by size.
fn chunks(updates: Vec<(String, Bdoc)>, limit: usize) -> Vec<Vec<(String, Bdoc)>> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (id, update) in updates {
        let size = mongodb::bson::to_vec(&update).map_or(0, |bytes| bytes.len());
        if !chunk.is_empty() && (chunk.len() == limit || bytes + size > COMMAND_BYTES) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push((id, update));
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}
