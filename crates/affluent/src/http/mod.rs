//! The HTTP interface: metrics, health, status, documents to read, and a page for people.

mod options;

pub(crate) use options::HttpOptions;
