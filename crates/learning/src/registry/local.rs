//! The registry as a folder: `MODEL/versions/N/…` and `MODEL/aliases.json`.
//!
//! A version is written beside and renamed into place; names are one file that is replaced at once. Two processes that register at the same
//! time take different numbers, because the second rename finds the folder there. Names are changed under the lock of a file beside them, from
//! reading to replacing, so that no change is lost; who only reads them needs no lock.

use super::{Aliases, Change, Registry, RegistryError, Version, card, check_name};
use async_trait::async_trait;
use std::path::{Path, PathBuf};

/// A registry in a folder of this machine.
#[derive(Debug, Clone)]
pub struct LocalRegistry {
    folder: PathBuf,
}

/// How often a number is tried that others take at the same time.
const ATTEMPTS: usize = 100;

impl LocalRegistry {
    /// The folder is made with the first version.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        LocalRegistry { folder }
    }

    fn model(&self, model: &str) -> Result<PathBuf, RegistryError> {
        check_name(model)?;
        let folder = self.folder.join(model);
        if folder.is_dir() { Ok(folder) } else { Err(RegistryError::NoModel(model.to_owned())) }
    }

    fn numbers(folder: &Path) -> Result<Vec<u64>, RegistryError> {
        let folder = folder.join("versions");
        let list = match std::fs::read_dir(&folder) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(file("read", &folder)(source)),
        };
        let mut numbers = Vec::new();
        for entry in list {
            let name = entry.map_err(file("read", &folder))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read_aliases(folder: &Path) -> Result<Aliases, RegistryError> {
        let path = folder.join("aliases.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(json(&path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Aliases::default()),
            Err(source) => Err(file("read", &path)(source)),
        }
    }

    /// Reads the names, lets them be changed, and writes them, while nobody else does.
    fn change_names<T>(
        folder: &Path,
        change: impl FnOnce(Aliases) -> Result<(Aliases, T), RegistryError>,
    ) -> Result<T, RegistryError> {
        let path = folder.join(".aliases.lock");
        let lock = std::fs::File::create(&path).map_err(file("make", &path))?;
        // Until the file is closed, also where the process is killed.
        lock.lock().map_err(file("lock", &path))?;
        let before = Self::read_aliases(folder)?;
        let (after, told) = change(before)?;
        if after != before {
            Self::write_aliases(folder, after)?;
        }
        Ok(told)
    }

    fn write_aliases(folder: &Path, aliases: Aliases) -> Result<(), RegistryError> {
        let (path, beside) =
            (folder.join("aliases.json"), folder.join(format!(".aliases-{}", uuid::Uuid::new_v4().simple())));
        let text = serde_json::to_string_pretty(&aliases).map_err(json(&path))?;
        std::fs::write(&beside, text).map_err(file("write", &beside))?;
        synced(&beside)?;
        std::fs::rename(&beside, &path).map_err(file("replace", &path))?;
        synced(folder)
    }

    fn keep(&self, model: &str, from: &Path) -> Result<u64, RegistryError> {
        check_name(model)?;
        // What a list shows has to be there.
        card::read(from)?;
        let folder = self.folder.join(model);
        let versions = folder.join("versions");
        std::fs::create_dir_all(&versions).map_err(file("make", &versions))?;
        let beside = folder.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
        copy(from, &beside)?;
        let mut number = Self::numbers(&folder)?.last().copied().unwrap_or(0) + 1;
        for _ in 0..ATTEMPTS {
            let place = versions.join(number.to_string());
            // A rename onto a folder with files fails: somebody else has the number.
            match std::fs::rename(&beside, &place) {
                Ok(()) => {
                    synced(&versions)?;
                    return Self::change_names(&folder, |aliases| {
                        Ok((Aliases { challenger: Some(number), ..aliases }, number))
                    });
                }
                Err(_) if place.exists() => number += 1,
                Err(source) => return Err(file("make", &place)(source)),
            }
        }
        let source = std::io::Error::other("others take every number");
        Err(file("make a version in", &versions)(source))
    }

    fn version(folder: &Path, model: &str, version: u64) -> Result<Version, RegistryError> {
        let place = folder.join("versions").join(version.to_string());
        let card = card::read(&place)?;
        let path = place.join(card::FILE);
        let written =
            std::fs::metadata(&path).and_then(|meta| meta.modified()).map_err(file("read", &path))?;
        let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Version {
            model: model.to_owned(),
            version,
            registered_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            headline: card.headline,
            failed: card.failed,
        })
    }
}

#[async_trait]
impl Registry for LocalRegistry {
    async fn register(&self, model: &str, folder: &Path) -> Result<u64, RegistryError> {
        self.keep(model, folder)
    }

    async fn models(&self) -> Result<Vec<String>, RegistryError> {
        let list = match std::fs::read_dir(&self.folder) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(file("read", &self.folder)(source)),
        };
        let mut names = Vec::new();
        for entry in list {
            let name = entry.map_err(file("read", &self.folder))?.file_name();
            names.extend(name.to_str().filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    async fn versions(&self, model: &str) -> Result<Vec<Version>, RegistryError> {
        let folder = self.model(model)?;
        let numbers = Self::numbers(&folder)?;
        numbers.into_iter().map(|number| Self::version(&folder, model, number)).collect()
    }

    async fn aliases(&self, model: &str) -> Result<Aliases, RegistryError> {
        Self::read_aliases(&self.model(model)?)
    }

    async fn change_aliases(&self, model: &str, change: Change) -> Result<Aliases, RegistryError> {
        Self::change_names(&self.model(model)?, |aliases| {
            let changed = change.apply(model, aliases)?;
            Ok((changed, changed))
        })
    }

    async fn folder(&self, model: &str, version: u64, _into: &Path) -> Result<PathBuf, RegistryError> {
        let folder = self.model(model)?;
        let numbers = Self::numbers(&folder)?;
        if !numbers.contains(&version) {
            let known = numbers.iter().map(u64::to_string).collect::<Vec<String>>().join(", ");
            return Err(RegistryError::NoVersion { model: model.to_owned(), version, known });
        }
        Ok(folder.join("versions").join(version.to_string()))
    }
}

/// Copies files and folders, and has the disk keep them.
fn copy(from: &Path, to: &Path) -> Result<(), RegistryError> {
    std::fs::create_dir_all(to).map_err(file("make", to))?;
    for entry in std::fs::read_dir(from).map_err(file("read", from))? {
        let entry = entry.map_err(file("read", from))?;
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), &place).map_err(file("write", &place))?;
            synced(&place)?;
        }
    }
    synced(to)
}

fn synced(path: &Path) -> Result<(), RegistryError> {
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(file("keep", path))
}

fn file(what: &str, path: &Path) -> impl Fn(std::io::Error) -> RegistryError {
    let what = format!("{what} {}", path.display());
    move |source| RegistryError::File { what: what.clone(), source }
}

fn json(path: &Path) -> impl Fn(serde_json::Error) -> RegistryError {
    let what = format!("read {}", path.display());
    move |source| RegistryError::Json { what: what.clone(), source }
}
