//! Files of the host for a jail's user, without a change to them
//! (mount_setattr(2), "ID-mapped mounts").
//!
//! Purpose: in a jail, the owner of a file is the jail's user. Invariants: the
//! mapping lives in a user namespace in which no process stays; what comes of
//! it is a mount without a place, which ends with its descriptor.
//! Entry points: [`Mapping`], [`try_out`].

use std::{
    fs::{self, Metadata},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use camino::Utf8Path;
use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, open_tree},
};

use crate::{
    host_fs::{IoContext as _, PathError},
    process::command,
    sys::jail::{idle, map_owner},
};

/// What the process of a namespace in the making is called in errors.
const MAPPER: &str = "mapper";

/// A jail's user in the place of files' owners.
#[derive(Debug)]
pub(super) struct Mapping {
    id: u32,
    /// A user namespace for each owner, a user and a group.
    owners: Vec<((u32, u32), OwnedFd)>,
}

impl Mapping {
    pub(super) const fn to(id: u32) -> Self {
        Self {
            id,
            owners: Vec::new(),
        }
    }

    /// A mount of a file in which the jail's user owns it.
    pub(super) fn mount(&mut self, path: &Utf8Path, read_only: bool) -> Result<OwnedFd, PathError> {
        let metadata = fs::metadata(path).at("inspect", path)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = open_tree(CWD, path.as_str(), flags).at("mount", path)?;
        let users = self.users(&metadata).at("give to a jail's user", path)?;
        map_owner(mount.as_fd(), users.as_fd(), read_only).at("give to a jail's user", path)?;
        Ok(mount)
    }

    fn users(&mut self, file: &Metadata) -> std::io::Result<&OwnedFd> {
        let owner = (file.uid(), file.gid());
        let known = self.owners.iter().position(|(known, _)| *known == owner);
        let index = if let Some(index) = known {
            index
        } else {
            self.owners.push((owner, namespace(owner, self.id)?));
            self.owners.len() - 1
        };
        Ok(&self.owners[index].1)
    }
}

/// A user namespace that has this owner stand for the user and group `id`.
fn namespace((user, group): (u32, u32), id: u32) -> std::io::Result<OwnedFd> {
    let mut mapper = command(MAPPER);
    idle(&mut mapper, true)?;
    // it is killed when this returns
    let mapper = mapper.process_group(0).spawn()?;
    let process = mapper.id().unwrap_or_default();
    fs::write(
        format!("/proc/{process}/uid_map"),
        format!("{user} {id} 1\n"),
    )?;
    fs::write(
        format!("/proc/{process}/gid_map"),
        format!("{group} {id} 1\n"),
    )?;
    Ok(fs::File::open(format!("/proc/{process}/ns/user"))?.into())
}

/// Whether files on the file system of `directory` can be given to a jail.
pub(super) fn try_out(directory: &Utf8Path, id: u32) -> Result<(), PathError> {
    Mapping::to(id).mount(directory, true).map(drop)
}
