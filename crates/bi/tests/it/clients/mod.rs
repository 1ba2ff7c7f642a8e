//! Clients that nobody here wrote.

mod psql;
mod python;

use crate::endpoint::Endpoint;
use crate::warehouse::Warehouse;
use affluent_bi::BiOptions;
use std::process::{Command, Output};

/// A published warehouse and its endpoint.
pub(crate) async fn served() -> (Warehouse, Endpoint) {
    let warehouse = Warehouse::new().await;
    warehouse.pay(&[(1, Some("a"), "12.3400", "EUR"), (2, None, "2.5000", "JPY")]).await;
    warehouse.publish().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    (warehouse, endpoint)
}

/// What a program prints; it must end well.
pub(crate) async fn printed(mut command: Command) -> String {
    let told = format!("{command:?}");
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = ended.unwrap_or_else(|error| panic!("{told}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && !stderr.contains("ERROR"), "{told}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
