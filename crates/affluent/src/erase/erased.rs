//! Who was erased, as far as a comparison of stores has to know: topics may still have what the lake no longer has.

use super::audit;
use super::person::Person;
use crate::config::Config;
use crate::roles;
use affluent_lake::Lake;
use affluent_model::ChangeEvent;
use std::collections::HashSet;

/// Customers whose erasure is done.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    key: String,
    hashes: HashSet<String>,
}

impl Erased {
    /// As `ops.erasures` says.
    ///
    /// # Errors
    /// Disk and catalog; the secret key cannot be read.
    pub(crate) async fn load(config: &Config, lake: &Lake) -> anyhow::Result<Self> {
        let hashes = audit::subjects(lake).await?;
        if hashes.is_empty() {
            return Ok(Erased::default());
        }
        let mut config = config.clone();
        roles::provide_protect_key(&mut config)?;
        Ok(Erased { key: config.cdc.protect_key.unwrap_or_default(), hashes })
    }

    /// Whether a change of customers is about one of them.
    pub(crate) fn has(&self, change: &ChangeEvent) -> bool {
        if self.hashes.is_empty() || change.schema.table.name != "customers" {
            return false;
        }
        let Some(place) = change.schema.index_of("id") else { return false };
        let rows = [change.after.as_ref(), change.before.as_ref()];
        let mut ids = rows.into_iter().flatten().filter_map(|row| row.get(place));
        ids.any(|id| {
            Person::new(&id.to_text(), &self.key).is_ok_and(|person| self.hashes.contains(&person.hash))
        })
    }
}
