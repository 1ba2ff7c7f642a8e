//! The lake's side: tables changed by the plan, the warehouse computed anew, older states ended.

use super::Removed;
use super::person::Person;
use super::plan::{self, Table};
use crate::batch;
use crate::config::Config;
use crate::features;
use affluent_lake::{Lake, LakeError, LakeTable, Scan};
use affluent_model::Value;
use affluent_schedule::RunEnd;
use affluent_warehouse::batch::versions;
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;

/// What names of tables mean in this installation.
pub(super) struct Meaning {
    /// Computed by models from others, as `zone.name`.
    computed: BTreeSet<String>,
    /// Views of features whose entity is the customer; a click's user is one, too.
    of_customers: BTreeSet<String>,
}

impl Meaning {
    /// # Errors
    /// Models or definitions that cannot be read.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let computed = batch::models(config)?.iter().map(|model| model.table()).collect();
        let definitions = features::load(config)?;
        let views = definitions.views.iter().filter(|(_, view)| ENTITIES.contains(&view.entity.as_str()));
        Ok(Meaning { computed, of_customers: views.map(|(name, _)| name.clone()).collect() })
    }

    pub(super) fn is_of_customers(&self, zone: &str, name: &str) -> bool {
        zone == "features" && self.of_customers.contains(name)
    }
}

/// Entities whose keys are ids of customers.
pub(super) const ENTITIES: [&str; 2] = ["customer", "user"];

/// Ids of the person's payments in the raw zone, also after their customer was replaced.
///
/// # Errors
/// Disk and catalog.
pub(super) async fn payments(lake: &Lake, person: &Person) -> anyhow::Result<BTreeSet<String>> {
    let mut payments = BTreeSet::new();
    let table = match lake.table("raw", "transactions").await {
        Ok(table) => table,
        Err(LakeError::NotFound(_)) => return Ok(payments),
        Err(error) => return Err(error).context("open raw.transactions"),
    };
    let (own, surrogate) = (person.id.as_str(), person.surrogate.to_string());
    let columns = vec!["id".to_owned(), "customer_id".to_owned()];
    let mut rows = table.scan(Scan { columns, ..Scan::default() }).await.context("read raw.transactions")?;
    while let Some(batch) = rows.next().await {
        for row in batch.context("read raw.transactions")? {
            let [id, customer] = row.as_slice() else { continue };
            let customer = customer.to_text();
            if !matches!(id, Value::Null) && (customer == own || customer == surrogate) {
                payments.insert(id.to_text());
            }
        }
    }
    Ok(payments)
}

/// Changes every table that no model computes.
///
/// # Errors
/// Disk and catalog; what was changed until then stays changed.
pub(super) async fn edit(
    lake: &Lake,
    meaning: &Meaning,
    person: &Person,
    payments: &BTreeSet<String>,
) -> anyhow::Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for (zone, name) in lake.tables().await.context("list the tables of the lake")? {
        let full = format!("{zone}.{name}");
        if meaning.computed.contains(&full) {
            continue;
        }
        let table = lake.table(&zone, &name).await.with_context(|| format!("open {full}"))?;
        let columns = columns(&table).await.with_context(|| format!("read the columns of {full}"))?;
        let is_of_customers = meaning.is_of_customers(&zone, &name);
        let planned = Table { zone: &zone, name: &name, columns: &columns, is_of_customers };
        let mut rows = 0;
        for edit in plan::edits(planned, person, payments) {
            rows += table.edit(edit).await.with_context(|| format!("edit {full}"))?.rows;
        }
        if rows > 0 {
            removed.push(Removed { store: full, rows });
        }
    }
    Ok(removed)
}

async fn columns(table: &LakeTable) -> Result<BTreeSet<String>, LakeError> {
    Ok(table.columns().await?.into_iter().map(|column| column.name).collect())
}

/// Computes the warehouse anew from what the raw zone now has, where there is one.
///
/// # Errors
/// A run that does not succeed: the same command goes on from there.
pub(super) async fn rebuild(config: &Config, lake: &Lake) -> anyhow::Result<()> {
    if versions(lake).await?.is_empty() {
        return Ok(());
    }
    match batch::rebuild(config).await? {
        RunEnd::Succeeded { .. } | RunEnd::Skipped { .. } | RunEnd::Done => Ok(()),
        end @ (RunEnd::Busy(_)
        | RunEnd::GivenUp { .. }
        | RunEnd::Failed { .. }
        | RunEnd::Cancelled { .. }
        | RunEnd::Lost { .. }) => {
            bail!(
                "the warehouse could not be computed anew: {}; mend that and repeat the command",
                batch::word(&end)
            )
        }
    }
}

/// Ends the history of every table: what readers see now stays, with the newest published version of the warehouse.
///
/// # Errors
/// Disk and catalog; tables that were ended stay so.
pub(super) async fn forget(lake: &Lake) -> anyhow::Result<(usize, usize)> {
    let newest = versions(lake).await?.first().map(|version| format!("warehouse-{}-", version.version));
    let (mut snapshots, mut files) = (0, 0);
    for (zone, name) in lake.tables().await.context("list the tables of the lake")? {
        let what = || format!("end the history of {zone}.{name}");
        let table = lake.table(&zone, &name).await.with_context(what)?;
        let newest = newest.clone();
        // Tags of others than the warehouse, such as those of training sets, stay: they are told.
        let keeps = move |tag: &str| {
            !tag.starts_with("warehouse-") || newest.as_ref().is_some_and(|newest| tag.starts_with(newest))
        };
        let forgotten = table.forget(keeps).await.with_context(what)?;
        snapshots += forgotten.snapshots;
        files += forgotten.files;
    }
    Ok((snapshots, files))
}
