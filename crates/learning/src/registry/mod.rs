//! Where models are kept: versions that never change, and names for them that do.
//!
//! `champion` is the version that serves, `previous` the one before it, `challenger` the newest that was registered. Promoting and
//! rolling back change names alone. [`LocalRegistry`] is a folder, [`MlflowRegistry`] a tracking server.
//!
//! Invariant: a version that was registered is whole and is never changed; who reads names sees the old or the new ones.

mod artefacts;
mod card;
mod local;
mod mlflow;

pub use artefacts::{write_folder, write_imported, write_value_folder};
pub use card::{Card, Metric};
pub use local::LocalRegistry;
pub use mlflow::{MlflowOptions, MlflowRegistry};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The names of versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aliases {
    pub champion: Option<u64>,
    pub challenger: Option<u64>,
    pub previous: Option<u64>,
}

/// A version, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub model: String,
    pub version: u64,
    /// When it was registered, in milliseconds since the epoch.
    pub registered_ms: i64,
    /// Some of its metrics, by their names; none of a model that was not judged here.
    pub headline: BTreeMap<String, f64>,
    /// Gates that failed.
    pub failed: Vec<String>,
}

/// Why a registry does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{what}: {source}")]
    File { what: String, source: std::io::Error },
    #[error("{what}: {source}")]
    Json { what: String, source: serde_json::Error },
    #[error("there is no model {0}")]
    NoModel(String),
    #[error("model {model} has no version {version}: it has {known}")]
    NoVersion { model: String, version: u64, known: String },
    #[error("model {0} has no previous champion to go back to")]
    NoPrevious(String),
    #[error("version {version} of {model} did not pass {gates}: promote it nevertheless with --force")]
    Gates { model: String, version: u64, gates: String },
    #[error("{0:?} is no name of a model: take letters, digits, - and _")]
    Name(String),
    #[error("the registry at {url} does not answer ({attempts} attempts): {message}")]
    Unreachable { url: String, attempts: u32, message: String },
    #[error("the registry at {url} refuses to {what}: {status} {message}")]
    Refused { url: String, what: String, status: u16, message: String },
    #[error("the registry's answer to {what} is not understood: {message}")]
    Answer { what: String, message: String },
}

/// A place for models.
///
/// Registering is not idempotent: called again after an error it may make another version, which nobody names. Every other call may be
/// repeated. A call that is dropped half-way leaves no version that is not whole.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Keeps the files of a folder (see [`write_folder`] and [`write_imported`]) as a new version and names it the challenger.
    async fn register(&self, model: &str, folder: &Path) -> Result<u64, RegistryError>;

    /// The names of all models.
    async fn models(&self) -> Result<Vec<String>, RegistryError>;

    /// All versions of a model, the oldest first.
    async fn versions(&self, model: &str) -> Result<Vec<Version>, RegistryError>;

    /// Which versions have names.
    async fn aliases(&self, model: &str) -> Result<Aliases, RegistryError>;

    /// Changes the names; what they are then.
    async fn change_aliases(&self, model: &str, change: Change) -> Result<Aliases, RegistryError>;

    /// The folder with the files of a version; `into` is for registries that have to fetch them.
    async fn folder(&self, model: &str, version: u64, into: &Path) -> Result<PathBuf, RegistryError>;
}

/// A change of names, decided on what they are when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This version is the challenger, if it has no name yet.
    Challenge(u64),
    /// This version serves.
    Promote(u64),
    /// The champion before serves again.
    RollBack,
    /// These names, whatever they were.
    Set(Aliases),
}

impl Change {
    fn apply(self, model: &str, aliases: Aliases) -> Result<Aliases, RegistryError> {
        match self {
            Change::Challenge(version) => Ok(aliases.challenged(version)),
            Change::Promote(version) => Ok(aliases.promoted(version)),
            Change::Set(aliases) => Ok(aliases),
            Change::RollBack => {
                aliases.rolled_back().ok_or_else(|| RegistryError::NoPrevious(model.to_owned()))
            }
        }
    }
}

impl Aliases {
    /// What the names are once a version is the challenger; one that has a name keeps it.
    #[must_use]
    pub fn challenged(self, version: u64) -> Aliases {
        if [self.champion, self.challenger, self.previous].contains(&Some(version)) {
            return self;
        }
        Aliases { challenger: Some(version), ..self }
    }

    /// What the names are once a version serves. Its predecessor is kept to go back to.
    #[must_use]
    pub fn promoted(self, version: u64) -> Aliases {
        if self.champion == Some(version) {
            return self;
        }
        Aliases {
            champion: Some(version),
            previous: self.champion.or(self.previous),
            challenger: self.challenger.filter(|&challenger| challenger != version),
        }
    }

    /// What the names are once the champion before serves again. The one that goes becomes the previous one, so that going back twice
    /// changes nothing; none where there is none to go back to: also where a promotion ended half-way and the previous one is the champion itself.
    #[must_use]
    pub fn rolled_back(self) -> Option<Aliases> {
        let previous = self.previous.filter(|previous| self.champion != Some(*previous))?;
        Some(Aliases { champion: Some(previous), previous: self.champion, challenger: self.challenger })
    }
}

/// Lets a version serve.
///
/// # Errors
/// [`RegistryError::NoVersion`]; [`RegistryError::Gates`] for one that failed a gate, unless it is forced.
pub async fn promote(
    registry: &dyn Registry,
    model: &str,
    version: Option<u64>,
    force: bool,
) -> Result<Aliases, RegistryError> {
    let versions = registry.versions(model).await?;
    let aliases = registry.aliases(model).await?;
    let wanted = version.or(aliases.challenger).unwrap_or(0);
    let known = || versions.iter().map(|v| v.version.to_string()).collect::<Vec<String>>().join(", ");
    let Some(found) = versions.iter().find(|v| v.version == wanted) else {
        return Err(RegistryError::NoVersion { model: model.to_owned(), version: wanted, known: known() });
    };
    if !found.failed.is_empty() && !force {
        let gates = found.failed.join(", ");
        return Err(RegistryError::Gates { model: model.to_owned(), version: wanted, gates });
    }
    registry.change_aliases(model, Change::Promote(wanted)).await
}

/// Lets the champion before serve again.
///
/// # Errors
/// [`RegistryError::NoPrevious`]
pub async fn roll_back(registry: &dyn Registry, model: &str) -> Result<Aliases, RegistryError> {
    registry.change_aliases(model, Change::RollBack).await
}

/// Names of models are names of folders and parts of URLs.
fn check_name(model: &str) -> Result<(), RegistryError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if model.is_empty() || model.len() > 100 || !model.chars().all(fine) {
        return Err(RegistryError::Name(model.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promoting_and_going_back() {
        let first = Aliases { challenger: Some(1), ..Aliases::default() }.promoted(1);
        assert_eq!(first, Aliases { champion: Some(1), challenger: None, previous: None });
        assert_eq!(first.rolled_back(), None);
        assert_eq!(Aliases { previous: Some(1), ..first }.rolled_back(), None);
        let second = Aliases { challenger: Some(3), ..first }.promoted(2);
        assert_eq!(second, Aliases { champion: Some(2), challenger: Some(3), previous: Some(1) });
        assert_eq!(second.promoted(2), second);
        let back = second.rolled_back().unwrap();
        assert_eq!(back, Aliases { champion: Some(1), challenger: Some(3), previous: Some(2) });
        assert_eq!(back.rolled_back(), Some(second));
        assert_eq!(back.challenged(2), back, "it has a name");
        assert_eq!(back.challenged(4), Aliases { challenger: Some(4), ..back });
    }

    #[test]
    fn names_stay_inside_their_folder() {
        check_name("fraud_cards-2").unwrap();
        for name in ["", "..", "a/b", "a b", "é"] {
            check_name(name).unwrap_err();
        }
    }
}
