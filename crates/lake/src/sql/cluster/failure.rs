//! What the cluster says went wrong, in the words of a query that ran here.
//!
//! Its nodes hand on errors as the text that Rust prints of them for programmers. What the innermost of them says is
//! the message; what kind it is shows in the text.

use super::super::SqlError;
use super::super::error::is_overflow;

/// What our scheduler's reasons for ending a query begin with.
const ENDED: &str = "the query was ended on the cluster: ";
/// Ballista's only word for a query that was stopped.
const CANCELLED: &str = "Cancelled";
const MEMORY: &str = "ResourcesExhausted(";
/// What stands in errors of nodes that cannot be reached.
const UNREACHABLE: &[&str] = &["FetchFailed", "GrpcConnectionError", "ConnectionRefused", "fetch partition"];

/// What a query fails with that the scheduler ends for this reason.
pub(super) fn ended(reason: &str) -> String {
    format!("{ENDED}{reason}")
}

/// Of the text with which a query failed.
pub(super) fn of_job(text: &str) -> SqlError {
    let told = match text.trim() {
        told if told.starts_with(ENDED) => Some(told.to_owned()),
        told => told.ends_with(CANCELLED).then(|| ended("an executor has gone, or there is none")),
    };
    if let Some(told) = told {
        let remedy = "see that executors run (`affluent run batch-executor`), and run it again";
        return SqlError::Cluster(format!("{told}; {remedy}"));
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

/// Of rows that could not be fetched from the executor at `address`: the query was done, so it is the way that failed.
pub(super) fn of_rows(address: &str, error: &dyn std::error::Error) -> SqlError {
    let message = innermost(&error.to_string());
    SqlError::Cluster(format!("the executor at {address} went before its rows were read: {message}"))
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

/// What stands in the innermost `Error("…")`, also where that is the text of another one; without one, all of it.
fn innermost(text: &str) -> String {
    let quoted = text.rfind("(\"").map(|start| &text[start + 2..]);
    let end = |rest: &&str| {
        let closes = |at: &usize| !rest[..*at].ends_with('\\');
        rest.match_indices("\")").map(|(at, _)| at).find(closes)
    };
    let Some(message) = quoted.and_then(|rest| end(&rest).map(|end| &rest[..end])) else {
        return text.trim().to_owned();
    };
    let message =
        message.replace("\\\\", "\\").replace("\\\"", "\"").replace("\\n", "\n").replace("\\'", "'");
    if is_error(&message) { innermost(&message) } else { message }
}

/// Whether a text begins like `Error(` does.
fn is_error(text: &str) -> bool {
    let name = text.find('(').map_or("", |end| &text[..end]);
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
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
        let overflow = job(
            "DataFusionError(External(\"ArrowError(ArithmeticOverflow(\\\"checked_multiply overflows its type Int64\\\"), None)\"))",
        );
        assert!(
            matches!(&overflow, SqlError::Overflow(text) if text == "checked_multiply overflows its type Int64")
        );
        let memory = job("DataFusionError(ResourcesExhausted(\"no room for \\\"x\\\"\"))");
        assert!(matches!(&memory, SqlError::Memory(text) if text == "no room for \"x\""));
        assert!(
            matches!(job("DataFusionError(Execution(\"no\"))"), SqlError::Execution(text) if text == "no")
        );
        assert!(matches!(job("FetchFailed(\"e1\", 1, 0, \"gone\")"), SqlError::Cluster(_)));
        assert!(matches!(of_job("Cancelled"), SqlError::Cluster(text) if text.contains("batch-executor")));
        let gone = of_job(&ended("the executor at node-1:50051 has gone"));
        assert!(matches!(gone, SqlError::Cluster(text) if text.contains("node-1:50051 has gone; see that")));
        let rows = of_rows("node-1:50051", &std::io::Error::other("refused"));
        assert!(rows.is_passing() && rows.to_string().contains("node-1:50051"), "{rows}");
        assert!(matches!(of_job("odd"), SqlError::Execution(text) if text == "odd"));
    }
}
