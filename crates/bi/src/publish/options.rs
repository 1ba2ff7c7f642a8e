//! The checked configuration of the copies: section `[bi.publish]`.

use serde::{Deserialize, Serialize};

/// Where the warehouse is copied to, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishOptions {
    /// The PostgreSQL, as libpq names it; empty: nothing is copied.
    pub postgres: String,
    /// The schema of the tables there; it is made where it is not there.
    pub schema: String,
    /// Tables of the warehouse without their zone; empty: all that are published.
    pub tables: Vec<String>,
    /// How often a new version is looked for.
    pub poll_ms: u64,
    /// A copy of a version that takes longer is given up.
    pub timeout_s: u64,
    /// Pauses after a failure: the first, and the longest.
    pub retry_first_ms: u64,
    pub retry_max_ms: u64,
}

impl Default for PublishOptions {
    fn default() -> Self {
        PublishOptions {
            postgres: String::new(),
            schema: "dwh".to_owned(),
            tables: Vec::new(),
            poll_ms: 5_000,
            timeout_s: 3_600,
            retry_first_ms: 1_000,
            retry_max_ms: 60_000,
        }
    }
}

impl PublishOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub fn check(&self) -> Result<(), String> {
        if self.schema.is_empty() || self.schema.starts_with("pg_") || self.schema.len() > 63 {
            let schema = &self.schema;
            return Err(format!(
                "bi.publish.schema = \"{schema}\" must be a name of 1 to 63 letters that PostgreSQL does not keep"
            ));
        }
        for (key, value, min, max) in [
            ("bi.publish.poll_ms", self.poll_ms, 100, 3_600_000),
            ("bi.publish.timeout_s", self.timeout_s, 1, 86_400),
            ("bi.publish.retry_first_ms", self.retry_first_ms, 1, self.retry_max_ms),
            ("bi.publish.retry_max_ms", self.retry_max_ms, 1, 3_600_000),
        ] {
            if !(min..=max).contains(&value) {
                return Err(format!("{key} = {value} must be from {min} to {max}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        PublishOptions::default().check().unwrap();
        for (options, key) in [
            (PublishOptions { schema: "pg_catalog".to_owned(), ..PublishOptions::default() }, "schema"),
            (PublishOptions { poll_ms: 0, ..PublishOptions::default() }, "poll_ms"),
            (PublishOptions { retry_first_ms: 90_000, ..PublishOptions::default() }, "retry_first_ms"),
        ] {
            let said = options.check().unwrap_err();
            assert!(said.contains(key), "{said}");
        }
    }
}
