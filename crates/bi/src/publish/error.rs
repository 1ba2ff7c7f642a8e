//! Why a version was not copied.

use affluent_lake::sql::SqlError;
use affluent_warehouse::batch::BatchError;

/// A version was not copied; what was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{0}")]
    Options(String),
    #[error("connect to the PostgreSQL of bi.publish.postgres: {0}")]
    Connect(String),
    /// PostgreSQL refused; the message holds its detail and its code.
    #[error("{what}: {message}")]
    Postgres { what: String, message: String },
    /// Somebody else's tables are where ours would be.
    #[error("schema {schema} has tables that are not of a publication: {}; name another schema in bi.publish.schema, or drop them", .tables.join(", "))]
    Foreign { schema: String, tables: Vec<String> },
    /// A value without a text form in PostgreSQL.
    #[error("column {column}: {message}")]
    Value { column: String, message: String },
    #[error("it took longer than bi.publish.timeout_s = {0}")]
    Timeout(u64),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl PublishError {
    /// What PostgreSQL said while `what` was done.
    pub(crate) fn postgres(what: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        let message = match error.as_db_error() {
            Some(said) => {
                let detail = said.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
                format!("{}{detail} ({})", said.message(), said.code().code())
            }
            None => error.to_string(),
        };
        PublishError::Postgres { what: what.into(), message }
    }
}
