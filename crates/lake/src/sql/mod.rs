//! SQL over the lake's tables: an [`Engine`] makes [`Session`]s, a session answers queries.
//!
//! What lives here: which state of which table a session sees (`pins`, `catalog`), how a table is read
//! (`table`, `files`, `bounds`, `columns`, `sought`, `looked_up`), arithmetic that does not overflow in silence (`checked`),
//! the newest change of each row (`newest`, `records`), queries on several machines ([`cluster`]),
//! what a statement refers to (`references`) and lacks (`parameters`), limits (`rows`) and text (`render`). Parsing, planning and
//! running are DataFusion's, the Parquet reader included; ours is everything that knows of Iceberg.
//! What does not live here: the SQL of any model, wire protocols, commits.
//!
//! Invariants: a session reads one state of the lake from its first statement to its last, whatever
//! is committed meanwhile; a file is left out only where it cannot hold a wanted row; a sum that does
//! not fit its type is an error; nothing here writes to the lake.

mod bounds;
mod build_side;
mod catalog;
mod checked;
pub mod cluster;
mod columns;
mod engine;
mod error;
mod files;
mod functions;
mod history;
mod looked_up;
mod newest;
mod options;
mod parameters;
mod pins;
mod records;
mod references;
mod render;
mod rows;
mod session;
mod sought;
mod table;

pub use catalog::DescribedTable;
/// The parser, for who has to look into a statement before it is run.
pub use datafusion::sql::sqlparser;
pub use engine::Engine;
pub use error::SqlError;
pub use options::{EngineOptions, Limits};
pub use parameters::Prepared;
pub use pins::{At, Pins, TableState};
pub use records::RecordSet;
pub use references::{filter_of, referenced_tables, tables_of};
pub use render::{Renderer, TextFormat, json_value};
pub use rows::Rows;
pub use session::Session;
