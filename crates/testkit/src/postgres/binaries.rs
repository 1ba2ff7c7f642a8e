//! Where the installed server is, and which account may run it.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// Debian and Ubuntu keep one directory a major version here, and only clients on `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// An account to run the server as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    pub(super) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// The directory of `initdb` and `postgres`: `PG_BIN`, else the first of `PATH`, else the newest
/// installed version.
pub(super) fn find() -> Result<PathBuf, PostgresError> {
    if let Some(named) = std::env::var_os("PG_BIN").filter(|v| !v.is_empty()) {
        let named = PathBuf::from(named);
        return if is_bin(&named) { Ok(named) } else { Err(PostgresError::NotABinDirectory(named)) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(|directory| is_bin(directory)) {
        return Ok(home(found));
    }
    newest(Path::new(VERSIONS)).ok_or(PostgresError::Missing)
}

/// Links on `PATH` lead to the directory where all programs of the version are.
fn home(linked: PathBuf) -> PathBuf {
    let target = std::fs::canonicalize(linked.join("postgres")).unwrap_or_default();
    target.parent().filter(|bin| is_bin(bin)).map(Path::to_owned).unwrap_or(linked)
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?;
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            is_bin(&bin).then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}

fn is_bin(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

/// The account to drop to when this process is root; `None` when it is not.
pub(super) fn unprivileged_account() -> Result<Option<Account>, PostgresError> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| account_in(&accounts, name))
        .map(Some)
        .ok_or(PostgresError::NoAccount)
}

/// The account `name` of a file in the form of `/etc/passwd`.
fn account_in(accounts: &str, name: &str) -> Option<Account> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let account = Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (found == name && account.uid != 0).then_some(account)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_passwd() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\nshort:x\n";
        assert_eq!(account_in(accounts, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account_in(accounts, "nobody"), None);
        assert_eq!(account_in(accounts, "root"), None, "root is no unprivileged account");
        assert_eq!(account_in(accounts, "short"), None);
    }

    #[test]
    fn the_newest_version_wins_by_number() {
        let versions = tempfile::tempdir().unwrap();
        for version in ["9", "15", "100"] {
            let bin = versions.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("postgres"), "").unwrap();
            if version != "100" {
                std::fs::write(bin.join("initdb"), "").unwrap();
            }
        }
        assert_eq!(newest(versions.path()), Some(versions.path().join("15/bin")));
        assert_eq!(newest(&versions.path().join("absent")), None);
    }
}
