//! What VMs cost their host.

use banger_core::vm::{RunningStats, VmStats};
use serde::Serialize;

use super::table;

/// What a VM costs, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmStatsOutput {
    id: String,
    name: String,
    state: &'static str,
    disk_bytes: u64,
    running: Option<RunningOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RunningOutput {
    cpu_milliseconds: u64,
    memory_bytes: u64,
    monitor_memory_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    calls: u32,
}

impl From<&VmStats> for VmStatsOutput {
    fn from(stats: &VmStats) -> Self {
        Self {
            id: stats.vm.id.to_string(),
            name: stats.vm.name.to_string(),
            state: stats.vm.state.as_str(),
            disk_bytes: stats.disk.get(),
            running: stats.running.map(|running| RunningOutput {
                cpu_milliseconds: u64::try_from(running.cpu.as_millis()).unwrap_or(u64::MAX),
                memory_bytes: running.memory.get(),
                monitor_memory_bytes: running.monitor_memory.get(),
                read_bytes: running.read.get(),
                written_bytes: running.written.get(),
                calls: running.calls,
            }),
        }
    }
}

/// What VMs cost, for people.
#[must_use]
pub fn vm_stats_table(stats: &[VmStats]) -> String {
    let head = [
        "NAME", "STATE", "CPU TIME", "MEMORY", "READ", "WRITTEN", "DISK", "CALLS",
    ];
    let row = |stats: &VmStats| {
        let of = |text: &dyn Fn(&RunningStats) -> String| {
            stats.running.as_ref().map_or_else(|| "-".to_owned(), text)
        };
        vec![
            stats.vm.name.to_string(),
            stats.vm.state.as_str().to_owned(),
            of(&|running| format!("{:.1}s", running.cpu.as_secs_f64())),
            of(&|running| running.memory.to_string()),
            of(&|running| running.read.to_string()),
            of(&|running| running.written.to_string()),
            stats.disk.to_string(),
            of(&|running| running.calls.to_string()),
        ]
    };
    table(&head, &stats.iter().map(row).collect::<Vec<_>>())
}
