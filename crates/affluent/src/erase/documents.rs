//! The document store's side. Mirrors follow the source: what they still have of a person says that it is not deleted there.

use super::Removed;
use super::lake::ENTITIES;
use super::person::Person;
use affluent_documents::{Action, Document, DocumentError, DocumentStore, Scan, VersionedWrite};
use affluent_feature_store::online;
use affluent_model::names::{COLLECTION_CLICKS, COLLECTION_LOGS, COLLECTION_SCORES};
use affluent_model::time::now_micros;
use affluent_model::{Position, Value};
use anyhow::Context as _;
use std::collections::BTreeSet;

/// What is removed here, not by a change of the source.
const OWN: [&str; 5] =
    [COLLECTION_CLICKS, COLLECTION_LOGS, COLLECTION_SCORES, online::COLLECTION, online::log::COLLECTION];
const MIRROR_OF_CUSTOMERS: &str = "mirrors.customers";
/// Documents of one page or write.
const PAGE: usize = 1_000;

/// Every collection that may know the person: those of [`OWN`], and the mirrors of these raw tables.
pub(super) fn collections(raw: &BTreeSet<String>) -> Vec<String> {
    let mirrors = raw.iter().map(|table| format!("mirrors.{table}"));
    mirrors.chain(OWN.map(str::to_owned)).collect()
}

/// Removes the documents about the person.
///
/// # Errors
/// A store that cannot be reached.
pub(super) async fn erase(
    store: &dyn DocumentStore,
    person: &Person,
    payments: &BTreeSet<String>,
) -> anyhow::Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for collection in OWN {
        let mut ids = Vec::new();
        each(store, collection, |document| {
            if is_about(collection, document, person, payments) {
                ids.push(document.id.clone());
            }
        })
        .await?;
        // Later than all that was written until now, so a write that is repeated does not bring them back.
        let version = Position::new(u64::try_from(now_micros()).unwrap_or(0), 0);
        for part in ids.chunks(PAGE) {
            let delete = |id: &String| VersionedWrite { id: id.clone(), version, action: Action::Delete };
            let writes = part.iter().map(delete).collect();
            store.apply(collection, writes).await.with_context(|| format!("delete of {collection}"))?;
        }
        if !ids.is_empty() {
            removed.push(Removed { store: collection.to_owned(), rows: ids.len() as u64 });
        }
    }
    Ok(removed)
}

/// Calls `each` with every document of a collection; none where there is no such collection.
///
/// # Errors
/// A store that cannot be reached.
pub(super) async fn each(
    store: &dyn DocumentStore,
    collection: &str,
    mut each: impl FnMut(&Document),
) -> anyhow::Result<()> {
    let mut scan = Scan::all(PAGE);
    loop {
        let page = match store.scan(collection, &scan).await {
            Ok(page) => page,
            Err(DocumentError::UnknownCollection(_)) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("read {collection}")),
        };
        page.documents.iter().for_each(&mut each);
        scan.after = page.next;
        if scan.after.is_none() {
            return Ok(());
        }
    }
}

/// Whether a document is about the person, one of whose payments it may name.
pub(super) fn is_about(
    collection: &str,
    document: &Document,
    person: &Person,
    payments: &BTreeSet<String>,
) -> bool {
    let text = |name: &str| match document.field(name) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let is_of_features = [online::COLLECTION, online::log::COLLECTION].contains(&collection);
    (collection == MIRROR_OF_CUSTOMERS && document.id == person.id)
        || (collection == COLLECTION_SCORES && payments.contains(&document.id))
        || (is_of_features && ENTITIES.contains(&text("entity")) && text("key") == person.id)
        || document.fields.iter().any(|(name, value)| person.is_in(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_known_by_key_payment_or_id() {
        let person = Person::new("42", "a secret of this installation").unwrap();
        let payments = BTreeSet::from(["p1".to_owned()]);
        let about = |collection: &str, id: &str, fields: &[(&str, &str)]| {
            let fields =
                fields.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned())));
            is_about(collection, &Document::new(id, fields.collect()), &person, &payments)
        };
        assert!(about("mirrors.customers", "42", &[]) && !about("mirrors.merchants", "42", &[]));
        assert!(about(COLLECTION_SCORES, "p1", &[]) && !about(COLLECTION_SCORES, "p2", &[]));
        let key = [("entity", "customer"), ("key", "42")];
        assert!(about("features", "customer/stream/42", &key));
        assert!(!about("features", "merchant/stream/42", &[("entity", "merchant"), ("key", "42")]));
        assert!(about(COLLECTION_CLICKS, "e", &[("user_id", "42")]));
        assert!(!about(COLLECTION_CLICKS, "e", &[("user_id", "7"), ("url", "/42")]));
    }
}
