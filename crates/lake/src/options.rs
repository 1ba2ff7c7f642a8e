//! The checked configuration of the lake: section `[lake]`.

use crate::LakeError;
use crate::store::Place;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Least and greatest size of a part of a file that goes up in several.
const PART_BYTES_MIN: u64 = 5 << 20;
const PART_BYTES_MAX: u64 = 512 << 20;

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
    /// Where the tables lie: a directory, or `s3://bucket/prefix`.
    pub warehouse: PathBuf,
    /// How the server of that bucket is spoken to.
    pub s3: S3Options,
    /// Which catalog the tables are in: `sqlite` is the file `catalog.db` in [`LakeOptions::directory`]; else the path of another
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

/// How an object store is spoken to that speaks S3's protocol: section `[lake.s3]`. Empty texts count as absent.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Options {
    /// Directory of this machine for what is no object: the file of a SQLite catalog, and what was seen unreferenced.
    pub directory: PathBuf,
    /// URL of the server; absent: AWS's own, of the region.
    pub endpoint: String,
    pub region: String,
    /// Key and its secret; absent: from where AWS's own tools take them (`AWS_…` variables, a role of the machine).
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Goes with a key that is for a time.
    pub session_token: String,
    /// The bucket is in the path of URLs, not before the host.
    pub path_style: bool,
    /// Requests, and with them all that is in the tables, may travel without TLS.
    pub allow_http: bool,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest time of one request.
    pub timeout_s: u64,
    /// Repeats of a request that did not get through, or that the server had no time for.
    pub retries: usize,
    /// No request is repeated this long after it was first sent.
    pub retry_s: u64,
    /// Larger files go up in parts of this size, in bytes, four at once for each file.
    pub part_bytes: u64,
}

impl std::fmt::Debug for S3Options {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options")
            .field("directory", &self.directory)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("path_style", &self.path_style)
            .field("allow_http", &self.allow_http)
            .field("ca_file", &self.ca_file)
            .field("timeout_s", &self.timeout_s)
            .field("retries", &self.retries)
            .field("retry_s", &self.retry_s)
            .field("part_bytes", &self.part_bytes)
            .finish_non_exhaustive()
    }
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
            s3: S3Options::default(),
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

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            directory: PathBuf::from("data/lake"),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            access_key_id: String::new(),
            secret_access_key: String::new(),
            session_token: String::new(),
            path_style: false,
            allow_http: false,
            ca_file: None,
            timeout_s: 30,
            retries: 8,
            retry_s: 60,
            part_bytes: 8 << 20,
        }
    }
}

impl S3Options {
    fn check(&self) -> Result<(), String> {
        if !self.endpoint.is_empty() {
            let url = reqwest::Url::parse(&self.endpoint)
                .map_err(|error| format!("s3.endpoint {:?} is not a URL: {error}", self.endpoint))?;
            if !url.username().is_empty() || url.password().is_some() {
                return Err("s3.endpoint with a password is not supported: use s3.access_key_id".to_owned());
            }
            match url.scheme() {
                "https" => {}
                "http" if self.allow_http => {}
                "http" => {
                    return Err(format!(
                        "s3.endpoint {:?} is without TLS, and whoever listens reads the tables: write https://…, or set s3.allow_http = true",
                        self.endpoint
                    ));
                }
                _ => return Err(format!("s3.endpoint {:?}: write https://…", self.endpoint)),
            }
        }
        if self.region.is_empty() {
            return Err("s3.region is empty: most servers but AWS's take us-east-1".to_owned());
        }
        if self.access_key_id.is_empty() != self.secret_access_key.is_empty() {
            return Err("s3.access_key_id and s3.secret_access_key go together".to_owned());
        }
        if self.access_key_id.is_empty() && !self.session_token.is_empty() {
            return Err("s3.session_token goes with s3.access_key_id and s3.secret_access_key".to_owned());
        }
        if self.directory.as_os_str().is_empty() {
            return Err("s3.directory is empty: name a directory of this machine".to_owned());
        }
        if self.timeout_s == 0 || self.retry_s == 0 {
            return Err("s3.timeout_s and s3.retry_s must be above 0".to_owned());
        }
        // S3's own bounds of a part: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&self.part_bytes) {
            return Err(format!(
                "s3.part_bytes = {} is not between {PART_BYTES_MIN} and {PART_BYTES_MAX}",
                self.part_bytes
            ));
        }
        Ok(())
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
    /// Whether the tables lie in an object store.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.warehouse.to_str().is_some_and(|text| text.contains("://"))
    }

    /// The directory of this machine that belongs to the lake: that of its tables, or what `s3.directory` names beside a bucket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        if self.is_remote() { &self.s3.directory } else { &self.warehouse }
    }

    /// Where in an object store the tables lie; `None` where they are in a directory.
    ///
    /// # Errors
    /// [`LakeError::Options`] for a place that is none.
    pub(crate) fn bucket(&self) -> Result<Option<Place>, LakeError> {
        let Some(text) = self.warehouse.to_str().filter(|_| self.is_remote()) else { return Ok(None) };
        Place::parse(text).map(Some).map_err(|error| LakeError::Options(format!("warehouse {error}")))
    }

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
            None if named == CATALOG_SQLITE => Ok(CatalogPlace::Sqlite(self.directory().join("catalog.db"))),
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
        if self.bucket()?.is_some() {
            if self.format == LakeFormat::Json {
                return refuse(
                    "format = \"json\" is of files of this machine: name a directory as warehouse",
                );
            }
            self.s3.check().map_err(LakeError::Options)?;
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
    fn a_warehouse_is_a_directory_or_a_place_in_a_bucket() {
        let options = |warehouse: &str| LakeOptions { warehouse: warehouse.into(), ..LakeOptions::default() };
        let remote = options("s3://lake/a");
        remote.check().unwrap();
        assert_eq!(remote.directory(), Path::new("data/lake"));
        assert_eq!(remote.catalog_place().unwrap(), CatalogPlace::Sqlite("data/lake/catalog.db".into()));
        assert_eq!(remote.bucket().unwrap().unwrap().location(), "s3://lake/a");
        let local = options("/l");
        assert_eq!((local.directory(), local.bucket().unwrap()), (Path::new("/l"), None));
        for refused in ["gs://lake/a", "s3://", "file:///l"] {
            let error = options(refused).check().unwrap_err().to_string();
            assert!(error.contains("warehouse") && error.contains(refused), "{error}");
        }
        let error = LakeOptions { format: LakeFormat::Json, ..remote }.check().unwrap_err().to_string();
        assert!(error.contains("json"), "{error}");
    }

    #[test]
    fn what_cannot_work_with_an_object_store_is_refused_by_key() {
        let told = |s3: S3Options| {
            let warehouse = "s3://lake".into();
            let options = LakeOptions { warehouse, s3, ..LakeOptions::default() };
            options.check().map_err(|error| error.to_string())
        };
        let default = S3Options::default;
        let plain = S3Options { endpoint: "http://127.0.0.1:9000".to_owned(), ..default() };
        told(S3Options { allow_http: true, ..plain.clone() }).unwrap();
        for (refused, word) in [
            (plain, "s3.allow_http"),
            (S3Options { endpoint: "127.0.0.1:9000".to_owned(), ..default() }, "s3.endpoint"),
            (S3Options { endpoint: "https://u:t0p@s".to_owned(), ..default() }, "s3.endpoint"),
            (S3Options { access_key_id: "k".to_owned(), ..default() }, "s3.secret_access_key"),
            (S3Options { session_token: "t0p".to_owned(), ..default() }, "s3.session_token"),
            (S3Options { region: String::new(), ..default() }, "s3.region"),
            (S3Options { timeout_s: 0, ..default() }, "s3.timeout_s"),
            (S3Options { part_bytes: 1 << 20, ..default() }, "s3.part_bytes = 1048576"),
            (S3Options { directory: PathBuf::new(), ..default() }, "s3.directory"),
        ] {
            let error = told(refused).unwrap_err();
            assert!(error.contains(word) && !error.contains("t0p"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown_and_come_in_pairs() {
        let rest = RestOptions { token: "t0p".into(), client_secret: "t0p".into(), ..RestOptions::default() };
        assert!(!format!("{rest:?}").contains("t0p"));
        LakeOptions { rest, ..LakeOptions::default() }.check().unwrap_err();
    }
}
