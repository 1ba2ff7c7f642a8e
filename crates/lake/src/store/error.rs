//! What goes wrong with an object store, by what can be done about it.

use std::error::Error;

/// Characters of a server's answer that are shown.
const SAID_CHARS_MAX: usize = 400;

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreProblem {
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NoObject,
    /// The key is not known, its secret is wrong, or its time is over.
    Key,
    /// The key may not do this.
    Rights,
    /// Our clock and the server's differ by too much.
    Clock,
    /// The bucket is in another region, or at another address.
    Region,
    /// The server does not answer.
    Unreachable,
    /// The server cannot do it now.
    Busy,
    /// The location is in another bucket.
    Elsewhere,
    /// None of these: what the server says tells.
    Other,
}

/// A request to an object store failed for good, after its repeats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("object store: {location}: {said}{}", remedy(*problem))]
pub struct StoreError {
    location: String,
    said: String,
    problem: StoreProblem,
}

impl StoreError {
    /// Of a request for this location.
    pub(crate) fn of(location: &str, error: &object_store::Error) -> Self {
        let text = error.to_string();
        let (code, message) = (between(&text, "Code"), between(&text, "Message"));
        let problem = problem(error, &text, code);
        let said = match (code, message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => with_root(error, text.clone()),
        };
        let said = said.chars().take(SAID_CHARS_MAX).collect();
        StoreError { location: location.to_owned(), said, problem }
    }

    /// A location that is not in our bucket.
    pub(super) fn elsewhere(location: &str, bucket: &str) -> Self {
        StoreError {
            location: location.to_owned(),
            said: format!("is not in the bucket {bucket}"),
            problem: StoreProblem::Elsewhere,
        }
    }

    /// Ours among the causes of an error.
    pub(crate) fn among_causes(error: &(dyn Error + 'static)) -> Option<&Self> {
        let mut at = Some(error);
        while let Some(cause) = at {
            if let Some(found) = cause.downcast_ref::<StoreError>() {
                return Some(found);
            }
            at = cause.source();
        }
        None
    }

    /// What is the matter.
    #[must_use]
    pub fn problem(&self) -> StoreProblem {
        self.problem
    }
}

fn remedy(problem: StoreProblem) -> &'static str {
    match problem {
        StoreProblem::NoBucket => "; create the bucket, or name another one in lake.warehouse",
        StoreProblem::Key => {
            "; are lake.s3.access_key_id, secret_access_key and session_token right, and still valid?"
        }
        StoreProblem::Rights => {
            "; the key needs s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload \
             on what is below lake.warehouse"
        }
        StoreProblem::Clock => "; set the clock of this machine (NTP)",
        StoreProblem::Region => "; are lake.s3.region, endpoint and path_style those of the bucket?",
        StoreProblem::Unreachable => "; is lake.s3.endpoint right, and its server reached from here?",
        StoreProblem::Busy => "; it may be over soon",
        StoreProblem::Elsewhere => "; a lake's files are in one bucket, that of lake.warehouse",
        StoreProblem::NoObject | StoreProblem::Other => "",
    }
}

/// By the code in the server's answer, where it gives one (answers to HEAD have no body); else by the kind of the error.
/// Codes: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
fn problem(error: &object_store::Error, text: &str, code: Option<&str>) -> StoreProblem {
    use object_store::Error as Kind;
    match (code, error) {
        (Some("NoSuchBucket"), _) => StoreProblem::NoBucket,
        (Some("RequestTimeTooSkewed" | "RequestExpired"), _) => StoreProblem::Clock,
        (
            Some(
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "TokenRefreshRequired",
            ),
            _,
        ) => StoreProblem::Key,
        (
            Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException"),
            _,
        ) => StoreProblem::Region,
        (Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"), _) => {
            StoreProblem::Busy
        }
        (_, Kind::NotFound { .. }) => StoreProblem::NoObject,
        (_, Kind::PermissionDenied { .. } | Kind::Unauthenticated { .. }) => StoreProblem::Rights,
        _ if text.contains("redirect") || text.contains("status code: 3") => StoreProblem::Region,
        _ if text.contains("status code: 5") || text.contains("status code: 429") => StoreProblem::Busy,
        _ if text.contains("HTTP error") => StoreProblem::Unreachable,
        _ => StoreProblem::Other,
    }
}

/// What an XML element of the text holds.
fn between<'a>(text: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    rest.split_once(&format!("</{element}>")).map(|(inside, _)| inside)
}

/// The text with the first cause, which it may not tell: "connection refused" behind "error sending request".
fn with_root(error: &object_store::Error, text: String) -> String {
    let mut root: &dyn Error = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let cause = root.to_string();
    if text.contains(&cause) { text } else { format!("{cause} ({text})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::Error as Kind;

    fn answer(status: u16, body: &str) -> Box<dyn Error + Send + Sync> {
        format!(
            "Error performing GET http://s/b in 1ms - Server returned non-2xx status code: {status}: {body}"
        )
        .into()
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let path = || "k".to_owned();
        let body = |code: &str| {
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>So.</Message></Error>")
        };
        let denied = |code: &str| Kind::PermissionDenied { path: path(), source: answer(403, &body(code)) };
        let generic = |source| Kind::Generic { store: "S3", source };
        for (error, expected, words) in [
            (
                Kind::NotFound { path: path(), source: answer(404, &body("NoSuchBucket")) },
                StoreProblem::NoBucket,
                "create the bucket",
            ),
            (
                Kind::NotFound { path: path(), source: answer(404, &body("NoSuchKey")) },
                StoreProblem::NoObject,
                "NoSuchKey: So.",
            ),
            (Kind::NotFound { path: path(), source: answer(404, "") }, StoreProblem::NoObject, "404"),
            (denied("SignatureDoesNotMatch"), StoreProblem::Key, "secret_access_key"),
            (denied("RequestTimeTooSkewed"), StoreProblem::Clock, "NTP"),
            (denied("AccessDenied"), StoreProblem::Rights, "s3:PutObject"),
            (
                Kind::PermissionDenied { path: path(), source: answer(403, "") },
                StoreProblem::Rights,
                "s3:ListBucket",
            ),
            (
                generic(answer(400, &body("AuthorizationHeaderMalformed"))),
                StoreProblem::Region,
                "lake.s3.region",
            ),
            (generic("Received redirect without LOCATION".into()), StoreProblem::Region, "endpoint"),
            (generic(answer(503, &body("SlowDown"))), StoreProblem::Busy, "SlowDown"),
            (generic(answer(500, "")), StoreProblem::Busy, "500"),
            (
                generic("HTTP error: error sending request".into()),
                StoreProblem::Unreachable,
                "lake.s3.endpoint",
            ),
            (generic("no more".into()), StoreProblem::Other, "no more"),
        ] {
            let told = StoreError::of("s3://b/k", &error);
            assert_eq!(told.problem(), expected, "{error}");
            let text = told.to_string();
            assert!(text.contains("s3://b/k") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn ours_is_found_below_the_errors_of_others() {
        let ours = StoreError::elsewhere("s3://a/b", "c");
        let theirs = iceberg::Error::new(iceberg::ErrorKind::Unexpected, "write").with_source(ours.clone());
        let deeper = parquet::errors::ParquetError::External(Box::new(theirs));
        let deeper = iceberg::Error::new(iceberg::ErrorKind::Unexpected, "close").with_source(deeper);
        assert_eq!(StoreError::among_causes(&deeper), Some(&ours));
        let other = iceberg::Error::new(iceberg::ErrorKind::Unexpected, "no");
        assert_eq!(StoreError::among_causes(&other), None);
    }
}
