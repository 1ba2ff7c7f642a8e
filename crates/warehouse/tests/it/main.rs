//! Staging and the batch pipeline over a real lake: each event once, whatever comes between.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod geo;
mod imports;
mod models;
mod raw;
mod staging;

use affluent_lake::LakeOptions;
use affluent_testkit::RestCatalog;
use std::path::Path;

/// With the catalog that the tests run on: SQLite, or the REST catalog that `RestCatalog` tells of.
pub(crate) fn lake_options(warehouse: &Path) -> LakeOptions {
    let mut options = LakeOptions { warehouse: warehouse.to_owned(), ..LakeOptions::default() };
    if let Some(RestCatalog { url, namespace }) = RestCatalog::of(warehouse) {
        options.catalog = url;
        options.rest.namespace = namespace;
    }
    options
}
