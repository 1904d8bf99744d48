//! The command line, as clap knows it.
//!
//! Purpose: definitions only; their doc comments are the help. Invariants:
//! nothing here reads the environment, a file or a record, and a value that
//! parses is of the right form, though perhaps not of the right meaning:
//! [`crate::requests`] makes what the library takes of it.
//! Entry points: [`Cli`], [`parse`].

#![expect(
    rustdoc::broken_intra_doc_links,
    reason = "help texts show brackets, which are no links"
)]

mod exec;
mod image;
mod kernel;
mod network;
mod ports;
mod registry;
mod rootfs;
mod service;
mod snapshot;
mod transfer;
mod values;
mod vm;
mod volume;

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use crate::error::CliError;

pub use exec::{AttachArgs, ExecArgs, ShellArgs};
pub use image::{
    BuildImageArgs, BundleImageArgs, CatArgs, ContainerfileArgs, DeleteImageArgs, DiffArgs,
    ImageCommand, KernelArgs, ListContentArgs, ListImagesArgs, PromoteArgs, ProvisionArgs,
    PruneArgs, PullArgs, RegisterArgs, SaveArgs, SaveFormatArg, ShowImageArgs,
};
pub use kernel::{
    BundleKernelArgs, DeleteKernelArgs, ImportArgs, KernelCommand, ListKernelsArgs, PullKernelArgs,
    ShowKernelArgs,
};
pub use network::NetworkArgs;
pub use ports::PortForward;
pub use registry::RegistryArgs;
pub use rootfs::{BuildRootfsArgs, RootfsCommand};
pub use service::ServiceArgs;
pub use snapshot::{DeleteSnapshotsArgs, RestoreArgs, ShowSnapshotArgs, SnapshotCommand};
pub use transfer::{CopyArgs, PortForwardArgs};
pub use values::Since;
pub use vm::{
    ChangeArgs, CreateArgs, DeleteVmArgs, LeaseArgs, LogsArgs, MachineArgs, OwnProcessArgs,
    ProcessArgs, RunArgs, ShowVmArgs, StartArgs, StopArgs, VmCommand,
};
pub use volume::{CreateVolumeArgs, DeleteVolumeArgs, ShowVolumeArgs, VolumeCommand};

/// Columns of the reference document.
const REFERENCE_WIDTH: usize = 100;

/// Turn container images into virtual machines
///
/// banger pulls an OCI image, flattens it into an ext4 root disk, pairs it
/// with a kernel and runs it as a microVM.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "banger",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = false,
    max_term_width = 100,
    after_long_help = "Exit status: 0 success, 1 internal error, 2 wrong usage, 3 not found, \
        4 exists already or wrong state, 5 not permitted, 6 unavailable or timed out, \
        7 out of resources, 8 damaged data, 9 not supported, 128 + N ended by signal N. \
        `vm run` and `vm exec` answer the guest command's status, 124 when its time was up, 126 or \
        127 when it cannot be run, and 125 when banger itself fails."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalArgs {
    /// Print results, and errors, as JSON; show no progress and no notes
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress and no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Read this configuration file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Places")]
    pub config: Option<Utf8PathBuf>,
    /// How a service is reached
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Keep the database, images, kernels and VMs here
    #[arg(long, global = true, value_name = "DIR", help_heading = "Places")]
    pub state_dir: Option<Utf8PathBuf>,
    /// Keep downloaded blobs here
    #[arg(long, global = true, value_name = "DIR", help_heading = "Places")]
    pub cache_dir: Option<Utf8PathBuf>,
    /// Keep the sockets of running VMs here; must be short
    #[arg(long, global = true, value_name = "DIR", help_heading = "Places")]
    pub runtime_dir: Option<Utf8PathBuf>,
    /// Use this guest program (banger-guest)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Places")]
    pub guest_program: Option<Utf8PathBuf>,
    /// Use this QEMU system emulator
    #[arg(long, global = true, value_name = "FILE", help_heading = "Places")]
    pub qemu: Option<Utf8PathBuf>,
    /// Use this Firecracker
    #[arg(long, global = true, value_name = "FILE", help_heading = "Places")]
    pub firecracker: Option<Utf8PathBuf>,
}

/// The objects banger keeps.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Pull, list and delete images
    #[command(subcommand, visible_alias = "images")]
    Image(ImageCommand),
    /// Import, list and delete kernels
    #[command(subcommand, visible_alias = "kernels")]
    Kernel(KernelCommand),
    /// Build root disks without the rest
    #[command(subcommand)]
    Rootfs(RootfsCommand),
    /// Run commands in virtual machines, and manage them
    #[command(subcommand, visible_alias = "vms")]
    Vm(VmCommand),
    /// Make, list and delete disks that outlive their VMs
    #[command(subcommand, visible_alias = "volumes")]
    Volume(VolumeCommand),
    /// Look after snapshots of VMs
    ///
    /// They are made by `vm snapshot`, and gone on from by `vm restore`.
    #[command(subcommand, visible_alias = "snapshots")]
    Snapshot(SnapshotCommand),
    /// Look whether this host, or that of the service, has what banger needs
    ///
    /// Changes nothing. The exit status is 9 when a check failed, and 0 when there
    /// are only warnings.
    Doctor,
    /// Print the version
    Version,
}

impl Command {
    /// Takes out how the image's registry is signed in to.
    #[must_use]
    pub fn take_registry(&mut self) -> RegistryArgs {
        match self {
            Self::Image(ImageCommand::Pull(args)) => std::mem::take(&mut args.registry),
            Self::Rootfs(RootfsCommand::Build(args)) => std::mem::take(&mut args.registry),
            Self::Vm(VmCommand::Run(args)) => RegistryArgs {
                authfile: args.authfile.take(),
                ..RegistryArgs::default()
            },
            _ => RegistryArgs::default(),
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// A command.
    Run(Box<Cli>),
    /// A help or version text, to be printed as it is.
    Text(String),
}

/// Parses a command line, program name first.
pub fn parse(arguments: &[OsString]) -> Result<Parsed, CliError> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(Parsed::Run(Box::new(cli))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Text(error.render().to_string())),
        Err(error) => Err(usage_error(&error)),
    }
}

/// Whether the command line asks for JSON, for errors in the line itself.
#[must_use]
pub fn wants_json(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument == "--json")
}

/// clap's several lines as one message and one hint.
fn usage_error(error: &clap::Error) -> CliError {
    let rendered = error.render().to_string();
    let (message, rest) = rendered.split_once("\n\n").unwrap_or((&rendered, ""));
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "no command was given"
        }
        _ => message.strip_prefix("error: ").unwrap_or(message),
    };
    let message: Vec<&str> = message.split_whitespace().collect();
    CliError::Usage {
        message: message.join(" "),
        hint: Some(usage_hint(rest)),
    }
}

fn usage_hint(rest: &str) -> String {
    let mut lines = rest.lines().map(str::trim);
    let tip = lines.clone().find_map(|line| line.strip_prefix("tip: "));
    let usage = lines.find_map(|line| line.strip_prefix("Usage: "));
    match (tip, usage) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(usage)) => format!("usage: {usage}"),
        (None, None) => "see `banger --help`".to_owned(),
    }
}

/// The help of every command, as a document. Options that every command has
/// are told once.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command().term_width(REFERENCE_WIDTH);
    root.build();
    let mut text = "# Command line reference\n".to_owned();
    text += &section("banger", root.clone());
    describe_inner(&root, &mut text);
    text
}

fn describe_inner(command: &clap::Command, text: &mut String) {
    for inner in command.get_subcommands() {
        if inner.get_name() == "help" {
            continue;
        }
        let hide_global = |argument: clap::Arg| {
            let is_global = argument.is_global_set();
            argument.hide(is_global)
        };
        let name = inner.get_bin_name().unwrap_or_default();
        *text += &section(name, inner.clone().mut_args(hide_global));
        describe_inner(inner, text);
    }
}

fn section(name: &str, mut command: clap::Command) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end())
}

#[cfg(test)]
mod tests;
