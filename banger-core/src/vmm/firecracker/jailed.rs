//! Firecracker in its jail: everything of the host has a name in there.

use std::io;

use tokio::process::Command;

use super::{
    API_SOCKET, CHANNEL_SOCKET,
    client::Client,
    disk_link, id,
    machine::{Machine, Names, Plan, files},
    metrics,
};
use crate::{
    host_fs::IoContext as _,
    step::reached,
    vmm::{
        BackendError, Channel, ChosenJail,
        jail::{Confinement, Jail, JailRequest, LOG},
        process::VmmRequest,
    },
};

/// The files of a machine in its jail.
pub(super) const NAMES: Names<'static> = Names {
    kernel: "kernel",
    initrd: "initrd",
    state: "kept.state",
    memory: "kept.memory",
};

/// What a machine in a jail is started by.
pub(super) struct Jailed {
    pub(super) command: Command,
    pub(super) machine: Machine,
    pub(super) channel: Channel,
    pub(super) confinement: Confinement,
}

pub(super) fn prepare(
    request: &VmmRequest<'_>,
    chosen: &ChosenJail,
) -> Result<Jailed, BackendError> {
    let directory = request.directory;
    let user = request.jail_id.ok_or_else(|| {
        let problem = io::Error::other("no user was reserved for its jail");
        BackendError::Spawn {
            program: chosen.program.to_string(),
            source: problem,
        }
    })?;
    let mut jail = Jail::make(&JailRequest {
        chosen,
        program: &request.backend.program,
        directory,
        name: &id(directory),
        id: user,
    })?;
    let machine = request.machine;
    let plan = match request.snapshot {
        None => {
            jail.give(&machine.kernel, NAMES.kernel, true)?;
            if let Some(initrd) = &machine.initrd {
                jail.give(initrd, NAMES.initrd, true)?;
            }
            // they are what it is kept in
            jail.keep_place(NAMES.state)?;
            jail.keep_place(NAMES.memory)?;
            Plan::boot(machine, Some(NAMES))
        }
        Some(snapshot) => {
            let plan = Plan::restore(snapshot, Some(NAMES))?;
            let (state, memory) = files(snapshot);
            jail.give(&state, NAMES.state, true)?;
            jail.give(&memory, NAMES.memory, true)?;
            plan
        }
    };
    for (index, disk) in machine.disks.iter().enumerate() {
        jail.give(&disk.path, &disk_link(index), disk.read_only)?;
    }
    let channel = jail.listen(CHANNEL_SOCKET)?;
    reached("bound the socket of a channel");
    let counted = jail.pipe(metrics::PIPE)?;
    let inside = jail.inside().at("open", directory)?;
    let (mut command, confinement, running) = jail.finish()?;
    command
        .args(["--api-sock", API_SOCKET])
        .args(["--log-path", LOG, "--level", "Warning"]);
    let client = Client::within(inside);
    let program = request.backend.program.to_string();
    let machine = Machine::new(client, counted, plan, program);
    let machine = machine.at("read the metrics in", directory)?;
    Ok(Jailed {
        command,
        machine: machine.in_jail(running),
        channel: Channel::Accept(channel),
        confinement,
    })
}
