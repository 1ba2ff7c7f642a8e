//! The files of `models/` and `seeds/` as they are shipped.

use super::{Table, Tables};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A table and how it is computed.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) table: String,
    pub(super) body: String,
    pub(super) header: toml::Table,
}

impl Model {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.header.get(key)?.as_str()
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let values = self.header.get(key).and_then(toml::Value::as_array);
        values.into_iter().flatten().filter_map(|value| Some(value.as_str()?.to_owned())).collect()
    }

    /// Pairs of a table of texts.
    pub(super) fn pairs(&self, key: &str) -> Vec<(String, String)> {
        let pairs = self.header.get(key).and_then(toml::Value::as_table);
        let pair = |(name, value): (&String, &toml::Value)| Some((name.clone(), value.as_str()?.to_owned()));
        pairs.into_iter().flatten().filter_map(pair).collect()
    }

    /// Columns of the driving table to columns of the result.
    pub(super) fn unit(&self) -> Vec<(String, String)> {
        match self.pairs("unit") {
            none if none.is_empty() => self.texts("key").into_iter().map(|key| (key.clone(), key)).collect(),
            unit => unit,
        }
    }

    /// Its tests or rules: the texts under `first` and `second`.
    pub(super) fn list(&self, key: &str, first: &str, second: &str) -> Vec<(String, String)> {
        let text = |entry: &toml::Value, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
        let entries = self.header.get(key).and_then(toml::Value::as_array);
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((text(entry, first)?, text(entry, second)?)))
            .collect()
    }

    /// What body and `changes` read.
    pub(super) fn reads(&self) -> BTreeSet<String> {
        let tables = |text: &str| {
            affluent_lake::sql::referenced_tables(text)
                .unwrap_or_else(|error| panic!("{}: {error}", self.table))
        };
        let mut reads = tables(&self.body);
        reads.extend(self.text("changes").map(tables).unwrap_or_default());
        reads
    }
}

pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every model, each after those that it reads.
pub(super) fn models() -> Vec<Model> {
    let mut left: BTreeMap<String, Model> = BTreeMap::new();
    for zone in ["staged", "curated", "dwh"] {
        for path in files(&folder("models").join(zone)) {
            let text = std::fs::read_to_string(&path).unwrap();
            let table = format!("{zone}.{}", path.file_stem().unwrap().to_str().unwrap());
            let (header, body) = text.strip_prefix("/*").unwrap().split_once("*/").unwrap();
            let header = header.parse::<toml::Table>().unwrap_or_else(|error| panic!("{table}: {error}"));
            left.insert(table.clone(), Model { table, body: body.to_owned(), header });
        }
    }
    let mut ordered: Vec<Model> = Vec::new();
    while !left.is_empty() {
        let staged = |read: &String| read.replace("delta.", "staged.").replace("versions.", "staged.");
        let waits = |read: &String| left.contains_key(&staged(read));
        let next = left.values().find(|model| !model.reads().iter().any(waits)).unwrap().clone();
        left.remove(&next.table);
        ordered.push(next);
    }
    ordered
}

/// Every seed: all columns are text, an empty cell is null.
pub(super) fn seeds() -> Tables {
    let csv = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "csv");
    let named = |path: PathBuf| {
        let name = format!("seed.{}", path.file_stem().unwrap().to_str().unwrap());
        (name, table(&std::fs::read_to_string(&path).unwrap()))
    };
    files(&folder("seeds")).into_iter().filter(csv).map(named).collect()
}

fn table(text: &str) -> Table {
    let rows: Vec<Vec<Option<String>>> = text.lines().map(cells).collect();
    let (names, rows) = rows.split_first().unwrap();
    let fields = names.iter().map(|name| Field::new(name.as_ref().unwrap(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let column = |place: usize| {
        let cells: StringArray = rows.iter().map(|row| row[place].as_deref()).collect();
        Arc::new(cells) as ArrayRef
    };
    let batch = RecordBatch::try_new(Arc::clone(&schema), (0..names.len()).map(column).collect()).unwrap();
    (schema, vec![batch])
}

/// The cells of a line of CSV; quotes hold commas.
fn cells(line: &str) -> Vec<Option<String>> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars().chain([',']) {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(Some(std::mem::take(&mut cell)).filter(|cell| !cell.is_empty())),
            other => cell.push(other),
        }
    }
    cells
}
