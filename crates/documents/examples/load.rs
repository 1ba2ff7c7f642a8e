//! Writes documents of about 300 bytes with one index into an embedded store and prints the rate:
//! `cargo run -p affluent-documents --example load -- DIRECTORY [DOCUMENTS]`. A full disk is waited out.

#![allow(clippy::print_stdout, reason = "a command")]

use affluent_documents::{
    Action, CollectionSpec, DocumentError, DocumentStore, EmbeddedOptions, EmbeddedStore, IndexSpec, Inserts,
    Ttl, VersionedWrite,
};
use affluent_model::{Position, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCH: u64 = 8_192;

#[tokio::main]
async fn main() -> Result<(), DocumentError> {
    let usage = || DocumentError::Config("usage: load DIRECTORY [DOCUMENTS]".to_owned());
    let mut arguments = std::env::args().skip(1);
    let path = Some(arguments.next().ok_or_else(usage)?.into());
    let documents: u64 =
        arguments.next().map_or(Some(1_000_000), |text| text.parse().ok()).ok_or_else(usage)?;
    let options = EmbeddedOptions { path, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(options, 3_600).await?;
    let spec = CollectionSpec { indexes: vec![IndexSpec::on(&["user"])], ..CollectionSpec::new("load") };
    store.ensure(&spec).await?;
    let ttl = Some(Ttl { seconds: 86_400, field: Some("created_at".to_owned()) });
    let indexes = vec![IndexSpec::on(&["user", "created_at"])];
    store.ensure(&CollectionSpec { indexes, ttl, ..CollectionSpec::new("events") }).await?;
    let started = Instant::now();
    for first in (0..documents).step_by(BATCH as usize) {
        let mut inserts = Inserts::default();
        (first..documents.min(first + BATCH)).for_each(|n| insert(&mut inserts, n));
        store.insert_if_absent("events", &[Arc::new(inserts)]).await?;
    }
    let rate = documents as f64 / started.elapsed().as_secs_f64();
    println!("inserted: {rate:.0} documents/s, {} stored", store.count("events").await?);
    for (round, what) in [(1, "new"), (2, "replaced"), (2, "stale")] {
        let started = Instant::now();
        for first in (0..documents).step_by(BATCH as usize) {
            loop {
                let writes = (first..documents.min(first + BATCH)).map(|n| write(n, round)).collect();
                match store.apply("load", writes).await {
                    Ok(_) => break,
                    Err(error) => println!("{error}"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let rate = documents as f64 / started.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} documents/s, {} stored", store.count("load").await?);
    }
    Ok(())
}

/// An event as the collector's are: an id that begins with the time, users in no order.
fn insert(to: &mut Inserts, n: u64) {
    let id = uuid::Uuid::now_v7().to_string();
    to.push(&id, |to| {
        to.text("user", &format!("user-{}", n.wrapping_mul(7_919) % 50_000));
        to.instant("created_at", 1_700_000_000_000_000 + n as i64);
        to.text("status", "authorized");
        to.text("description", &"x".repeat(200));
    });
}

fn write(n: u64, version: u64) -> VersionedWrite {
    let text = |text: String| Value::Text(text);
    let fields = vec![
        ("user".to_owned(), text(format!("user-{}", n % 10_000))),
        ("amount".to_owned(), Value::Decimal(bigdecimal::BigDecimal::new((n * 37).into(), 4))),
        ("created_at".to_owned(), Value::TimestampTz(1_700_000_000_000_000 + n as i64)),
        ("status".to_owned(), text("authorized".to_owned())),
        ("description".to_owned(), text("x".repeat(200))),
    ];
    let id = format!("{n:012}");
    VersionedWrite { id, version: Position::new(version, n), action: Action::Put(fields) }
}
