//! Where a process keeps what stands: `<data_dir>/alerts/INSTANCE.json`, held by a lock, so that processes beside each other have names of
//! their own.

use super::tell::Waiting;
use crate::whole_file;
use affluent_model::Alert;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Processes beside each other, at most.
const INSTANCES_MAX: u32 = 64;

/// What a process goes on from after a new start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) firing: Vec<Alert>,
    pub(super) waiting: Waiting,
}

/// The file of one instance.
#[derive(Debug)]
pub(super) struct Place {
    /// Its name: the configured one, or that and a number where others have it.
    pub(super) instance: String,
    folder: PathBuf,
    /// Held as long as the process watches.
    _lock: File,
}

impl Place {
    /// Takes the first name that no other process has, and reads what stood. A file that cannot be read counts as none.
    ///
    /// # Errors
    /// A directory that cannot be written, or too many processes.
    pub(super) fn take(data_dir: &Path, instance: &str) -> anyhow::Result<(Self, Kept)> {
        let folder = data_dir.join("alerts");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        for number in 1..=INSTANCES_MAX {
            let instance = if number == 1 { instance.to_owned() } else { format!("{instance}-{number}") };
            let path = folder.join(format!("{instance}.lock"));
            let fail = || format!("lock {}", path.display());
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let lock = opened.with_context(fail)?;
            match lock.try_lock() {
                Ok(()) => {
                    let place = Place { instance, folder, _lock: lock };
                    let kept = place.read();
                    return Ok((place, kept));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(fail),
            }
        }
        anyhow::bail!("{INSTANCES_MAX} processes watch in {} already", folder.display())
    }

    fn name(&self) -> String {
        format!("{}.json", self.instance)
    }

    fn read(&self) -> Kept {
        let path = self.folder.join(self.name());
        let Ok(text) = std::fs::read_to_string(&path) else { return Kept::default() };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "alerts that stood cannot be read");
            Kept::default()
        })
    }

    /// Writes what stands, whole.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn keep(&self, kept: &Kept) -> anyhow::Result<()> {
        whole_file::replace(&self.folder, &self.name(), &serde_json::to_string_pretty(kept)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{AlertState, Severity};

    #[test]
    fn each_process_has_a_name_and_goes_on_from_what_it_kept() {
        let home = tempfile::tempdir().unwrap();
        let (first, kept) = Place::take(home.path(), "a").unwrap();
        assert_eq!((first.instance.as_str(), kept), ("a", Kept::default()));
        let (second, _) = Place::take(home.path(), "a").unwrap();
        assert_eq!(second.instance, "a-2");
        let alert = Alert {
            rule: "r".to_owned(),
            severity: Severity::Critical,
            state: AlertState::Firing,
            labels: [].into(),
            value: 0.5,
            since: 7,
        };
        let kept = Kept { firing: vec![alert], waiting: Waiting::default() };
        first.keep(&kept).unwrap();
        drop(first);
        let (again, found) = Place::take(home.path(), "a").unwrap();
        assert_eq!((again.instance.as_str(), found), ("a", kept));
        std::fs::write(home.path().join("alerts/a.json"), "{").unwrap();
        assert_eq!(again.read(), Kept::default());
    }
}
