//! Finding the disks by the serial numbers the host gave them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::boot_config::RootDisks;
use super::stage::Cause;
use crate::files;

/// Where the kernel lists disks; a virtio disk has a file `serial`.
const DISKS: &str = "/sys/block";
/// How long the disks may take to appear.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked.
const PERIOD: Duration = Duration::from_millis(5);

/// A disk that did not appear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no disk with serial {wanted:?} appeared within 15 s (there are: {seen})")]
pub(super) struct MissingDisk {
    wanted: String,
    seen: String,
}

/// A disk as the kernel lists it.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    serial: String,
    device: PathBuf,
}

/// The devices of the root's disks, waiting until they are there.
pub(super) fn find(root: &RootDisks<String>) -> Result<RootDisks<PathBuf>, Cause> {
    let end = Instant::now() + PATIENCE;
    let find = |serial: &str| wait_for(serial, end);
    Ok(match root {
        RootDisks::Overlay { base, writable } => RootDisks::Overlay {
            base: find(base)?,
            writable: find(writable)?,
        },
        RootDisks::Plain(serial) => RootDisks::Plain(find(serial)?),
    })
}

/// The device of one disk, waiting until it is there.
pub(super) fn find_one(serial: &str) -> Result<PathBuf, MissingDisk> {
    wait_for(serial, Instant::now() + PATIENCE)
}

fn wait_for(wanted: &str, end: Instant) -> Result<PathBuf, MissingDisk> {
    loop {
        let disks = list(Path::new(DISKS));
        let disk = disks.iter().find(|disk| disk.serial == wanted);
        if let Some(disk) = disk.filter(|disk| disk.device.exists()) {
            return Ok(disk.device.clone());
        }
        if end <= Instant::now() {
            return Err(missing(wanted, &disks));
        }
        std::thread::sleep(PERIOD);
    }
}

fn missing(wanted: &str, disks: &[Disk]) -> MissingDisk {
    let seen: Vec<_> = disks
        .iter()
        .map(|disk| format!("{} {:?}", disk.device.display(), disk.serial))
        .collect();
    MissingDisk {
        wanted: wanted.to_owned(),
        seen: if seen.is_empty() {
            "none".to_owned()
        } else {
            seen.join(", ")
        },
    }
}

fn list(directory: &Path) -> Vec<Disk> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let disks = entries.filter_map(Result::ok).filter_map(|entry| {
        let serial = files::read(&entry.path().join("serial")).ok()?;
        Some(Disk {
            serial: String::from_utf8_lossy(serial.trim_ascii()).into_owned(),
            device: Path::new("/dev").join(entry.file_name()),
        })
    });
    disks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_without_a_serial_are_passed_over() {
        let blocks = tempfile::tempdir().unwrap();
        for (name, serial) in [("vda", Some("base\n")), ("loop0", None), ("vdb", Some(""))] {
            fs::create_dir(blocks.path().join(name)).unwrap();
            if let Some(serial) = serial {
                fs::write(blocks.path().join(name).join("serial"), serial).unwrap();
            }
        }
        let mut disks = list(blocks.path());
        disks.sort_by(|a, b| a.device.cmp(&b.device));
        let found: Vec<_> = disks.iter().map(|disk| disk.serial.as_str()).collect();
        assert_eq!(found, ["base", ""]);
        assert_eq!(
            missing("x", &disks).to_string(),
            "no disk with serial \"x\" appeared within 15 s (there are: /dev/vda \"base\", /dev/vdb \"\")"
        );
    }
}
