//! From the command line to what the library takes.
//!
//! Purpose: everything that can be refused without looking at the host's state
//! is refused here, before any work. Invariants: pure; every path that comes
//! out is absolute. Entry points: [`Task::prepare`].

mod build;
mod copy;
mod exec;
mod image;
mod rootfs;
mod vm;

use std::{collections::BTreeMap, time::Duration};

use banger_core::{
    domain::{KernelName, Selector, VolumeName},
    image::{
        BundleImageRequest, LoadRequest, PruneRequest, PullRequest, RegisterRequest, SaveFormat,
        build::{BuildContainerfileRequest, BuildImageRequest},
    },
    kernel::{KernelSelection, KernelSource},
    oci::ImageReference,
    rootfs::BuildRequest,
    vm::{CreateVm, ExecRequest, LogsRequest, PruneVms, RestoreVm, SetVm},
    volume::CreateVolume,
};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    args::{
        Command, ImageCommand, KernelCommand, PortForward, RootfsCommand, Since, SnapshotCommand,
        VmCommand, VolumeCommand,
    },
    error::CliError,
    exit::Surface,
};

pub use copy::{CopyRequest, CopyWay};
pub use exec::AttachRequest;
pub use image::{PullOptions, Target};
pub use vm::{ProcessRequest, RunRequest};

/// A command that is ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// `version`.
    Version,
    /// `doctor`.
    Doctor,
    /// `rootfs build`.
    BuildRootfs(Box<BuildRequest>),
    /// `vm run`.
    Run(Box<RunRequest>),
    /// `vm exec`.
    Exec(Selector, ProcessRequest),
    /// `vm exec --detach`.
    ExecDetached(Selector, ExecRequest),
    /// `vm attach`.
    Attach(Selector, AttachRequest),
    /// `vm port-forward`.
    PortForward(Selector, Vec<PortForward>),
    /// A command that a signal simply ends.
    Plain(PlainTask),
}

/// A command that runs nothing in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainTask {
    /// `image pull`.
    PullImage(PullRequest),
    /// `image pull` of a bundle.
    LoadImage(LoadRequest),
    /// `image pull` of a name that a catalog may have, and the name as given.
    LoadNamed(String, LoadRequest),
    /// `image bundle`.
    BundleImage(BundleImageRequest),
    /// `image list --available`.
    ListAvailableImages,
    /// `image register`.
    RegisterImage(RegisterRequest),
    /// `image promote`.
    PromoteImage(Selector),
    /// `image save`, and the file to write; none is standard output.
    SaveImage(Selector, SaveFormat, Option<Utf8PathBuf>),
    /// `image build --from-image`.
    BuildFromImage(Box<BuildImageRequest>),
    /// `image build` of a Containerfile.
    BuildContainerfile(Box<BuildContainerfileRequest>),
    /// `image list`.
    ListImages,
    /// `image show`.
    ShowImage(Selector),
    /// `image ls`: the image, the path, and whether all below it is listed.
    ListContent(Selector, String, bool),
    /// `image cat`.
    Cat(Selector, String),
    /// `image diff`.
    Diff(Selector, Selector),
    /// `image prune`.
    PruneCache(PruneRequest),
    /// `image delete`.
    DeleteImages(Vec<Selector>),
    /// `kernel import`.
    ImportKernel(KernelSource, Option<KernelName>),
    /// `kernel pull`, and whether by force.
    PullKernel(KernelName, bool),
    /// `kernel bundle`, and the bundle's file.
    BundleKernel(KernelName, Utf8PathBuf),
    /// `kernel list --available`.
    ListAvailableKernels,
    /// `kernel list`.
    ListKernels,
    /// `kernel show`.
    ShowKernel(KernelName),
    /// `kernel delete`.
    DeleteKernels(Vec<KernelName>),
    /// `volume create`.
    CreateVolume(CreateVolume),
    /// `volume list`.
    ListVolumes,
    /// `volume show`.
    ShowVolume(VolumeName),
    /// `volume delete`.
    DeleteVolumes(Vec<VolumeName>),
    /// `vm create`.
    CreateVm(Box<CreateVm>),
    /// `vm start`.
    StartVm(Selector),
    /// `vm stop`, with the grace period.
    StopVm(Selector, Duration),
    /// `vm restart`, with the grace period.
    RestartVm(Selector, Duration),
    /// `vm kill`.
    KillVm(Selector),
    /// `vm pause`.
    PauseVm(Selector),
    /// `vm resume`.
    ResumeVm(Selector),
    /// `vm snapshot`, `vm restore` and `snapshot …`.
    Snapshots(SnapshotTask),
    /// `vm stats`; of all that run when none is named.
    Stats(Vec<Selector>),
    /// `vm wait`, and how long.
    WaitForVm(Selector, Option<Duration>),
    /// `vm set`.
    SetVm(Selector, SetVm),
    /// `vm prune`.
    PruneVms(PruneVms),
    /// `vm events`: of which VM, after which number, and whether to go on.
    Events(Option<Selector>, Option<u64>, bool),
    /// `vm list`.
    ListVms,
    /// `vm show`.
    ShowVm(Selector),
    /// `vm execs`.
    ListExecs(Selector),
    /// `vm ports`.
    Ports(Selector),
    /// `vm cp`.
    Copy(CopyRequest),
    /// `vm logs`, and since when.
    Logs(Selector, LogsRequest, Option<Since>),
    /// `vm delete`, and whether by force.
    DeleteVms(Vec<Selector>, bool),
}

/// A command about snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotTask {
    /// `vm snapshot`.
    Take(Selector),
    /// `vm restore`.
    Restore(Selector, Box<RestoreVm>),
    /// `snapshot list`.
    List,
    /// `snapshot show`.
    Show(Selector),
    /// `snapshot delete`.
    Delete(Vec<Selector>),
}

impl Task {
    /// Makes a task of a command line; relative paths start at `directory`.
    pub fn prepare(command: Command, directory: &Utf8Path) -> Result<Self, CliError> {
        match command {
            Command::Version => Ok(Self::Version),
            Command::Doctor => Ok(Self::Doctor),
            Command::Image(command) => prepare_image(command, directory).map(Self::Plain),
            Command::Kernel(command) => Ok(Self::Plain(prepare_kernel(command, directory))),
            Command::Rootfs(RootfsCommand::Build(args)) => {
                let request = rootfs::build(args, directory)?;
                Ok(Self::BuildRootfs(Box::new(request)))
            }
            Command::Volume(command) => Ok(Self::Plain(prepare_volume(command))),
            Command::Snapshot(command) => Ok(Self::Plain(prepare_snapshot(command))),
            Command::Vm(command) => prepare_vm(command, directory),
        }
    }

    /// The image that may have to be pulled.
    #[must_use]
    pub fn reference(&self) -> Option<&ImageReference> {
        match self {
            Self::BuildRootfs(request) => Some(&request.reference),
            Self::Plain(PlainTask::PullImage(request)) => Some(&request.reference),
            Self::Run(run) => match &run.target {
                Target::Reference(reference) => Some(reference),
                Target::Existing(_) | Target::Bundle(_) => None,
            },
            _ => None,
        }
    }

    /// Whose exit status the task answers.
    #[must_use]
    pub const fn surface(&self) -> Surface {
        match self {
            Self::Run(_) | Self::Exec(..) | Self::ExecDetached(..) | Self::Attach(..) => {
                Surface::Guest
            }
            Self::Version
            | Self::Doctor
            | Self::BuildRootfs(_)
            | Self::PortForward(..)
            | Self::Plain(_) => Surface::Own,
        }
    }

    /// Whether the task boots a VM.
    #[must_use]
    pub const fn boots(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Plain(
                    PlainTask::StartVm(_)
                        | PlainTask::RestartVm(..)
                        | PlainTask::Snapshots(SnapshotTask::Restore(..))
                        | PlainTask::BuildFromImage(_)
                )
        )
    }

    /// Whether the task moves content of images or kernels, which keeps several
    /// threads busy.
    #[must_use]
    pub const fn moves_content(&self) -> bool {
        matches!(
            self,
            Self::BuildRootfs(_)
                | Self::Run(_)
                | Self::Plain(
                    PlainTask::PullImage(_)
                        | PlainTask::LoadImage(_)
                        | PlainTask::LoadNamed(..)
                        | PlainTask::BundleImage(_)
                        | PlainTask::PromoteImage(_)
                        | PlainTask::SaveImage(..)
                        | PlainTask::BuildFromImage(_)
                        | PlainTask::BuildContainerfile(_)
                        | PlainTask::ImportKernel(..)
                        | PlainTask::PullKernel(..)
                        | PlainTask::BundleKernel(..)
                )
        )
    }

    /// Whether the task needs a terminal.
    #[must_use]
    pub fn needs_terminal(&self) -> bool {
        match self {
            Self::Run(run) => run
                .process
                .as_ref()
                .is_some_and(|process| process.attachment.terminal),
            Self::Exec(_, process) => process.attachment.terminal,
            Self::Version
            | Self::Doctor
            | Self::BuildRootfs(_)
            | Self::ExecDetached(..)
            | Self::Attach(..)
            | Self::PortForward(..)
            | Self::Plain(_) => false,
        }
    }
}

fn prepare_image(command: ImageCommand, directory: &Utf8Path) -> Result<PlainTask, CliError> {
    Ok(match command {
        ImageCommand::Pull(args) => image::pull(args, directory)?,
        ImageCommand::Bundle(args) => PlainTask::BundleImage(image::bundle_image(args, directory)),
        ImageCommand::Register(args) => PlainTask::RegisterImage(image::register(args, directory)),
        ImageCommand::Promote(args) => PlainTask::PromoteImage(selector(&args.image)),
        ImageCommand::Save(args) => {
            let (format, output) = image::save(args.format, args.output, directory);
            PlainTask::SaveImage(selector(&args.image), format, output)
        }
        ImageCommand::Build(args) => build::build(*args, directory),
        ImageCommand::List(args) if args.available => PlainTask::ListAvailableImages,
        ImageCommand::List(_) => PlainTask::ListImages,
        ImageCommand::Show(args) => PlainTask::ShowImage(selector(&args.image)),
        ImageCommand::Ls(args) => match args.image {
            None => PlainTask::ListImages,
            Some(image) => PlainTask::ListContent(selector(&image), args.path, args.recursive),
        },
        ImageCommand::Cat(args) => PlainTask::Cat(selector(&args.image), args.path),
        ImageCommand::Diff(args) => PlainTask::Diff(selector(&args.one), selector(&args.other)),
        ImageCommand::Prune(args) => PlainTask::PruneCache(PruneRequest {
            dry_run: args.dry_run,
            all: args.all,
            older_than: args.older_than,
            max_size: args.max_size,
        }),
        ImageCommand::Delete(args) => PlainTask::DeleteImages(selectors(&args.images)),
    })
}

fn prepare_kernel(command: KernelCommand, directory: &Utf8Path) -> PlainTask {
    match command {
        KernelCommand::Import(args) => {
            PlainTask::ImportKernel(absolute_source(args.source, directory), args.name)
        }
        KernelCommand::Pull(args) => PlainTask::PullKernel(args.kernel, args.force),
        KernelCommand::Bundle(args) => {
            PlainTask::BundleKernel(args.kernel, directory.join(args.output))
        }
        KernelCommand::List(args) if args.available => PlainTask::ListAvailableKernels,
        KernelCommand::List(_) => PlainTask::ListKernels,
        KernelCommand::Show(args) => PlainTask::ShowKernel(args.kernel),
        KernelCommand::Delete(args) => PlainTask::DeleteKernels(args.kernels),
    }
}

fn prepare_volume(command: VolumeCommand) -> PlainTask {
    match command {
        VolumeCommand::Create(args) => PlainTask::CreateVolume(CreateVolume {
            name: args.volume,
            size: args.size,
            labels: BTreeMap::new(),
        }),
        VolumeCommand::List => PlainTask::ListVolumes,
        VolumeCommand::Show(args) => PlainTask::ShowVolume(args.volume),
        VolumeCommand::Delete(args) => PlainTask::DeleteVolumes(args.volumes),
    }
}

fn prepare_snapshot(command: SnapshotCommand) -> PlainTask {
    PlainTask::Snapshots(match command {
        SnapshotCommand::List => SnapshotTask::List,
        SnapshotCommand::Show(args) => SnapshotTask::Show(selector(&args.snapshot)),
        SnapshotCommand::Delete(args) => SnapshotTask::Delete(selectors(&args.snapshots)),
    })
}

fn prepare_vm(command: VmCommand, directory: &Utf8Path) -> Result<Task, CliError> {
    Ok(Task::Plain(match command {
        VmCommand::Run(args) => return Ok(Task::Run(Box::new(vm::run(*args, directory)?))),
        VmCommand::Exec(args) => return Ok(exec::exec(args)),
        VmCommand::Attach(args) => return Ok(exec::attach(&args)),
        VmCommand::Shell(args) => return Ok(exec::shell(args)),
        VmCommand::Execs(args) => PlainTask::ListExecs(selector(&args.vm)),
        VmCommand::PortForward(args) => {
            return Ok(Task::PortForward(selector(&args.vm), args.ports));
        }
        VmCommand::Cp(args) => PlainTask::Copy(copy::copy(&args, directory)?),
        VmCommand::Create(args) => {
            PlainTask::CreateVm(Box::new(vm::create_alone(*args, directory)?))
        }
        VmCommand::Start(args) => PlainTask::StartVm(selector(&args.vm)),
        VmCommand::Stop(args) => {
            PlainTask::StopVm(selector(&args.vm), Duration::from_secs(args.grace))
        }
        VmCommand::Restart(args) => {
            PlainTask::RestartVm(selector(&args.vm), Duration::from_secs(args.grace))
        }
        VmCommand::Kill(args) => PlainTask::KillVm(selector(&args.vm)),
        VmCommand::Pause(args) => PlainTask::PauseVm(selector(&args.vm)),
        VmCommand::Resume(args) => PlainTask::ResumeVm(selector(&args.vm)),
        VmCommand::Snapshot(args) => PlainTask::Snapshots(SnapshotTask::Take(selector(&args.vm))),
        VmCommand::Restore(args) => {
            let snapshot = selector(&args.snapshot);
            let request = Box::new(vm::restore(*args));
            PlainTask::Snapshots(SnapshotTask::Restore(snapshot, request))
        }
        VmCommand::Stats(args) => PlainTask::Stats(selectors(&args.vms)),
        VmCommand::Wait(args) => {
            PlainTask::WaitForVm(selector(&args.vm), args.timeout.map(Duration::from_secs))
        }
        VmCommand::Set(args) => {
            PlainTask::SetVm(selector(&args.vm), vm::set(args.changes, args.on_expiry))
        }
        VmCommand::Prune(args) => PlainTask::PruneVms(PruneVms {
            older_than: args.older_than,
            labels: args.labels,
            dry_run: args.dry_run,
        }),
        VmCommand::Events(args) => {
            PlainTask::Events(args.vm.as_deref().map(selector), args.after, args.follow)
        }
        VmCommand::List => PlainTask::ListVms,
        VmCommand::Show(args) => PlainTask::ShowVm(selector(&args.vm)),
        VmCommand::Ports(args) => PlainTask::Ports(selector(&args.vm)),
        VmCommand::Logs(args) => {
            let request = LogsRequest {
                tail: args.tail,
                follow: args.follow,
                ..LogsRequest::default()
            };
            PlainTask::Logs(selector(&args.vm), request, args.since)
        }
        VmCommand::Delete(args) => PlainTask::DeleteVms(selectors(&args.vms), args.force),
    }))
}

fn selector(text: &str) -> Selector {
    Selector::from(text)
}

fn selectors(texts: &[String]) -> Vec<Selector> {
    texts.iter().map(|text| selector(text)).collect()
}

fn absolute_source(source: KernelSource, directory: &Utf8Path) -> KernelSource {
    match source {
        KernelSource::Directory(path) => KernelSource::Directory(directory.join(path)),
        KernelSource::DebFile(path) => KernelSource::DebFile(directory.join(path)),
        KernelSource::File(path) => KernelSource::File(directory.join(path)),
        KernelSource::Bundle(reference) => KernelSource::Bundle(reference.absolute(directory)),
        other => other,
    }
}

/// Whether a kernel was chosen.
#[must_use]
pub fn is_chosen(selection: &KernelSelection) -> bool {
    selection.name.is_some() || !selection.paths.is_empty()
}

#[cfg(test)]
mod tests;
