//! What becomes of features before anything learns from them: normalisation and vectorisation, by configuration, of each feature by itself.
//!
//! They are fitted on the rows for learning, stored in `model.json`, and applied by the same functions (`affluent_features::transform`) to the rows of
//! a dataset, to a payment's row and, by their copy, in the Python loader. Without any, trees see features as they are; the regression standardises what it gets in any case.
//!
//! A category is a feature whose numbers are names (such as a code of a category of merchants): the text of a number is its shortest decimal form.
//!
//! Invariant: a row alone becomes what it becomes among others, to the bit.

use super::FitError;
use crate::dataset::Matrix;
use affluent_features::transform::{
    Category, CategoryFit, FitError as Unfit, Numeric, NumericFit, TargetEncoder, TargetTable,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What is to become of a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformOptions {
    pub feature: String,
    pub by: TransformFit,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TransformFit {
    /// See [`NumericFit`].
    Standard,
    Robust,
    Log1p,
    Quantile {
        steps: usize,
    },
    /// A column for each of the most frequent values, at most so many, and one for all others.
    OneHot {
        texts_max: usize,
    },
    /// So many columns.
    Hashing {
        places: usize,
    },
    /// The part of labelled rows among those with the same value, shrunk towards that of all, which counts for so many rows; a row for learning sees
    /// the labels that were known before it alone.
    Target {
        smoothing: u32,
    },
}

/// At most so many columns of a feature.
const COLUMNS_MAX: usize = 256;
const STEPS_MAX: usize = 10_000;

impl TransformOptions {
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let (what, value, most) = match self.by {
            TransformFit::OneHot { texts_max } => ("texts_max", texts_max, COLUMNS_MAX),
            TransformFit::Hashing { places } => ("places", places, COLUMNS_MAX),
            TransformFit::Quantile { steps } => ("steps", steps, STEPS_MAX),
            TransformFit::Standard
            | TransformFit::Robust
            | TransformFit::Log1p
            | TransformFit::Target { .. } => return Ok(()),
        };
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("{what} of {} is {value}: take 1 to {most}", self.feature))
    }

    /// How many columns the feature becomes at most.
    pub(crate) fn width_max(&self) -> usize {
        match self.by {
            TransformFit::OneHot { texts_max } => texts_max + 1,
            TransformFit::Hashing { places } => places,
            TransformFit::Standard
            | TransformFit::Robust
            | TransformFit::Log1p
            | TransformFit::Quantile { .. }
            | TransformFit::Target { .. } => 1,
        }
    }
}

/// When the rows for learning happened, whether they are labelled, and how long after a row its label is known, in microseconds. In the order of time.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    pub times: &'a [i64],
    pub labels: &'a [bool],
    pub delay: i64,
}

/// A fitted one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Transform {
    Number(Numeric),
    Category(Category),
    Target(TargetTable),
}

/// Fitted ones, one a feature of the model in its order; none at all where every feature stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Transforms(Vec<Option<Transform>>);

impl Transforms {
    /// Fits on the rows for learning: `names` are the columns of `matrix`. Returns also what is to be learned from. `past` is none where what is learned
    /// is a number.
    ///
    /// # Errors
    /// [`FitError::Transform`]: a feature that there is not, target encoding without labels.
    pub fn fit(
        options: &[TransformOptions],
        names: &[String],
        matrix: Matrix,
        past: Option<Past>,
    ) -> Result<(Self, Matrix), FitError> {
        if options.is_empty() {
            return Ok((Transforms::default(), matrix));
        }
        let mut fitted = vec![None; names.len()];
        // Columns that learning sees otherwise than serving does.
        let mut seen: Vec<(usize, Vec<f64>)> = Vec::new();
        for TransformOptions { feature, by } in options {
            let wrong =
                |message: &str| FitError::Transform { feature: feature.clone(), message: message.to_owned() };
            let place = names.iter().position(|name| name == feature);
            let place = place.ok_or_else(|| wrong("the dataset has no such feature"))?;
            let values = matrix.column(place);
            // Of a feature without a value there is nothing to fit, as in an early fold: it stays as it is.
            let number = |kind| match Numeric::fit(kind, values) {
                Ok(fitted) => Ok(Some(Transform::Number(fitted))),
                Err(Unfit::NoValues) => Ok(None),
                Err(error @ Unfit::Parameter(_)) => Err(wrong(&error.to_string())),
            };
            let category = |kind| {
                let texts: Vec<Option<String>> = values.iter().map(|&value| text(value)).collect();
                let fitted = Category::fit(kind, texts.iter().map(Option::as_deref));
                fitted
                    .map(|fitted| Some(Transform::Category(fitted)))
                    .map_err(|error| wrong(&error.to_string()))
            };
            fitted[place] = match *by {
                TransformFit::Standard => number(NumericFit::Standard)?,
                TransformFit::Robust => number(NumericFit::Robust)?,
                TransformFit::Log1p => number(NumericFit::Log1p)?,
                TransformFit::Quantile { steps } => number(NumericFit::Quantile { steps })?,
                TransformFit::OneHot { texts_max } => category(CategoryFit::OneHot { texts_max })?,
                TransformFit::Hashing { places } => category(CategoryFit::Hashing { places })?,
                TransformFit::Target { smoothing } => {
                    let past = past.ok_or_else(|| wrong("target encoding is by labels, here is a number"))?;
                    let (table, column) = encoded(values, past, smoothing);
                    seen.push((place, column));
                    Some(Transform::Target(table))
                }
            };
        }
        let transforms = Transforms(fitted);
        let mut learned = transforms.apply(matrix);
        for (place, column) in seen {
            let begin = transforms.width(place) * learned.rows;
            learned.values[begin..][..column.len()].copy_from_slice(&column);
        }
        Ok((transforms, learned))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many columns the first so many features become.
    #[must_use]
    pub fn width(&self, features: usize) -> usize {
        (0..features).map(|feature| self.columns_of(feature)).sum()
    }

    fn columns_of(&self, feature: usize) -> usize {
        match self.of(feature) {
            Some(Transform::Category(category)) => category.width(),
            Some(Transform::Number(_) | Transform::Target(_)) | None => 1,
        }
    }

    fn of(&self, feature: usize) -> Option<&Transform> {
        self.0.get(feature).and_then(Option::as_ref)
    }

    /// The names of the columns: a feature's own, with their places where it becomes several.
    #[must_use]
    pub fn names(&self, features: &[String]) -> Vec<String> {
        let mut names = Vec::with_capacity(self.width(features.len()));
        for (feature, name) in features.iter().enumerate() {
            match self.of(feature) {
                Some(Transform::Category(category)) => {
                    names.extend((0..category.width()).map(|place| format!("{name}[{place}]")));
                }
                Some(Transform::Number(_) | Transform::Target(_)) | None => names.push(name.clone()),
            }
        }
        names
    }

    /// The columns of the learner from those of the features.
    #[must_use]
    pub fn apply(&self, matrix: Matrix) -> Matrix {
        if self.is_empty() {
            return matrix;
        }
        let (rows, columns) = (matrix.rows, self.width(matrix.columns));
        let mut values = Vec::with_capacity(rows * columns);
        for feature in 0..matrix.columns {
            let width = self.columns_of(feature);
            let begin = values.len();
            values.resize(begin + width * rows, 0.0);
            let mut one = vec![0.0; width];
            for (row, &value) in matrix.column(feature).iter().enumerate() {
                applied(self.of(feature), value, &mut one);
                one.iter().enumerate().for_each(|(place, &value)| values[begin + place * rows + row] = value);
            }
        }
        Matrix { values, rows, columns }
    }

    /// The same of one row; without transformations it is the row itself.
    #[must_use]
    pub fn row<'a>(&self, row: &'a [f64]) -> Cow<'a, [f64]> {
        if self.is_empty() {
            return Cow::Borrowed(row);
        }
        let mut values = vec![0.0; self.width(row.len())];
        let mut rest = values.as_mut_slice();
        for (feature, &value) in row.iter().enumerate() {
            let (one, others) = rest.split_at_mut(self.columns_of(feature));
            applied(self.of(feature), value, one);
            rest = others;
        }
        Cow::Owned(values)
    }

    /// What belongs to the columns, added up to what belongs to each of so many features.
    #[must_use]
    pub fn folded(&self, of_columns: Vec<f64>, features: usize) -> Vec<f64> {
        if self.is_empty() {
            return of_columns;
        }
        let mut rest = of_columns.into_iter();
        (0..features).map(|feature| rest.by_ref().take(self.columns_of(feature)).sum()).collect()
    }
}

/// The numbers of a value, into a slice as long as they are many.
fn applied(transform: Option<&Transform>, value: f64, into: &mut [f64]) {
    match transform {
        Some(Transform::Category(category)) => category.apply(text(value).as_deref(), into),
        Some(Transform::Number(numeric)) => into[0] = numeric.apply(value),
        Some(Transform::Target(table)) => into[0] = table.apply(text(value).as_deref()),
        None => into[0] = value,
    }
}

/// The table of all labels, and the column in which each row knows those before it alone.
fn encoded(values: &[f64], past: Past, smoothing: u32) -> (TargetTable, Vec<f64>) {
    let mut encoder = TargetEncoder::new(smoothing);
    let rows = values.iter().zip(past.times.iter().zip(past.labels));
    let column = rows.map(|(&value, (&time, &label))| {
        encoder.encode(time, text(value).as_deref(), Some((label, time.saturating_add(past.delay))))
    });
    let column = column.collect();
    (encoder.finish(i64::MAX), column)
}

/// The name that a number is; none of one that is missing, or endless.
fn text(value: f64) -> Option<String> {
    value.is_finite().then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|&name| name.to_owned()).collect()
    }

    fn options(of: &[(&str, TransformFit)]) -> Vec<TransformOptions> {
        of.iter().map(|&(feature, by)| TransformOptions { feature: feature.to_owned(), by }).collect()
    }

    const ALL: [(&str, TransformFit); 4] = [
        ("a", TransformFit::Robust),
        ("b", TransformFit::OneHot { texts_max: 2 }),
        ("d", TransformFit::Hashing { places: 4 }),
        ("e", TransformFit::Target { smoothing: 1 }),
    ];

    fn fitted(values: Vec<f64>) -> (Transforms, Matrix) {
        let rows = values.len() / 5;
        let times: Vec<i64> = (0..rows).map(|n| i64::try_from(n).unwrap()).collect();
        let labels: Vec<bool> = (0..rows).map(|n| n % 3 == 0).collect();
        let past = Past { times: &times, labels: &labels, delay: 1 };
        let matrix = Matrix { values, rows, columns: 5 };
        Transforms::fit(&options(&ALL), &names(&["a", "b", "c", "d", "e"]), matrix, Some(past)).unwrap()
    }

    proptest! {
        #[test]
        fn a_row_alone_becomes_what_it_becomes_among_others(values in prop::collection::vec(prop_oneof![5 => (0..6i32).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)], 5 * 8)) {
            let first: Vec<f64> = (0..40).map(f64::from).collect();
            let (transforms, _) = fitted(first);
            let text = serde_json::to_string(&transforms).unwrap();
            let stored: Transforms = serde_json::from_str(&text).unwrap();
            let matrix = Matrix { values, rows: 8, columns: 5 };
            let together = transforms.apply(matrix.clone());
            prop_assert_eq!(together.columns, 1 + 3 + 1 + 4 + 1);
            for row in 0..8 {
                let of = |matrix: &Matrix| (0..matrix.columns).map(|column| matrix.column(column)[row]).collect::<Vec<f64>>();
                let raw = of(&matrix);
                let bits = |row: &[f64]| row.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
                prop_assert_eq!(bits(&stored.row(&raw)), bits(&of(&together)));
            }
        }
    }

    #[test]
    fn columns_have_names_and_are_added_up_to_features() {
        let (transforms, _) = fitted((0..40).map(f64::from).collect());
        let columns = transforms.names(&names(&["a", "b", "c", "d", "e"]));
        assert_eq!(columns[..5], names(&["a", "b[0]", "b[1]", "b[2]", "c"]));
        assert_eq!(transforms.folded(vec![1.0; 10], 5), [1.0, 3.0, 1.0, 4.0, 1.0]);
    }

    #[test]
    fn a_row_for_learning_does_not_see_its_own_label() {
        // Of the last feature all rows have the same value; rows 0, 3 and 6 are labelled.
        let (transforms, learned) = fitted(vec![1.0; 40]);
        let column = learned.column(learned.columns - 1);
        assert!(column[0].is_nan() && column[1].is_nan(), "{column:?}");
        assert_eq!((column[2], column[3]), (1.0, 0.5));
        let served = transforms.row(&[1.0; 5]);
        assert_eq!(served.last(), Some(&(3.0 / 8.0)), "serving knows them all");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let refusal = |feature: &str, by| {
            let matrix = Matrix { values: vec![1.0, 2.0], rows: 2, columns: 1 };
            Transforms::fit(&options(&[(feature, by)]), &names(&["a"]), matrix, None).unwrap_err().to_string()
        };
        assert!(refusal("no_such", TransformFit::Log1p).contains("no_such"));
        assert!(refusal("a", TransformFit::Target { smoothing: 1 }).contains("labels"));
        let missing = Matrix { values: vec![f64::NAN; 2], rows: 2, columns: 1 };
        let by = options(&[("a", TransformFit::Standard)]);
        let (_, same) = Transforms::fit(&by, &names(&["a"]), missing, None).unwrap();
        assert!(same.values.iter().all(|value| value.is_nan()), "nothing to fit is no fault");
        let check = |by| TransformOptions { feature: "a".to_owned(), by }.check();
        assert!(check(TransformFit::OneHot { texts_max: 0 }).unwrap_err().contains("texts_max of a"));
        check(TransformFit::Quantile { steps: 100 }).unwrap();
        let matrix = Matrix { values: vec![1.0, 2.0], rows: 2, columns: 1 };
        let (none, same) = Transforms::fit(&[], &names(&["a"]), matrix.clone(), None).unwrap();
        assert!(none.is_empty() && same == matrix);
    }
}
