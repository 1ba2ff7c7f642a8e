//! The registry of an MLflow 3 tracking server, over its REST interface; files go through its artefact proxy.
//!
//! A registration is one run (parameters, metrics, report, plots, model) and one version of the registered model. Names are MLflow's aliases.
//! What a call looks like is in [`rest`], what is logged in [`log`].
//!
//! Names are moved one by one, as MLflow has no call for several: `previous` first, then the challenger's name, and `champion` last, by one call that replaces
//! it. Who serves reads `champion` alone, so it sees the old version or the new one and never none. Until the champion's call, and if the
//! process ends before it, `previous` is the version that still serves; the same promotion called again goes on. MLflow has no locks: of two promotions at the
//! same time the champion is the later one's.
//!
//! Invariant: the champion's name is moved last, and never taken away while it moves.

mod log;
mod rest;

use super::{Aliases, Change, Registry, RegistryError, Version, card, check_name};
use async_trait::async_trait;
use rest::Rest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlflowOptions {
    /// Such as `http://127.0.0.1:5000`; empty: no server, models are kept in a folder.
    pub url: String,
    /// Experiment in which runs appear; it is made where there is none.
    pub experiment: String,
    /// Bearer token, where the server asks for one.
    pub token: String,
    /// Attempts of a call that is not answered, and the pause after the first, doubled each time.
    pub attempts: u32,
    pub retry_first_ms: u64,
    /// How long a call may take.
    pub timeout_ms: u64,
}

impl Default for MlflowOptions {
    fn default() -> Self {
        MlflowOptions {
            url: String::new(),
            experiment: "affluent".to_owned(),
            token: String::new(),
            attempts: 4,
            retry_first_ms: 500,
            timeout_ms: 30_000,
        }
    }
}

/// A tracking server.
#[derive(Debug, Clone)]
pub struct MlflowRegistry {
    rest: Rest,
    experiment: String,
}

impl MlflowRegistry {
    /// # Errors
    /// [`RegistryError::Unreachable`]: there can be no connections at all.
    pub fn new(options: &MlflowOptions) -> Result<Self, RegistryError> {
        Ok(MlflowRegistry { rest: Rest::new(options)?, experiment: options.experiment.clone() })
    }

    async fn experiment(&self) -> Result<String, RegistryError> {
        let what = "find the experiment";
        let name = [("experiment_name", self.experiment.as_str())];
        let found = match self.rest.get("experiments/get-by-name", &name, what).await {
            Ok(found) => found,
            Err(error) if is_missing(&error) => {
                let body = json!({"name": self.experiment});
                match self.rest.post("experiments/create", &body, "make the experiment").await {
                    Ok(made) => return rest::text(&made, "/experiment_id", what),
                    // Somebody else has just made it.
                    Err(error) if is_there(&error) => {
                        self.rest.get("experiments/get-by-name", &name, what).await?
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        rest::text(&found, "/experiment/experiment_id", what)
    }

    async fn registered(&self, model: &str) -> Result<Value, RegistryError> {
        check_name(model)?;
        let found = self.rest.get("registered-models/get", &[("name", model)], "read the model").await;
        found.map_err(
            |error| if is_missing(&error) { RegistryError::NoModel(model.to_owned()) } else { error },
        )
    }

    async fn set_alias(&self, model: &str, alias: &str, version: Option<u64>) -> Result<(), RegistryError> {
        let body = json!({"name": model, "alias": alias, "version": version.map(|v| v.to_string())});
        match version {
            Some(_) => self.rest.post("registered-models/alias", &body, "name a version").await.map(drop),
            None => {
                let body = json!({"name": model, "alias": alias});
                let done = self.rest.delete("registered-models/alias", &body, "take a name away").await;
                done.map(drop).or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
            }
        }
    }

    /// Everything under a folder, file by file.
    async fn upload(&self, folder: &Path, to: &str) -> Result<(), RegistryError> {
        for (name, path) in files(folder)? {
            self.put(&path, &format!("{to}/{name}")).await?;
        }
        Ok(())
    }

    async fn put(&self, path: &Path, to: &str) -> Result<(), RegistryError> {
        let bytes = std::fs::read(path)
            .map_err(|source| RegistryError::File { what: format!("read {}", path.display()), source })?;
        self.rest.put_artefact(to, bytes).await
    }
}

#[async_trait]
impl Registry for MlflowRegistry {
    async fn register(&self, model: &str, folder: &Path) -> Result<u64, RegistryError> {
        check_name(model)?;
        let card = card::read(folder)?;
        let experiment = self.experiment().await?;
        let run = self.rest.post("runs/create", &log::run(&experiment, model), "make a run").await?;
        let id = rest::text(&run, "/run/info/run_id", "make a run")?;
        let place = rest::text(&run, "/run/info/artifact_uri", "make a run")?;
        for batch in log::batches(&id, &card) {
            self.rest.post("runs/log-batch", &batch, "log metrics").await?;
        }
        let artefacts = rest::artefact_path(&place)?;
        self.upload(folder, &format!("{artefacts}/model")).await?;
        // Beside the model, too, where people look first; a model that was not judged here has less of it.
        for (name, path) in files(folder)?.into_iter().filter(|(name, _)| is_shown(name)) {
            self.put(&path, &format!("{artefacts}/{name}")).await?;
        }
        let made =
            self.rest.post("registered-models/create", &json!({"name": model}), "make the model").await;
        if let Err(error) = made
            && !is_there(&error)
        {
            return Err(error);
        }
        let body = log::version(model, &id, &format!("{place}/model"), &card);
        let version = self.rest.post("model-versions/create", &body, "make a version").await?;
        let version = rest::number(&version, "/model_version/version", "make a version")?;
        self.rest.post("runs/update", &log::finished(&id), "end the run").await?;
        self.set_alias(model, "challenger", Some(version)).await?;
        Ok(version)
    }

    async fn models(&self) -> Result<Vec<String>, RegistryError> {
        let found =
            self.rest.pages("registered-models/search", &[], "/registered_models", "list models").await?;
        let names: Vec<String> =
            found.iter().map(|model| rest::text(model, "/name", "list models")).collect::<Result<_, _>>()?;
        // A server may be shared: what has a name that ours cannot have is somebody else's.
        Ok(names.into_iter().filter(|name| check_name(name).is_ok()).collect())
    }

    async fn versions(&self, model: &str) -> Result<Vec<Version>, RegistryError> {
        self.registered(model).await?;
        let filter = format!("name = '{model}'");
        let what = "list versions";
        let found = self
            .rest
            .pages("model-versions/search", &[("filter", filter.as_str())], "/model_versions", what)
            .await?;
        let mut versions = Vec::new();
        for version in &found {
            let (headline, failed) = log::read_tags(version);
            versions.push(Version {
                model: model.to_owned(),
                version: rest::number(version, "/version", what)?,
                registered_ms: i64::try_from(rest::number(version, "/creation_timestamp", what)?)
                    .unwrap_or(i64::MAX),
                headline,
                failed,
            });
        }
        versions.sort_by_key(|version| version.version);
        Ok(versions)
    }

    async fn aliases(&self, model: &str) -> Result<Aliases, RegistryError> {
        let found = self.registered(model).await?;
        let of = |alias: &str| {
            let list = found.pointer("/registered_model/aliases").and_then(Value::as_array);
            let named = list.into_iter().flatten().find(|entry| entry["alias"] == alias)?;
            named["version"].as_str().and_then(|version| version.parse().ok())
        };
        Ok(Aliases { champion: of("champion"), challenger: of("challenger"), previous: of("previous") })
    }

    async fn change_aliases(&self, model: &str, change: Change) -> Result<Aliases, RegistryError> {
        let before = self.aliases(model).await?;
        let after = change.apply(model, before)?;
        for (alias, version) in moves(before, after) {
            self.set_alias(model, alias, version).await?;
        }
        Ok(after)
    }

    async fn folder(&self, model: &str, version: u64, into: &Path) -> Result<PathBuf, RegistryError> {
        check_name(model)?;
        let number = version.to_string();
        let query = [("name", model), ("version", number.as_str())];
        let what = "find the files of a version";
        let found = self.rest.get("model-versions/get-download-uri", &query, what).await?;
        let from = rest::artefact_path(&rest::text(&found, "/artifact_uri", what)?)?;
        for name in self.rest.list_artefacts(&from).await? {
            let bytes = self.rest.get_artefact(&format!("{from}/{name}")).await?;
            let path = into.join(&name);
            let parent = path.parent().unwrap_or(into);
            std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, bytes)).map_err(
                |source| RegistryError::File { what: format!("write {}", path.display()), source },
            )?;
        }
        Ok(into.to_owned())
    }
}

/// The names that move, in the order in which they do: the champion's last.
fn moves(before: Aliases, after: Aliases) -> Vec<(&'static str, Option<u64>)> {
    [
        ("previous", before.previous, after.previous),
        ("challenger", before.challenger, after.challenger),
        ("champion", before.champion, after.champion),
    ]
    .into_iter()
    .filter(|(_, old, new)| old != new)
    .map(|(alias, _, new)| (alias, new))
    .collect()
}

/// What a run shows of the folder beside the model.
fn is_shown(name: &str) -> bool {
    name.starts_with("plots/") || ["report.html", "report.json", "manifest.json"].contains(&name)
}

/// The files under a folder, by their paths inside it.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, RegistryError> {
    let failed = |source| RegistryError::File { what: format!("read {}", folder.display()), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            let inner = files(&entry.path())?;
            found.extend(inner.into_iter().map(|(path, file)| (format!("{name}/{path}"), file)));
        } else {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn is_missing(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused { status: 404, .. })
        || matches!(error, RegistryError::Refused { message, .. } if message.contains("RESOURCE_DOES_NOT_EXIST"))
}

fn is_there(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused { message, .. } if message.contains("RESOURCE_ALREADY_EXISTS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_champion_moves_last_and_is_never_taken_away() {
        let before = Aliases { champion: Some(1), challenger: Some(2), previous: None };
        let promoted = Change::Promote(2).apply("fraud", before).unwrap();
        let of = moves(before, promoted);
        assert_eq!(of, [("previous", Some(1)), ("challenger", None), ("champion", Some(2))]);
        // Ended before the last call: the one that serves is the previous one, too, and promoting again goes on.
        let halfway = Aliases { champion: Some(1), challenger: None, previous: Some(1) };
        assert_eq!(
            moves(halfway, Change::Promote(2).apply("fraud", halfway).unwrap()),
            [("champion", Some(2))]
        );
        let back = Change::RollBack.apply("fraud", promoted).unwrap();
        assert_eq!(moves(promoted, back), [("previous", Some(2)), ("champion", Some(1))]);
        assert!(matches!(
            Change::RollBack.apply("fraud", before),
            Err(RegistryError::NoPrevious(model)) if model == "fraud"
        ));
    }
}
