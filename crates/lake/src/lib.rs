//! Iceberg tables: append with offsets, overwrite, upsert, compaction, expiry, scans, and SQL over them.
//!
//! A [`Lake`] is a directory of tables and a catalog, in SQLite as Iceberg's own SQL catalogs lay it out or
//! behind Iceberg's REST protocol, so pyiceberg, DuckDB or Spark read it beside us. What lives here, in the order of a row's life:
//!
//! - `values`: types and values, exactly or as an error.
//! - `write`: append, overwrite, upsert; commits into the `catalog`, files by `files`: of this machine, or by `store` in a bucket.
//! - `read`: scans and look-ups; Parquet files of others. [`sql`]: queries.
//! - `upkeep`: merging, expiry, deletion, named snapshots and the way back.
//! - `json`: the same promises over plain NDJSON files.
//!
//! What does not: topics, change events, anything of Kafka beyond a name and an offset.
//!
//! Invariants: a commit is a compare-and-swap on the table's state, after everything it refers to is on disk (in a bucket: acknowledged); rows and offsets change together; a value that a column cannot hold
//! exactly is an error.

mod catalog;
mod error;
mod files;
mod json;
mod offsets;
mod options;
mod read;
pub mod sql;
mod store;
mod table;
mod upkeep;
mod values;
mod write;

pub use error::{LakeError, Misfit};
pub use json::{JsonLake, JsonTable, exact_json};
pub use offsets::{Advance, OFFSETS_PROPERTY, OffsetConflict, Offsets};
pub use options::{LakeFormat, LakeOptions, MaintenanceOptions, RestOptions, S3Options};
pub use read::choose::ColumnRange;
pub use read::lookup::Lookup;
pub use read::parquet_file::ParquetFile;
pub use read::scan::{RowStream, Scan};
pub use store::{StoreError, StoreProblem};
pub use table::{Lake, LakeTable, SnapshotInfo};
pub use upkeep::clean::Cleaned;
pub use upkeep::compact::Compacted;
pub use upkeep::forget::Forgotten;
pub use upkeep::service::MaintenanceService;
pub use values::encode::{fits, unrepresentable};
pub use values::types::widened;
pub use write::append::{Appended, RowBatch};
pub use write::commits::{COMMITS_KEPT, COMMITS_PROPERTY, Commit, FENCE_PROPERTY, Outcome};
pub use write::edit::{Edit, Edited, RowChange, Sought};
pub use write::overwrite::{Overwrite, Overwritten, Remove};
pub use write::partition::Partition;
pub use write::upsert::{Upsert, Upserted};
