//! Files that are there whole or not at all.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;

/// Writes a file of `folder`, which is made where it is missing, in place of the one that is there.
///
/// # Errors
/// What keeps it from being written; the old one stands.
pub(crate) fn replace(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    let written = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(text.as_bytes())?;
        beside.as_file().sync_all()?;
        beside.persist(&path)?;
        Ok(())
    };
    written().with_context(|| format!("write {}", path.display()))
}
