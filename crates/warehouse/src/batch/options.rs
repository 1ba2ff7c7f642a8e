//! The checked configuration of the batch pipelines: section `[batch]`.

use super::BatchError;
use affluent_lake::sql::EngineOptions;
use affluent_lake::sql::cluster::ClusterAddress;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Footers of data files that are kept during a run, in bytes: every step looks at the same files.
const FOOTER_BYTES_MAX: u64 = 128 << 20;
/// Queries run in the process that asks.
const EMBEDDED: &str = "embedded";

/// Where models come from, and how much is done at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Directory of models that override the shipped ones or are added to them; empty: the shipped ones alone.
    pub models: PathBuf,
    /// Directory of CSV files that override the shipped seeds or are added to them; empty: none.
    pub seeds: PathBuf,
    /// Euro reference rates as the ECB publishes their history (CSV); empty: the shipped sample.
    pub fx_rates: PathBuf,
    /// Where queries run: `embedded`, in this process, or `ballista://host:port`, the scheduler of a cluster.
    pub engine: String,
    /// Queries that read fewer rows run in this process, though there is a cluster.
    pub cluster_rows_min: u64,
    /// Parts of a query that run at once; 0: as many as the machine has cores.
    pub partitions: usize,
    /// Most raw rows that one commit takes in.
    pub rows_max: u64,
    /// Memory of sorts, joins and groups, in bytes; what does not fit goes to disk.
    pub memory_bytes: u64,
    /// Published versions that can be returned to.
    pub versions_kept: u32,
    /// A table whose increment is so many times larger or smaller than usual is warned of; 0: none is.
    pub volume_factor: u32,
    /// Where run events of OpenLineage are posted to; empty: nowhere.
    pub openlineage_url: String,
    /// Bearer token for it; empty: none is sent.
    pub openlineage_token: String,
    /// Namespace of its jobs and datasets.
    pub openlineage_namespace: String,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            models: PathBuf::new(),
            seeds: PathBuf::new(),
            fx_rates: PathBuf::new(),
            engine: EMBEDDED.to_owned(),
            cluster_rows_min: 500_000,
            partitions: 0,
            rows_max: 200_000,
            memory_bytes: 1 << 30,
            versions_kept: 100,
            volume_factor: 10,
            openlineage_url: String::new(),
            openlineage_token: String::new(),
            openlineage_namespace: "affluent".to_owned(),
        }
    }
}

impl BatchOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// [`BatchError::Options`].
    pub fn check(&self) -> Result<(), BatchError> {
        for (key, value, min, max) in [
            ("cluster_rows_min", self.cluster_rows_min, 0, 1 << 40),
            ("partitions", self.partitions as u64, 0, 1_024),
            ("rows_max", self.rows_max, 1, 10_000_000),
            ("memory_bytes", self.memory_bytes, 16 << 20, 1 << 46),
            ("versions_kept", u64::from(self.versions_kept), 2, 10_000),
            ("volume_factor", u64::from(self.volume_factor), 0, 1_000_000),
        ] {
            if !(min..=max).contains(&value) {
                return Err(BatchError::Options(format!("{key} = {value} must be from {min} to {max}")));
            }
        }
        let url = self.openlineage_url.as_str();
        let is_web = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if !url.is_empty() && !is_web {
            let message = "openlineage_url must be an address as http://host:5000/api/v1/lineage, or empty";
            return Err(BatchError::Options(message.to_owned()));
        }
        if self.openlineage_namespace.is_empty() {
            return Err(BatchError::Options("openlineage_namespace is empty".to_owned()));
        }
        self.cluster().map(drop)
    }

    pub(crate) fn engine(&self) -> Result<EngineOptions, BatchError> {
        Ok(EngineOptions {
            memory_bytes: self.memory_bytes,
            footer_bytes_max: FOOTER_BYTES_MAX,
            partitions: self.partitions,
            cluster: self.cluster()?,
            cluster_rows_min: self.cluster_rows_min,
            ..EngineOptions::default()
        })
    }

    fn cluster(&self) -> Result<Option<ClusterAddress>, BatchError> {
        if self.engine == EMBEDDED {
            return Ok(None);
        }
        let address = self.engine.parse::<ClusterAddress>();
        let refuse =
            |error| BatchError::Options(format!("engine is neither \"{EMBEDDED}\" nor a cluster: {error}"));
        address.map(Some).map_err(refuse)
    }

    pub(crate) fn models(&self) -> Option<&Path> {
        given(&self.models)
    }

    pub(crate) fn seeds(&self) -> Option<&Path> {
        given(&self.seeds)
    }

    pub(crate) fn fx_rates(&self) -> Option<&Path> {
        given(&self.fx_rates)
    }
}

fn given(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        BatchOptions::default().check().unwrap();
        let error = BatchOptions { rows_max: 0, ..BatchOptions::default() }.check().unwrap_err().to_string();
        assert!(error.contains("rows_max = 0"), "{error}");
        let options = BatchOptions { openlineage_url: "marquez:5000".to_owned(), ..BatchOptions::default() };
        assert!(options.check().unwrap_err().to_string().contains("openlineage_url"));
        let on = |engine: &str| BatchOptions { engine: engine.to_owned(), ..BatchOptions::default() };
        let engine = on("ballista://node-1:50050").engine().unwrap();
        assert_eq!(engine.cluster.unwrap().to_string(), "ballista://node-1:50050");
        assert!(on("spark").check().unwrap_err().to_string().contains("embedded"));
    }
}
