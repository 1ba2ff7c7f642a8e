//! Invariant: the imports between the crates follow the table in ARCHITECTURE.md, and a dependency
//! with one door is named behind that door only. This test reads the manifests and the table, so
//! that the document cannot drift from the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Dependencies with one door: crate name, the crates that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("apache-avro", &["bus"]),
    ("arrow-array", &["bi", "feature_store", "lake", "warehouse"]),
    ("arrow-ord", &["lake"]),
    ("arrow-row", &["lake"]),
    ("arrow-schema", &["bi", "feature_store", "lake", "warehouse"]),
    ("arrow-select", &["feature_store", "lake", "warehouse"]),
    ("ballista-core", &["lake"]),
    ("ballista-executor", &["lake"]),
    ("ballista-scheduler", &["lake"]),
    ("crc32c", &["broker", "features"]),
    ("cel", &["scoring"]),
    ("chrono-tz", &["schedule"]),
    ("clap", &["affluent"]),
    ("csv", &["warehouse"]),
    ("datafusion", &["lake"]),
    ("datafusion-functions-aggregate-common", &["lake"]),
    ("datafusion-proto", &["lake"]),
    ("croner", &["schedule"]),
    ("fail", &["telemetry"]),
    ("byteview", &["documents"]),
    ("fjall", &["documents"]),
    ("hyper", &["affluent"]),
    ("hyper-util", &["affluent"]),
    ("iceberg", &["lake"]),
    ("kafka-protocol", &["broker"]),
    ("maud", &["console"]),
    ("maxminddb", &["warehouse"]),
    ("metrics", &["telemetry"]),
    ("metrics-exporter-prometheus", &["telemetry"]),
    ("mongodb", &["documents"]),
    ("object_store", &["lake"]),
    ("parquet", &["lake"]),
    ("perpetual", &["learning"]),
    ("pgwire-replication", &["stream"]),
    ("rdkafka", &["bus"]),
    ("rustix", &["affluent"]),
    ("sqlx", &["lake", "schedule"]),
    ("regex", &["bi"]),
    ("tokio-rustls", &["affluent", "bi"]),
    ("tonic", &["lake"]),
    ("ua-parser", &["warehouse"]),
    ("x509-cert", &["affluent"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Crate -> the names of its dependencies in one section of its manifest.
fn dependencies(section: &str) -> BTreeMap<String, BTreeSet<String>> {
    let crates = std::fs::read_dir(root().join("crates")).expect("the folder crates");
    crates
        .map(|entry| {
            let folder = entry.expect("a folder").path();
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let manifest: toml::Table = read(folder.join("Cargo.toml")).parse().expect("a manifest");
            let names = manifest.get(section).and_then(|s| s.as_table()).into_iter().flatten();
            (name, names.map(|(dependency, _)| dependency.clone()).collect())
        })
        .collect()
}

/// The table under "may import": crate -> the crates of ours that it may name.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(root().join("ARCHITECTURE.md"));
    let rows = text.lines().skip_while(|line| !line.contains("| may import"));
    rows.skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let names = cells[1].split(", ").filter(|name| *name != "nothing");
            (cells[0].to_owned(), names.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let (allowed, found) = (allowed(), dependencies("dependencies"));
    assert_eq!(
        allowed.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>(),
        "ARCHITECTURE.md must list every crate"
    );
    for (name, dependencies) in found {
        let ours = dependencies.iter().filter_map(|d| d.strip_prefix("affluent-"));
        let wrong: Vec<String> =
            ours.map(|d| d.replace('-', "_")).filter(|d| !allowed[&name].contains(d)).collect();
        assert!(wrong.is_empty(), "{name} imports {wrong:?}, which ARCHITECTURE.md does not allow");
    }
}

#[test]
fn tests_borrow_only_the_testkit() {
    for (name, dependencies) in dependencies("dev-dependencies") {
        let ours: Vec<&String> = dependencies.iter().filter(|d| d.starts_with("affluent-")).collect();
        let fine = ours
            .iter()
            .all(|d| *d == "affluent-testkit" || allowed()[&name].contains(&d[9..].replace('-', "_")));
        assert!(fine, "{name} borrows {ours:?} for its tests");
    }
}

#[test]
fn a_dependency_with_one_door_stays_behind_it() {
    for section in ["dependencies", "dev-dependencies"] {
        for (name, dependencies) in dependencies(section) {
            for (dependency, doors) in DOORS {
                assert!(
                    !dependencies.contains(*dependency) || doors.contains(&name.as_str()),
                    "{name} names {dependency}, which only {doors:?} may"
                );
            }
        }
    }
}
