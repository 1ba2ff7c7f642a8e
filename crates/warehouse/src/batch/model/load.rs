//! Where models come from: the files compiled in, and a directory of the user's that overrides and adds.

use super::{Model, Models};
use crate::batch::BatchError;
use std::collections::BTreeMap;
use std::path::Path;

/// Files that a directory of models may have.
const FILES_MAX: usize = 10_000;

impl Models {
    /// The shipped models, and over them those of `directory`, path by path.
    ///
    /// # Errors
    /// [`BatchError::Model`] for what is wrong with a file; [`BatchError::Io`].
    pub fn load(directory: Option<&Path>) -> Result<Self, BatchError> {
        let mut files: BTreeMap<String, (String, String)> = crate::batch::builtin::MODELS
            .iter()
            .map(|&(path, text)| (path.to_owned(), (path.to_owned(), text.to_owned())))
            .collect();
        if let Some(directory) = directory {
            for (path, text) in files_of(directory, "sql")? {
                let file = directory.join(&path).display().to_string();
                files.insert(path, (file, text));
            }
        }
        Self::from_files(
            files.iter().map(|(path, (file, text))| (path.as_str(), file.as_str(), text.as_str())),
        )
    }

    /// Models of texts: path, name for messages, text.
    ///
    /// # Errors
    /// [`BatchError::Model`].
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Result<Self, BatchError> {
        let models = files.into_iter().map(|(path, file, text)| Model::parse(path, file, text));
        Models::new(models.collect::<Result<Vec<_>, _>>()?)
    }
}

/// Path below `directory` and text of every file with this ending.
pub(crate) fn files_of(directory: &Path, ending: &str) -> Result<Vec<(String, String)>, BatchError> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        let failed = |source| BatchError::Io { path: folder.display().to_string(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| BatchError::Io { path: path.display().to_string(), source })?;
                let below = path.strip_prefix(directory).unwrap_or(&path);
                found.push((below.to_string_lossy().replace('\\', "/"), text));
            }
            if found.len() + open.len() > FILES_MAX {
                let message =
                    format!("batch.models: {} has more than {FILES_MAX} files", directory.display());
                return Err(BatchError::Options(message));
            }
        }
    }
    Ok(found)
}
