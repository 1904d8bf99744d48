//! From the command line to what the library takes.
//!
//! Purpose: everything that can be refused without looking at the host's state
//! is refused here, before any work. Invariants: pure; every path that comes
//! out is absolute. Entry points: [`Task::prepare`].

mod image;
mod vm;

use banger_core::{
    domain::{KernelName, Selector},
    image::PullRequest,
    kernel::{KernelSelection, KernelSource},
    vm::{CreateVm, LogsRequest},
};
use camino::Utf8Path;

use crate::{
    args::{Command, ImageCommand, KernelCommand, VmCommand},
    error::CliError,
    exit::Surface,
};

pub use image::{PullOptions, Target};
pub use vm::{ProcessRequest, RunRequest};

/// A command that is ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// `version`.
    Version,
    /// `image pull`.
    PullImage(PullRequest),
    /// `image list`.
    ListImages,
    /// `image show`.
    ShowImage(Selector),
    /// `image delete`.
    DeleteImages(Vec<Selector>),
    /// `kernel import`.
    ImportKernel(KernelSource, Option<KernelName>),
    /// `kernel list`.
    ListKernels,
    /// `kernel show`.
    ShowKernel(KernelName),
    /// `kernel delete`.
    DeleteKernels(Vec<KernelName>),
    /// `vm run`.
    RunVm(Box<RunRequest>),
    /// `vm create`.
    CreateVm(CreateVm),
    /// `vm start`.
    StartVm(Selector),
    /// `vm stop`, with the grace period.
    StopVm(Selector, std::time::Duration),
    /// `vm exec`.
    Exec(Selector, ProcessRequest),
    /// `vm list`.
    ListVms,
    /// `vm show`.
    ShowVm(Selector),
    /// `vm logs`.
    Logs(Selector, LogsRequest),
    /// `vm delete`, and whether by force.
    DeleteVms(Vec<Selector>, bool),
}

impl Task {
    /// Makes a task of a command line; relative paths start at `directory`.
    pub fn prepare(command: Command, directory: &Utf8Path) -> Result<Self, CliError> {
        match command {
            Command::Version => Ok(Self::Version),
            Command::Image(command) => prepare_image(command, directory),
            Command::Kernel(command) => Ok(prepare_kernel(command, directory)),
            Command::Vm(command) => prepare_vm(command, directory),
        }
    }

    /// Whose exit status the task answers.
    #[must_use]
    pub const fn surface(&self) -> Surface {
        match self {
            Self::RunVm(_) | Self::Exec(..) => Surface::Guest,
            _ => Surface::Own,
        }
    }

    /// Whether the task boots a VM.
    #[must_use]
    pub const fn boots(&self) -> bool {
        matches!(self, Self::RunVm(_) | Self::StartVm(_))
    }

    /// Whether the task needs a terminal.
    #[must_use]
    pub fn needs_terminal(&self) -> bool {
        match self {
            Self::RunVm(run) => run
                .process
                .as_ref()
                .is_some_and(|process| process.attachment.terminal),
            Self::Exec(_, process) => process.attachment.terminal,
            _ => false,
        }
    }
}

fn prepare_image(command: ImageCommand, directory: &Utf8Path) -> Result<Task, CliError> {
    Ok(match command {
        ImageCommand::Pull(args) => Task::PullImage(image::pull(args, directory)?),
        ImageCommand::List => Task::ListImages,
        ImageCommand::Show(args) => Task::ShowImage(selector(&args.image)),
        ImageCommand::Delete(args) => Task::DeleteImages(selectors(&args.images)),
    })
}

fn prepare_kernel(command: KernelCommand, directory: &Utf8Path) -> Task {
    match command {
        KernelCommand::Import(args) => {
            Task::ImportKernel(absolute_source(args.source, directory), args.name)
        }
        KernelCommand::List => Task::ListKernels,
        KernelCommand::Show(args) => Task::ShowKernel(args.kernel),
        KernelCommand::Delete(args) => Task::DeleteKernels(args.kernels),
    }
}

fn prepare_vm(command: VmCommand, directory: &Utf8Path) -> Result<Task, CliError> {
    Ok(match command {
        VmCommand::Run(args) => Task::RunVm(Box::new(vm::run(*args, directory)?)),
        VmCommand::Create(args) => Task::CreateVm(vm::create(selector(&args.image), args.machine)),
        VmCommand::Start(args) => Task::StartVm(selector(&args.vm)),
        VmCommand::Stop(args) => Task::StopVm(
            selector(&args.vm),
            std::time::Duration::from_secs(args.grace),
        ),
        VmCommand::Exec(args) => {
            Task::Exec(selector(&args.vm), vm::process(args.process, args.command))
        }
        VmCommand::List => Task::ListVms,
        VmCommand::Show(args) => Task::ShowVm(selector(&args.vm)),
        VmCommand::Logs(args) => {
            let request = LogsRequest {
                tail: args.tail,
                follow: args.follow,
            };
            Task::Logs(selector(&args.vm), request)
        }
        VmCommand::Delete(args) => Task::DeleteVms(selectors(&args.vms), args.force),
    })
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
