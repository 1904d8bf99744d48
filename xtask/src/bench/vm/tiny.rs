//! A guest of a few instructions that writes to its console: it boots on every
//! backend at once, also where Linux does not or takes seconds.
//!
//! The end point of its starts is the first byte on that console. Entry
//! points: [`register`], [`create`], [`by_banger`].

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    host::{Host, Machine},
    start::{Start, start},
    timeline::LAUNCHED,
};
use crate::{
    Result,
    paths::{failed_at, workspace},
    run::{capture, command},
};

// what the backends' own tests boot
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with tests, which use more of it and fail by a panic"
)]
#[path = "../../../../banger-core/src/vmm/contract/guest.rs"]
mod tiny_guest;

/// How long the VMM, or its guest's first word, may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// How often is looked for either.
const PERIOD: Duration = Duration::from_micros(200);

const IMAGE: &str = "tiny";
/// The file of its kernel.
pub(super) const KERNEL: &str = "tiny.elf";
/// Its memory.
pub(super) const MEBIBYTES: u32 = 128;
const OPTIONS: [&str; 8] = [
    "--network",
    "none",
    "--boot",
    "native",
    "--memory",
    "128MiB",
    "--disk",
    "16MiB",
];

/// Makes an image of the guest and an empty disk, once.
pub(super) fn register(host: &Host) -> Result<()> {
    let (kernel, disk) = (path(host, KERNEL), path(host, "tiny.ext4"));
    if disk.exists() {
        return Ok(());
    }
    fs::write(&kernel, tiny_guest::counter()).map_err(failed_at(&kernel))?;
    capture(
        command("mkfs.ext4", workspace())
            .args(["-q", "-F"])
            .arg(&disk)
            .arg("16M"),
    )?;
    let mut register = host.command(&["image", "register", IMAGE, "--rootfs"]);
    register.arg(&disk).arg("--kernel-path").arg(&kernel);
    capture(&mut register).map(drop)
}

/// A file beside banger's state.
pub(super) fn path(host: &Host, name: &str) -> PathBuf {
    host.directory().join(name)
}

/// Makes a machine of it.
pub(super) fn create<'a>(host: &'a Host, name: &str, backend: &str) -> Result<Machine<'a>> {
    let options = [&["--backend", backend], OPTIONS.as_slice()].concat();
    Machine::create(host, name, IMAGE, &options)
}

/// The one disk of a machine.
pub(super) fn disk(machine: &Machine<'_>) -> Result<PathBuf> {
    let disk = machine.directory().join("root.ext4");
    if disk.exists() {
        Ok(disk)
    } else {
        Err(format!("{} is not there", disk.display()))
    }
}

/// Starts one, until the guest's first word is in the console's log.
pub(super) fn by_banger(host: &Host, backend: &str) -> Result<Start> {
    let machine = create(host, "by-banger", backend)?;
    let console = machine.directory().join("console.log");
    start(host, &machine, LAUNCHED, || {
        wait_for("the guest's first word", || {
            fs::metadata(&console).is_ok_and(|console| console.len() != 0)
        })
    })
}

/// Waits until it is there.
pub(super) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_there() {
        if DEADLINE < started.elapsed() {
            return Err(format!("{what} did not come within {DEADLINE:?}"));
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_guests_size_is_what_banger_is_told() {
        assert!(OPTIONS.contains(&format!("{MEBIBYTES}MiB").as_str()));
    }
}
