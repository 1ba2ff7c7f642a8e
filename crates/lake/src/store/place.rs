//! Where a location leads: to a file of this machine, or to an object of a bucket.

use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::error::Result;
use object_store::path::Path as Key;
use std::borrow::Cow;

/// How locations of S3 begin. The first is what we write, the others are other engines' names for it.
const SCHEMES: [&str; 3] = ["s3", "s3a", "s3n"];

/// A place in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    /// What keys begin with, without slashes at its ends; may be empty.
    prefix: String,
}

impl Place {
    /// Of `s3://bucket/prefix`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}: write s3://bucket/prefix");
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err(wrong("is neither a directory nor a place in a bucket"));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if bucket.len() < 3 || !bucket.bytes().all(is_name) {
            return Err(wrong("names no bucket (three or more small letters, digits, dots and hyphens)"));
        }
        let prefix = prefix.trim_matches('/');
        if Key::parse(prefix).is_err() {
            return Err(wrong("has a prefix with an empty part"));
        }
        Ok(Place { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// As a location, without a slash at its end.
    pub(crate) fn location(&self) -> String {
        let (bucket, prefix) = (&self.bucket, &self.prefix);
        if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") }
    }
}

/// Bucket and key of a location, if it is one of S3.
pub(super) fn parts(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once("://")?;
    SCHEMES.contains(&scheme).then(|| rest.split_once('/').unwrap_or((rest, "")))
}

/// Whether a location is in an object store.
pub(crate) fn is_remote(location: &str) -> bool {
    parts(location).is_some()
}

/// The path of a location on this machine; other engines may write locations as URIs.
pub(crate) fn local(location: &str) -> &str {
    location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location)
}

/// A location in the one form in which it is compared with others.
pub(crate) fn plain(location: &str) -> Cow<'_, str> {
    match parts(location) {
        Some((bucket, key)) => Cow::Owned(format!("s3://{bucket}/{key}")),
        None => Cow::Borrowed(local(location)),
    }
}

/// A location as the engine takes it: the store, and the place in it.
///
/// # Errors
/// A path that is none.
pub(crate) fn object_of(location: &str) -> Result<(ObjectStoreUrl, Key)> {
    match parts(location) {
        Some((bucket, key)) => Ok((ObjectStoreUrl::parse(format!("s3://{bucket}"))?, Key::parse(key)?)),
        None => Ok((ObjectStoreUrl::local_filesystem(), Key::from_absolute_path(local(location))?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_prefix() {
        for (text, expected) in [
            ("s3://lake", "s3://lake"),
            ("s3://lake/", "s3://lake"),
            ("s3://pay.lake-1/a/b/", "s3://pay.lake-1/a/b"),
        ] {
            assert_eq!(Place::parse(text).unwrap().location(), expected);
        }
        for refused in
            ["s3:/lake", "s3://", "s3://a", "s3://Lake", "s3://lake/a//b", "gs://lake/a", "s3a://lake"]
        {
            let error = Place::parse(refused).unwrap_err();
            assert!(error.contains(refused) && error.contains("s3://bucket/prefix"), "{error}");
        }
    }

    #[test]
    fn locations_are_compared_whoever_wrote_them() {
        for (location, expected) in [
            ("s3a://b/t/data/day=1/x y", "s3://b/t/data/day=1/x y"),
            ("s3://b/t", "s3://b/t"),
            ("file:///l/t", "/l/t"),
            ("file:/l/t", "/l/t"),
            ("/l/t", "/l/t"),
        ] {
            assert_eq!(plain(location), expected);
            assert_eq!(is_remote(location), expected.starts_with("s3://"));
        }
    }

    #[test]
    fn the_engine_finds_what_a_location_names() {
        let (url, key) = object_of("s3a://lake/t/data/day=2026-11-22/a%20b.parquet").unwrap();
        assert_eq!((url.as_str(), key.as_ref()), ("s3://lake/", "t/data/day=2026-11-22/a%20b.parquet"));
        let (url, key) = object_of("file:///l/t/a.parquet").unwrap();
        assert_eq!((url.as_str(), key.as_ref()), ("file:///", "l/t/a.parquet"));
    }
}
