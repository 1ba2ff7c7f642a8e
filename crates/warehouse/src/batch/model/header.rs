//! What the header of a model's file says: TOML in the comment that opens it.
//!
//! Invariant: a key that nobody knows is an error that names file and key, never ignored.

use crate::batch::BatchError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The header as it is written; what its parts mean together is checked in [`super::Model`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// For people: what a row is.
    pub description: String,
    /// Which task of the pipeline computes the table.
    pub task: Task,
    pub strategy: Strategy,
    /// Columns that tell the rows of the table apart.
    pub key: Vec<String>,
    /// The table whose rows are narrowed in an increment.
    #[serde(default)]
    pub from: Option<String>,
    /// Columns of `from` to the columns of the result that hold the same: rows are computed anew by this
    /// unit. Default: the key, under the same names.
    #[serde(default)]
    pub unit: Option<BTreeMap<String, String>>,
    /// A query for the units to compute anew, columns named as in `from`; it reads `delta.*`.
    #[serde(default)]
    pub changes: Option<String>,
    /// The time column by whose UTC day the table is divided.
    #[serde(default)]
    pub partition: Option<String>,
    /// The columns by which rows are sorted inside each file.
    #[serde(default)]
    pub sort: Vec<String>,
    /// Columns of the raw table that the body reads, with their SQL types: those that the table lacks, or
    /// all of them where it is not there yet, are null.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Which raw rows are refused.
    #[serde(default)]
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub tests: Vec<Test>,
    /// Tables that hold as many rows and as much as this one, after every run.
    #[serde(default)]
    pub balances: Vec<Balance>,
    /// Columns without nulls.
    #[serde(default)]
    pub not_null: Vec<String>,
    /// Column to `zone.table.column` where its value has to be.
    #[serde(default)]
    pub references: BTreeMap<String, String>,
    /// Column of `from` to the `zone.table.column` by whose values alone the body joins that table: an increment
    /// reads the rows that its own name.
    #[serde(default)]
    pub lookups: BTreeMap<String, String>,
    /// Column to the only values it may have, beside null.
    #[serde(default)]
    pub accepted: BTreeMap<String, Vec<String>>,
}

/// The tasks that compute models, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Clean,
    Deduplicate,
    Enrich,
    Load,
}

impl Task {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Clean => "clean",
            Task::Deduplicate => "deduplicate",
            Task::Enrich => "enrich",
            Task::Load => "load",
        }
    }
}

/// How a table follows what it is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// New raw rows are appended: the staged zone.
    Incremental,
    /// The rows of changed units are replaced.
    Upsert,
    /// The same, where a unit has one row a version.
    Scd2,
    /// Computed whole, replaced where it differs.
    Rebuild,
}

impl Strategy {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Incremental => "incremental",
            Strategy::Upsert => "upsert",
            Strategy::Scd2 => "scd2",
            Strategy::Rebuild => "rebuild",
        }
    }
}

/// Raw rows for which `when` is true are refused under this name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    /// A condition over the columns of the raw table.
    pub when: String,
}

/// Rows that `sql` yields are failures; `this` in it is the table of the model: the rows that changed, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub name: String,
    #[serde(default)]
    pub severity: Severity,
    /// `this` is the whole table after every run, not only in the rebuild.
    #[serde(default)]
    pub whole: bool,
    pub sql: String,
}

/// For each value of `by`, rows and sum of `amount` are the same in this table and in another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    pub name: String,
    #[serde(default)]
    pub severity: Severity,
    /// The other table, `zone.name`; it has columns of the same names.
    pub with: String,
    pub by: String,
    /// A number without a fraction that a decimal of ten digits behind the point would cut off.
    pub amount: String,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is published.
    #[default]
    Error,
    Warn,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warn => "warn",
        }
    }
}

impl Header {
    /// Header and body of a file's text.
    ///
    /// # Errors
    /// [`BatchError::Model`]: no leading comment, no TOML, keys that are missing or unknown.
    pub fn split<'a>(file: &str, text: &'a str) -> Result<(Header, &'a str), BatchError> {
        let no_header = || {
            let message = "it does not begin with its header, TOML between /* and */".to_owned();
            BatchError::Model { file: file.to_owned(), message }
        };
        let rest = text.trim_start().strip_prefix("/*").ok_or_else(no_header)?;
        let (header, body) = rest.split_once("*/").ok_or_else(no_header)?;
        let header = toml::from_str(header).map_err(|error| BatchError::Model {
            file: file.to_owned(),
            message: format!("header: {}", error.to_string().trim_end()),
        })?;
        Ok((header, body.trim().trim_end_matches(';').trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_unknown_keys_are_not() {
        let text = "/*\ndescription = \"d\"\ntask = \"load\"\nstrategy = \"scd2\"\nkey = [\"k\"]\n\
                    [[tests]]\nname = \"t\"\nsql = \"select 1\"\n*/\nselect 1 as k;\n";
        let (header, body) = Header::split("f.sql", text).unwrap();
        assert_eq!((header.task, header.strategy, body), (Task::Load, Strategy::Scd2, "select 1 as k"));
        assert_eq!(header.tests[0].severity, Severity::Error);
        let error = Header::split("f.sql", &text.replace("key", "keys")).unwrap_err().to_string();
        assert!(error.contains("f.sql") && error.contains("keys"), "{error}");
        Header::split("f.sql", "select 1").unwrap_err();
    }
}
