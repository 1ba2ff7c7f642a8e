//! What this machine is, in one line, for the reports.

use std::fs;

/// `2 x Intel(R) Xeon(R) @ 2.80GHz, 7.8 GiB, linux 6.1.0`; what cannot be found out is left out.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map(|kib| format!(", {:.1} GiB", kib / 1_048_576.0))
        .unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} x {cpu}{memory}, {} {}", std::env::consts::OS, release.trim()).trim_end().to_owned()
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
