//! Requests about VMs.

use banger_core::{
    domain::{RootDiskMode, Selector},
    vm::{CreateVm, ExecRequest, SetVm},
};
use camino::Utf8Path;

use super::{PullOptions, Target, image};
use crate::{
    args::{ChangeArgs, MachineArgs, ProcessArgs, RunArgs},
    error::CliError,
    session::Attachment,
};

/// A command to run in a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRequest {
    /// What the guest is told; the terminal's size is not known yet.
    pub exec: ExecRequest,
    /// What of the user's side it gets.
    pub attachment: Attachment,
}

/// What `vm run` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// The image.
    pub target: Target,
    /// How it is pulled when it is not here.
    pub pull: PullOptions,
    /// The VM; its image is put in when it is known.
    pub create: CreateVm,
    /// The command; none to leave the VM running.
    pub process: Option<ProcessRequest>,
}

pub(super) fn run(args: RunArgs, directory: &Utf8Path) -> Result<RunRequest, CliError> {
    let process = process(args.process, args.command);
    Ok(RunRequest {
        target: image::target(&args.image, directory)?,
        pull: PullOptions {
            kernel: image::kernel(args.kernel, directory),
            size: args.size,
        },
        create: create(Selector::from(args.image.as_str()), args.machine),
        process: (!args.detach).then_some(process),
    })
}

pub(super) fn create(image: Selector, machine: MachineArgs) -> CreateVm {
    CreateVm {
        image,
        name: machine.name,
        vcpus: machine.cpus,
        memory: machine.memory,
        root_disk: RootDiskMode::Overlay,
        disk_size: machine.disk,
        backend: machine.backend,
        remove_on_stop: machine.rm,
        labels: machine.labels.into_iter().collect(),
    }
}

pub(super) fn set(args: ChangeArgs) -> SetVm {
    SetVm {
        vcpus: args.cpus,
        memory: args.memory,
        disk_size: args.disk,
        labels: args.labels.into_iter().collect(),
        removed_labels: args.removed_labels.into_iter().collect(),
    }
}

pub(super) fn process(args: ProcessArgs, command: Vec<String>) -> ProcessRequest {
    ProcessRequest {
        exec: ExecRequest {
            argv: command,
            env: args.env,
            working_directory: args.workdir,
            user: args.user,
            terminal: None,
        },
        attachment: Attachment {
            interactive: args.interactive,
            terminal: args.tty,
        },
    }
}
