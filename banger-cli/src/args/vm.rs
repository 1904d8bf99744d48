//! `banger vm …`.

use std::time::Duration;

use banger_core::{
    domain::{BackendKind, BootMode, Bytes, Lease, OnExpiry, RootDiskMode, VmName},
    vm::{LabelFilter, VolumeRequest},
};
use camino::Utf8PathBuf;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser, value_parser};

use super::{
    AttachArgs, CopyArgs, ExecArgs, KernelArgs, NetworkArgs, PortForwardArgs, RestoreArgs,
    ShellArgs,
    values::{self, Since},
};

/// What can be done with VMs.
#[derive(Clone, Debug, Subcommand)]
pub enum VmCommand {
    /// Run a command in a new VM
    ///
    /// IMAGE is the name or id of an image, or a reference, which is pulled
    /// when it is not here yet. The command's standard output, standard error
    /// and exit status are banger's; without a command the image's own is run.
    /// When it ends, the VM is stopped. The first SIGINT, SIGTERM, SIGHUP or
    /// SIGQUIT is passed to the command, the second stops the VM.
    Run(Box<RunArgs>),
    /// Make a VM without starting it
    Create(Box<CreateArgs>),
    /// Start a VM
    Start(StartArgs),
    /// Stop a VM
    Stop(StopArgs),
    /// Stop a VM and start it again
    ///
    /// One that does not run is just started.
    Restart(StopArgs),
    /// End a VM at once, as by pulling its plug
    Kill(VmArg),
    /// Stop the CPUs of a running VM; it keeps its memory
    Pause(VmArg),
    /// Let the CPUs of a paused VM go on
    Resume(VmArg),
    /// Keep a running VM as it is, memory and disks, and print the snapshot's id
    ///
    /// The VM stands still meanwhile, and then goes on.
    Snapshot(VmArg),
    /// Make a VM that goes on where a snapshot was made
    ///
    /// It has disks of its own. Its connections are gone, its clock is set, and
    /// its host name is that of the VM that was kept.
    Restore(Box<RestoreArgs>),
    /// Print what VMs cost the host: of those that run unless some are named
    ///
    /// CPU time and bytes read and written are counted from the boot.
    Stats(StatsArgs),
    /// Wait until a VM has ended, and print the state in which it did
    ///
    /// The exit status is 0 for a VM that stopped, 1 for one that failed, and 6
    /// when the time was up before.
    Wait(WaitArgs),
    /// Change a VM's CPUs, memory, disk and labels
    ///
    /// CPUs and memory are those of the next boot: a running VM keeps what it
    /// has. A disk grows at once, and only while the VM does not run.
    Set(SetArgs),
    /// Delete VMs that stopped or failed, and their disks
    Prune(PruneVmsArgs),
    /// Print what happened to VMs, oldest first
    ///
    /// One line for each change of a VM's record, deleted VMs included; with
    /// --json one object a line. The last 10000 changes are kept. The number in
    /// front leads on: what follows it is had with --after.
    Events(EventsArgs),
    /// Run a command in a running VM
    ///
    /// The command's standard output, standard error and exit status are
    /// banger's. The first SIGINT, SIGTERM, SIGHUP or SIGQUIT is passed to the
    /// command, the second ends it, as does the end of banger, some seconds
    /// later; with --keep and --detach it goes on.
    Exec(ExecArgs),
    /// Attach to a command that was started before
    ///
    /// It goes on where the output is said to begin. Who was attached is sent
    /// away. A second signal leaves a command that is to be kept.
    Attach(AttachArgs),
    /// List the commands that run in a VM, and those that ended lately
    Execs(VmArg),
    /// Log in to a VM: run the user's shell on this terminal
    Shell(ShellArgs),
    /// Copy files between the host and a running VM
    ///
    /// One of SOURCE and DESTINATION is VM:PATH. A directory is copied with all
    /// it holds; DESTINATION becomes the copy, or holds it when it is a
    /// directory that exists. SOURCE/. is what a directory holds, not itself.
    /// Each file appears whole, with its mode and time; it becomes root's in the
    /// VM, and the user's on the host, unless --archive is given. With - as
    /// SOURCE a tar file is read from standard input and unpacked in
    /// DESTINATION; with - as DESTINATION one is written to standard output.
    Cp(CopyArgs),
    /// Forward ports of the host to a running VM
    ///
    /// Listens on the host, on 127.0.0.1 unless an address is given, and
    /// connects each client to the port of the VM, through its agent: the VM
    /// needs no network. Prints where it listens, and goes on until the first
    /// signal, which is its success, or until the VM ends.
    PortForward(PortForwardArgs),
    /// List VMs
    #[command(visible_aliases = ["ls", "ps"])]
    List,
    /// Show one VM
    #[command(visible_alias = "inspect")]
    Show(ShowVmArgs),
    /// List the ports of the host that lead to a running VM
    Ports(VmArg),
    /// Print a VM's console log
    Logs(LogsArgs),
    /// Delete VMs and their disks
    #[command(visible_alias = "rm")]
    Delete(DeleteVmArgs),
}

/// What a VM is made of.
#[derive(Args, Clone, Debug)]
pub struct MachineArgs {
    /// Name the VM
    #[arg(long, short, help_heading = "Machine")]
    pub name: Option<VmName>,
    /// Number of virtual CPUs
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64), value_name = "N", help_heading = "Machine")]
    pub cpus: u32,
    /// Memory (4G, 512MiB; a bare number is MiB)
    #[arg(long, short, default_value = "512MiB", value_parser = values::memory, value_name = "SIZE", help_heading = "Machine")]
    pub memory: Bytes,
    /// Size of the disk that takes the VM's writes
    #[arg(long, default_value = "4GiB", value_parser = values::disk, value_name = "SIZE", help_heading = "Machine")]
    pub disk: Bytes,
    /// How the disk is made: shared with the image under a disk of its own
    /// (overlay), or a copy of the image's (clone)
    #[arg(long, value_parser = values::root_disk, value_name = "MODE", help_heading = "Machine")]
    pub root_disk: Option<RootDiskMode>,
    /// What it runs by itself: nothing but banger's agent (agent), the image's
    /// entrypoint (entrypoint), the image's own init beside the agent (init),
    /// or the image's own kernel and initrd alone, on a copy of its disk (native)
    #[arg(long, value_parser = values::boot_mode, value_name = "MODE", help_heading = "Machine")]
    pub boot: Option<BootMode>,
    /// Have a volume at a path of the guest (can be repeated): NAME:/PATH[:ro]
    /// is a named one, /DIR:/PATH[:ro] a copy, made now, of a directory of the
    /// host, FILE:/PATH:ro a disk in a file, which is only read
    #[arg(long = "volume", short = 'v', value_parser = values::volume, value_name = "SOURCE:PATH[:ro]", help_heading = "Machine")]
    pub volumes: Vec<VolumeRequest>,
    /// Run it with this backend instead of the best one (qemu, firecracker)
    #[arg(long, value_parser = values::backend, value_name = "BACKEND", help_heading = "Machine")]
    pub backend: Option<BackendKind>,
    /// Its network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Label it KEY=VALUE (can be repeated)
    #[arg(long = "label", short, value_parser = values::label, value_name = "KEY=VALUE", help_heading = "Machine")]
    pub labels: Vec<(String, String)>,
    /// Delete the VM as soon as it stops
    #[arg(long, help_heading = "Machine")]
    pub rm: bool,
    /// How long it may live.
    #[command(flatten)]
    pub lease: LeaseArgs,
}

impl MachineArgs {
    /// How the root disk of a VM with this boot mode is made, unless that was
    /// said: shared where banger's init joins the disks.
    pub(crate) fn root_disk(&self, boot: BootMode) -> RootDiskMode {
        self.root_disk.unwrap_or(if boot.has_agent() {
            RootDiskMode::Overlay
        } else {
            RootDiskMode::Clone
        })
    }
}

/// How a command runs in the guest.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessArgs {
    /// Run it on a terminal; standard input must be one
    #[arg(long, short)]
    pub tty: bool,
    /// Pass standard input on
    #[arg(long, short)]
    pub interactive: bool,
    /// Set a variable KEY=VALUE (can be repeated)
    #[arg(long = "env", short, value_parser = values::variable, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Run it in this directory of the guest
    #[arg(long, short, value_parser = values::absolute_directory, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run it as this user of the guest: USER[:GROUP]
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
}

/// Arguments of `vm run`.
///
/// With `--detach` the options of the guest command are those of what the VM
/// runs by itself, which has no input and no terminal.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name or id of an image, or a reference as of `banger image pull`
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// Leave the VM running and print its name
    ///
    /// The VM runs the command, or the image's entrypoint, by itself: its
    /// output is in `banger vm logs`, and the VM ends with it. With --boot
    /// agent it runs none and waits for `banger vm exec`, as does an image
    /// without a command.
    #[arg(long, short, conflicts_with_all = ["tty", "interactive"])]
    pub detach: bool,
    /// How the command runs.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// What the VM is made of.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Which kernel a pulled image boots with.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Make a pulled image's disk this large
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Bytes>,
    /// Take credentials for a pulled image's registry from this file alone
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<Utf8PathBuf>,
    /// The command and its arguments, instead of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `vm create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Name or id of an image
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// What the VM is made of.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// How what it runs by itself is run.
    #[command(flatten)]
    pub own: OwnProcessArgs,
    /// The command that it runs by itself, instead of the image's own; with
    /// --boot init the init and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// How what a VM runs by itself is run.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnProcessArgs {
    /// Set a variable KEY=VALUE for the VM's own command (can be repeated)
    #[arg(long = "env", short, value_parser = values::variable, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Run the VM's own command in this directory of the guest
    #[arg(long, short, value_parser = values::absolute_directory, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run the VM's own command as this user of the guest: USER[:GROUP]
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    pub user: Option<String>,
}

/// Arguments of `vm start`.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
}

/// Arguments of `vm set`.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// What is to be different.
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// What happens at the end of its new lease: `stop` or `delete`
    #[arg(long, default_value = "stop", value_parser = values::on_expiry, value_name = "WHAT")]
    pub on_expiry: OnExpiry,
}

/// What is to be different about a VM; something has to be.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct ChangeArgs {
    /// Number of virtual CPUs
    #[arg(long, value_parser = value_parser!(u32).range(1..=64), value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory (4G, 512MiB; a bare number is MiB)
    #[arg(long, short, value_parser = values::memory, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// Size of the disk that takes the VM's writes; it only grows
    #[arg(long, value_parser = values::disk, value_name = "SIZE")]
    pub disk: Option<Bytes>,
    /// Let it live this long from now on instead, running or not (2h, 30m, 7d)
    #[arg(long, value_parser = values::limit, value_name = "DURATION")]
    pub lifetime: Option<Duration>,
    /// Let it run this long without a command, a copy or a forwarded connection
    #[arg(long, value_parser = values::limit, value_name = "DURATION")]
    pub idle: Option<Duration>,
    /// Let it live for ever
    #[arg(long, conflicts_with_all = ["lifetime", "idle", "on_expiry"])]
    pub no_lease: bool,
    /// Label it KEY=VALUE (can be repeated)
    #[arg(long = "label", short, value_parser = values::label, value_name = "KEY=VALUE")]
    pub labels: Vec<(String, String)>,
    /// Remove the label with this key (can be repeated)
    #[arg(long = "remove-label", value_parser = NonEmptyStringValueParser::new(), value_name = "KEY")]
    pub removed_labels: Vec<String>,
}

/// How long a VM may live.
#[derive(Args, Clone, Copy, Debug)]
pub struct LeaseArgs {
    /// Let it live this long from now on, running or not (2h, 30m, 7d)
    #[arg(long, value_parser = values::limit, value_name = "DURATION", help_heading = "Lease")]
    pub lifetime: Option<Duration>,
    /// Let it run this long without a command, a copy or a forwarded connection
    #[arg(long, value_parser = values::limit, value_name = "DURATION", help_heading = "Lease")]
    pub idle: Option<Duration>,
    /// What happens then: `stop` or `delete`
    #[arg(long, default_value = "stop", value_parser = values::on_expiry, value_name = "WHAT", help_heading = "Lease")]
    pub on_expiry: OnExpiry,
}

impl LeaseArgs {
    /// The lease; none when nothing limits it.
    pub(crate) fn lease(self) -> Option<Lease> {
        (self.lifetime.is_some() || self.idle.is_some()).then_some(Lease {
            max_lifetime: self.lifetime,
            idle_timeout: self.idle,
            on_expiry: self.on_expiry,
        })
    }
}

/// Arguments of `vm stats`.
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// Names, ids, or parts of ids
    #[arg(value_name = "VM", value_parser = NonEmptyStringValueParser::new())]
    pub vms: Vec<String>,
}

/// Arguments of `vm prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneVmsArgs {
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Only those that ended at least so long ago (7d, 12h, 30m)
    #[arg(long, value_parser = values::age, value_name = "AGE")]
    pub older_than: Option<Duration>,
    /// Only those with this label (can be repeated: those with all of them)
    #[arg(long = "label", short, value_parser = values::label_filter, value_name = "KEY[=VALUE]")]
    pub labels: Vec<LabelFilter>,
}

/// Arguments of `vm events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Only of this VM: name, id, part of an id; the whole id of a deleted one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: Option<String>,
    /// Only what came after the change with this number
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    /// Go on with what happens from now on
    #[arg(long, short)]
    pub follow: bool,
}

/// One VM.
#[derive(Args, Clone, Debug)]
pub struct VmArg {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
}

/// Arguments of `vm wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Give up after this many seconds
    #[arg(long, value_parser = value_parser!(u64).range(..=31_536_000), value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Arguments of `vm stop` and `vm restart`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Force it after this many seconds
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(..=86_400), value_name = "SECONDS")]
    pub grace: u64,
}

/// Arguments of `vm show`.
#[derive(Args, Clone, Debug)]
pub struct ShowVmArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
}

/// Arguments of `vm logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Go on until the VM stops
    #[arg(long, short)]
    pub follow: bool,
    /// Print only the last lines
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
    /// Print only what was written since: an age (10m) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_parser = values::since, value_name = "WHEN")]
    pub since: Option<Since>,
}

/// Arguments of `vm delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteVmArgs {
    /// Names, ids, or parts of ids
    #[arg(required = true, value_name = "VM", value_parser = NonEmptyStringValueParser::new())]
    pub vms: Vec<String>,
    /// Stop running ones first
    #[arg(long, short)]
    pub force: bool,
}
