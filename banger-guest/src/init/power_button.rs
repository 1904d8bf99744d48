//! The machine's power button, by which the host asks for power-off when the
//! agent does not answer.
//!
//! The kernel's driver makes the button an input device; process 1 has no loop
//! to read it in, so the device signals it (fcntl(2), `F_SETSIG`).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{console, files, sys};

/// Input devices (the kernel's Documentation/input/input.rst).
const DEVICES: &str = "/sys/class/input";
/// The driver's name for a button (Linux `drivers/acpi/button.c`).
const NAME: &[u8] = b"Power Button";
/// What the button's event device begins with.
const EVENT_PREFIX: &str = "event";

/// Has every power button send `signal` to this process for as long as the
/// answer lives. A machine without one has none.
pub(super) fn watch(signal: i32) -> Vec<File> {
    let buttons = buttons().unwrap_or_default();
    let watched = buttons.iter().filter_map(|path| {
        let watched = watch_one(path, signal);
        let report = |error: &io::Error| {
            console::line(format_args!("{}: {error}", path.display()));
        };
        watched.inspect_err(report).ok()
    });
    watched.collect()
}

fn watch_one(path: &Path, signal: i32) -> io::Result<File> {
    let device = File::open(path)?;
    sys::signal_when_readable(&device, signal)?;
    Ok(device)
}

/// The event devices of the power buttons.
fn buttons() -> io::Result<Vec<PathBuf>> {
    let mut buttons = Vec::new();
    for entry in fs::read_dir(DEVICES)? {
        let entry = entry?;
        let is_event = entry
            .file_name()
            .to_string_lossy()
            .starts_with(EVENT_PREFIX);
        let name = files::read(&entry.path().join("device/name")).unwrap_or_default();
        if is_event && name.trim_ascii() == NAME {
            buttons.push(Path::new("/dev/input").join(entry.file_name()));
        }
    }
    Ok(buttons)
}
