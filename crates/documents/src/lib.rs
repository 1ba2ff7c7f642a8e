//! The NoSQL port: documents by id, written with versions so that replay and reordering converge.
//!
//! Here live the trait [`DocumentStore`] (its documentation is the contract), the pure rules of
//! convergence, the embedded store on `fjall` and the MongoDB implementation. What a document means
//! (mirror, event, feature) is not known here. Only this crate names the two drivers.

mod collection;
pub mod convergence;
mod document;
mod embedded;
mod encoding;
mod encoding_reader;
mod error;
mod inserts;
mod mongo;
mod options;
mod order;
mod store;

pub use collection::{CollectionSpec, IndexSpec, Page, Range, Scan, Ttl};
pub use document::{Action, Document, Fields, VersionedWrite};
pub use embedded::EmbeddedStore;
pub use error::DocumentError;
pub use inserts::{FieldsWriter, Inserts};
pub use mongo::MongoStore;
pub use options::{Backend, Decimals, DocumentsOptions, EmbeddedOptions, MongoOptions, open};
pub use store::{ApplyOutcome, DocumentStore, InsertOutcome};
