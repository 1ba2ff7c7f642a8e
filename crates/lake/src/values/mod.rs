//! Types and values: Iceberg's, Arrow's and ours, exactly or as an error; batches of a caller in the columns of a table.

pub(crate) mod batch;
pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod dictionary;
pub(crate) mod encode;
pub(crate) mod fit;
pub(crate) mod schema;
pub(crate) mod types;
