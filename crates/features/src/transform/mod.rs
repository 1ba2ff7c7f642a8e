//! From values to what a model reads: normalisation and vectorisation, fitted on training data, applied the same everywhere.
//!
//! A transformation is *fitted* once ([`Numeric::fit`], [`Category::fit`], [`TargetEncoder`]), its parameters are stored with the model
//! (serde), and applying them is a pure function of value and parameters: training and serving call the same one.
//!
//! Nothing is not a number: NaN goes in where a value is missing, and each transformation says what comes out. Numbers that are
//! stored as text must keep all digits: Rust's shortest form does.

mod category;
mod numeric;
mod target;

pub use category::{Category, CategoryFit};
pub use numeric::{Numeric, NumericFit};
pub use target::{TargetEncoder, TargetTable};

/// Why nothing could be fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    #[error("there is no finite value to fit on")]
    NoValues,
    #[error("{0} is out of range")]
    Parameter(&'static str),
}
