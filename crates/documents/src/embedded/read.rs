//! The blocking read side of the embedded store. Every call reads one snapshot of the database.

use super::collections::{Collection, Index, entry_id};
use super::engine::Engine;
use crate::encoding;
use crate::order::{is_cut, put_key};
use crate::{Document, DocumentError, Page, Range, Scan};
use affluent_model::Value;
use fjall::{Readable, Snapshot};
use std::ops::Bound;

impl Engine {
    pub(super) fn get(&self, collection: &str, ids: &[String]) -> Result<Vec<Document>, DocumentError> {
        let collection = self.collection(collection)?;
        let snapshot = self.database.snapshot();
        let mut documents = Vec::with_capacity(ids.len());
        for id in ids {
            documents.extend(self.document(&snapshot, &collection, id)?);
        }
        Ok(documents)
    }

    pub(super) fn scan(&self, collection: &str, scan: &Scan) -> Result<Page, DocumentError> {
        if scan.limit == 0 {
            return Err(DocumentError::Config("a scan's limit is at least 1".into()));
        }
        let collection = self.collection(collection)?;
        match &scan.range {
            Range::Ids { from, to } => self.scan_ids(&collection, from.as_deref(), to.as_deref(), scan),
            Range::Index { index, equal, from, to } => {
                let index = collection.index(index)?;
                let rest = index.spec.fields.len().checked_sub(equal.len());
                if rest.is_none() || (rest == Some(0) && (from.is_some() || to.is_some())) {
                    return Err(DocumentError::Config(format!(
                        "index {:?} has {} fields: the range names more",
                        index.spec.name,
                        index.spec.fields.len()
                    )));
                }
                self.scan_index(&collection, &index, (equal, from.as_ref(), to.as_ref()), scan)
            }
        }
    }

    fn scan_ids(
        &self,
        collection: &Collection,
        from: Option<&str>,
        to: Option<&str>,
        scan: &Scan,
    ) -> Result<Page, DocumentError> {
        let snapshot = self.database.snapshot();
        let start = match &scan.after {
            Some(after) => Bound::Excluded(after.as_bytes()),
            None => from.map_or(Bound::Unbounded, |from| Bound::Included(from.as_bytes())),
        };
        let end = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.as_bytes()));
        if let (Bound::Excluded(start) | Bound::Included(start), Bound::Excluded(end)) = (start, end)
            && start >= end
        {
            return Ok(Page { documents: Vec::new(), next: None });
        }
        let mut documents: Vec<Document> = Vec::new();
        for entry in snapshot.range::<&[u8], _>(&collection.documents, (start, end)) {
            let (key, value) = entry.into_inner()?;
            let Some(document) = decode(collection, &key, &value)? else { continue };
            if documents.len() == scan.limit {
                let next = documents.last().map(|last| last.id.clone());
                return Ok(Page { documents, next });
            }
            documents.push(document);
        }
        Ok(Page { documents, next: None })
    }

    fn scan_index(
        &self,
        collection: &Collection,
        index: &Index,
        (equal, from, to): (&[Value], Option<&Value>, Option<&Value>),
        scan: &Scan,
    ) -> Result<Page, DocumentError> {
        let bound = |value: Option<&Value>| {
            let mut key = index.prefix(equal);
            value.into_iter().for_each(|value| put_key(&mut key, value));
            key
        };
        let start = match &scan.after {
            Some(cursor) => {
                let key = hex::decode(cursor).map_err(|_| DocumentError::InvalidCursor(cursor.clone()))?;
                Bound::Excluded(key)
            }
            None => Bound::Included(bound(from)),
        };
        let mut end = bound(to);
        if to.is_none() {
            // No kind of value and no UTF-8 begins with this byte.
            end.push(0xFF);
        }
        if let Bound::Excluded(key) | Bound::Included(key) = &start
            && *key >= end
        {
            return Ok(Page { documents: Vec::new(), next: None });
        }
        let cut = equal.iter().any(is_cut);
        let snapshot = self.database.snapshot();
        let mut documents = Vec::new();
        let mut last = None;
        for entry in snapshot.range(&collection.entries, (start, Bound::Excluded(end))) {
            let (key, value) = entry.into_inner()?;
            let id = entry_id(&key, &value);
            let id = std::str::from_utf8(id).map_err(|error| collection.corrupt(id, error))?;
            let Some(document) = self.document(&snapshot, collection, id)? else { continue };
            let names = index.spec.fields.iter().zip(equal);
            if cut && names.into_iter().any(|(name, value)| document.field(name) != Some(value)) {
                continue;
            }
            if documents.len() == scan.limit {
                return Ok(Page { documents, next: last });
            }
            documents.push(document);
            last = Some(hex::encode(&key));
        }
        Ok(Page { documents, next: None })
    }

    fn document(
        &self,
        snapshot: &Snapshot,
        collection: &Collection,
        id: &str,
    ) -> Result<Option<Document>, DocumentError> {
        match snapshot.get(&collection.documents, id)? {
            Some(bytes) => decode(collection, id.as_bytes(), &bytes),
            None => Ok(None),
        }
    }
}

/// The document, unless it is a tombstone or truncated.
fn decode(collection: &Collection, id: &[u8], bytes: &[u8]) -> Result<Option<Document>, DocumentError> {
    let head = encoding::head(bytes).map_err(|error| collection.corrupt(id, error))?;
    if !head.live || head.version < collection.truncated_at() {
        return Ok(None);
    }
    let (state, _) = encoding::decode(bytes).map_err(|error| collection.corrupt(id, error))?;
    let id = std::str::from_utf8(id).map_err(|error| collection.corrupt(id, error))?;
    Ok(Some(Document { id: id.to_owned(), version: state.version, fields: state.fields }))
}
