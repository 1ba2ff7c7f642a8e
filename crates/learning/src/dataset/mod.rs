//! What a model learns from: a matrix of numbers, and of each row when it happened, whose it is, how much it is about and
//! what it turned out to be. Rows stand in the order of time.
//!
//! Where it came from is the [`manifest`]; whether anything can be learned from it, [`check`] says.

pub mod check;
pub mod manifest;

pub use check::{Problem, Screened};
pub use manifest::{LakeSource, Manifest, checksum};

use std::collections::HashMap;

/// A feature, and the number of its meaning.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeatureVersion {
    pub name: String,
    pub version: u32,
}

/// Columns of equal length, row by row in the order of time.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    pub features: Vec<FeatureVersion>,
    /// One a feature; NaN where there is no value.
    pub columns: Vec<Vec<f64>>,
    pub rows: Rows,
}

/// What is known of each row beside its features.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub time: Vec<i64>,
    /// The card, or customer, that the row belongs to.
    pub card: Vec<i64>,
    /// Money in minor units.
    pub amount: Vec<i64>,
    /// Whether it is what the model is to find.
    pub label: Vec<bool>,
    /// Which kind of fraud it is, where known; 0 otherwise.
    pub pattern: Vec<i64>,
    /// The number that is to be predicted, where it is a number; else empty.
    pub value: Vec<f64>,
    /// By what rows are told apart when a model is judged, such as the country; never learned from.
    pub categories: Vec<Category>,
}

/// A word of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    pub name: String,
    /// Each word once.
    pub words: Vec<String>,
    /// Which of the words each row has.
    pub of_row: Vec<usize>,
}

impl Category {
    /// The words of the rows in their order.
    #[must_use]
    pub fn new<'a>(name: &str, of_rows: impl IntoIterator<Item = &'a str>) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut words = Vec::new();
        let place = |word: &'a str| {
            *places.entry(word).or_insert_with(|| {
                words.push(word.to_owned());
                words.len() - 1
            })
        };
        let of_row = of_rows.into_iter().map(place).collect();
        Category { name: name.to_owned(), words, of_row }
    }
}

impl Rows {
    #[must_use]
    pub fn len(&self) -> usize {
        self.time.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The day of a row, counted from 1970-01-01.
    #[must_use]
    pub fn day(&self, row: usize) -> i64 {
        self.time[row].div_euclid(crate::DAY)
    }

    /// How many of these rows are labelled.
    #[must_use]
    pub fn positives(&self, rows: &[usize]) -> usize {
        rows.iter().filter(|&&row| self.label[row]).count()
    }

    /// The numbers of these rows.
    #[must_use]
    pub fn values(&self, rows: &[usize]) -> Vec<f64> {
        rows.iter().map(|&row| self.value[row]).collect()
    }

    /// The cards of these rows.
    #[must_use]
    pub fn cards(&self, rows: &[usize]) -> Vec<i64> {
        rows.iter().map(|&row| self.card[row]).collect()
    }

    /// The labels of these rows.
    #[must_use]
    pub fn labels(&self, rows: &[usize]) -> Vec<bool> {
        rows.iter().map(|&row| self.label[row]).collect()
    }
}

impl Dataset {
    /// The values of these rows, column after column.
    #[must_use]
    pub fn gather(&self, rows: &[usize]) -> Matrix {
        let mut values = Vec::with_capacity(rows.len() * self.columns.len());
        for column in &self.columns {
            values.extend(rows.iter().map(|&row| column[row]));
        }
        Matrix { values, rows: rows.len(), columns: self.columns.len() }
    }

    /// The same rows with these columns alone.
    ///
    /// # Errors
    /// [`Problem::MissingFeature`], the first that is not there.
    pub fn select(&self, names: &[String]) -> Result<Dataset, Problem> {
        let place = |name: &String| {
            let found = self.features.iter().position(|feature| feature.name == *name);
            found.ok_or_else(|| Problem::MissingFeature { name: name.clone() })
        };
        let places = names.iter().map(place).collect::<Result<Vec<usize>, Problem>>()?;
        Ok(Dataset {
            features: places.iter().map(|&place| self.features[place].clone()).collect(),
            columns: places.iter().map(|&place| self.columns[place].clone()).collect(),
            rows: self.rows.clone(),
        })
    }
}

/// Numbers, column after column in one piece of memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub values: Vec<f64>,
    pub rows: usize,
    pub columns: usize,
}

impl Matrix {
    #[must_use]
    pub fn column(&self, column: usize) -> &[f64] {
        &self.values[column * self.rows..][..self.rows]
    }

    /// These columns alone.
    #[must_use]
    pub fn part(&self, columns: &[usize]) -> Matrix {
        let values = columns.iter().flat_map(|&column| self.column(column)).copied().collect();
        Matrix { values, rows: self.rows, columns: columns.len() }
    }
}
