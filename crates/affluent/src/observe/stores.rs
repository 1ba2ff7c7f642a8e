//! What lies on disk: tables of the lake, files of the document store, space, and certificates. Looked at by the processes that write
//! there, so that it is told once.

use super::ticks;
use crate::platform::Platform;
use affluent_documents::Backend;
use affluent_lake::{Lake, LakeError, LakeFormat, SnapshotInfo};
use affluent_model::time::now_micros;
use affluent_telemetry::metrics_list::{self, LakeTableState};
use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use x509_cert::der::Decode as _;

/// Each by who shows it.
type Certificates = Vec<(&'static str, PathBuf)>;

/// Looks again and again, until it is dropped.
pub(super) async fn run(platform: &Platform, roles: &[&'static str]) {
    let config = platform.config();
    let plays = |any: &[&str]| roles.iter().any(|role| any.contains(role));
    let has_lake = plays(&["sink-lake", "schedule", "stage"]) && config.lake.format == LakeFormat::Iceberg;
    let has_documents =
        plays(&["sink-documents", "sink-events"]) && config.documents.backend == Backend::Embedded;
    let documents = config.documents.embedded.path.clone();
    let documents = documents.unwrap_or_else(|| config.data_dir.join("documents"));
    let documents = Some(documents).filter(|_| has_documents);
    let mut volumes = vec![("data", config.data_dir.clone())];
    volumes.extend(has_lake.then(|| ("lake", config.lake.directory().to_owned())));
    volumes.extend(documents.clone().map(|path| ("documents", path)));
    let (http, bi) = (&config.http.tls, &config.bi.tls);
    let mut certificates: Certificates = Vec::new();
    certificates.extend((plays(&["api"]) && http.is_on()).then(|| ("http", http.certificate_file.clone())));
    certificates.extend((plays(&["bi"]) && bi.is_on()).then(|| ("bi", bi.certificate_file.clone())));
    let mut tick = ticks(Duration::from_secs(config.telemetry.stores_interval_s));
    loop {
        tick.tick().await;
        let (volumes, documents, certificates) = (volumes.clone(), documents.clone(), certificates.clone());
        let looked = tokio::task::spawn_blocking(move || {
            look_at_disks(&volumes, documents.as_deref());
            look_at_certificates(&certificates);
        });
        if let Err(error) = looked.await {
            tracing::warn!(%error, "disks not looked at");
        }
        if has_lake && let Err(error) = look_at_lake(platform).await {
            tracing::warn!(%error, "lake not looked at");
        }
    }
}

fn look_at_disks(volumes: &[(&'static str, PathBuf)], documents: Option<&Path>) {
    for &(volume, ref path) in volumes {
        // What is not made yet will be.
        if let Ok(found) = rustix::fs::statvfs(path.as_path()) {
            metrics_list::disk(volume, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
        }
    }
    if let Some(path) = documents {
        metrics_list::documents_store_bytes(bytes_below(path));
    }
}

fn look_at_certificates(certificates: &[(&'static str, PathBuf)]) {
    for &(certificate, ref path) in certificates {
        match expiry(path) {
            Ok(at_s) => metrics_list::certificate_expiry(certificate, at_s),
            Err(error) => {
                tracing::warn!(certificate, error = format!("{error:#}"), "certificate not looked at")
            }
        }
    }
}

/// The size of all files below a directory. What goes away meanwhile does not count.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// When the first certificate of a file ceases to be valid, Unix time in seconds.
fn expiry(path: &Path) -> anyhow::Result<u64> {
    let shown = || format!("read {}", path.display());
    let der = CertificateDer::from_pem_file(path)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(shown)?;
    let certificate = x509_cert::Certificate::from_der(der.as_ref())
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(shown)?;
    Ok(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

async fn look_at_lake(platform: &Platform) -> anyhow::Result<()> {
    let lake = platform.lake().await?;
    for (namespace, name) in lake.tables().await? {
        match snapshots(&lake, &namespace, &name).await {
            Ok(snapshots) => {
                if let Some(state) = state(&snapshots, now_micros()) {
                    metrics_list::lake_table(&format!("{namespace}.{name}"), state);
                }
            }
            // It was dropped meanwhile.
            Err(LakeError::NotFound(_)) => {}
            // The others are looked at all the same.
            Err(error) => tracing::warn!(namespace, name, %error, "table not looked at"),
        }
    }
    Ok(())
}

async fn snapshots(lake: &Lake, namespace: &str, name: &str) -> Result<Vec<SnapshotInfo>, LakeError> {
    lake.table(namespace, name).await?.snapshots().await
}

/// How a table stands, by its snapshots, the newest last; none where nothing was written yet.
fn state(snapshots: &[SnapshotInfo], now_us: i64) -> Option<LakeTableState> {
    let newest = snapshots.last()?;
    Some(LakeTableState {
        files: newest.files,
        bytes: newest.bytes,
        records: newest.rows,
        snapshots: snapshots.len(),
        age_s: (now_us - newest.timestamp_ms * 1_000) as f64 / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stands_as_its_newest_snapshot_has_it() {
        let snapshot = |sequence: i64, rows| SnapshotInfo {
            id: sequence,
            sequence,
            timestamp_ms: sequence * 1_000,
            operation: "append".to_owned(),
            rows,
            files: 2,
            bytes: 30,
            offsets: None,
        };
        let expected = LakeTableState { files: 2, bytes: 30, records: 9, snapshots: 2, age_s: 3.0 };
        assert_eq!(state(&[snapshot(1, 5), snapshot(2, 9)], 5_000_000), Some(expected));
        assert_eq!(state(&[], 5_000_000), None);
    }

    #[test]
    fn files_are_counted_below_every_directory() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("one"), b"12345").unwrap();
        std::fs::write(folder.path().join("deep/two"), b"123").unwrap();
        assert_eq!(bytes_below(folder.path()), 8);
        assert_eq!(bytes_below(&folder.path().join("missing")), 0);
    }

    /// Made with `openssl req -x509 -newkey ed25519 -nodes -days 3650 -subj /CN=localhost`; `openssl x509 -enddate` says when it ends.
    #[test]
    fn a_certificate_says_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        std::fs::write(&path, include_str!("certificate.pem")).unwrap();
        assert_eq!(expiry(&path).unwrap(), CERTIFICATE_END);
        std::fs::write(&path, "nothing").unwrap();
        assert!(expiry(&path).is_err());
    }

    const CERTIFICATE_END: u64 = 2_111_441_437;
}
