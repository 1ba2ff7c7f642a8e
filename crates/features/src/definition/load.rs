//! Where definitions come from: the files compiled in, and a directory of the user's that overrides and adds.

use super::{DefinitionError, Definitions, file, source::Source};
use std::collections::BTreeMap;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Files that a directory of definitions may have.
const FILES_MAX: usize = 1_000;

/// A definition file may have so many bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Definitions {
    /// The shipped definitions, and over them those of `directory`, path by path.
    ///
    /// # Errors
    /// [`DefinitionError`]: which file, what is wrong with it.
    pub fn load(directory: Option<&Path>) -> Result<Self, DefinitionError> {
        let shipped =
            |&(path, text): &(&str, &str)| (path.to_owned(), (format!("{path} (shipped)"), text.to_owned()));
        let mut files: BTreeMap<String, (String, String)> = FILES.iter().map(shipped).collect();
        if let Some(directory) = directory {
            for (path, text) in files_of(directory)? {
                let shown = directory.join(&path).display().to_string();
                files.insert(path, (shown, text));
            }
        }
        Self::from_files(
            files.iter().map(|(path, (shown, text))| (path.as_str(), shown.as_str(), text.as_str())),
        )
    }

    /// Definitions of texts: path (`sources/NAME.toml` or `NAME.toml`), name for messages, text.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Result<Self, DefinitionError> {
        let (mut sources, mut files_of_views) = (BTreeMap::new(), Vec::new());
        for (path, shown, text) in files {
            let name = path.strip_suffix(".toml").unwrap_or(path);
            match name.strip_prefix("sources/") {
                Some(name) => {
                    sources.insert(name.to_owned(), Source::parse(name, shown, text)?);
                }
                None => files_of_views.push((name, shown, text)),
            }
        }
        let (mut views, mut features) = (BTreeMap::new(), Vec::new());
        for (name, shown, text) in files_of_views {
            let (view, of_view) = file::parse_view(name, shown, text, &sources)?;
            views.insert(name.to_owned(), view);
            features.extend(of_view);
        }
        Definitions { sources, views, features }.check()
    }
}

/// Path below `directory` and text of every definition file.
fn files_of(directory: &Path) -> Result<Vec<(String, String)>, DefinitionError> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| DefinitionError::Io { path, source }
        };
        for entry in std::fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                let shown = path.display().to_string();
                if std::fs::metadata(&path).map_err(failed(&path))?.len() > FILE_BYTES_MAX {
                    return Err(DefinitionError::file(&shown, format!("more than {FILE_BYTES_MAX} bytes")));
                }
                let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
                let below = path.strip_prefix(directory).unwrap_or(&path);
                found.push((below.to_string_lossy().replace('\\', "/"), text));
            }
            if found.len() + open.len() > FILES_MAX {
                let shown = directory.display().to_string();
                return Err(DefinitionError::file(&shown, format!("more than {FILES_MAX} files")));
            }
        }
    }
    found.sort();
    Ok(found)
}
