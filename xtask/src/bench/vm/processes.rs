//! What `/proc` tells of processes (proc(5)). Parsing is pure.

use std::{fs, path::PathBuf};

use crate::{Result, paths::failed_at};

/// A process's arguments, its program first.
pub(super) fn arguments(process: u32) -> Result<Vec<String>> {
    Ok(words(&read(process, "cmdline")?))
}

/// The process that made it.
pub(super) fn parent(process: u32) -> Result<u32> {
    let status = read(process, "status")?;
    let parent = field(&status, "PPid").and_then(|parent| u32::try_from(parent).ok());
    parent.ok_or_else(|| format!("process {process} has no parent"))
}

/// A process's resident memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resident {
    /// Its own.
    pub(super) anonymous: u64,
    /// Parts of files, its program above all.
    pub(super) of_files: u64,
}

impl Resident {
    pub(super) fn of(process: u32) -> Result<Self> {
        let status = read(process, "status")?;
        Self::parse(&status).ok_or_else(|| format!("process {process} tells no memory"))
    }

    fn parse(status: &str) -> Option<Self> {
        Some(Self {
            anonymous: field(status, "RssAnon")?,
            of_files: field(status, "RssFile")?,
        })
    }
}

fn read(process: u32, file: &str) -> Result<String> {
    let path = PathBuf::from(format!("/proc/{process}/{file}"));
    fs::read_to_string(&path).map_err(failed_at(&path))
}

fn words(cmdline: &str) -> Vec<String> {
    cmdline.split_terminator('\0').map(str::to_owned).collect()
}

/// The number of a line as `Name: 123 kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn memory_is_told_apart() {
        let status = "Name:\tx\nPPid:\t7\nRssAnon:\t    4 kB\nRssFile:\t   12 kB\n";
        let resident = Resident {
            anonymous: 4,
            of_files: 12,
        };
        assert_eq!(Resident::parse(status), Some(resident));
        assert_eq!(field(status, "PPid"), Some(7));
        assert_eq!(Resident::parse("RssAnon:\t4 kB\n"), None);
    }

    #[test]
    fn empty_arguments_are_arguments() {
        assert_eq!(words("a\0\0b c\0"), ["a", "", "b c"]);
    }
}
