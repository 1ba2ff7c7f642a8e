//! Which tables a user sees.

use crate::error::{PgError, code};
use crate::options::RoleOptions;
use std::collections::BTreeSet;

/// Every schema.
pub(crate) const ALL: &str = "*";
/// Schemas that tell of the others: everybody sees them, and in them only of what is granted.
const OF_THE_CATALOGUE: &[&str] = &["pg_catalog", "information_schema"];

/// What the roles of a user grant together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grants {
    schemas: BTreeSet<String>,
    /// As `schema.table`.
    tables: BTreeSet<String>,
}

impl Grants {
    pub(crate) fn of<'a>(roles: impl Iterator<Item = &'a RoleOptions>) -> Self {
        let mut grants = Grants::default();
        for role in roles {
            grants.schemas.extend(role.schemas.iter().cloned());
            grants.tables.extend(role.tables.iter().cloned());
        }
        grants
    }

    /// Everything.
    pub(crate) fn all() -> Self {
        Grants { schemas: BTreeSet::from([ALL.to_owned()]), tables: BTreeSet::new() }
    }

    /// Whether the table may be read. What tells of a table (`table$files`) is seen with it.
    pub(crate) fn sees(&self, schema: &str, table: &str) -> bool {
        let table = table.rsplit_once('$').map_or(table, |(table, _)| table);
        OF_THE_CATALOGUE.contains(&schema)
            || self.schemas.contains(ALL)
            || self.schemas.contains(schema)
            || self.tables.contains(&format!("{schema}.{table}"))
    }

    /// Refuses a table that is not granted. Whether there is such a table is not told.
    ///
    /// # Errors
    /// 42501.
    pub(crate) fn check(&self, schema: &str, table: &str) -> Result<(), PgError> {
        if self.sees(schema, table) {
            return Ok(());
        }
        let message = format!("permission denied for table {schema}.{table}");
        Err(PgError::new(code::INSUFFICIENT_PRIVILEGE, message)
            .with_hint("a role of the user must grant it: [[bi.roles]] schemas or tables"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(schemas: &[&str], tables: &[&str]) -> RoleOptions {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        RoleOptions { schemas: owned(schemas), tables: owned(tables), ..RoleOptions::default() }
    }

    #[test]
    fn what_no_role_grants_is_refused() {
        let grants = Grants::of([role(&["dwh"], &[]), role(&[], &["ops.runs"])].iter());
        for (schema, table, seen) in [
            ("dwh", "fact_fraud", true),
            ("dwh", "fact_fraud$files", true),
            ("ops", "runs", true),
            ("ops", "runs$snapshots", true),
            ("ops", "quarantine", false),
            ("raw", "customers", false),
            ("raw", "customers$files", false),
            ("public", "runs", false),
            ("pg_catalog", "pg_class", true),
            ("information_schema", "tables", true),
        ] {
            assert_eq!(grants.sees(schema, table), seen, "{schema}.{table}");
            assert_eq!(grants.check(schema, table).is_ok(), seen, "{schema}.{table}");
        }
        assert!(Grants::all().sees("raw", "customers"));
        assert!(!Grants::default().sees("dwh", "dim_date"));
    }
}
