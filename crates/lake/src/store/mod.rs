//! The tables in an object store: a bucket of a server that speaks S3's protocol.
//!
//! What lives here: where a location leads (`place`), the one connection ([`Store`]), Iceberg's files over it (`storage`), and what
//! its errors mean (`error`). What does not: files of this machine (`files`), and the choice between the two, which
//! is made by a file's location.
//!
//! Invariants: an object is there whole or not at all, and once it has been acknowledged it stays; none is ever written twice with different bytes, so a
//! request may be repeated. Each request has a time limit, and its repeats an end. Keys and tokens stay in this module.

mod error;
mod place;
mod storage;

pub use error::{StoreError, StoreProblem};
pub(crate) use place::{Place, is_remote, local, object_of, plain};

use crate::{LakeError, S3Options};
use chrono::{DateTime, Utc};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{FileIO, FileIOBuilder};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::ObjectStorage;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between the attempts of a request; they double, with jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: f64 = 2.0;

/// What is taken from the environment where the options name no key: what AWS's own tools take from there.
const FROM_ENVIRONMENT: [AmazonS3ConfigKey; 9] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Token,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
];

/// A bucket. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Store {
    bucket: Arc<str>,
    objects: Arc<dyn ObjectStore>,
    part_bytes: usize,
}

impl fmt::Debug for Store {
    /// Without what it knows of keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`LakeError::Options`].
    pub(crate) fn new(bucket: &str, options: &S3Options) -> Result<Self, LakeError> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&options.region)
            .with_virtual_hosted_style_request(!options.path_style)
            .with_client_options(client(options)?)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: PAUSE_FIRST,
                    max_backoff: PAUSE_MAX,
                    base: PAUSE_FACTOR,
                },
                max_retries: options.retries,
                retry_timeout: Duration::from_secs(options.retry_s),
            });
        if !options.endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint(options, bucket));
        }
        if options.access_key_id.is_empty() {
            let environment = AmazonS3Builder::from_env();
            for key in FROM_ENVIRONMENT {
                if let Some(value) = environment.get_config_value(&key) {
                    builder = builder.with_config(key, value);
                }
            }
        } else {
            builder = builder
                .with_access_key_id(&options.access_key_id)
                .with_secret_access_key(&options.secret_access_key);
            if !options.session_token.is_empty() {
                builder = builder.with_token(&options.session_token);
            }
        }
        let objects = builder.build().map_err(|error| LakeError::Options(format!("s3: {error}")))?;
        let part_bytes = usize::try_from(options.part_bytes).unwrap_or(usize::MAX);
        Ok(Store { bucket: bucket.into(), objects: Arc::new(objects), part_bytes })
    }

    /// Over objects that are held elsewhere.
    #[cfg(test)]
    pub(crate) fn over(bucket: &str, objects: Arc<dyn ObjectStore>, part_bytes: usize) -> Self {
        Store { bucket: bucket.into(), objects, part_bytes }
    }

    /// Iceberg's files in this bucket.
    pub(crate) fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(ObjectStorage::new(self.clone()))).build()
    }

    /// Lets the engine read this bucket.
    pub(crate) fn register(&self, runtime: &RuntimeEnv) -> datafusion::error::Result<()> {
        let url = ObjectStoreUrl::parse(format!("s3://{}", self.bucket))?;
        runtime.register_object_store(url.as_ref(), Arc::clone(&self.objects));
        Ok(())
    }

    /// Whether a location is in this bucket.
    pub(crate) fn holds(&self, location: &str) -> bool {
        place::parts(location).is_some_and(|(bucket, _)| bucket == &*self.bucket)
    }

    /// The key of a location in this bucket.
    fn key(&self, location: &str) -> Result<Key, StoreError> {
        let parts = place::parts(location).filter(|(bucket, _)| *bucket == &*self.bucket);
        let Some((_, key)) = parts else {
            return Err(StoreError::elsewhere(location, &self.bucket));
        };
        Key::parse(key).map_err(|error| StoreError::of(location, &error.into()))
    }

    /// Asks for the objects below a location, to see that the server answers, has the bucket and lets us in.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub(crate) async fn reach(&self, location: &str) -> Result<(), LakeError> {
        let first = self.objects.list(Some(&self.key(location)?)).try_next().await;
        first.map(drop).map_err(|error| StoreError::of(location, &error).into())
    }

    /// Writes, reads and deletes an object of a few bytes below a location.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub(crate) async fn try_out(&self, location: &str) -> Result<(), LakeError> {
        self.reach(location).await?;
        let key = self.key(location)?.join(format!("affluent-check-{}", uuid::Uuid::new_v4()));
        let tried = async {
            self.objects.put(&key, "affluent config check".into()).await?;
            self.objects.get(&key).await?.bytes().await?;
            self.objects.delete(&key).await
        };
        tried.await.map_err(|error| StoreError::of(location, &error).into())
    }

    /// The objects below a location that were last written at `before` or earlier, by their locations.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub(crate) async fn list(&self, location: &str, before: SystemTime) -> Result<Vec<String>, LakeError> {
        let before = DateTime::<Utc>::from(before);
        let all = self.objects.list(Some(&self.key(location)?));
        let settled = all.try_filter_map(|object| {
            let is_settled = object.last_modified <= before;
            let found = is_settled.then(|| format!("s3://{}/{}", self.bucket, object.location));
            futures::future::ready(Ok(found))
        });
        settled.try_collect().await.map_err(|error| StoreError::of(location, &error).into())
    }

    /// Deletes the objects with these keys, many in a request. Those that are gone already are fine.
    async fn delete(&self, keys: Vec<Key>) -> object_store::Result<()> {
        let keys = futures::stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut deleted = self.objects.delete_stream(keys);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// With the bucket in front of the host, where it is not in the path.
fn endpoint(options: &S3Options, bucket: &str) -> String {
    let endpoint = options.endpoint.trim_end_matches('/');
    if options.path_style {
        endpoint.to_owned()
    } else {
        endpoint.replacen("://", &format!("://{bucket}."), 1)
    }
}

fn client(options: &S3Options) -> Result<ClientOptions, LakeError> {
    let client = ClientOptions::new()
        .with_allow_http(options.allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(Duration::from_secs(options.timeout_s));
    let Some(file) = options.ca_file.as_ref().filter(|file| !file.as_os_str().is_empty()) else {
        return Ok(client);
    };
    let invalid = |error: String| LakeError::Options(format!("s3.ca_file {}: {error}", file.display()));
    let pem = std::fs::read(file).map_err(|error| invalid(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| invalid(error.to_string()))?;
    if certificates.is_empty() {
        return Err(invalid("holds no certificate".to_owned()));
    }
    Ok(certificates.into_iter().fold(client, ClientOptions::with_root_certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn the_bucket_goes_into_the_path_or_before_the_host() {
        let at = |path_style| {
            let endpoint = "https://s3.example.org:9000/".to_owned();
            super::endpoint(&S3Options { endpoint, path_style, ..S3Options::default() }, "lake")
        };
        assert_eq!(at(true), "https://s3.example.org:9000");
        assert_eq!(at(false), "https://lake.s3.example.org:9000");
    }

    #[test]
    fn keys_are_not_shown() {
        let options = S3Options {
            access_key_id: "id".to_owned(),
            secret_access_key: "t0p".to_owned(),
            session_token: "t0p".to_owned(),
            ..S3Options::default()
        };
        let store = Store::new("lake", &options).unwrap();
        assert_eq!(format!("{store:?}"), "Store { bucket: \"lake\", .. }");
        assert!(!format!("{options:?} {:?}", store.file_io()).contains("t0p"));
        let missing = S3Options { ca_file: Some("/nonexistent.pem".into()), ..options };
        let error = Store::new("lake", &missing).unwrap_err().to_string();
        assert!(error.contains("s3.ca_file /nonexistent.pem"), "{error}");
    }

    #[tokio::test]
    async fn only_what_is_old_and_below_is_listed() {
        let objects = Arc::new(InMemory::new());
        let store = Store::over("b", Arc::clone(&objects) as _, 1 << 20);
        for key in ["l/t/data/day=2026-11-22/a", "l/t/metadata/b", "l/t2/c"] {
            objects.put(&Key::from(key), "x".into()).await.unwrap();
        }
        let now = SystemTime::now() + Duration::from_secs(60);
        let mut listed = store.list("s3://b/l/t", now).await.unwrap();
        listed.sort();
        assert_eq!(listed, ["s3://b/l/t/data/day=2026-11-22/a", "s3://b/l/t/metadata/b"]);
        assert_eq!(store.list("s3://b/l/t", SystemTime::UNIX_EPOCH).await.unwrap(), Vec::<String>::new());
        let error = store.list("s3://other/l/t", now).await.unwrap_err().to_string();
        assert!(error.contains("s3://other/l/t") && error.contains("bucket b"), "{error}");
        store.try_out("s3://b/l").await.unwrap();
        assert_eq!(store.list("s3://b/l", now).await.unwrap().len(), 3, "the trial is gone");
    }
}
