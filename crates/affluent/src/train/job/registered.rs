//! The tasks `register` and `promote`.

use super::TrainJob;
use super::done::{Done, nothing, skipped, stopped};
use crate::train::kind::Outcome;
use crate::train::state::Run;
use affluent_learning::registry::promote;
use affluent_schedule::RunContext;
use std::path::Path;

impl TrainJob {
    pub(super) async fn register(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        if run.plan()?.is_none() {
            return Ok(nothing());
        }
        let version = match run.registered()? {
            Some(registered) => registered.version,
            None => {
                let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
                let outcome = run.outcome(self.kind)?;
                let folder = scratch.path().join("model");
                std::fs::create_dir_all(&folder)?;
                outcome.write(&folder)?;
                context.check().await.map_err(stopped)?;
                let version = match self.registered(&folder).await? {
                    Some(version) => version,
                    None => self.registry.register(self.kind.name(), &folder).await?,
                };
                run.put_registered(version)?;
                version
            }
        };
        Ok(Done { rows_out: 1, notes: Some(format!("version {version}")), ..Done::default() })
    }

    /// The newest version, where a run that died before it could note so has registered this very report.
    async fn registered(&self, folder: &Path) -> anyhow::Result<Option<u64>> {
        let name = self.kind.name();
        if !self.registry.models().await?.iter().any(|model| model == name) {
            return Ok(None);
        }
        let Some(newest) = self.registry.versions(name).await?.last().map(|version| version.version) else {
            return Ok(None);
        };
        let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
        let there = self.registry.folder(name, newest, scratch.path()).await?;
        let report = |folder: &Path| std::fs::read(folder.join("report.json")).ok();
        Ok(Some(newest).filter(|_| report(folder).is_some() && report(folder) == report(&there)))
    }

    pub(super) async fn promote(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some(registered) = run.registered()? else { return Ok(nothing()) };
        let (name, version) = (self.kind.name(), registered.version);
        if !self.options.rows.promote {
            return Ok(skipped(format!("left to a person: affluent models promote {name} {version}")));
        }
        let outcome = run.outcome(self.kind)?;
        let failed = failed_gates(&outcome);
        if !failed.is_empty() {
            return Ok(skipped(format!("version {version} stays the challenger; {failed}")));
        }
        let aliases = self.registry.aliases(name).await?;
        if aliases.champion == Some(version) || aliases.previous == Some(version) {
            return Ok(skipped(format!("version {version} was promoted before")));
        }
        context.check().await.map_err(stopped)?;
        promote(self.registry.as_ref(), name, Some(version), false).await?;
        Ok(Done { rows_out: 1, notes: Some(format!("version {version} serves")), ..Done::default() })
    }
}

/// Gates that failed, and by how much; empty where none did.
fn failed_gates(outcome: &Outcome) -> String {
    let failed = outcome.gates().iter().filter(|gate| !gate.passed);
    failed
        .map(|gate| format!("gate {} failed: {}", gate.name, gate.finding))
        .collect::<Vec<String>>()
        .join("; ")
}
