//! Rows that nobody needs any more: those of old runs, and of runs that came to nothing. Their tables go with their files, and old runs with
//! their folders.
//!
//! Invariant: a table stays that one of the newest runs or a model with a name (champion, challenger, previous) has learned from.

use super::TrainJob;
use super::done::stopped;
use crate::models::learned;
use crate::train::state::Run;
use affluent_feature_store::training::drop_table;
use affluent_learning::dataset::Manifest;
use affluent_schedule::RunContext;
use std::collections::BTreeSet;

impl TrainJob {
    /// Drops the rows and folders of old runs, and the rows of `refused`, from which nothing was learned.
    pub(super) async fn drop_unneeded(
        &self,
        run: &Run,
        refused: Option<&Manifest>,
        context: &RunContext,
    ) -> anyhow::Result<()> {
        let (kept, old) = self.runs.divided(run, self.options.rows.runs_kept)?;
        if old.is_empty() && refused.is_none() {
            return Ok(());
        }
        let mut unwanted: Vec<Manifest> = refused.cloned().into_iter().collect();
        for run in &old {
            unwanted.extend(run.plan()?.map(|plan| plan.manifest));
        }
        let mut needed = self.of_named_models().await?;
        for run in &kept {
            needed.extend(run.plan()?.map(|plan| plan.manifest));
        }
        for table in unneeded(&unwanted, &needed) {
            context.check().await.map_err(stopped)?;
            drop_table(&self.offline, table).await?;
        }
        // Last, so that tables which a killed run has left are found again.
        for run in &old {
            run.remove()?;
        }
        Ok(())
    }

    /// What the models have learned from that have a name.
    async fn of_named_models(&self) -> anyhow::Result<Vec<Manifest>> {
        let name = self.kind.name();
        if !self.registry.models().await?.iter().any(|model| model == name) {
            return Ok(Vec::new());
        }
        let aliases = self.registry.aliases(name).await?;
        let mut manifests = Vec::new();
        for version in [aliases.champion, aliases.challenger, aliases.previous].into_iter().flatten() {
            manifests.extend(learned(&self.registry, name, version).await?.map(|learned| learned.manifest));
        }
        Ok(manifests)
    }
}

/// Tables of the unwanted that none of the needed names.
fn unneeded<'a>(unwanted: &'a [Manifest], needed: &'a [Manifest]) -> BTreeSet<&'a str> {
    let needed: BTreeSet<&str> = needed.iter().flat_map(tables).collect();
    unwanted.iter().flat_map(tables).filter(|table| !needed.contains(table)).collect()
}

fn tables(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.lake.iter().flat_map(|lake| std::iter::once(&lake.rows).chain(&lake.beside)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::dataset::{Dataset, LakeSource};
    use std::collections::BTreeMap;

    fn manifest(rows: &str, beside: Option<&str>) -> Manifest {
        let lake = LakeSource {
            snapshots: BTreeMap::new(),
            features: Vec::new(),
            categories: Vec::new(),
            rows: rows.to_owned(),
            beside: beside.map(str::to_owned),
            valued: false,
        };
        Manifest { lake: Some(lake), ..Manifest::of(&Dataset::default(), rows.to_owned(), 0) }
    }

    #[test]
    fn a_table_that_another_run_or_a_model_needs_stays() {
        let unwanted = [manifest("a", Some("a_beside")), manifest("b", None), manifest("c", None)];
        let needed = [manifest("b", None), Manifest::of(&Dataset::default(), "file".to_owned(), 0)];
        assert_eq!(unneeded(&unwanted, &needed), BTreeSet::from(["a", "a_beside", "c"]));
        assert_eq!(unneeded(&[], &needed), BTreeSet::new());
    }
}
