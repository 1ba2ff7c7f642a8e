//! Reading by id and by index, page by page.
//!
//! A cursor is the place of the last document: its id, and for an index its values there, as hexadecimal
//! BSON. The server compares to the millisecond; what is finer is compared here.

use super::values::{Markers, encode_name};
use super::{MongoStore, corrupt, passing, states};
use crate::order::put_key;
use crate::{CollectionSpec, Document, DocumentError, IndexSpec, Page, Range, Scan};
use affluent_model::Value;
use futures::TryStreamExt;
use mongodb::bson::{self, Bson, Document as Bdoc, doc};

/// Bounds of a range on an index.
struct Bounds<'a> {
    index: &'a IndexSpec,
    equal: &'a [Value],
    from: Option<&'a Value>,
    to: Option<&'a Value>,
}

impl MongoStore {
    pub(super) async fn read_ids(
        &self,
        collection: &str,
        ids: &[String],
    ) -> Result<Vec<Document>, DocumentError> {
        let filter = doc! { "_id": { "$in": ids }, "_d": { "$exists": false } };
        let mut cursor = self.collection(collection).find(filter).await.map_err(passing)?;
        let mut found = std::collections::HashMap::new();
        while let Some(stored) = cursor.try_next().await.map_err(passing)? {
            if let Some(document) = document(collection, stored)? {
                found.insert(document.id.clone(), document);
            }
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    pub(super) async fn read_page(&self, spec: &CollectionSpec, scan: &Scan) -> Result<Page, DocumentError> {
        if scan.limit == 0 {
            return Err(DocumentError::Config("a scan's limit is at least 1".into()));
        }
        match &scan.range {
            Range::Ids { from, to } => {
                let mut id = Bdoc::new();
                if let Some(from) = from {
                    id.insert("$gte", from);
                }
                if let Some(to) = to {
                    id.insert("$lt", to);
                }
                if let Some(after) = &scan.after {
                    id.insert("$gt", after);
                }
                let mut filter = doc! { "_d": { "$exists": false } };
                if !id.is_empty() {
                    filter.insert("_id", id);
                }
                let mut documents = self.find(&spec.name, filter, doc! { "_id": 1 }, scan.limit + 1).await?;
                let more = documents.len() > scan.limit;
                documents.truncate(scan.limit);
                let next = documents.last().filter(|_| more).map(|last| last.id.clone());
                Ok(Page { documents, next })
            }
            Range::Index { index: name, equal, from, to } => {
                let index = spec.indexes.iter().find(|index| index.name == *name).ok_or_else(|| {
                    DocumentError::UnknownIndex { collection: spec.name.clone(), index: name.clone() }
                })?;
                let rest = index.fields.len().checked_sub(equal.len());
                if rest.is_none() || (rest == Some(0) && (from.is_some() || to.is_some())) {
                    let fields = index.fields.len();
                    let problem = format!("index {name:?} has {fields} fields: the range names more");
                    return Err(DocumentError::Config(problem));
                }
                let bounds = Bounds { index, equal, from: from.as_ref(), to: to.as_ref() };
                self.read_index(&spec.name, &bounds, scan).await
            }
        }
    }

    async fn read_index(
        &self,
        collection: &str,
        bounds: &Bounds<'_>,
        scan: &Scan,
    ) -> Result<Page, DocumentError> {
        let mut sort: Bdoc =
            bounds.index.fields.iter().map(|f| (encode_name(f).into_owned(), 1.into())).collect();
        sort.insert("_id", 1);
        let mut after = scan.after.as_deref().map(parse_cursor).transpose()?;
        let mut documents: Vec<Document> = Vec::new();
        loop {
            let mut all = vec![doc! { "_d": { "$exists": false } }];
            all.extend(self.conditions(bounds));
            all.extend(after.as_ref().map(|after| beyond(bounds, after)));
            let found = self.find(collection, doc! { "$and": all }, sort.clone(), scan.limit + 1).await?;
            let exhausted = found.len() <= scan.limit;
            for document in found {
                if documents.len() == scan.limit {
                    let next = documents.last().map(|last| cursor(&self.place(bounds, last)));
                    return Ok(Page { documents, next: next.transpose()? });
                }
                after = Some(self.place(bounds, &document));
                if bounds.admit(&document) {
                    documents.push(document);
                }
            }
            if exhausted {
                return Ok(Page { documents, next: None });
            }
        }
    }

    fn conditions(&self, bounds: &Bounds<'_>) -> Vec<Bdoc> {
        let bson = |value: &Value| self.dialect.encode("", value, &mut Markers::default());
        let named = |name: &str, condition: Bson| doc! { encode_name(name).into_owned(): condition };
        let pairs = bounds.index.fields.iter().zip(bounds.equal);
        let mut all: Vec<Bdoc> = pairs.map(|(name, value)| named(name, bson(value))).collect();
        if let Some(name) = bounds.index.fields.get(bounds.equal.len()) {
            if let Some(from) = bounds.from {
                all.push(named(name, Bson::Document(doc! { "$gte": bson(from) })));
            }
            if let Some(to) = bounds.to {
                // Not `$lt`: the bound may lie inside its millisecond.
                all.push(named(name, Bson::Document(doc! { "$lte": bson(to) })));
            }
        }
        all
    }

    /// Where a document is in the index.
    fn place(&self, bounds: &Bounds<'_>, document: &Document) -> Bdoc {
        let value = |name: &String| {
            let value = document.field(name).unwrap_or(&Value::Null);
            self.dialect.encode("", value, &mut Markers::default())
        };
        doc! { "values": bounds.index.fields.iter().map(value).collect::<Vec<_>>(), "id": &document.id }
    }

    async fn find(
        &self,
        collection: &str,
        filter: Bdoc,
        sort: Bdoc,
        limit: usize,
    ) -> Result<Vec<Document>, DocumentError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let stored = self.collection(collection);
        let mut cursor = stored.find(filter).sort(sort).limit(limit).await.map_err(passing)?;
        let mut documents = Vec::new();
        while let Some(stored) = cursor.try_next().await.map_err(passing)? {
            documents.extend(document(collection, stored)?);
        }
        Ok(documents)
    }
}

impl Bounds<'_> {
    /// Whether the document is within the bounds, exactly.
    fn admit(&self, document: &Document) -> bool {
        let key = |value: &Value| {
            let mut key = Vec::new();
            put_key(&mut key, value);
            key
        };
        let value = |name: &String| document.field(name).unwrap_or(&Value::Null).clone();
        let pairs = self.index.fields.iter().zip(self.equal);
        let next = self.index.fields.get(self.equal.len()).map(value);
        pairs.into_iter().all(|(name, equal)| value(name) == *equal)
            && next.is_none_or(|next| {
                self.from.is_none_or(|from| key(&next) >= key(from))
                    && self.to.is_none_or(|to| key(&next) < key(to))
            })
    }
}

fn document(collection: &str, stored: Bdoc) -> Result<Option<Document>, DocumentError> {
    let id = stored.get_str("_id").unwrap_or_default().to_owned();
    states::decode_document(stored).map_err(|error| corrupt(collection, &id, error))
}

/// Everything behind the place in the order of the index.
fn beyond(bounds: &Bounds<'_>, place: &Bdoc) -> Bdoc {
    let values = place.get_array("values").map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> = bounds.index.fields.iter().map(|name| encode_name(name).into_owned()).collect();
    let mut same = Bdoc::new();
    let mut any = Vec::new();
    for (i, (name, value)) in names.iter().zip(values).enumerate() {
        if i >= bounds.equal.len() {
            let mut ahead = same.clone();
            // Null is before every value, but `$gt` compares within one type.
            let behind = if *value == Bson::Null {
                doc! { "$ne": Bson::Null }
            } else {
                doc! { "$gt": value }
            };
            ahead.insert(name, behind);
            any.push(ahead);
        }
        same.insert(name, value);
    }
    same.insert("_id", doc! { "$gt": place.get_str("id").unwrap_or_default() });
    any.push(same);
    doc! { "$or": any }
}

fn cursor(place: &Bdoc) -> Result<String, DocumentError> {
    bson::to_vec(place).map(hex::encode).map_err(|error| DocumentError::InvalidCursor(error.to_string()))
}

fn parse_cursor(cursor: &str) -> Result<Bdoc, DocumentError> {
    let invalid = || DocumentError::InvalidCursor(cursor.to_owned());
    let bytes = hex::decode(cursor).map_err(|_| invalid())?;
    bson::from_slice(&bytes).map_err(|_| invalid())
}
