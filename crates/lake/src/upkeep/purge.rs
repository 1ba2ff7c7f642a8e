//! Taking a table away for good: out of the catalog, and its files off the disk.
//!
//! First the catalog, so that nobody finds a table that lacks files. Killed between the two, files are left that nothing refers to.

use crate::files::{self, local};
use crate::table::off_worker;
use crate::{Lake, LakeError};
use std::path::PathBuf;

impl Lake {
    /// Takes a table out of the catalog and deletes all of its files. Whoever still reads it fails.
    ///
    /// # Errors
    /// [`LakeError::NotFound`]; catalog and disk.
    pub async fn purge_table(&self, namespace: &str, name: &str) -> Result<(), LakeError> {
        let table = self.table(namespace, name).await?;
        let root = local(table.known().metadata().location()).to_owned();
        self.drop_table(namespace, name).await?;
        let seen = self.catalog().sightings().await?;
        let forget = sqlx::query("DELETE FROM affluent_unreferenced WHERE table_location = ?");
        forget.bind(&root).execute(&seen).await?;
        off_worker(move || async move {
            let root = PathBuf::from(root);
            match std::fs::remove_dir_all(&root) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(files::io("delete", &root, source))
                }
                _ => Ok(()),
            }
        })
        .await
    }
}
