//! What a user can do about what a service said.

use banger_core::{
    ErrorKind,
    catalog::CatalogError,
    image::{
        BundleImageError, DeleteImageError, ImageQueryError, PromoteError, PruneError, PullError,
        ReadImageError, RegisterError, SaveError, build::BuildImageError,
    },
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError,
    },
    remote::RemoteError,
    vm::{
        ConnectError, CopyError, CreateVmError, DeleteSnapshotError, DeleteVmError, ExecError,
        KillVmError, LogsError, PauseVmError, RestartVmError, RestoreVmError, SetVmError,
        SnapshotQueryError, SnapshotVmError, StartVmError, StopVmError, VmChangesError,
        VmQueryError, VmStatsError, WaitVmError,
    },
    volume::{CreateVolumeError, DeleteVolumeError, VolumeQueryError},
};

use super::{
    CliError,
    hint::{LIST_IMAGES, LIST_KERNELS, too_small},
};

/// What a service said, in each family of errors.
macro_rules! said {
    ($error:expr, $($variant:ident($family:ident)),+ $(,)?) => {
        match $error {
            CliError::Service(error) => Some(error.as_ref()),
            $(CliError::$variant(error) => match error.as_ref() {
                $family::Remote(error) => Some(error),
                _ => None,
            },)+
            _ => None,
        }
    };
}

fn said(error: &CliError) -> Option<&RemoteError> {
    said!(
        error,
        Pull(PullError),
        BundleImage(BundleImageError),
        BundleKernel(BundleKernelError),
        PullKernel(PullKernelError),
        Catalog(CatalogError),
        Register(RegisterError),
        Promote(PromoteError),
        Prune(PruneError),
        Save(SaveError),
        ReadImage(ReadImageError),
        BuildImage(BuildImageError),
        ImageQuery(ImageQueryError),
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
        DeleteSnapshot(DeleteSnapshotError),
    )
}

/// What would help, if it was a service that said so.
pub(super) fn of(error: &CliError) -> Option<String> {
    let said = said(error)?;
    if let (CliError::Pull(_), Some(needed)) = (error, said.fact("needed_mib")) {
        return Some(too_small(needed));
    }
    let text = match said.reason() {
        Some("VM_NOT_FOUND") => "`banger vm list` shows the VMs",
        Some("IMAGE_NOT_FOUND") => LIST_IMAGES,
        Some("KERNEL_NOT_FOUND") => LIST_KERNELS,
        Some("OBJECT_NOT_FOUND") if matches!(error, CliError::Pull(_)) => {
            "check the spelling and the tag"
        }
        Some("IMAGE_IN_USE") => {
            "delete what uses it: `banger vm list` and `banger snapshot list` show it"
        }
        Some("PEER_UNAUTHENTICATED") => {
            "sign in where the service runs, with `docker login` or `podman login`"
        }
        Some("CALLER_UNAUTHENTICATED") => {
            "give a token with --token-file or BANGER_TOKEN, or a certificate with --tls-cert and \
             --tls-key"
        }
        None if said.kind() == ErrorKind::Unsupported => "`--endpoint local` does it on this host",
        None if matches!(error, CliError::Service(_)) && said.kind() == ErrorKind::Unavailable => {
            "start it: `bangerd`; or work on this host: `--endpoint local`"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
