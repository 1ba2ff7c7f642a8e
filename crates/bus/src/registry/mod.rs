//! Schemas by id and by subject: the client of any Confluent-compatible registry, and the one that
//! is built in.

mod api;
mod client;
mod compatibility;
mod log;
mod schema;
mod server;
mod state;

pub use client::{RegistryClient, RegistryError, RegistryOptions};
pub use compatibility::CompatibilityLevel;
pub(crate) use compatibility::protobuf::compile as compile_protobuf;
pub(crate) use schema::Named;
pub use schema::{Schema, SchemaReference, SchemaType};
pub use server::{BoundRegistryServer, RegistryServer, RegistryServerError, RegistryServerOptions};
