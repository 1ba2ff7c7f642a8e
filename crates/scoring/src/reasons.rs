//! Why a model thinks what it thinks: the features that speak most for fraud, in words with their values.
//!
//! Contributions are those of `learning::fit::Contributions`: log odds that add up.

use crate::vocabulary::Vocabulary;
use affluent_model::score::Reason;

/// Of the features of a row at these `places`, those `most` that raise the score most; those that lower it are no reasons.
#[must_use]
pub(crate) fn reasons(
    vocabulary: &Vocabulary,
    places: &[usize],
    values: &[f64],
    contributions: &[f64],
    most: usize,
) -> Vec<Reason> {
    let mut order: Vec<usize> = (0..contributions.len()).filter(|&at| contributions[at] > 0.0).collect();
    order.sort_by(|&a, &b| contributions[b].total_cmp(&contributions[a]));
    let reason = |at: usize| {
        let (feature, value) = (&vocabulary.names[places[at]], values[at]);
        let shown = if value.is_nan() { "none".to_owned() } else { shown(value) };
        Reason {
            feature: feature.name.clone(),
            version: feature.version,
            value: Some(value).filter(|value| value.is_finite()),
            contribution: contributions[at],
            words: format!("{}: {shown}", vocabulary.words(places[at])),
        }
    };
    order.into_iter().take(most).map(reason).collect()
}

/// A number for people: whole ones without a point, others with three decimals, very small ones by their leading digits.
fn shown(value: f64) -> String {
    let whole = value.fract() == 0.0;
    if whole && value.abs() < 1e15 {
        format!("{value:.0}")
    } else if value.abs() >= 0.001 && value.abs() < 1e15 {
        format!("{value:.3}")
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::dataset::FeatureVersion;

    #[test]
    fn the_weightiest_come_first_with_their_values() {
        let feature = |name: &str, words: &str| {
            (FeatureVersion { name: name.to_owned(), version: 2 }, words.to_owned())
        };
        let vocabulary = Vocabulary::of(vec![
            feature("unused", "Not of the model"),
            feature("payments", "Payments"),
            feature("speed", "Speed"),
            feature("share", "Share"),
            feature("age", "Age"),
        ]);
        let of = |most: usize| {
            let contributions = [0.5, 2.0, -3.0, 0.1];
            reasons(&vocabulary, &[1, 2, 3, 4], &[14.0, 0.1254, 1.0, f64::NAN], &contributions, most)
        };
        let words: Vec<String> = of(9).into_iter().map(|reason| reason.words).collect();
        assert_eq!(words, ["Speed: 0.125", "Payments: 14", "Age: none"]);
        let one = of(1).remove(0);
        assert_eq!((one.feature.as_str(), one.version, one.value), ("speed", 2, Some(0.1254)));
        assert_eq!(shown(0.000_123_4), "1.234e-4");
        assert_eq!(shown(-2.0), "-2");
    }
}
