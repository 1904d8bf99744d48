//! The memory of a running machine's monitor: in use as `banger vm stats` tells
//! it, at rest as `/proc` does.

use std::{thread, time::Duration};

use super::{
    guest::Guest,
    processes::{Resident, parent},
    report::{Row, Section},
};
use crate::Result;

/// MiB.
const TARGET: f64 = 8.0;

/// MiB that a monitor has resident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    all: f64,
    /// Its own, without parts of files.
    anonymous: f64,
    of_files: f64,
}

/// After how long without a client a monitor is at rest, and some more.
const REST: Duration = Duration::from_secs(5);

impl Memory {
    fn of(resident: Resident) -> Self {
        let (anonymous, of_files) = (resident.anonymous << 10, resident.of_files << 10);
        Self {
            all: mebibytes(anonymous + of_files),
            anonymous: mebibytes(anonymous),
            of_files: mebibytes(of_files),
        }
    }
}

/// Looks at the memory of a guest's monitor once it is at rest, without asking
/// it: the answer would wake it up.
pub(super) fn look_at_rest(guest: &Guest<'_>) -> Result<Memory> {
    thread::sleep(REST);
    Ok(Memory::of(Resident::of(parent(guest.vmm)?)?))
}

/// Has the monitor tell its memory.
pub(super) fn ask(guest: &Guest<'_>) -> Result<Memory> {
    let stats = guest.host.json(&["vm", "stats", &guest.machine.name])?;
    let told = stats[0]["running"]["monitor_memory_bytes"].as_u64();
    let told = told.ok_or_else(|| format!("no memory is told: {stats}"))?;
    Ok(Memory {
        all: mebibytes(told),
        ..Memory::of(Resident::of(parent(guest.vmm)?)?)
    })
}

/// The memory at rest before anything was asked of the guest, right after the
/// last command, and at rest again.
pub(super) fn section(looks: [Memory; 3]) -> Section {
    let mut rows = Vec::new();
    let times = [
        "at rest, after the boot",
        "right after use",
        "at rest again",
    ];
    for (when, memory) in times.into_iter().zip(looks) {
        let all = Row::single(format!("monitor, {when}"), "MiB", memory.all);
        rows.push(all.at_most(TARGET));
        rows.push(Row::single("  its own", "MiB", memory.anonymous));
        rows.push(Row::single(
            "  of files, shared by all",
            "MiB",
            memory.of_files,
        ));
    }
    Section {
        title: "Resident memory of a monitor".to_owned(),
        notes: vec![
            "use: all of the above, and the question (`banger vm stats`); rest: some seconds without a client, by /proc".to_owned(),
        ],
        rows,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody has 2^52 bytes of memory"
)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn memory_is_its_own_and_that_of_files() {
        let memory = Memory::of(Resident {
            anonymous: 2048,
            of_files: 6144,
        });
        let rows = section([memory; 3]).rows;
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(medians[..3], [8.0, 2.0, 6.0]);
        assert_eq!(medians.len(), 9);
    }
}
