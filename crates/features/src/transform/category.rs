//! Vectorisation of texts: one-hot with a place for the unknown, and hashing.

use super::FitError;
use crate::aggregate::sketch::mixed;
use crate::event::fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which vectorisation to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CategoryFit {
    /// A place for each of the most frequent texts, at most so many, and one for all others.
    OneHot { texts_max: usize },
    /// So many places, each text at one of them, with a sign. Nothing is fitted.
    Hashing { places: usize },
}

/// A fitted vectorisation. A missing text is all zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// Numbers beside the tag would be buffered, and what `serde_json` buffers with `arbitrary_precision` is no number any more.
#[serde(tag = "kind", content = "fitted", rename_all = "snake_case", deny_unknown_fields)]
pub enum Category {
    /// The texts in the order of their places; the unknown comes behind them.
    OneHot {
        texts: Vec<String>,
    },
    Hashing {
        places: usize,
    },
}

/// At most so many places.
const PLACES_MAX: usize = 1 << 20;

impl Category {
    /// Fits on training texts.
    ///
    /// # Errors
    /// [`FitError::Parameter`] for no places or too many.
    pub fn fit<'a>(
        kind: CategoryFit,
        texts: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Result<Self, FitError> {
        match kind {
            CategoryFit::Hashing { places } if (1..=PLACES_MAX).contains(&places) => {
                Ok(Category::Hashing { places })
            }
            CategoryFit::OneHot { texts_max } if (1..=PLACES_MAX).contains(&texts_max) => {
                let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
                texts.into_iter().flatten().for_each(|text| *counts.entry(text).or_default() += 1);
                let mut frequent: Vec<(&str, u64)> = counts.into_iter().collect();
                // Stable: equally frequent ones stay in the order of the alphabet.
                frequent.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
                frequent.truncate(texts_max);
                Ok(Category::OneHot {
                    texts: frequent.into_iter().map(|(text, _)| text.to_owned()).collect(),
                })
            }
            CategoryFit::OneHot { .. } | CategoryFit::Hashing { .. } => Err(FitError::Parameter("places")),
        }
    }

    /// How many numbers a text becomes.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Category::OneHot { texts } => texts.len() + 1,
            Category::Hashing { places } => *places,
        }
    }

    /// Writes the numbers of a text.
    ///
    /// # Panics
    /// If `into` is shorter than [`Category::width`].
    pub fn apply(&self, text: Option<&str>, into: &mut [f64]) {
        into[..self.width()].fill(0.0);
        let Some(text) = text else { return };
        match self {
            Category::OneHot { texts } => {
                into[texts.iter().position(|known| known == text).unwrap_or(texts.len())] = 1.0;
            }
            Category::Hashing { places } => {
                let hash = mixed(fingerprint(text).cast_unsigned());
                // The sign makes collisions cancel out on average: K. Weinberger et al., "Feature hashing" (2009).
                let place = usize::try_from((hash >> 1) % *places as u64).unwrap_or(0);
                into[place] = if hash & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(category: &Category, text: Option<&str>) -> Vec<f64> {
        let mut vector = vec![9.0; category.width()];
        category.apply(text, &mut vector);
        vector
    }

    #[test]
    fn one_hot_has_a_place_for_the_unknown() {
        let texts = ["b", "a", "b", "c", "a", "d"].map(Some);
        let fitted = Category::fit(CategoryFit::OneHot { texts_max: 2 }, texts).unwrap();
        assert_eq!(fitted, Category::OneHot { texts: vec!["a".to_owned(), "b".to_owned()] });
        assert_eq!(vector(&fitted, Some("b")), [0.0, 1.0, 0.0]);
        assert_eq!(vector(&fitted, Some("new")), [0.0, 0.0, 1.0]);
        assert_eq!(vector(&fitted, None), [0.0; 3]);
    }

    #[test]
    fn hashing_is_fixed_for_ever() {
        let fitted = Category::fit(CategoryFit::Hashing { places: 8 }, []).unwrap();
        let one = vector(&fitted, Some("visa"));
        assert_eq!(one.iter().map(|v| v.abs()).sum::<f64>(), 1.0);
        assert_eq!(one, vector(&fitted, Some("visa")));
        assert_eq!(vector(&fitted, None), [0.0; 8]);
        Category::fit(CategoryFit::Hashing { places: 0 }, []).unwrap_err();
    }
}
