//! Places from a database that MaxMind's own format library for Python wrote.

use crate::raw::{Click, NOON, append, lake, service, staged};
use affluent_lake::Lake;
use affluent_telemetry::health::Health;
use affluent_warehouse::staged::{StageError, StageOptions, StageService};
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;

const SCRIPT: &str = r#"
import sys
from netaddr import IPSet
from mmdb_writer import MMDBWriter
writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City")
writer.insert_network(IPSet(["198.51.100.0/24"]), {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "subdivisions": [{"iso_code": "BY", "names": {"en": "Bavaria"}}],
    "city": {"names": {"en": "Munich", "de": "München"}},
})
writer.insert_network(IPSet(["2001:db8::/32"]), {"country": {"iso_code": "JP"}})
writer.to_db_file(sys.argv[1])
"#;

fn write_database(path: &Path) {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python).args(["-c", SCRIPT]).arg(path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python}: {stderr}\n`make setup` installs what tests need");
}

async fn stage(lake: &Lake, options: StageOptions) -> Vec<String> {
    service(lake, options).round(&CancellationToken::new()).await.unwrap();
    let rows = staged(lake).await;
    let mut places: Vec<String> = rows
        .iter()
        .map(|row| ["event_id", "country", "region", "city"].map(|name| row[name].to_text()).join(" "))
        .collect();
    places.sort();
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn places_come_from_the_database_and_are_empty_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let geo = dir.path().join("places.mmdb");
    write_database(&geo);
    let addresses = ["198.51.100.7", "2001:db8::1", "203.0.113.9", "hashed:1f", ""];
    let click = |(n, ip): (usize, &&str)| Click { ip: (*ip).to_owned(), ..Click::new(n, NOON) };
    let clicks: Vec<Click> = addresses.iter().enumerate().map(click).collect();

    let with = lake(&dir.path().join("with")).await;
    append(&with, 0, &clicks).await;
    let null = affluent_model::Value::Null.to_text();
    let places = stage(&with, StageOptions { geo: geo.clone(), ..StageOptions::default() }).await;
    let unknown = |n: usize| format!("{n} {null} {null} {null}");
    let expected =
        ["0 DE BY Munich".to_owned(), format!("1 JP {null} {null}"), unknown(2), unknown(3), unknown(4)];
    assert_eq!(places, expected);

    let without = lake(&dir.path().join("without")).await;
    append(&without, 0, &clicks).await;
    let places = stage(&without, StageOptions::default()).await;
    assert_eq!(places, (0..5).map(unknown).collect::<Vec<_>>());

    for (file, text) in [("absent.mmdb", None), ("wrong.mmdb", Some("no database"))] {
        let geo = dir.path().join(file);
        if let Some(text) = text {
            std::fs::write(&geo, text).unwrap();
        }
        let options = StageOptions { geo, ..StageOptions::default() };
        let refused = StageService::new(without.clone(), Vec::new(), options, Health::default()).unwrap_err();
        assert!(
            matches!(&refused, StageError::Geo { .. }) && refused.to_string().contains(file),
            "{refused}"
        );
    }
}
