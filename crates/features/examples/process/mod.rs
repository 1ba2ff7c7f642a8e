//! What a measurement costs its process, as Linux counts it.

/// Seconds that this process has run, where others share the processor; in hundredths.
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks =
        [11, 12].map(|field| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0));
    (ticks[0] + ticks[1]) / 100.0
}

/// Memory in MiB: resident (`VmRSS:`), or the most that has been (`VmHWM:`).
pub(crate) fn memory_mib(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1_024
}
