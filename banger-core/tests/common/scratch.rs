//! A directory for the state of one test's banger, and what runs out of it.
//!
//! Invariant: no machine outlives the test that started it. Its monitor is
//! found by the file that it was started with; the VMM ends with it.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};

/// The option by which a monitor is told its machine.
const LAUNCH: &[u8] = b"--launch";

/// A temporary directory.
#[derive(Debug)]
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for monitor in monitors_in(self.path()) {
            // one that has ended meanwhile is as good
            kill_process(monitor, Signal::KILL).ok();
        }
    }
}

fn monitors_in(directory: &Utf8Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let id = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let ids = processes.filter_map(id).filter_map(Pid::from_raw);
    ids.filter(|id| launched(*id).is_some_and(|launch| launch.starts_with(directory)))
        .collect()
}

/// What a process was told to launch, if it is a monitor.
fn launched(process: Pid) -> Option<Utf8PathBuf> {
    let path = format!("/proc/{}/cmdline", process.as_raw_nonzero());
    let command_line = fs::read(path).ok()?;
    let mut words = command_line.split(|byte| *byte == 0);
    words.find(|word| *word == LAUNCH)?;
    String::from_utf8(words.next()?.to_vec())
        .ok()
        .map(Into::into)
}
