//! The tasks `register` and `promote`.

use super::TrainJob;
use super::done::{Done, nothing, skipped, stopped};
use crate::train::kind::Outcome;
use crate::train::state::Run;
use affluent_learning::gate::{Gate, is_of_champion};
use affluent_learning::registry::{Change, promote};
use affluent_schedule::RunContext;
use anyhow::bail;
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
                validated(outcome.gates())?;
                let folder = scratch.path().join("model");
                std::fs::create_dir_all(&folder)?;
                outcome.write(&folder)?;
                context.check().await.map_err(stopped)?;
                let version = match self.registered(&folder).await? {
                    Some(version) => {
                        self.name_challenger(version).await?;
                        version
                    }
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

    /// Gives the name that the run which died may not have given any more.
    async fn name_challenger(&self, version: u64) -> anyhow::Result<()> {
        self.registry.change_aliases(self.kind.name(), Change::Challenge(version)).await?;
        Ok(())
    }

    pub(super) async fn promote(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some(registered) = run.registered()? else { return Ok(nothing()) };
        let (name, version) = (self.kind.name(), registered.version);
        if !self.options.rows.promote {
            return Ok(skipped(format!("left to a person: affluent models promote {name} {version}")));
        }
        let outcome = run.outcome(self.kind)?;
        validated(outcome.gates())?;
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

/// A report without gates has not been through them: it was evaluated, or evaluated anew.
fn validated(gates: &[Gate]) -> anyhow::Result<()> {
    if gates.iter().all(is_of_champion) {
        bail!("no gate has looked at this model: run the task validate first");
    }
    Ok(())
}

/// Gates that failed, and by how much; empty where none did.
fn failed_gates(outcome: &Outcome) -> String {
    let failed = outcome.gates().iter().filter(|gate| !gate.passed);
    failed
        .map(|gate| format!("gate {} failed: {}", gate.name, gate.finding))
        .collect::<Vec<String>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_no_gate_has_looked_at_is_not_registered() {
        let gate = |name: &str| Gate { name: name.to_owned(), passed: true, finding: String::new() };
        assert!(validated(&[]).unwrap_err().to_string().contains("validate first"));
        let champion = gate("better_than_champion");
        assert!(validated(std::slice::from_ref(&champion)).is_err());
        validated(&[gate("latency"), champion]).unwrap();
    }
}
