//! The processes of one state directory, found by what the kernel says of them.

use std::{fmt, fs};

use banger_core::vmm::JailIds;
use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};

use super::ground::Ground;

/// What a process is to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Asks for something.
    Client,
    /// Owns the running VM.
    Monitor,
    /// Runs the machine.
    Vmm,
    /// Carries its network.
    Helper,
    /// Ends the machine's process with the monitor, where that is jailed.
    Keeper,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [
        Self::Client,
        Self::Monitor,
        Self::Vmm,
        Self::Helper,
        Self::Keeper,
    ];

    pub(crate) fn named(name: &str) -> Self {
        let named = Self::ALL.into_iter().find(|role| role.to_string() == name);
        named.unwrap_or_else(|| panic!("{name:?} is no process of a VM"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Monitor => "monitor",
            Self::Vmm => "vmm",
            Self::Helper => "helper",
            Self::Keeper => "keeper",
        })
    }
}

/// A process that names the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Living {
    pub(crate) id: i32,
    pub(crate) role: Role,
    pub(crate) command_line: String,
}

/// Every process whose command line or working directory lies in a state
/// directory, or whose user is one of its jails'.
pub(crate) fn of(root: &Utf8Path) -> Vec<Living> {
    let jails = Ground::jails(root);
    let in_root = |id: i32| {
        let line = fs::read(process(id).join("cmdline")).ok()?;
        let command_line = String::from_utf8_lossy(&line).replace('\0', " ");
        let works_there = fs::read_link(process(id).join("cwd"))
            .is_ok_and(|directory| directory.starts_with(root.as_std_path()));
        let is_jailed = || jails.is_some_and(|ids| is_of(id, ids)) && !line.is_empty();
        let is_ours = works_there || command_line.contains(root.as_str()) || is_jailed();
        is_ours.then(|| Living {
            id,
            role: role(id, &command_line),
            command_line,
        })
    };
    ids().filter_map(in_root).collect()
}

/// What lives of one state directory.
pub(crate) fn roles(root: &Utf8Path) -> Vec<Role> {
    let mut roles: Vec<_> = of(root).iter().map(|living| living.role).collect();
    roles.sort();
    roles.dedup();
    roles
}

fn role(id: i32, command_line: &str) -> Role {
    let program = command_line.split(' ').next().unwrap_or_default();
    match Utf8Path::new(program).file_name() {
        Some("firecracker" | "jailer") => Role::Vmm,
        Some("slirp4netns") => Role::Helper,
        // what a monitor's child is that has not become what it is to be
        _ if command_line.contains(" __monitor ") && lives_apart(id) => Role::Keeper,
        _ if command_line.contains(" __monitor ") => Role::Monitor,
        _ => Role::Client,
    }
}

fn lives_apart(id: i32) -> bool {
    let of = |id: &str, kind| fs::read_link(format!("/proc/{id}/ns/{kind}")).ok();
    ["pid", "user"].into_iter().any(|kind| {
        let its = of(&id.to_string(), kind);
        its.is_some() && its != of("self", kind)
    })
}

/// Whether a process has one of these users (proc(5), `status`).
fn is_of(id: i32, users: JailIds) -> bool {
    let status = fs::read_to_string(process(id).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    user.is_some_and(|user| (users.first()..=users.last()).contains(&user))
}

/// The network and user namespaces that a process lives in, if not the host's.
pub(crate) fn namespaces(id: i32) -> Vec<String> {
    let of = |id: &str, kind| {
        let link = fs::read_link(format!("/proc/{id}/ns/{kind}")).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    let its_own =
        |kind| of(&id.to_string(), kind).filter(|it| of("self", kind).as_ref() != Some(it));
    ["net", "user"].into_iter().filter_map(its_own).collect()
}

/// The processes that live in one of these namespaces, or hold it open, and did
/// so at that time: the kernel gives the numbers of old ones to new ones.
pub(crate) fn inhabitants((time, wanted): (u64, Vec<String>)) -> Vec<i32> {
    let lives_there =
        |id: &i32| namespaces(*id).iter().any(|it| wanted.contains(it)) || holds(*id, &wanted);
    let is_old = |id: &i32| started(*id).is_some_and(|then| then < time);
    ids().filter(is_old).filter(lives_there).collect()
}

/// When a process started, in the kernel's ticks since the boot (proc(5), `stat`).
fn started(id: i32) -> Option<u64> {
    let stat = fs::read_to_string(process(id).join("stat")).ok()?;
    // a name may hold spaces; the state, the third field, follows it
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// The time now, in the same ticks.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap();
    let ticks = rustix::param::clock_ticks_per_second();
    seconds * ticks + nanoseconds * ticks / 1_000_000_000
}

fn holds(id: i32, wanted: &[String]) -> bool {
    let open = fs::read_dir(process(id).join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| wanted.iter().any(|it| link.to_str() == Some(it.as_str())))
}

pub(crate) fn kill(id: i32) {
    // it may have ended by itself meanwhile
    kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).ok();
}

fn ids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn process(id: i32) -> Utf8PathBuf {
    format!("/proc/{id}").into()
}

/// Whether a process that was killed is not through with it: it has no command
/// line any more some moments before it lets go of its files (proc(5), `stat`).
pub(crate) fn is_ending(id: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}
