//! What can go wrong for a user of the command.
//!
//! Purpose: one type for every failure a command can end with; `report` says
//! how it is shown, `hint` what would help, [`crate::exit`] what status it
//! has. Invariants: errors of the library keep their own words and causes.
//! Entry points: [`CliError`], [`Report`].

mod boot_hint;
mod hint;
mod remote_hint;
mod report;
mod snapshot_hint;
mod volume_hint;

use std::{io, net::SocketAddr};

use banger_core::{
    ErrorKind,
    bundle::BundleReferenceParseError,
    catalog::CatalogError,
    domain::{ImageName, KernelName},
    image::{
        BundleImageError, DeleteImageError, ImageQueryError, PromoteError, PruneError, PullError,
        ReadImageError, RegisterError, SaveError, build::BuildImageError,
    },
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError,
    },
    local::OpenError,
    oci::ReferenceParseError,
    remote::RemoteError,
    rootfs::BuildError,
    vm::{
        ConnectError, CopyError, CreateVmError, DeleteSnapshotError, DeleteVmError, ExecError,
        KillVmError, LogsError, PauseVmError, RestartVmError, RestoreVmError, SetVmError,
        SnapshotQueryError, SnapshotVmError, StartVmError, StopVmError, VmChangesError,
        VmQueryError, VmStatsError, WaitVmError,
    },
    volume::{CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};
use camino::Utf8PathBuf;

use crate::{
    config::ConfigError, environment::EnvironmentError, policy::PolicyError,
    settings::SettingsError, signals::HostSignal,
};

pub use report::Report;
pub(crate) use report::one_line;

/// A command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The command line is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would help.
        hint: Option<String>,
    },
    /// A terminal was asked for and there is none.
    #[error("standard input is no terminal, which --tty and a shell need")]
    NotATerminal,
    /// The environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The settings cannot be resolved.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The image reference is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceParseError),
    /// The bundle's reference is malformed.
    #[error(transparent)]
    BundleReference(#[from] BundleReferenceParseError),
    /// The async runtime or the signal handlers could not be set up.
    #[error("failed to set up {what}")]
    Setup {
        /// Which of them.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The guest program is in none of the places where it may lie.
    #[error("the guest program was not found: looked for {}", list(places))]
    GuestProgramMissing {
        /// The places.
        places: Vec<Utf8PathBuf>,
    },
    /// No kernel was chosen and none is imported.
    #[error("no kernel was chosen and none is imported")]
    NoKernel,
    /// No kernel was chosen and several are imported.
    #[error("no kernel was chosen and several are imported: {}", list(names))]
    SeveralKernels {
        /// Their names.
        names: Vec<KernelName>,
    },
    /// The image exists and is not what was asked for.
    #[error("image {name} exists already and {difference}")]
    ImageDiffers {
        /// The image.
        name: ImageName,
        /// What differs.
        difference: String,
    },
    /// A VM's state could not be kept.
    #[error(transparent)]
    SnapshotVm(Box<SnapshotVmError>),
    /// A VM could not go on from a snapshot.
    #[error(transparent)]
    RestoreVm(Box<RestoreVmError>),
    /// Snapshots could not be listed or shown.
    #[error(transparent)]
    SnapshotQuery(Box<SnapshotQueryError>),
    /// A snapshot could not be deleted.
    #[error(transparent)]
    DeleteSnapshot(Box<DeleteSnapshotError>),
    /// A volume could not be made.
    #[error(transparent)]
    CreateVolume(Box<CreateVolumeError>),
    /// A volume could not be deleted.
    #[error(transparent)]
    DeleteVolume(Box<DeleteVolumeError>),
    /// Volumes could not be listed or shown.
    #[error(transparent)]
    VolumeQuery(Box<VolumeQueryError>),
    /// A service cannot be asked.
    #[error(transparent)]
    Service(Box<RemoteError>),
    /// What a service knows us by cannot be read.
    #[error("failed to read {path}")]
    Credential {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The services could not be opened.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// A pull failed.
    #[error(transparent)]
    Pull(Box<PullError>),
    /// An image could not be bundled.
    #[error(transparent)]
    BundleImage(Box<BundleImageError>),
    /// A kernel could not be bundled.
    #[error(transparent)]
    BundleKernel(Box<BundleKernelError>),
    /// A kernel could not be pulled.
    #[error(transparent)]
    PullKernel(Box<PullKernelError>),
    /// A catalog cannot be used.
    #[error(transparent)]
    Catalog(Box<CatalogError>),
    /// An image could not be registered.
    #[error(transparent)]
    Register(Box<RegisterError>),
    /// An image could not be promoted.
    #[error(transparent)]
    Promote(Box<PromoteError>),
    /// The cache could not be pruned.
    #[error(transparent)]
    Prune(Box<PruneError>),
    /// An image could not be saved.
    #[error(transparent)]
    Save(Box<SaveError>),
    /// An image could not be built.
    #[error(transparent)]
    BuildImage(Box<BuildImageError>),
    /// Images could not be looked up.
    #[error(transparent)]
    ImageQuery(Box<ImageQueryError>),
    /// A root disk could not be built.
    #[error(transparent)]
    BuildRootfs(Box<BuildError>),
    /// An image's disk could not be read.
    #[error(transparent)]
    ReadImage(Box<ReadImageError>),
    /// An image could not be deleted.
    #[error(transparent)]
    DeleteImage(Box<DeleteImageError>),
    /// A kernel could not be imported.
    #[error(transparent)]
    ImportKernel(Box<ImportKernelError>),
    /// Kernels could not be looked up.
    #[error(transparent)]
    KernelQuery(Box<KernelQueryError>),
    /// A kernel could not be deleted.
    #[error(transparent)]
    DeleteKernel(Box<DeleteKernelError>),
    /// A VM could not be created.
    #[error(transparent)]
    CreateVm(Box<CreateVmError>),
    /// A VM could not be started.
    #[error(transparent)]
    StartVm(Box<StartVmError>),
    /// A VM could not be stopped.
    #[error(transparent)]
    StopVm(Box<StopVmError>),
    /// A VM could not be restarted.
    #[error(transparent)]
    RestartVm(Box<RestartVmError>),
    /// A VM could not be killed.
    #[error(transparent)]
    KillVm(Box<KillVmError>),
    /// A VM could not be paused, or go on.
    #[error(transparent)]
    PauseVm(Box<PauseVmError>),
    /// What a VM costs could not be found out.
    #[error(transparent)]
    VmStats(Box<VmStatsError>),
    /// A VM's end could not be waited for.
    #[error(transparent)]
    WaitForVm(Box<WaitVmError>),
    /// A VM could not be changed.
    #[error(transparent)]
    SetVm(Box<SetVmError>),
    /// What happened to VMs could not be told.
    #[error(transparent)]
    VmChanges(Box<VmChangesError>),
    /// A VM could not be deleted.
    #[error(transparent)]
    DeleteVm(Box<DeleteVmError>),
    /// VMs could not be looked up.
    #[error(transparent)]
    VmQuery(Box<VmQueryError>),
    /// A console log could not be read.
    #[error(transparent)]
    Logs(Box<LogsError>),
    /// A command could not be run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// Files could not be copied.
    #[error(transparent)]
    Copy(Box<CopyError>),
    /// A guest could not be connected to.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// A port of the host cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Standard input could not be read.
    #[error("failed to read standard input")]
    Input {
        /// The cause.
        source: io::Error,
    },
    /// A session ended without saying how.
    #[error("the command's session ended without an exit status")]
    SessionLost,
    /// The terminal could not be used.
    #[error("failed to {action} the terminal")]
    Terminal {
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A result could not be turned into JSON.
    #[error("failed to write the result as JSON")]
    Json(#[source] serde_json::Error),
    /// The result could not be written.
    #[error("failed to write to {stream}")]
    Output {
        /// Which stream.
        stream: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The user gave the command up.
    #[error("interrupted by {}", .0.name())]
    Interrupted(HostSignal),
}

/// What a family of errors is to this one. Errors of the library are boxed: they are
/// large, and failing is rare.
macro_rules! families {
    (
        a service may fail with: $($said:ident($said_error:ident)),+;
        this host alone: $($own:ident($own_error:ident)),+ $(;)?
    ) => {
        $(families!(from $said($said_error));)+
        $(families!(from $own($own_error));)+

        impl CliError {
            fn kind_of_operation(&self) -> ErrorKind {
                match self {
                    Self::Service(error) => error.kind(),
                    $(Self::$said(error) => error.kind(),)+
                    $(Self::$own(error) => error.kind(),)+
                    _ => ErrorKind::Internal,
                }
            }

            /// What a service said, if one did.
            fn said(&self) -> Option<&RemoteError> {
                match self {
                    Self::Service(error) => Some(error.as_ref()),
                    $(Self::$said(error) => match error.as_ref() {
                        $said_error::Remote(error) => Some(error),
                        _ => None,
                    },)+
                    _ => None,
                }
            }
        }
    };
    (from $variant:ident($error:ident)) => {
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    };
}

families!(
    a service may fail with:
    Pull(PullError),
    BundleImage(BundleImageError),
    BundleKernel(BundleKernelError),
    PullKernel(PullKernelError),
    Catalog(CatalogError),
    Register(RegisterError),
    Promote(PromoteError),
    Prune(PruneError),
    Save(SaveError),
    BuildImage(BuildImageError),
    ImageQuery(ImageQueryError),
    ReadImage(ReadImageError),
    DeleteImage(DeleteImageError),
    ImportKernel(ImportKernelError),
    KernelQuery(KernelQueryError),
    DeleteKernel(DeleteKernelError),
    CreateVm(CreateVmError),
    StartVm(StartVmError),
    StopVm(StopVmError),
    RestartVm(RestartVmError),
    KillVm(KillVmError),
    PauseVm(PauseVmError),
    VmStats(VmStatsError),
    VmChanges(VmChangesError),
    SetVm(SetVmError),
    Copy(CopyError),
    Connect(ConnectError),
    WaitForVm(WaitVmError),
    DeleteVm(DeleteVmError),
    VmQuery(VmQueryError),
    Logs(LogsError),
    Exec(ExecError),
    CreateVolume(CreateVolumeError),
    DeleteVolume(DeleteVolumeError),
    VolumeQuery(VolumeQueryError),
    SnapshotVm(SnapshotVmError),
    RestoreVm(RestoreVmError),
    SnapshotQuery(SnapshotQueryError),
    DeleteSnapshot(DeleteSnapshotError);
    this host alone:
    Open(OpenError),
    BuildRootfs(BuildError);
);

impl CliError {
    /// A wrong command line, with nothing more to say.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage { .. }
            | Self::NotATerminal
            | Self::Environment(EnvironmentError::NotUtf8 { .. })
            | Self::Config(_)
            | Self::Policy(_)
            | Self::BundleReference(_)
            | Self::Settings(_)
            | Self::Reference(_)
            | Self::SeveralKernels { .. } => ErrorKind::InvalidInput,
            Self::GuestProgramMissing { .. } => ErrorKind::Unsupported,
            Self::NoKernel => ErrorKind::NotFound,
            Self::ImageDiffers { .. } => ErrorKind::AlreadyExists,
            Self::SessionLost | Self::Json(_) => ErrorKind::Internal,
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                ErrorKind::Conflict
            }
            Self::Environment(EnvironmentError::Unknown { source, .. })
            | Self::Listen { source, .. }
            | Self::Setup { source, .. }
            | Self::Terminal { source, .. }
            | Self::Input { source }
            | Self::Credential { source, .. }
            | Self::Output { source, .. } => ErrorKind::of_io(source),
            Self::Interrupted(_) => ErrorKind::Cancelled,
            operation => operation.kind_of_operation(),
        }
    }

    /// Whether the reader of our output went away, which is no failure.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The texts of several things, with commas between.
pub(crate) fn list<T: ToString>(things: &[T]) -> String {
    let texts: Vec<String> = things.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
