//! Learning: gradient boosting ([`boost`], the only door to `perpetual`), a logistic regression beside it as the baseline ([`logistic`]),
//! and [`calibrate`], which turns scores into probabilities. [`transform`] is what becomes of features before. [`model`] is what they make together, stored and applied;
//! `row` applies it to one row at a time, as payments come.

pub mod boost;
pub mod calibrate;
pub mod learner;
mod linear;
pub mod logistic;
pub mod model;
pub mod ridge;
mod row;
pub mod transform;
mod trees;

pub use boost::{BoostOptions, Ensemble};
pub use calibrate::{Calibration, CalibrationKind};
pub(crate) use learner::both;
pub use learner::{Imported, Learner};
pub use logistic::Logistic;
pub use model::{Model, ModelError};
pub use ridge::Ridge;
pub use row::Contributions;
pub(crate) use row::{blended, mixed};
pub use transform::{TransformOptions, Transforms};

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error("gradient boosting: {0}")]
    Boost(String),
    #[error("monotone constraint on {0}: the dataset has no such feature")]
    Constraint(String),
    #[error("transformation of {feature}: {message}")]
    Transform { feature: String, message: String },
    #[error("regression: the features are so much alike that no weights can be found; raise the ridge")]
    Singular,
}

/// The logistic function.
#[must_use]
pub fn logistic_function(value: f64) -> f64 {
    if value >= 0.0 {
        1.0 / (1.0 + (-value).exp())
    } else {
        let power = value.exp();
        power / (1.0 + power)
    }
}
