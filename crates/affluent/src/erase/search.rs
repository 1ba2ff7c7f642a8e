//! Where a person still is: every document, and every row of every data file on disk, also of older snapshots and of files that nothing
//! refers to any more.

use super::documents;
use super::lake::Meaning;
use super::person::Person;
use super::plan::{self, Table};
use affluent_documents::{Document, DocumentStore};
use affluent_lake::ParquetFile;
use affluent_model::Value;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was found in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// `documents` or `lake`.
    pub(super) kind: &'static str,
    /// A collection, or a table as `zone.name`.
    pub(super) store: String,
    /// Documents, or rows in files.
    pub(super) rows: u64,
    /// Data files with such rows.
    pub(super) files: u64,
}

/// What is searched for.
pub(super) struct Wanted<'a> {
    pub(super) person: &'a Person,
    pub(super) payments: &'a BTreeSet<String>,
    /// Texts that belong to the person: an address, a token.
    pub(super) values: &'a [String],
}

impl Wanted<'_> {
    fn names(&self, value: &Value) -> bool {
        let holds = |text: &str| self.values.iter().any(|value| text.contains(value.as_str()));
        match value {
            Value::Text(text) | Value::Json(text) => holds(text),
            Value::Bytes(bytes) => holds(&String::from_utf8_lossy(bytes)),
            Value::Array(items) => items.iter().any(|item| self.names(item)),
            Value::Uuid(id) => holds(&id.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(_)
            | Value::NumericSpecial(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::TimestampTz(_) => false,
        }
    }

    fn is_document(&self, collection: &str, document: &Document) -> bool {
        documents::is_about(collection, document, self.person, self.payments)
            || document.fields.iter().any(|(_, value)| self.names(value))
    }

    /// `key`: place of the column that is the customer's own key. `by_ids`: ids of customers mean ours in the table.
    fn is_row(&self, columns: &[String], key: Option<usize>, by_ids: bool, row: &[Value]) -> bool {
        let is_own = |place: usize| row.get(place).is_some_and(|value| value.to_text() == self.person.id);
        let is_in = |(name, value): (&String, &Value)| {
            (by_ids && self.person.is_in(name, value)) || self.names(value)
        };
        key.is_some_and(is_own) || columns.iter().zip(row).any(is_in)
    }
}

/// Searches these collections.
///
/// # Errors
/// A store that cannot be reached.
pub(super) async fn in_documents(
    store: &dyn DocumentStore,
    collections: &[String],
    wanted: &Wanted<'_>,
) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for collection in collections {
        let mut rows = 0;
        documents::each(store, collection, |document| {
            rows += u64::from(wanted.is_document(collection, document));
        })
        .await?;
        if rows > 0 {
            found.push(Found { kind: "documents", store: collection.clone(), rows, files: 0 });
        }
    }
    Ok(found)
}

/// Searches every Parquet file below these directories; those of the lake are below `warehouse`. Reading blocks.
///
/// # Errors
/// A directory or file that cannot be read.
pub(super) fn in_files(
    roots: &[PathBuf],
    warehouse: &Path,
    meaning: &Meaning,
    wanted: &Wanted<'_>,
) -> anyhow::Result<Vec<Found>> {
    let mut paths = BTreeSet::new();
    for root in roots {
        parquet_below(root, &mut paths)?;
    }
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for path in &paths {
        let (zone, name) = table_of(path, warehouse);
        let rows = in_file(path, (&zone, &name), meaning, wanted)
            .with_context(|| format!("search {}", path.display()))?;
        if rows > 0 {
            let store = format!("{zone}.{name}");
            let new = Found { kind: "lake", store: store.clone(), rows: 0, files: 0 };
            let entry = found.entry(store).or_insert(new);
            entry.rows += rows;
            entry.files += 1;
        }
    }
    Ok(found.into_values().collect())
}

fn in_file(
    path: &Path,
    (zone, name): (&str, &str),
    meaning: &Meaning,
    wanted: &Wanted<'_>,
) -> anyhow::Result<u64> {
    let (columns, _) = ParquetFile::describe(path)?;
    let known = columns.iter().cloned().collect();
    let is_of_customers = meaning.is_of_customers(zone, name);
    let key = plan::own_key(Table { zone, name, columns: &known, is_of_customers });
    let key = key.and_then(|key| columns.iter().position(|column| column == key));
    let all: Vec<&str> = columns.iter().map(String::as_str).collect();
    let by_ids = plan::knows_customers(name);
    let mut count = 0;
    for rows in ParquetFile::open(path, &all)? {
        count += rows?.iter().filter(|row| wanted.is_row(&columns, key, by_ids, row)).count() as u64;
    }
    Ok(count)
}

/// Zone and name of the table that a file is of; of a file outside of the lake its directory.
fn table_of(path: &Path, warehouse: &Path) -> (String, String) {
    let below = path.strip_prefix(warehouse).ok();
    let mut parts =
        below.into_iter().flat_map(Path::components).map(|part| part.as_os_str().to_string_lossy());
    match (parts.next(), parts.next()) {
        (Some(zone), Some(name)) => (zone.into_owned(), name.into_owned()),
        _ => ("file".to_owned(), path.parent().unwrap_or(path).display().to_string()),
    }
}

fn parquet_below(directory: &Path, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", directory.display()))?;
        let path = entry.path();
        // A link is not followed: it may lead back here.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            parquet_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_key_id_and_personal_value() {
        let person = Person::new("42", "a secret of this installation").unwrap();
        let values = ["ada@example.org".to_owned()];
        let wanted = Wanted { person: &person, payments: &BTreeSet::new(), values: &values };
        let columns = ["id".to_owned(), "customer_id".to_owned(), "note".to_owned()];
        let row = |id, customer, note: &str| {
            vec![Value::Int(id), Value::Int(customer), Value::Text(note.to_owned())]
        };
        assert!(wanted.is_row(&columns, Some(0), true, &row(42, 1, "")));
        assert!(!wanted.is_row(&columns, None, true, &row(42, 1, "")));
        assert!(wanted.is_row(&columns, None, true, &row(1, 42, "")));
        assert!(!wanted.is_row(&columns, None, false, &row(1, 42, "")), "another customer 42");
        assert!(wanted.is_row(&columns, None, false, &row(1, 1, "to ada@example.org")));
    }

    #[test]
    fn a_file_is_of_the_table_that_it_lies_in() {
        let of = |path: &str| table_of(Path::new(path), Path::new("/lake"));
        assert_eq!(of("/lake/raw/customers/data/a.parquet"), ("raw".to_owned(), "customers".to_owned()));
        assert_eq!(of("/elsewhere/set/a.parquet"), ("file".to_owned(), "/elsewhere/set".to_owned()));
    }
}
