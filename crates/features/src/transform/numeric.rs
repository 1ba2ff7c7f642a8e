//! Normalisation of numbers: standard, robust, log1p, quantile.

use super::FitError;
use serde::{Deserialize, Serialize};

/// Which normalisation to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumericFit {
    /// Mean 0, standard deviation 1 (of the population, as scikit-learn's `StandardScaler`).
    Standard,
    /// Median 0, distance of the quartiles 1.
    Robust,
    /// Sign times the natural logarithm of one more than the size. Nothing is fitted.
    Log1p,
    /// The part of the training values below, from 0 to 1, by so many steps at most.
    Quantile { steps: usize },
}

/// A fitted normalisation. A missing value becomes `missing`, which is what the middle of the training values becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
// Numbers beside the tag would be buffered, and what `serde_json` buffers with `arbitrary_precision` is no number any more.
#[serde(tag = "kind", content = "fitted", rename_all = "snake_case", deny_unknown_fields)]
pub enum Numeric {
    /// (value - centre) / scale.
    Linear {
        centre: f64,
        scale: f64,
    },
    Log1p,
    /// Values at equal steps of the distribution, rising.
    Quantile {
        values: Vec<f64>,
    },
}

/// At most so many steps of a quantile normalisation.
const STEPS_MAX: usize = 10_000;

impl Numeric {
    /// Fits on training values; those that are not finite are left out.
    ///
    /// # Errors
    /// [`FitError`]: no value is left, or the number of steps is out of range.
    pub fn fit(kind: NumericFit, values: &[f64]) -> Result<Self, FitError> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        if sorted.is_empty() && kind != NumericFit::Log1p {
            return Err(FitError::NoValues);
        }
        Ok(match kind {
            NumericFit::Standard => {
                // Summed in the order of size: the same bits in whatever order the rows came.
                let count = sorted.len() as f64;
                let centre = sorted.iter().sum::<f64>() / count;
                let variance = sorted.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / count;
                Numeric::Linear { centre, scale: positive(variance.sqrt()) }
            }
            NumericFit::Robust => {
                let scale = quantile(&sorted, 0.75) - quantile(&sorted, 0.25);
                Numeric::Linear { centre: quantile(&sorted, 0.5), scale: positive(scale) }
            }
            NumericFit::Log1p => Numeric::Log1p,
            NumericFit::Quantile { steps } => {
                if steps == 0 || steps > STEPS_MAX {
                    return Err(FitError::Parameter("steps"));
                }
                let steps = steps.min(sorted.len());
                let values = (0..=steps).map(|step| quantile(&sorted, step as f64 / steps as f64)).collect();
                Numeric::Quantile { values }
            }
        })
    }

    /// The normalised value.
    #[must_use]
    pub fn apply(&self, value: f64) -> f64 {
        match self {
            Numeric::Linear { centre, scale } => {
                if value.is_nan() {
                    0.0
                } else {
                    (value - centre) / scale
                }
            }
            Numeric::Log1p => {
                if value.is_nan() {
                    0.0
                } else {
                    value.abs().ln_1p().copysign(value)
                }
            }
            Numeric::Quantile { values } => rank(values, value),
        }
    }
}

/// A constant column is centred, not scaled.
fn positive(scale: f64) -> f64 {
    if scale > 0.0 { scale } else { 1.0 }
}

/// Linear interpolation between the neighbours (R's type 7, numpy's default).
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor(), place.ceil());
    let (below, above) = (sorted[low as usize], sorted[high as usize]);
    below + (above - below) * (place - low)
}

/// Where a value lies among rising values at equal steps; among equal ones in their middle.
fn rank(values: &[f64], value: f64) -> f64 {
    if value.is_nan() || values.len() < 2 {
        return 0.5;
    }
    let steps = (values.len() - 1) as f64;
    let below = values.partition_point(|&v| v < value);
    let not_above = values.partition_point(|&v| v <= value);
    if not_above == 0 {
        0.0
    } else if below == values.len() {
        1.0
    } else if below < not_above {
        (below + not_above - 1) as f64 / 2.0 / steps
    } else {
        let (low, high) = (values[below - 1], values[below]);
        ((below - 1) as f64 + (value - low) / (high - low)) / steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: NumericFit, values: &[f64], cases: &[(f64, f64)]) {
        let fitted = Numeric::fit(kind, values).unwrap();
        let stored = toml::from_str::<Numeric>(&toml::to_string(&fitted).unwrap()).unwrap();
        assert_eq!(stored, fitted, "as it was stored");
        for &(value, expected) in cases {
            let applied = stored.apply(value);
            assert!((applied - expected).abs() < 1e-12, "{kind:?}: {value} became {applied}");
            assert_eq!(applied.to_bits(), fitted.apply(value).to_bits());
        }
    }

    #[test]
    fn normalisations() {
        let values = [1.0, 2.0, 3.0, f64::NAN, 4.0, 5.0];
        let nan = f64::NAN;
        check(NumericFit::Standard, &values, &[(3.0, 0.0), (5.0, 2f64.sqrt()), (nan, 0.0)]);
        check(NumericFit::Robust, &values, &[(3.0, 0.0), (5.0, 1.0), (nan, 0.0)]);
        check(NumericFit::Log1p, &[], &[(0.0, 0.0), (-9.0, -10f64.ln()), (nan, 0.0)]);
        let quantile = NumericFit::Quantile { steps: 4 };
        check(quantile, &values, &[(0.0, 0.0), (1.0, 0.0), (2.5, 0.375), (5.0, 1.0), (9.0, 1.0), (nan, 0.5)]);
        check(quantile, &[7.0, 7.0], &[(7.0, 0.5), (6.0, 0.0), (8.0, 1.0)]);
        check(NumericFit::Standard, &[7.0, 7.0], &[(8.0, 1.0)]);
        assert_eq!(Numeric::fit(NumericFit::Robust, &[nan]), Err(FitError::NoValues));
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let mut values: Vec<f64> = (0..1_000).map(|n| (f64::from(n) * 0.37).sin() * 1e6).collect();
        let one = Numeric::fit(NumericFit::Standard, &values);
        values.reverse();
        assert_eq!(one, Numeric::fit(NumericFit::Standard, &values));
    }
}
