//! Running one pipeline and measuring it.

use std::{ffi::OsString, fs, path::Path, process::Command, time::Instant};

use serde_json::Value;

use crate::{
    Result,
    paths::failed_at,
    run::{capture, command, run},
};

/// One run of a pipeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// Of the largest of its processes.
    pub(super) peak_kibibytes: u64,
    /// Of the disk that banger made.
    pub(super) disk: Option<Disk>,
}

/// What banger says of a disk that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) entries: u64,
    pub(super) content: u64,
    /// Content in whole blocks.
    pub(super) stored: u64,
    pub(super) metadata: u64,
    pub(super) written: u64,
}

impl Disk {
    /// Reads the JSON of `banger rootfs build`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| value[name].as_u64();
        Some(Self {
            entries: number("entries")?,
            content: number("content_bytes")?,
            stored: number("stored_bytes")?,
            metadata: number("metadata_bytes")?,
            written: number("written_bytes")?,
        })
    }
}

/// Runs a program to its end. What was written before is on the disk by then,
/// so that nobody pays for another.
pub(super) fn measure(child: &Command, scratch: &Path) -> Result<Sample> {
    run(&mut command("sync", scratch))?;
    let peak = scratch.join("peak");
    let mut timed = timed(child, &peak);
    let started = Instant::now();
    let printed = capture(&mut timed)?;
    let seconds = started.elapsed().as_secs_f64();
    let text = fs::read_to_string(&peak).map_err(failed_at(&peak))?;
    Ok(Sample {
        seconds,
        peak_kibibytes: parse_peak(&text)?,
        disk: Disk::parse(&printed),
    })
}

/// The program beneath GNU time, which asks the kernel for the memory that the
/// largest of all descendants held.
fn timed(child: &Command, peak: &Path) -> Command {
    let directory = child.get_current_dir().unwrap_or(Path::new("/"));
    let mut timed = command("/usr/bin/time", directory);
    let mut output = OsString::from("--output=");
    output.push(peak);
    timed
        .arg("--format=%M")
        .arg(output)
        .arg(child.get_program())
        .args(child.get_args());
    for (name, value) in child.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    timed
}

fn parse_peak(text: &str) -> Result<u64> {
    let last = text.lines().last().unwrap_or_default();
    last.parse()
        .map_err(|_| format!("the peak of memory is no number: {text}"))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_disk_is_read_from_json() {
        let text = r#"{"entries": 4, "content_bytes": 3, "stored_bytes": 5, "metadata_bytes": 2,
                       "written_bytes": 1, "layers": []}"#;
        let disk = Disk {
            entries: 4,
            content: 3,
            stored: 5,
            metadata: 2,
            written: 1,
        };
        assert_eq!(Disk::parse(text), Some(disk));
        assert_eq!(Disk::parse("{}"), None);
        assert_eq!(Disk::parse(""), None);
    }

    #[test]
    fn the_peak_is_the_last_line() {
        assert_eq!(parse_peak("1234\n"), Ok(1234));
        assert!(parse_peak("").is_err());
    }
}
