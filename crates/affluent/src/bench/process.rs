//! What a benchmark costs this process, and others.

use anyhow::Context as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a process has cost so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) processor_seconds: f64,
    /// Bytes of resident memory now.
    pub(super) resident: u64,
    /// Bytes of resident memory at the most.
    pub(super) resident_max: u64,
}

/// Of any process of this machine.
///
/// # Errors
/// There is none with this id.
pub(super) fn usage(process: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{process}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let status = read("status")?;
    let bytes = |key: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(key));
        let kilobytes = found.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.unwrap_or(0) * 1024
    };
    let processor_seconds = ticks(&read("stat")?);
    Ok(Usage { processor_seconds, resident: bytes("VmRSS:"), resident_max: bytes("VmHWM:") })
}

/// A port of this machine that nobody listens on now.
///
/// # Errors
/// There is none.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// User and system time of this process.
pub(super) fn processor_seconds() -> f64 {
    ticks(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// User and system time from `/proc/…/stat` (hundredths of a second).
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory of this process, bytes.
pub(super) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Keeps the greatest resident memory of this process, bytes, until `shutdown`.
pub(super) async fn watch_memory(greatest: Arc<AtomicU64>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while !shutdown.is_cancelled() {
        tick.tick().await;
        greatest.fetch_max(resident(), Ordering::Relaxed);
    }
}
