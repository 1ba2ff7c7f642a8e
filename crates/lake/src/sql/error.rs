//! What can go wrong with a statement, told apart by what the caller can do about it.

use crate::LakeError;
use datafusion::error::DataFusionError;
use std::time::Duration;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("invalid SQL engine options: {0}")]
    Options(String),
    /// The text is not SQL. The message shows the place.
    #[error("{0}")]
    Syntax(String),
    #[error("no table {name}{}", nearest_hint(nearest))]
    UnknownTable { name: String, nearest: Vec<String> },
    /// Unknown columns, types that do not go together, statements that are not queries.
    #[error("{0}")]
    Plan(String),
    #[error("table {table} has no state as old as that: the oldest that is kept is of {oldest}")]
    TooEarly { table: String, oldest: String },
    #[error(
        "table {0} has delete files of another engine, which are not read here: compact the table with \
         that engine first"
    )]
    DeleteFiles(String),
    #[error("table {table} has the data file {path} in {format}: only Parquet is read here")]
    FileFormat { table: String, path: String, format: String },
    #[error("the query took longer than {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// Raise the memory limit, or ask for less at once.
    #[error("the query needs more memory than it may use: {0}")]
    Memory(String),
    /// Sums, arithmetic or casts left the range of their type. Nothing was rounded.
    #[error("{0}")]
    Overflow(String),
    #[error("{0}")]
    Execution(String),
    /// The cluster does not do its work: a node is not there, or has gone while it worked. Another attempt may succeed.
    #[error("{0}")]
    Cluster(String),
    #[error(transparent)]
    Lake(#[from] LakeError),
}

fn nearest_hint(nearest: &[String]) -> String {
    match nearest {
        [] => "; `affluent sql --tables` lists what there is".to_owned(),
        names => format!(": did you mean {}?", names.join(" or ")),
    }
}

impl SqlError {
    /// Whether another attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            SqlError::Timeout(_) | SqlError::Memory(_) | SqlError::Execution(_) | SqlError::Cluster(_) => {
                true
            }
            SqlError::Lake(error) => error.is_passing(),
            SqlError::Options(_)
            | SqlError::Syntax(_)
            | SqlError::UnknownTable { .. }
            | SqlError::Plan(_)
            | SqlError::TooEarly { .. }
            | SqlError::DeleteFiles(_)
            | SqlError::FileFormat { .. }
            | SqlError::Overflow(_) => false,
        }
    }

    /// Ours inside an error of the engine, to come out again by [`SqlError::from`].
    pub(crate) fn external(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<LakeError>() {
                    Ok(lake) => SqlError::Lake(*lake),
                    Err(other) => SqlError::Execution(other.to_string()),
                },
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => (*inner).into(),
            DataFusionError::Shared(inner) => shared(&inner),
            DataFusionError::Collection(errors) => {
                let first = errors.into_iter().next();
                first.map_or_else(|| SqlError::Execution("several errors".to_owned()), SqlError::from)
            }
            other => classified(&other),
        }
    }
}

/// Of an error that other parts of the query hold too.
fn shared(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => SqlError::Execution(inner.to_string()),
        root => classified(root),
    }
}

fn classified(error: &DataFusionError) -> SqlError {
    let text = readable(error);
    match error {
        DataFusionError::SQL(..) => SqlError::Syntax(text),
        DataFusionError::ResourcesExhausted(_) => SqlError::Memory(text),
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_) => SqlError::Plan(text),
        _ if is_overflow(&text) => SqlError::Overflow(text),
        _ => SqlError::Execution(text),
    }
}

/// The kernels tell overflow by their words alone.
pub(crate) fn is_overflow(text: &str) -> bool {
    let text = text.to_lowercase();
    ["overflow", "too large to store", "too small to store", "can't cast value", "out of range"]
        .iter()
        .any(|word| text.contains(word))
}

/// The message without the engine's own prefixes and traces.
fn readable(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let mut rest = text.as_str();
    for prefix in [
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "Resources exhausted: ",
        "External error: ",
        "Optimizer rule ",
        "Parser error: ",
        "Arithmetic overflow: ",
        "Cast error: ",
        "Compute error: ",
        "Invalid argument error: ",
    ] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    // The first letter small, as everywhere in our messages, unless a name begins it.
    let mut letters = rest.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(rest.chars().skip(1)).collect()
        }
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_out_as_they_went_in() {
        let ours = SqlError::DeleteFiles("raw.t".to_owned()).external().context("while planning");
        assert!(matches!(SqlError::from(ours), SqlError::DeleteFiles(table) if table == "raw.t"));
        let memory = DataFusionError::ResourcesExhausted("no room".to_owned());
        assert!(matches!(SqlError::from(memory), SqlError::Memory(_)));
        let plan = SqlError::from(DataFusionError::Plan("Function x is not there".to_owned()));
        assert_eq!(plan.to_string(), "function x is not there");
        let overflow = DataFusionError::Execution("Overflow happened on: 1 + 2".to_owned());
        assert!(matches!(SqlError::from(overflow), SqlError::Overflow(_)));
    }
}
