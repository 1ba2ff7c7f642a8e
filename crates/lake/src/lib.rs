//! Iceberg tables: append with offsets, overwrite, upsert, compaction, expiry, scans, and SQL over them.
//!
//! A [`Lake`] is a directory of tables and a catalog, in SQLite as Iceberg's own SQL catalogs lay it out or
//! behind Iceberg's REST protocol, so pyiceberg, DuckDB or Spark read it beside us. What lives here: types and values
//! (`types`, `convert`, `encode`, `decode`, `fit`, `batch`), files (`files`, `dictionary`), commits (`catalog`, `snapshot`, `commits`,
//! `partition`, `sort`, `table`, `append`, `overwrite`, `upsert`, `judge`, `keys`), named snapshots and the way back (`pin`), upkeep (`compact`, `retain`,
//! `clean`, `maintenance`), reading (`scan`, `lookup`, `choose`, `sought`, `live`, `read`), queries
//! ([`sql`]), files of others (`parquet_file`) and the same promises over plain NDJSON files (`json`).
//! What does not: topics, change events, anything of Kafka beyond a name and an offset.
//!
//! Invariants: a commit is a compare-and-swap on the table's state, after everything it refers to is on disk; rows and offsets change together; a value that a column cannot hold
//! exactly is an error.

mod append;
mod batch;
mod catalog;
mod choose;
mod clean;
mod commits;
mod compact;
mod convert;
mod decode;
mod dictionary;
mod encode;
mod error;
mod files;
mod fit;
mod json;
mod judge;
mod keys;
mod live;
mod lookup;
mod maintenance;
mod offsets;
mod options;
mod overwrite;
mod parquet_file;
mod partition;
mod pin;
mod read;
mod retain;
mod scan;
mod schema;
mod snapshot;
mod sort;
mod sought;
pub mod sql;
mod table;
mod types;
mod upsert;

pub use append::{Appended, RowBatch};
pub use choose::ColumnRange;
pub use clean::Cleaned;
pub use commits::{COMMITS_KEPT, COMMITS_PROPERTY, Commit, FENCE_PROPERTY, Outcome};
pub use compact::Compacted;
pub use encode::{fits, unrepresentable};
pub use error::{LakeError, Misfit};
pub use json::{JsonLake, JsonTable, exact_json};
pub use lookup::Lookup;
pub use maintenance::MaintenanceService;
pub use offsets::{Advance, OFFSETS_PROPERTY, OffsetConflict, Offsets};
pub use options::{LakeFormat, LakeOptions, MaintenanceOptions, RestOptions};
pub use overwrite::{Overwrite, Overwritten, Remove};
pub use parquet_file::ParquetFile;
pub use partition::Partition;
pub use scan::{RowStream, Scan};
pub use table::{Lake, LakeTable, SnapshotInfo};
pub use types::widened;
pub use upsert::{Upsert, Upserted};
