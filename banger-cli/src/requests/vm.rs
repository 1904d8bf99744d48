//! Requests about VMs.

use banger_core::{
    domain::{BootMode, OnExpiry, Selector, VmProcess},
    vm::{CreateVm, ExecRequest, RequestedSource, RestoreVm, SetVm, VolumeRequest},
};
use camino::Utf8Path;

use super::{PullOptions, Target, image};
use crate::{
    args::{ChangeArgs, CreateArgs, LeaseArgs, MachineArgs, ProcessArgs, RestoreArgs, RunArgs},
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
    let (boot, own) = boot_of_run(&args)?;
    let process = process(args.process, args.command);
    let mut create = create(
        Selector::from(args.image.as_str()),
        boot,
        args.machine,
        directory,
    );
    create.process = own;
    Ok(RunRequest {
        target: image::target(&args.image, directory)?,
        pull: PullOptions {
            kernel: image::kernel(args.kernel, directory),
            size: args.size,
        },
        create,
        process: (!args.detach).then_some(process),
    })
}

/// What the VM of a `vm run` runs first, and what by itself.
fn boot_of_run(args: &RunArgs) -> Result<(BootMode, VmProcess), CliError> {
    if !args.detach {
        let boot = args.machine.boot.unwrap_or(BootMode::Agent);
        return match boot {
            BootMode::Entrypoint | BootMode::Native => Err(CliError::usage(format!(
                "--boot {} needs --detach",
                boot.as_str()
            ))),
            _ => Ok((boot, VmProcess::default())),
        };
    }
    let boot = args.machine.boot.unwrap_or(BootMode::Entrypoint);
    let own = VmProcess {
        argv: args.command.clone(),
        env: args.process.env.clone(),
        working_directory: args.process.workdir.clone(),
        user: args.process.user.clone(),
    };
    check_own(boot, &own)?;
    Ok((boot, own))
}

/// Refuses what no machine with this boot mode would use.
fn check_own(boot: BootMode, own: &VmProcess) -> Result<(), CliError> {
    let context_is_given =
        !own.env.is_empty() || own.working_directory.is_some() || own.user.is_some();
    let unused = match boot {
        BootMode::Entrypoint => None,
        BootMode::Init if !context_is_given => None,
        BootMode::Init => Some("--env, --workdir and --user"),
        _ if !own.argv.is_empty() => Some("a command"),
        _ if context_is_given => Some("--env, --workdir and --user"),
        _ => None,
    };
    unused.map_or(Ok(()), |unused| {
        let boot = boot.as_str();
        Err(CliError::usage(format!(
            "{unused} cannot be used with --boot {boot}"
        )))
    })
}

/// `vm create`.
pub(super) fn create_alone(args: CreateArgs, directory: &Utf8Path) -> Result<CreateVm, CliError> {
    let own = VmProcess {
        argv: args.command,
        env: args.own.env,
        working_directory: args.own.workdir,
        user: args.own.user,
    };
    let boot = args.machine.boot.unwrap_or(BootMode::Agent);
    check_own(boot, &own)?;
    let image = Selector::from(args.image.as_str());
    Ok(CreateVm {
        process: own,
        ..create(image, boot, args.machine, directory)
    })
}

fn create(
    image: Selector,
    boot_mode: BootMode,
    machine: MachineArgs,
    directory: &Utf8Path,
) -> CreateVm {
    let root_disk = machine.root_disk(boot_mode);
    CreateVm {
        name: machine.name,
        vcpus: machine.cpus,
        memory: machine.memory,
        boot_mode,
        root_disk,
        disk_size: machine.disk,
        backend: machine.backend,
        network: machine.network.network,
        ports: machine.network.publish,
        remove_on_stop: machine.rm,
        lease: machine.lease.lease(),
        labels: machine.labels.into_iter().collect(),
        volumes: machine
            .volumes
            .into_iter()
            .map(|volume| absolute(volume, directory))
            .collect(),
        ..CreateVm::new(image)
    }
}

/// A path of the host starts at `directory`.
fn absolute(volume: VolumeRequest, directory: &Utf8Path) -> VolumeRequest {
    match volume.source {
        RequestedSource::Path(path) => VolumeRequest {
            source: RequestedSource::Path(directory.join(path)),
            ..volume
        },
        _ => volume,
    }
}

pub(super) fn set(args: ChangeArgs, on_expiry: OnExpiry) -> SetVm {
    let lease = LeaseArgs {
        lifetime: args.lifetime,
        idle: args.idle,
        on_expiry,
    };
    SetVm {
        lease: match (args.no_lease, lease.lease()) {
            (true, _) => Some(None),
            (false, None) => None,
            (false, lease) => Some(lease),
        },
        vcpus: args.cpus,
        memory: args.memory,
        disk_size: args.disk,
        labels: args.labels.into_iter().collect(),
        removed_labels: args.removed_labels.into_iter().collect(),
        generation: None,
    }
}

pub(super) fn process(args: ProcessArgs, command: Vec<String>) -> ProcessRequest {
    ProcessRequest {
        exec: ExecRequest {
            argv: command,
            env: args.env,
            working_directory: args.workdir,
            user: args.user,
            ..ExecRequest::default()
        },
        attachment: Attachment {
            interactive: args.interactive,
            terminal: args.tty,
        },
    }
}

/// What `vm restore` asks for.
pub(super) fn restore(args: RestoreArgs) -> RestoreVm {
    RestoreVm {
        name: args.name,
        ports: (args.publish_none || !args.publish.is_empty()).then_some(args.publish),
        remove_on_stop: args.rm,
        lease: args.lease.lease(),
        labels: args.labels.into_iter().collect(),
    }
}
