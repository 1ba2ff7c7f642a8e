//! Whether anything can be learned from a dataset, decided before it is tried.
//!
//! Invariant: no model is trained on nothing. What cannot be learned from is an error that names it; what can be left out is left out visibly.

use super::Dataset;
use serde::{Deserialize, Serialize};

/// With fewer labelled rows, or fewer that are not, nothing is learned.
pub const POSITIVES_MIN: usize = 20;

/// Why nothing can be learned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "no rows in {what} ({from} to {to}): there are rows from {first} to {last}; choose a range inside"
    )]
    Empty { what: &'static str, from: String, to: String, first: String, last: String },
    #[error(
        "all {rows} rows of {what} have the label {label}: nothing can be told apart; choose a range that has both"
    )]
    OneClass { what: &'static str, rows: usize, label: bool },
    #[error(
        "{what} has {count} rows with the label {label}, at least {POSITIVES_MIN} are needed: choose a longer range"
    )]
    TooFew { what: &'static str, count: usize, label: bool },
    #[error("{what} has {count} rows, at least {POSITIVES_MIN} are needed: choose a longer range")]
    TooFewRows { what: &'static str, count: usize },
    #[error("all {rows} rows of {what} have the value {value}: there is nothing to predict")]
    OneValue { what: &'static str, rows: usize, value: String },
    #[error("{count} rows of {what} have no value: leave them out, or give them one")]
    NoValue { what: &'static str, count: usize },
    #[error("there is no feature {name} in the dataset")]
    MissingFeature { name: String },
    #[error("no feature has a value that varies: {names}")]
    NoFeatures { names: String },
}

/// Features that say nothing in the rows for learning, and were therefore left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screened {
    /// Without any value.
    pub empty: Vec<String>,
    /// With one value only.
    pub constant: Vec<String>,
}

/// Whether these labels can be learned from, or judged by.
///
/// # Errors
/// [`Problem::OneClass`], [`Problem::TooFew`].
pub fn labels(what: &'static str, labels: &[bool]) -> Result<(), Problem> {
    let positives = labels.iter().filter(|&&label| label).count();
    let negatives = labels.len() - positives;
    if positives == 0 || negatives == 0 {
        return Err(Problem::OneClass { what, rows: labels.len(), label: negatives == 0 });
    }
    for (count, label) in [(positives, true), (negatives, false)] {
        if count < POSITIVES_MIN {
            return Err(Problem::TooFew { what, count, label });
        }
    }
    Ok(())
}

/// Whether these numbers can be learned from, or judged by.
///
/// # Errors
/// [`Problem::TooFewRows`], [`Problem::NoValue`], [`Problem::OneValue`].
pub fn values(what: &'static str, values: &[f64]) -> Result<(), Problem> {
    if values.len() < POSITIVES_MIN {
        return Err(Problem::TooFewRows { what, count: values.len() });
    }
    let count = values.iter().filter(|value| !value.is_finite()).count();
    if count > 0 {
        return Err(Problem::NoValue { what, count });
    }
    if values.iter().all(|value| *value == values[0]) {
        return Err(Problem::OneValue { what, rows: values.len(), value: values[0].to_string() });
    }
    Ok(())
}

/// The names of the features that vary in these rows, and those that do not.
///
/// # Errors
/// [`Problem::NoFeatures`]: none does.
pub fn screen(dataset: &Dataset, rows: &[usize]) -> Result<(Vec<String>, Screened), Problem> {
    let (mut kept, mut screened) = (Vec::new(), Screened::default());
    for (feature, column) in dataset.features.iter().zip(&dataset.columns) {
        let mut values = rows.iter().map(|&row| column[row]).filter(|value| !value.is_nan());
        match values.next() {
            None => screened.empty.push(feature.name.clone()),
            // A value here and none there also tells rows apart.
            Some(first)
                if values.all(|value| value == first) && !rows.iter().any(|&r| column[r].is_nan()) =>
            {
                screened.constant.push(feature.name.clone());
            }
            Some(_) => kept.push(feature.name.clone()),
        }
    }
    if kept.is_empty() {
        let names = [screened.empty, screened.constant].concat().join(", ");
        return Err(Problem::NoFeatures { names });
    }
    Ok((kept, screened))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::FeatureVersion;

    #[test]
    fn labels_that_teach_nothing_are_refused() {
        let mix = |yes: usize, no: usize| [vec![true; yes], vec![false; no]].concat();
        assert_eq!(labels("t", &mix(20, 20)), Ok(()));
        assert_eq!(labels("t", &mix(0, 50)), Err(Problem::OneClass { what: "t", rows: 50, label: false }));
        assert_eq!(labels("t", &mix(50, 0)), Err(Problem::OneClass { what: "t", rows: 50, label: true }));
        assert_eq!(labels("t", &mix(19, 50)), Err(Problem::TooFew { what: "t", count: 19, label: true }));
        assert_eq!(labels("t", &mix(50, 3)), Err(Problem::TooFew { what: "t", count: 3, label: false }));
        assert!(labels("t", &[]).is_err());
    }

    #[test]
    fn numbers_that_teach_nothing_are_refused() {
        let mut numbers: Vec<f64> = (0..30).map(f64::from).collect();
        assert_eq!(values("t", &numbers), Ok(()));
        assert_eq!(values("t", &numbers[..19]), Err(Problem::TooFewRows { what: "t", count: 19 }));
        assert_eq!(
            values("t", &[7.0; 25]),
            Err(Problem::OneValue { what: "t", rows: 25, value: "7".to_owned() })
        );
        numbers[3] = f64::NAN;
        assert_eq!(values("t", &numbers), Err(Problem::NoValue { what: "t", count: 1 }));
    }

    #[test]
    fn features_that_say_nothing_are_named() {
        let feature = |name: &str| FeatureVersion { name: name.to_owned(), version: 1 };
        let nan = f64::NAN;
        let dataset = Dataset {
            features: ["varies", "empty", "same", "sometimes"].map(feature).to_vec(),
            columns: vec![vec![1.0, 2.0, 1.0], vec![nan; 3], vec![5.0, 5.0, 6.0], vec![nan, 1.0, 1.0]],
            ..Dataset::default()
        };
        let (kept, screened) = screen(&dataset, &[0, 1]).unwrap();
        assert_eq!(kept, ["varies", "sometimes"]);
        assert_eq!((screened.empty, screened.constant), (vec!["empty".to_owned()], vec!["same".to_owned()]));
        assert!(matches!(screen(&dataset, &[0]), Err(Problem::NoFeatures { .. })));
        let missing = dataset.select(&["other".to_owned()]).err();
        assert_eq!(missing, Some(Problem::MissingFeature { name: "other".to_owned() }));
    }
}
