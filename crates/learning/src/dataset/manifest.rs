//! Where a dataset came from, and what it was: enough to see whether another one is the same.
//!
//! Invariant: the checksum of a column depends on its values in their order alone, so that a dataset built again has the same.

use super::{Dataset, FeatureVersion};
use crate::split::Period;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// The description that is stored with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The file, or the snapshot of a table.
    pub source: String,
    /// SHA-256 of the file's bytes; none where rows came from elsewhere.
    #[serde(default)]
    pub file_sha256: Option<String>,
    /// All rows of it, in which features have their history.
    pub source_rows: usize,
    /// The rows that were kept: those of all periods of learning and judging.
    pub rows: usize,
    pub positives: usize,
    pub period: Option<Period>,
    pub columns: Vec<Column>,
    /// SHA-256 of times, cards, amounts and labels, and of the values where there are any.
    pub rows_sha256: String,
    /// Where in the lake the rows are; none where they came from a file.
    #[serde(default)]
    pub lake: Option<LakeSource>,
}

/// Rows of the lake that can be read again as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeSource {
    /// Table to the snapshot that was read.
    pub snapshots: BTreeMap<String, i64>,
    /// Names and versions of the features, in the order of the dataset's columns.
    pub features: Vec<FeatureVersion>,
    /// Columns that are categories, by which rows are told apart.
    pub categories: Vec<String>,
    /// The table of the rows, and the one of what is known of them beside the features where that is another.
    pub rows: String,
    pub beside: Option<String>,
    /// Whether rows have a value.
    pub valued: bool,
}

/// A feature's column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub version: u32,
    /// SHA-256 of the values as little-endian doubles.
    pub sha256: String,
    pub missing: usize,
}

impl Manifest {
    /// Describes a dataset.
    #[must_use]
    pub fn of(dataset: &Dataset, source: String, source_rows: usize) -> Self {
        let rows = &dataset.rows;
        let column = |(feature, values): (&FeatureVersion, &Vec<f64>)| Column {
            name: feature.name.clone(),
            version: feature.version,
            sha256: digest(values.iter().map(|value| value.to_bits())),
            missing: values.iter().filter(|value| value.is_nan()).count(),
        };
        let labels = rows.label.iter().map(|&label| u64::from(label));
        let numbers = rows.time.iter().chain(&rows.card).chain(&rows.amount).map(|n| n.cast_unsigned());
        let values = rows.value.iter().map(|value| value.to_bits());
        Manifest {
            source,
            file_sha256: None,
            source_rows,
            rows: rows.len(),
            positives: rows.label.iter().filter(|&&label| label).count(),
            period: rows
                .time
                .first()
                .zip(rows.time.last())
                .map(|(&from, &last)| Period { from, to: last + 1 }),
            columns: dataset.features.iter().zip(&dataset.columns).map(column).collect(),
            rows_sha256: digest(numbers.chain(labels).chain(values)),
            lake: None,
        }
    }
}

/// SHA-256 of all bytes, in hexadecimal.
///
/// # Errors
/// What cannot be read.
pub fn checksum(mut bytes: impl Read) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match bytes.read(&mut part) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Ok(count) => digest.update(&part[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn digest(words: impl Iterator<Item = u64>) -> String {
    let mut digest = Sha256::new();
    for word in words {
        digest.update(word.to_le_bytes());
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Rows;

    fn dataset() -> Dataset {
        Dataset {
            features: vec![FeatureVersion { name: "a".to_owned(), version: 2 }],
            columns: vec![vec![1.0, f64::NAN]],
            rows: Rows {
                time: vec![5, 6],
                card: vec![1, 1],
                amount: vec![7, 8],
                label: vec![true, false],
                pattern: vec![1, 0],
                ..Rows::default()
            },
        }
    }

    #[test]
    fn a_checksum_is_that_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum(&b"abc"[..]).unwrap(), abc);
    }

    #[test]
    fn the_same_dataset_has_the_same_manifest_and_another_one_another() {
        let of = |dataset: &Dataset| Manifest::of(dataset, "f".to_owned(), 2);
        let manifest = of(&dataset());
        assert_eq!(manifest, of(&dataset()));
        assert_eq!((manifest.positives, manifest.columns[0].missing), (1, 1));
        let mut other = dataset();
        other.columns[0][0] = 1.0 + f64::EPSILON;
        assert_ne!(manifest.columns[0].sha256, of(&other).columns[0].sha256);
        assert_eq!(manifest.rows_sha256, of(&other).rows_sha256);
        other.rows.label[1] = true;
        assert_ne!(manifest.rows_sha256, of(&other).rows_sha256);
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }
}
