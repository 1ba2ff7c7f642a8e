//! What the cluster says went wrong, in the words of a query that ran here.
//!
//! Its nodes hand on errors as the text that Rust prints of them for programmers. What the innermost of them says is
//! the message; what kind it is shows in the text.

use super::super::SqlError;
use super::super::error::is_overflow;

/// The scheduler's only word for a query that it was told to end; we tell it where an executor has gone or there is none.
const CANCELLED: &str = "Cancelled";
const MEMORY: &str = "ResourcesExhausted(";
/// What stands in errors of nodes that cannot be reached.
const UNREACHABLE: &[&str] = &["FetchFailed", "GrpcConnectionError", "ConnectionRefused", "fetch partition"];

/// Of the text with which a query failed.
pub(super) fn of_job(text: &str) -> SqlError {
    if text.trim_end().ends_with(CANCELLED) {
        return SqlError::Cluster(
            "the query was ended on the cluster: an executor has gone, or there is none; see that some run (`affluent run \
             batch-executor`), and run it again"
                .to_owned(),
        );
    }
    let message = innermost(text);
    if text.contains(MEMORY) {
        return SqlError::Memory(message);
    }
    if is_overflow(&message) {
        return SqlError::Overflow(message);
    }
    if UNREACHABLE.iter().any(|word| text.contains(word)) {
        return SqlError::Cluster(format!("an executor went while it was needed: {message}"));
    }
    SqlError::Execution(message)
}

/// Of rows that could not be fetched: the query was done, so it is the way that failed.
pub(super) fn of_rows(error: &dyn std::error::Error) -> SqlError {
    SqlError::Cluster(format!(
        "an executor went before its rows were read: {}",
        innermost(&error.to_string())
    ))
}

/// An error and what it comes from.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// What stands in the innermost `Error("…")`; without one, all of it.
fn innermost(text: &str) -> String {
    let quoted = text.rfind("(\"").map(|start| &text[start + 2..]);
    let message = quoted.and_then(|rest| rest.find("\")").map(|end| &rest[..end])).unwrap_or(text.trim());
    message.replace("\\\"", "\"").replace("\\n", "\n").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_nodes_are_told_as_errors_of_queries() {
        let job = |inner: &str| {
            of_job(&format!(
                "Job failed due to stage 1 failed: Task failed due to runtime execution error: {inner}\n"
            ))
        };
        let overflow = job("DataFusionError(Execution(\"the sum overflows its type Decimal128(38, 4)\"))");
        assert!(
            matches!(&overflow, SqlError::Overflow(text) if text == "the sum overflows its type Decimal128(38, 4)")
        );
        let overflow = job(
            "DataFusionError(ArrowError(ArithmeticOverflow(\"checked_add overflows its type Int64\"), None))",
        );
        assert!(matches!(&overflow, SqlError::Overflow(text) if text.starts_with("checked_add")));
        let memory = job("DataFusionError(ResourcesExhausted(\"no room for \\\"x\\\"\"))");
        assert!(matches!(&memory, SqlError::Memory(text) if text == "no room for \"x\""));
        assert!(
            matches!(job("DataFusionError(Execution(\"no\"))"), SqlError::Execution(text) if text == "no")
        );
        assert!(matches!(job("FetchFailed(\"e1\", 1, 0, \"gone\")"), SqlError::Cluster(_)));
        assert!(matches!(of_job("Cancelled"), SqlError::Cluster(text) if text.contains("batch-executor")));
        assert!(matches!(of_job("odd"), SqlError::Execution(text) if text == "odd"));
    }
}
