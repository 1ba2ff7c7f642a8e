//! The checked configuration of the lake: section `[lake]`.

use crate::LakeError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The catalog that needs nothing else.
const CATALOG_SQLITE: &str = "sqlite";

/// What the raw zone is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LakeFormat {
    /// Iceberg tables of Parquet files.
    #[default]
    Iceberg,
    /// NDJSON files by table and day, below `<warehouse>/json`.
    Json,
}

/// Where the lake lives and how its files are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeOptions {
    /// What the raw zone is written as.
    pub format: LakeFormat,
    /// Directory of the tables.
    pub warehouse: PathBuf,
    /// Which catalog the tables are in: `sqlite` is the file `<warehouse>/catalog.db`; else the path of another
    /// SQLite file, or the URL (`http://…`, `https://…`) of a catalog that speaks Iceberg's REST protocol.
    pub catalog: String,
    /// How a REST catalog is spoken to.
    pub rest: RestOptions,
    /// Name under which other engines open the catalog (pyiceberg's `SqlCatalog(name, …)`).
    pub catalog_name: String,
    /// Size at which a data file is closed, and that compaction aims at.
    pub target_file_bytes: u64,
    /// A commit merges the small manifests of a table when there are more than this.
    pub manifests_max: usize,
    /// Attempts of a commit against other writers before it is reported as contention.
    pub commit_attempts: u32,
    pub maintenance: MaintenanceOptions,
}

/// What a REST catalog wants to know: section `[lake.rest]`. Empty texts count as absent.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestOptions {
    /// Name of the catalog that is asked for, where the server has several.
    pub warehouse: String,
    /// Namespace in the catalog, with dots between its levels, under which the zones lie.
    pub namespace: String,
    /// Bearer token.
    pub token: String,
    /// OAuth2 client credentials, instead of a token.
    pub client_id: String,
    pub client_secret: String,
    /// Where tokens are asked for; absent: `<catalog>/v1/oauth/tokens`.
    pub oauth2_url: String,
    pub scope: String,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for an answer.
    pub timeout_s: u64,
}

impl std::fmt::Debug for RestOptions {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestOptions")
            .field("warehouse", &self.warehouse)
            .field("namespace", &self.namespace)
            .field("client_id", &self.client_id)
            .field("oauth2_url", &self.oauth2_url)
            .field("scope", &self.scope)
            .field("ca_file", &self.ca_file)
            .field("timeout_s", &self.timeout_s)
            .finish_non_exhaustive()
    }
}

/// Which catalog the options name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CatalogPlace {
    /// This file.
    Sqlite(PathBuf),
    /// This URL.
    Rest(String),
}

/// When files are merged, snapshots dropped and unreferenced files deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceOptions {
    /// Pause between two rounds of compaction and expiry.
    pub interval_s: u64,
    /// Files of one partition and similar size that are merged once there are this many.
    pub compact_files_min: usize,
    /// Every snapshot younger than this is kept.
    pub keep_all_s: u64,
    /// Older ones are thinned to one in this time…
    pub keep_every_s: u64,
    /// …and dropped at this age.
    pub keep_age_s: u64,
    /// The newest snapshots that are kept whatever their age.
    pub keep_min: usize,
    /// Pause between two searches for unreferenced files.
    pub clean_interval_s: u64,
    /// A file is deleted when nothing has referenced it for this long: the longest time that a
    /// reader may work on a snapshot after it was dropped, and a writer on a commit.
    pub grace_s: u64,
}

impl Default for LakeOptions {
    fn default() -> Self {
        LakeOptions {
            format: LakeFormat::Iceberg,
            warehouse: PathBuf::from("data/lake"),
            catalog: CATALOG_SQLITE.to_owned(),
            rest: RestOptions::default(),
            catalog_name: "affluent".to_owned(),
            target_file_bytes: 128 << 20,
            manifests_max: 100,
            commit_attempts: 100,
            maintenance: MaintenanceOptions::default(),
        }
    }
}

impl Default for RestOptions {
    fn default() -> Self {
        RestOptions {
            warehouse: String::new(),
            namespace: String::new(),
            token: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            oauth2_url: String::new(),
            scope: "catalog".to_owned(),
            ca_file: None,
            timeout_s: 30,
        }
    }
}

impl Default for MaintenanceOptions {
    fn default() -> Self {
        MaintenanceOptions {
            interval_s: 30,
            compact_files_min: 16,
            keep_all_s: 60,
            keep_every_s: 3_600,
            keep_age_s: 7 * 86_400,
            keep_min: 20,
            clean_interval_s: 300,
            grace_s: 3_600,
        }
    }
}

impl LakeOptions {
    /// Which catalog is meant.
    ///
    /// # Errors
    /// [`LakeError::Options`] for a URL that is none.
    pub(crate) fn catalog_place(&self) -> Result<CatalogPlace, LakeError> {
        let refuse = |text: String| Err(LakeError::Options(text));
        let named = &self.catalog;
        match named.split_once("://") {
            Some(("http" | "https", _)) => match reqwest::Url::parse(named) {
                Ok(url) if !url.username().is_empty() || url.password().is_some() => refuse(
                    "catalog: a URL with a password is not supported: use rest.token or rest.client_id"
                        .into(),
                ),
                Ok(_) => Ok(CatalogPlace::Rest(named.clone())),
                Err(error) => refuse(format!("catalog {named:?} is not a URL: {error}")),
            },
            Some(_) => refuse(format!("catalog {named:?}: write sqlite, a file, http://… or https://…")),
            None if named.is_empty() => refuse("catalog is empty: write sqlite, a file or a URL".into()),
            None if named == CATALOG_SQLITE => Ok(CatalogPlace::Sqlite(self.warehouse.join("catalog.db"))),
            None => Ok(CatalogPlace::Sqlite(PathBuf::from(named))),
        }
    }

    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// [`LakeError::Options`].
    pub fn check(&self) -> Result<(), LakeError> {
        let refuse = |text: &str| Err(LakeError::Options(text.to_owned()));
        if self.warehouse.as_os_str().is_empty() {
            return refuse("warehouse is empty: name a directory");
        }
        if self.catalog_name.trim().is_empty() {
            return refuse("catalog_name is empty");
        }
        self.catalog_place()?;
        let rest = &self.rest;
        if rest.timeout_s == 0 {
            return refuse("rest.timeout_s must be above 0");
        }
        if !rest.token.is_empty() && !rest.client_id.is_empty() {
            return refuse("rest.token and rest.client_id exclude one another: leave one of them out");
        }
        if rest.client_id.is_empty() != rest.client_secret.is_empty() {
            return refuse("rest.client_id and rest.client_secret go together");
        }
        if self.target_file_bytes < 1 << 16 {
            return refuse("target_file_bytes is below 65536");
        }
        if self.manifests_max < 2 || self.commit_attempts == 0 {
            return refuse("manifests_max must be at least 2 and commit_attempts at least 1");
        }
        let m = &self.maintenance;
        if m.interval_s == 0 || m.clean_interval_s == 0 || m.keep_every_s == 0 {
            return refuse("maintenance.interval_s, clean_interval_s and keep_every_s must be above 0");
        }
        if m.keep_min == 0 || m.compact_files_min < 2 {
            return refuse("maintenance.keep_min must be at least 1 and compact_files_min at least 2");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_a_file_or_a_url() {
        let place = |catalog: &str| {
            let options = LakeOptions { catalog: catalog.to_owned(), ..LakeOptions::default() };
            options.check().and_then(|()| options.catalog_place()).map_err(|error| error.to_string())
        };
        for (catalog, expected) in [
            ("sqlite", CatalogPlace::Sqlite("data/lake/catalog.db".into())),
            ("/var/lib/catalog.db", CatalogPlace::Sqlite("/var/lib/catalog.db".into())),
            ("https://c:8181/api", CatalogPlace::Rest("https://c:8181/api".into())),
        ] {
            assert_eq!(place(catalog), Ok(expected));
        }
        for refused in ["", "ftp://c", "http://", "http://user:secret@c"] {
            let error = place(refused).unwrap_err();
            assert!(error.contains("catalog") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown_and_come_in_pairs() {
        let rest = RestOptions { token: "t0p".into(), client_secret: "t0p".into(), ..RestOptions::default() };
        assert!(!format!("{rest:?}").contains("t0p"));
        LakeOptions { rest, ..LakeOptions::default() }.check().unwrap_err();
    }
}
