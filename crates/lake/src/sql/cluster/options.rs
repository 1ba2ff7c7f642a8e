//! The checked configuration of a cluster's nodes: sections `[batch_scheduler]` and `[batch_executor]`.

use super::ClusterAddress;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const SCHEDULER_PORT: u16 = 50_050;
const EXECUTOR_PORT: u16 = 50_051;
const CONTROL_PORT: u16 = 50_052;

/// The node that divides queries among the executors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerOptions {
    /// Address that it listens on.
    pub listen: SocketAddr,
    /// Host under which the executors reach it; empty: the one of `listen`.
    pub advertised_host: String,
}

/// A node that computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorOptions {
    /// The scheduler it works for.
    pub scheduler: ClusterAddress,
    /// Address from which rows are fetched.
    pub listen: SocketAddr,
    /// Port, on the host of `listen`, on which it is given work.
    pub control_port: u16,
    /// Host under which the others reach it; empty: the one of `listen`.
    pub advertised_host: String,
    /// Directory of rows between the steps of a query, and of what does not fit into memory.
    pub work_dir: PathBuf,
    /// Parts of queries that run at once; 0: as many as the machine has cores.
    pub concurrent_tasks: usize,
    /// Memory of sorts, joins and groups of all of them, in bytes.
    pub memory_bytes: u64,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        SchedulerOptions { listen: (LOOPBACK, SCHEDULER_PORT).into(), advertised_host: String::new() }
    }
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        ExecutorOptions {
            scheduler: ClusterAddress { host: "127.0.0.1".to_owned(), port: SCHEDULER_PORT },
            listen: (LOOPBACK, EXECUTOR_PORT).into(),
            control_port: CONTROL_PORT,
            advertised_host: String::new(),
            work_dir: PathBuf::from("data/batch-executor"),
            concurrent_tasks: 0,
            memory_bytes: 1 << 30,
        }
    }
}

impl SchedulerOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_port("listen", self.listen.port())?;
        self.host().map(drop)
    }

    pub(super) fn host(&self) -> Result<String, String> {
        advertised(&self.advertised_host, self.listen)
    }
}

impl ExecutorOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_port("listen", self.listen.port())?;
        check_port("control_port", self.control_port)?;
        if self.control_port == self.listen.port() {
            return Err("control_port is the port of listen: give it another one".to_owned());
        }
        if self.memory_bytes < 16 << 20 {
            return Err(format!("memory_bytes = {} is below {}", self.memory_bytes, 16 << 20));
        }
        if self.concurrent_tasks > 1_024 {
            return Err(format!("concurrent_tasks = {} is above 1024", self.concurrent_tasks));
        }
        if self.work_dir.as_os_str().is_empty() {
            return Err("work_dir is empty".to_owned());
        }
        self.host().map(drop)
    }

    pub(super) fn host(&self) -> Result<String, String> {
        advertised(&self.advertised_host, self.listen)
    }
}

/// Others are told the port, so it cannot be left to the system.
fn check_port(key: &str, port: u16) -> Result<(), String> {
    if port == 0 { Err(format!("{key} needs a port: the other nodes are told it")) } else { Ok(()) }
}

fn advertised(host: &str, listen: SocketAddr) -> Result<String, String> {
    match host {
        "" if listen.ip().is_unspecified() => Err(format!(
            "advertised_host is empty, and listen = \"{listen}\" is every address of the machine: name the host under \
             which the other nodes reach this one"
        )),
        "" => Ok(match listen {
            SocketAddr::V4(listen) => listen.ip().to_string(),
            SocketAddr::V6(listen) => format!("[{}]", listen.ip()),
        }),
        host => Ok(host.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        SchedulerOptions::default().check().unwrap();
        ExecutorOptions::default().check().unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 7));
        let scheduler = |listen, host: &str| SchedulerOptions { listen, advertised_host: host.to_owned() };
        assert!(scheduler(everywhere, "").check().unwrap_err().contains("advertised_host"));
        assert_eq!(scheduler(everywhere, "node-1").host().unwrap(), "node-1");
        assert!(scheduler(SocketAddr::from((LOOPBACK, 0)), "").check().unwrap_err().contains("listen"));
        let executor = ExecutorOptions { control_port: EXECUTOR_PORT, ..ExecutorOptions::default() };
        assert!(executor.check().unwrap_err().contains("control_port"));
        let executor = ExecutorOptions { memory_bytes: 5, ..ExecutorOptions::default() };
        assert!(executor.check().unwrap_err().contains("memory_bytes = 5"));
    }
}
