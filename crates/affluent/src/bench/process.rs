//! What a benchmark costs this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// User and system time of this process, from `/proc/self/stat` (hundredths of a second).
pub(super) fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Keeps the greatest resident memory of this process, bytes, until `shutdown`.
pub(super) async fn watch_memory(greatest: Arc<AtomicU64>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while !shutdown.is_cancelled() {
        tick.tick().await;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
        greatest.fetch_max(pages * 4096, Ordering::Relaxed);
    }
}
