//! A disk that can be filled, under an installation.

use crate::installation::{Installation, Shell};
use affluent_testkit::Database;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where an installation keeps its data, with an end to the room.
pub(crate) enum Disk {
    /// A small file system of its own, where this process may mount one.
    Mounted(PathBuf),
    /// Else: no file of the process may grow.
    Limited,
}

impl Disk {
    /// An installation whose data is on a disk of so many megabytes.
    pub(crate) fn make(database: &Database, size_mb: u64) -> (Self, Installation) {
        let directory = std::env::temp_dir().join(affluent_testkit::unique("affluent-system"));
        let mounted = directory.join("disk");
        std::fs::create_dir_all(&mounted).unwrap();
        let asked = std::env::var_os("AFFLUENT_TEST_DISK").is_none_or(|how| how != "limit");
        if asked && mount(&mounted, size_mb) {
            eprintln!("the disk is a small tmpfs");
            let installation = Installation::with_data_in(&mounted.join("data"), directory, database, "");
            return (Disk::Mounted(mounted), installation);
        }
        eprintln!("the disk is a limit of the file size: mounting is not permitted");
        let installation = Installation::with_data_in(&directory.join("data"), directory, database, "");
        (Disk::Limited, installation.through(Shell::IgnoreFileLimit))
    }

    fn ballast(directory: &Path) -> PathBuf {
        directory.join("ballast")
    }

    /// Leaves no room to these processes.
    pub(crate) fn fill(&mut self, processes: &[u32]) {
        match self {
            Disk::Mounted(directory) => fill(&Self::ballast(directory)),
            Disk::Limited => processes.iter().for_each(|&process| limit_files(process, "0:unlimited")),
        }
    }

    /// Gives the room back.
    pub(crate) fn empty(&mut self, processes: &[u32]) {
        match self {
            Disk::Mounted(directory) => std::fs::remove_file(Self::ballast(directory)).unwrap(),
            Disk::Limited => {
                processes.iter().for_each(|&process| limit_files(process, "unlimited:unlimited"));
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Disk::Mounted(directory) = self {
            let _ = Command::new("umount").arg("--lazy").arg(directory).status();
        }
    }
}

fn mount(directory: &Path, size_mb: u64) -> bool {
    let mut command = Command::new("mount");
    let options = format!("size={size_mb}m,mode=0755");
    command.args(["-t", "tmpfs", "-o", &options, "affluent-test"]).arg(directory);
    command.output().is_ok_and(|output| output.status.success())
}

fn limit_files(process: u32, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &process.to_string(), &format!("--fsize={limit}")]);
    assert!(command.status().expect("prlimit of util-linux").success());
}

/// Writes until there is no room.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    let block = vec![0; 1 << 20];
    let mut size = block.len();
    while size > 0 {
        match file.write(&block[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
            Err(error) => panic!("fill the disk: {error}"),
        }
    }
}
