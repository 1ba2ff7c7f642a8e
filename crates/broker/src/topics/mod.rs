//! Which topics exist, their configuration and their partitions' logs.

mod catalog;
mod config;

pub(crate) use catalog::{Catalog, CatalogError, Topic};
pub(crate) use config::{ConfigKey, KEYS, Overrides};
