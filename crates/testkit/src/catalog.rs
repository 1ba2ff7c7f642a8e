//! The Iceberg REST catalog that `AFFLUENT_TEST_CATALOG=http://…` names (see `interop/iceberg.sh`), for tests
//! that run on the lake's own catalog else.

use std::path::Path;

const EXTERNAL: &str = "AFFLUENT_TEST_CATALOG";

/// A place in a REST catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestCatalog {
    pub url: String,
    /// A namespace that belongs to one warehouse: equal for equal directories, in every process.
    pub namespace: String,
}

impl RestCatalog {
    /// The place of the tables below `warehouse`; `None` where no REST catalog is named.
    #[must_use]
    pub fn of(warehouse: &Path) -> Option<Self> {
        let url = std::env::var(EXTERNAL).ok().filter(|url| !url.is_empty())?;
        let named = |part: std::path::Component<'_>| {
            let text = part.as_os_str().to_string_lossy();
            text.chars().filter(char::is_ascii_alphanumeric).collect::<String>()
        };
        let parts: Vec<String> = warehouse.components().map(named).filter(|part| !part.is_empty()).collect();
        Some(RestCatalog { url, namespace: parts.join("_") })
    }
}
