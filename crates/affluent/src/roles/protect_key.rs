//! The secret key of protected columns, where the configuration gives none: made once, kept beside
//! the data, readable by its owner alone.

use crate::config::Config;
use anyhow::Context as _;
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

const FILE: &str = "protect.key";
const BYTES: usize = 32;

/// Fills in `cdc.protect_key` from `<data_dir>/protect.key`, making the file where it is missing.
/// Losing the file means that equal values get other tokens from then on.
///
/// # Errors
/// When the file can be neither read nor made.
pub(crate) fn provide(config: &mut Config) -> anyhow::Result<()> {
    if config.cdc.protect_key.is_some() || config.cdc.protect.is_empty() {
        return Ok(());
    }
    let path = config.data_dir.join(FILE);
    let remedy = "give cdc.protect_key, or make `data_dir` a directory that may be written";
    let mut random = [0; BYTES];
    OsRng.try_fill_bytes(&mut random).context("ask the system for random bytes")?;
    let fresh: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let key = match made {
        Ok(mut file) => {
            let written = file.write_all(fresh.as_bytes()).and_then(|()| file.sync_all());
            written.with_context(|| format!("write {}; {remedy}", path.display()))?;
            tracing::info!(path = %path.display(), "made a secret key for protected columns; keep a copy of it");
            fresh
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::read_to_string(&path).with_context(|| format!("read {}; {remedy}", path.display()))?
        }
        Err(error) => {
            return Err(error).with_context(|| format!("make {}; {remedy}", path.display()));
        }
    };
    config.cdc.protect_key = Some(key.trim().to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let key = || {
            let mut config = Config::builtin().unwrap();
            config.data_dir = directory.path().to_owned();
            provide(&mut config).unwrap();
            config.cdc.protect_key.unwrap()
        };
        let first = key();
        assert_eq!(first.len(), 2 * BYTES);
        assert_eq!(first, key());
    }
}
