//! Taking a table away for good: out of the catalog, and its files off the disk, or out of the bucket.
//!
//! First the catalog, so that nobody finds a table that lacks files. Killed between the two, files are left that nothing refers to.

use crate::files::{self, plain};
use crate::table::off_worker;
use crate::{Lake, LakeError};

impl Lake {
    /// Takes a table out of the catalog and deletes all of its files. Whoever still reads it fails.
    ///
    /// # Errors
    /// [`LakeError::NotFound`]; catalog and disk.
    pub async fn purge_table(&self, namespace: &str, name: &str) -> Result<(), LakeError> {
        let table = self.table(namespace, name).await?;
        let known = table.known();
        let root = plain(known.metadata().location()).into_owned();
        self.drop_table(namespace, name).await?;
        let seen = self.catalog().sightings().await?;
        let forget = sqlx::query("DELETE FROM affluent_unreferenced WHERE table_location = ?");
        forget.bind(&root).execute(&seen).await?;
        off_worker(move || async move { files::remove_all(known.file_io(), &root).await }).await
    }
}
