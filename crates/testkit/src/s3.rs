//! The server of S3's protocol that `AFFLUENT_TEST_S3=http://…` names (see `interop/s3.sh`).

use std::env::var;

const SERVER: &str = "AFFLUENT_TEST_S3";
const KEY: &str = "AFFLUENT_TEST_S3_KEY";
const SECRET: &str = "AFFLUENT_TEST_S3_SECRET";

/// A server with a bucket that the tests share, and the key that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    pub bucket: &'static str,
    pub region: &'static str,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl S3Server {
    /// `None` where none is named.
    ///
    /// # Panics
    /// Where one is named without its key.
    #[must_use]
    pub fn named() -> Option<Self> {
        let url = var(SERVER).ok().filter(|url| !url.is_empty())?;
        let given = |name: &str| var(name).unwrap_or_else(|_| panic!("{SERVER} is set, and {name} is not"));
        Some(S3Server {
            url,
            bucket: "affluent-test",
            region: "eu-west-3",
            access_key_id: given(KEY),
            secret_access_key: given(SECRET),
        })
    }
}
