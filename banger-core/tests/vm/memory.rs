//! What a monitor keeps in memory for as long as its VM runs.

use std::fs;

use banger_core::vm::VmSupervisor as _;

use super::fixture::{Host, block_on};

/// Most memory of a monitor.
const LIMIT: u64 = 8 << 20;
/// What goes through it before it is looked at.
const STREAM: &str = "head -c 8388608 /dev/zero";

/// What is resident of a monitor besides its own memory is its program, which
/// in tests is this one, many times as large as banger's: so the limit for all
/// of it is held by `cargo xtask bench vm`, with a release build.
pub(crate) fn a_small_monitor() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("small").await;
        host.start(&vm).await;
        let (_, output, _) = host.shell(&vm, STREAM).await;
        assert_eq!(output.len(), 8 << 20);
        let [monitor] = monitors(&host).try_into().unwrap();
        let (anonymous, of_files) = (resident(monitor, "RssAnon"), resident(monitor, "RssFile"));
        assert!(anonymous <= LIMIT, "{anonymous}");
        let stats = host.vms.stats(&vm).await.unwrap();
        let told = stats.running.unwrap().monitor_memory.get();
        // it counts both, a moment later
        assert!(anonymous < told, "{anonymous} {told}");
        assert!(told <= 2 * (anonymous + of_files), "{told} {of_files}");
        let deleted = host.vms.delete(&vm, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

fn monitors(host: &Host) -> Vec<i32> {
    let is_monitor = |id: &i32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("__monitor")
    };
    host.processes().into_iter().filter(is_monitor).collect()
}

/// A line of `/proc/pid/status` (proc(5)), in bytes.
fn resident(process: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name).unwrap();
    let kibibytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
