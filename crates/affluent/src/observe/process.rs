//! This process as the system and its own health show it. Cheap: a few small files of `/proc`.

use crate::platform::Platform;
use affluent_model::time::now_micros;
use affluent_telemetry::health::State;
use affluent_telemetry::metrics_list::{self, ProcessState};

/// Parts of a second in which Linux counts processor time, on every architecture (`USER_HZ`, see proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// Records how this process and its roles do now.
pub(crate) fn sample(platform: &Platform) {
    metrics_list::build_info(
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "checked" } else { "release" },
    );
    for (role, state) in platform.health().snapshot() {
        metrics_list::role_ready(&role, matches!(state, State::Ready | State::Degraded(_)));
    }
    let started_s = now_micros() as f64 / 1e6 - platform.uptime().as_secs_f64();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    let (Some(status), Some(stat), Some(limits)) = (read("status"), read("stat"), read("limits")) else {
        return;
    };
    let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    metrics_list::process(ProcessState { started_s, open_files, ..told(&status, &stat, &limits) });
}

/// Resident memory of this process; absent where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "VmRSS:")
}

/// What three files say, see proc(5).
fn told(status: &str, stat: &str, limits: &str) -> ProcessState {
    // The second field is a name in brackets, which may hold anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = |number: usize| {
        fields.split_whitespace().nth(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    ProcessState {
        resident_bytes: kilobytes(status, "VmRSS:").unwrap_or(0),
        virtual_bytes: kilobytes(status, "VmSize:").unwrap_or(0),
        cpu_seconds: (field(14) + field(15)) / TICKS_PER_S,
        threads: line(status, "Threads:").and_then(|text| text.parse().ok()).unwrap_or(0),
        open_files: 0,
        open_files_max: files.and_then(|text| text.split_whitespace().next()?.parse().ok()),
        started_s: 0.0,
    }
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    Some(line(status, name)?.trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_process_are_read() {
        let status = "Name:\taffluent\nVmSize:\t  2000 kB\nVmRSS:\t   10 kB\nThreads:\t7\n";
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 7 0 100 2048000 10";
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024       4096       files\n";
        let expected = ProcessState {
            resident_bytes: 10_240,
            virtual_bytes: 2_048_000,
            cpu_seconds: 3.0,
            threads: 7,
            open_files: 0,
            open_files_max: Some(1024),
            started_s: 0.0,
        };
        assert_eq!(told(status, stat, limits), expected);
        let unlimited = limits.replace("1024", "unlimited");
        assert_eq!(told("", "", &unlimited), ProcessState::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_size() {
        assert!(resident_bytes().unwrap() > 1_000_000);
    }
}
