//! What a snapshot's directory holds beside the VMM's own files: the machine's
//! description, `machine.json`, and copies of the disks that are its own.
//!
//! Purpose: a monitor keeps a machine, a supervisor makes another of it.
//! Invariants: what is the machine's own lies in the directory, under the name
//! it has in the VM's; what it shares with others is named, with what tells
//! whether it has changed since. Entry points: [`Kept`].

use std::{fs, os::unix::fs::MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    files::VmFiles,
    launch::{Launch, LaunchError},
};
use crate::host_fs::{IoContext as _, PathError, write_atomically};

/// The description's file.
const MACHINE: &str = "machine.json";
/// The lock of the monitor that is at work in a directory, even when whoever
/// asked for it is gone. It is there only meanwhile.
pub(super) const KEEPING: &str = "keeping.lock";

/// A machine that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// How it was started.
    pub(super) launch: Launch,
    /// The disks that are not its own.
    pub(super) shared: Vec<SharedDisk>,
}

/// A disk that a kept machine only read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedDisk {
    path: String,
    bytes: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFile {
    launch: Value,
    shared: Vec<SharedDisk>,
}

impl Kept {
    /// Describes a machine that runs.
    pub(super) fn describe(launch: &Launch) -> Result<Self, PathError> {
        let own = own_files(launch);
        let disks = launch.machine.disks.iter().map(|disk| &disk.path);
        let shared = disks.filter(|path| !own.contains(path));
        Ok(Self {
            launch: launch.clone(),
            shared: shared
                .map(|path| SharedDisk::inspect(path))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The files that are the machine's own and are copied.
    pub(super) fn own_files(&self) -> Vec<&Utf8PathBuf> {
        own_files(&self.launch)
    }

    /// The names of these, as they lie in the snapshot's directory.
    pub(super) fn own_names(&self) -> Vec<String> {
        let names = own_files(&self.launch).into_iter();
        names
            .filter_map(|path| path.file_name().map(str::to_owned))
            .collect()
    }

    /// A shared disk that is not what it was, if there is one.
    pub(super) fn changed_disk(&self) -> Result<Option<&str>, PathError> {
        for disk in &self.shared {
            if SharedDisk::inspect(Utf8Path::new(&disk.path))? != *disk {
                return Ok(Some(&disk.path));
            }
        }
        Ok(None)
    }

    /// The same machine as another VM, whose own files are `files`.
    pub(super) fn moved_to(&self, files: &VmFiles) -> Launch {
        let mut launch = self.launch.clone();
        let former = files_of(&self.launch);
        let moved = |path: &mut Utf8PathBuf| {
            if let Ok(name) = path.strip_prefix(&former.directory) {
                *path = files.directory.join(name);
            }
        };
        launch
            .machine
            .disks
            .iter_mut()
            .for_each(|disk| moved(&mut disk.path));
        launch.machine.initrd.iter_mut().for_each(moved);
        launch
    }

    /// Writes the description.
    pub(super) fn save(&self, directory: &Utf8Path) -> Result<(), PathError> {
        let path = directory.join(MACHINE);
        let encode = || {
            serde_json::to_vec_pretty(&KeptFile {
                launch: self.launch.to_json()?,
                shared: self.shared.clone(),
            })
        };
        let content = encode().map_err(std::io::Error::other);
        write_atomically(&path, &content.at("encode", &path)?)
    }

    /// Reads the description.
    pub(super) fn load(directory: &Utf8Path) -> Result<Self, LaunchError> {
        let path = directory.join(MACHINE);
        let content = fs::read(&path).at("read", &path)?;
        let malformed = |problem| LaunchError::Malformed {
            path: path.clone(),
            problem,
        };
        let file: KeptFile =
            serde_json::from_slice(&content).map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            launch: Launch::from_json(file.launch).map_err(malformed)?,
            shared: file.shared,
        })
    }
}

/// Where the files of the VM that was started so lie.
fn files_of(launch: &Launch) -> VmFiles {
    VmFiles::new(&launch.directories, launch.vm)
}

/// Disks and initrd that lie in the VM's directory.
fn own_files(launch: &Launch) -> Vec<&Utf8PathBuf> {
    let files = files_of(launch);
    let disks = launch.machine.disks.iter().map(|disk| &disk.path);
    let all = disks.chain(&launch.machine.initrd);
    all.filter(|path| path.starts_with(&files.directory))
        .collect()
}

impl SharedDisk {
    fn inspect(path: &Utf8Path) -> Result<Self, PathError> {
        let metadata = path.metadata().at("inspect", path)?;
        Ok(Self {
            path: path.to_string(),
            bytes: metadata.len(),
            modified_seconds: metadata.mtime(),
            modified_nanoseconds: metadata.mtime_nsec(),
        })
    }
}
