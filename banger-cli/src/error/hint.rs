//! What a user can do about a failure, from the failure's own fields.

use banger_core::{
    ErrorKind,
    bundle::BundleError,
    catalog::{CatalogError, SupplyError},
    disk::DiskError,
    domain::{SnapshotId, VmName},
    image::{
        BundleImageError, DeleteImageError, ImageQueryError, PromoteError, PullError,
        ReadImageError, RegisterError, ResizeRootfsError, SaveError,
        build::{BuildImageError, BuildMachineError},
    },
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, PullKernelError,
        ResolveKernelError,
    },
    oci::{AccessError, SourceError},
    rootfs::{BuildError, RootfsError},
    trust::TrustError,
    vm::{
        ConnectError, CopyError, CreateVmError, DeleteVmError, ExecError, KillVmError, LogsError,
        PauseVmError, RestartVmError, SetVmError, StartVmError, StopVmError, VmChangesError,
        VmQueryError, VmStatsError, WaitVmError,
    },
    vmm::BackendError,
};

use super::{CliError, boot_hint, list, remote_hint, snapshot_hint, volume_hint};

const IMPORT: &str = "import one: `banger kernel import apt:linux-image-cloud-amd64`, or pull one: \
    `banger kernel list --available` shows the names";
pub(super) const LIST_KERNELS: &str = "`banger kernel list` shows the imported kernels, \
    `banger kernel list --available` those that can be pulled; \
    import one: `banger kernel import apt:linux-image-cloud-amd64`";
pub(super) const LIST_IMAGES: &str = "`banger image list` shows the images; an image that is \
    not here yet needs its full reference, as docker.io/library/debian:bookworm";
const OTHER_FILE: &str = "remove it first, or write to another file with --output";
const LIST_AVAILABLE: &str = "`banger kernel list --available` shows the names";

/// What would help, in one line without a full stop.
pub(super) fn of(error: &CliError) -> Option<String> {
    let text = match error {
        CliError::Usage { hint, .. } => return hint.clone(),
        CliError::NotATerminal => {
            "use `banger vm exec` without --tty; --interactive alone passes input on"
        }
        CliError::GuestProgramMissing { .. } => {
            "name it with --guest-program, BANGER_GUEST_PROGRAM or guest-program in the configuration"
        }
        CliError::NoKernel => IMPORT,
        CliError::SeveralKernels { .. } => "choose one with --kernel",
        CliError::ImageDiffers { name, .. } => {
            return Some(format!(
                "run the image as it is: `banger vm run {name}`; or pull under another name: \
                 `banger image pull REFERENCE --name NAME`"
            ));
        }
        _ => return of_operation(error).or_else(|| remote_hint::of(error)),
    };
    Some(text.to_owned())
}

fn of_operation(error: &CliError) -> Option<String> {
    match error {
        CliError::Pull(error) => pull(error),
        CliError::BundleImage(error) => bundle_image(error),
        CliError::BundleKernel(error) => bundle_kernel(error),
        CliError::PullKernel(error) => pull_kernel(error),
        CliError::Catalog(error) => catalog(error),
        CliError::Register(error) => register(error),
        CliError::Promote(error) => promote(error),
        CliError::Save(error) => save(error),
        CliError::BuildImage(error) => build_image(error),
        CliError::ReadImage(error) => match error.as_ref() {
            ReadImageError::Query(error) => image_query(error),
            _ => None,
        },
        CliError::ImageQuery(error) => image_query(error),
        CliError::BuildRootfs(error) => build_rootfs(error),
        CliError::DeleteImage(error) => delete_image(error),
        CliError::ImportKernel(error) => import_kernel(error),
        CliError::KernelQuery(error) => kernel_query(error),
        CliError::DeleteKernel(error) => delete_kernel(error),
        CliError::CreateVm(error) => create(error),
        CliError::StartVm(error) => start(error),
        CliError::StopVm(error) => stop(error),
        CliError::RestartVm(error) => restart(error),
        CliError::KillVm(error) => kill(error),
        CliError::PauseVm(error) => pause(error),
        CliError::VmStats(error) => stats(error),
        CliError::VmChanges(error) => changes(error),
        CliError::SetVm(error) => set(error),
        CliError::WaitForVm(error) => wait(error),
        CliError::DeleteVm(error) => delete(error),
        CliError::VmQuery(error) => vm_query(error),
        CliError::Logs(error) => logs(error),
        CliError::Exec(error) => exec(error),
        CliError::SnapshotVm(error) => snapshot_hint::take(error),
        CliError::RestoreVm(error) => snapshot_hint::restore(error),
        CliError::SnapshotQuery(error) => snapshot_hint::query(error),
        CliError::DeleteSnapshot(error) => snapshot_hint::delete(error),
        CliError::CreateVolume(error) => volume_hint::create(error),
        CliError::DeleteVolume(error) => volume_hint::delete(error),
        CliError::VolumeQuery(error) => volume_hint::query(error),
        CliError::Copy(error) => copy(error),
        CliError::Connect(error) => connect(error),
        _ => None,
    }
}

fn spaced<T: ToString>(things: &[T]) -> String {
    list(things).replace(", ", " ")
}

fn pull(error: &PullError) -> Option<String> {
    match error {
        PullError::NoDefaultName { .. } => Some("name it with --name".to_owned()),
        PullError::AlreadyExists { name } => Some(format!(
            "use another name with --name, or delete it: `banger image delete {name}`"
        )),
        PullError::Kernel { source, .. } => resolve_kernel(source),
        PullError::Source { source, .. } => source_error(source),
        PullError::Trust { source, .. } => Some(trust(source)),
        PullError::Load { source, .. } => supply(source),
        PullError::NotInCatalog { .. } => {
            Some("`banger image list --available` shows the names".to_owned())
        }
        PullError::Rootfs { source, .. } => rootfs(source),
        _ => None,
    }
}

fn supply(error: &SupplyError) -> Option<String> {
    match error {
        SupplyError::Trust(error) => Some(trust(error)),
        SupplyError::Catalog(error) => catalog(error),
        SupplyError::Bundle(error) => bundle(error),
        _ => None,
    }
}

fn trust(error: &TrustError) -> String {
    let text = match error {
        TrustError::Unsigned { .. } => "have it signed by that key, or change the policy's rule",
        _ => "the policy is the file that `policy` in the configuration names",
    };
    text.to_owned()
}

fn catalog(error: &CatalogError) -> Option<String> {
    Some(match error {
        CatalogError::Unsigned { .. } => {
            "its signature must lie beside it, with .minisig behind its name, or in its artifact"
                .to_owned()
        }
        CatalogError::Digest { .. } => {
            "pin its new digest in the configuration once you trust it".to_owned()
        }
        CatalogError::Fetch { source, .. } => return bundle(source),
        _ => return None,
    })
}

fn bundle(error: &BundleError) -> Option<String> {
    match error {
        BundleError::NotFound { .. } => Some("check the spelling".to_owned()),
        BundleError::Remote(error) => source_error(error),
        BundleError::Limit { .. } => Some(
            "limits.layer-size and limits.total-size of the configuration bound a bundle, too"
                .to_owned(),
        ),
        _ => None,
    }
}

fn bundle_image(error: &BundleImageError) -> Option<String> {
    match error {
        BundleImageError::Query(error) => image_query(error),
        BundleImageError::AlreadyExists { .. } => Some(OTHER_FILE.to_owned()),
        _ => None,
    }
}

fn bundle_kernel(error: &BundleKernelError) -> Option<String> {
    match error {
        BundleKernelError::Query(error) => kernel_query(error),
        BundleKernelError::AlreadyExists { .. } => Some(OTHER_FILE.to_owned()),
        _ => None,
    }
}

fn pull_kernel(error: &PullKernelError) -> Option<String> {
    match error {
        PullKernelError::NotInCatalog { .. } => Some(LIST_AVAILABLE.to_owned()),
        PullKernelError::Catalog(error) => catalog(error),
        PullKernelError::Import(ImportKernelError::AlreadyExists { .. }) => {
            Some("replace it with --force".to_owned())
        }
        PullKernelError::Import(error) => import_kernel(error),
        PullKernelError::Replace(error) => delete_kernel(error),
        _ => None,
    }
}

fn register(error: &RegisterError) -> Option<String> {
    match error {
        RegisterError::AlreadyExists { name } => Some(format!(
            "use another name, or delete it: `banger image delete {name}`"
        )),
        RegisterError::Kernel { source, .. } => resolve_kernel(source),
        _ => None,
    }
}

fn promote(error: &PromoteError) -> Option<String> {
    match error {
        PromoteError::Query(error) => image_query(error),
        PromoteError::Managed { .. } => {
            Some("there is nothing to copy: banger owns all its files".to_owned())
        }
        PromoteError::Changed { .. } => {
            Some("see to it that nothing writes to the disk, and try again".to_owned())
        }
        _ => None,
    }
}

fn save(error: &SaveError) -> Option<String> {
    match error {
        SaveError::Query(error) => image_query(error),
        SaveError::AlreadyExists { .. } => {
            Some("remove it first, or write to another file with --output".to_owned())
        }
        SaveError::Changed { .. } => {
            Some("see to it that nothing writes to the disk, and try again".to_owned())
        }
        SaveError::Disk(DiskError::NeedsRecovery { disk }) => Some(format!(
            "replay its journal while nothing uses it: `e2fsck -p {disk}`"
        )),
        SaveError::Unrepresentable { .. } => {
            Some("--format rootfs-tar holds more than a layer does".to_owned())
        }
        _ => None,
    }
}

fn build_image(error: &BuildImageError) -> Option<String> {
    match error {
        BuildImageError::AlreadyExists { name } => Some(format!(
            "use another name with --name, or delete it: `banger image delete {name}`"
        )),
        BuildImageError::Base(error) => image_query(error),
        BuildImageError::Kernel { source, .. } => resolve_kernel(source),
        BuildImageError::Step { is_own: true, .. } => Some(
            "banger's own parts want a Debian image, and a network that leads to what they fetch; leave them out with --bare, or \
             some of them with --no-base-packages, --no-mise, --no-tmux-plugins, --no-opencode, \
             --no-modules"
                .to_owned(),
        ),
        BuildImageError::NoProgram { programs, .. } => {
            Some(format!("install one of: {}", programs.join(", ")))
        }
        BuildImageError::Pull { source, .. } => pull(source),
        BuildImageError::TimedOut { .. } => {
            Some("give it more time with --timeout, in seconds".to_owned())
        }
        BuildImageError::Machine { source, .. } => build_machine(source),
        BuildImageError::Disk { source, .. } => resize(source),
        _ => None,
    }
}

fn build_machine(error: &BuildMachineError) -> Option<String> {
    match error {
        BuildMachineError::Create(error) => create(error),
        BuildMachineError::Start(StartVmError::BootFailed { .. }) => None,
        BuildMachineError::Start(error) => start(error),
        BuildMachineError::Exec(error) => exec(error),
        BuildMachineError::Stop(error) => stop(error),
        _ => None,
    }
}

fn resize(error: &ResizeRootfsError) -> Option<String> {
    (error.kind() == ErrorKind::Unsupported).then(|| "install package e2fsprogs".to_owned())
}

fn build_rootfs(error: &BuildError) -> Option<String> {
    match error {
        BuildError::AlreadyExists { .. } => Some(OTHER_FILE.to_owned()),
        BuildError::Source { source, .. } => source_error(source),
        BuildError::Rootfs { source, .. } => rootfs(source),
        _ => None,
    }
}

fn resolve_kernel(error: &ResolveKernelError) -> Option<String> {
    match error {
        ResolveKernelError::NotFound { .. } => Some(LIST_KERNELS.to_owned()),
        ResolveKernelError::Pull { source, .. } => pull_kernel(source),
        ResolveKernelError::Nothing => Some("choose one with --kernel or --kernel-path".to_owned()),
        _ => None,
    }
}

fn source_error(error: &SourceError) -> Option<String> {
    match error {
        SourceError::NotFound { .. } => Some("check the spelling and the tag".to_owned()),
        SourceError::Unauthorised { .. } => Some(
            "sign in with `docker login` or `podman login`; `banger image pull` takes --username \
             and --password-stdin as well"
                .to_owned(),
        ),
        SourceError::Access {
            source: AccessError::HelperMissing { .. },
            ..
        } => Some("install it, or name another file of credentials with --authfile".to_owned()),
        SourceError::NoPlatform { .. } => {
            Some("pull a tag that has an image for this host's architecture".to_owned())
        }
        _ => None,
    }
}

fn rootfs(error: &RootfsError) -> Option<String> {
    match error {
        RootfsError::TooSmall { needed, .. } => Some(too_small(needed.to_mib_ceiling())),
        _ => None,
    }
}

/// The disk has to have so many MiB.
pub(super) fn too_small(needed: impl std::fmt::Display) -> String {
    format!("leave out --size, or give at least {needed}MiB")
}

fn image_query(error: &ImageQueryError) -> Option<String> {
    match error {
        ImageQueryError::NotFound { .. } => Some(LIST_IMAGES.to_owned()),
        ImageQueryError::Ambiguous { .. } => Some("`banger image list` shows the ids".to_owned()),
        _ => None,
    }
}

fn import_kernel(error: &ImportKernelError) -> Option<String> {
    match error {
        ImportKernelError::AlreadyExists { name } => Some(format!(
            "use another name with --name, or delete it: `banger kernel delete {name}`"
        )),
        ImportKernelError::Supply { source, .. } => supply(source),
        ImportKernelError::NoDefaultName { .. } => Some("name it with --name".to_owned()),
        ImportKernelError::Fetch { .. } => {
            Some("apt must work on this host; `apt-get update` may help".to_owned())
        }
        _ => None,
    }
}

pub(super) fn create(error: &CreateVmError) -> Option<String> {
    match error {
        CreateVmError::AlreadyExists { name } => Some(format!(
            "use another name with --name, or delete it: `banger vm delete {name}`"
        )),
        CreateVmError::Image(error) => image_query(error),
        CreateVmError::Backend(error) => backend(error),
        CreateVmError::Clone { source, .. } => resize(source),
        CreateVmError::Volume(error) => volume_hint::of_vm(error),
        _ => None,
    }
}

fn backend(error: &BackendError) -> Option<String> {
    match error {
        BackendError::NoBackend { .. } => Some(format!(
            "install QEMU (Debian and Ubuntu: {}; Fedora: qemu-kvm) or name its program with --qemu",
            debian_qemu_package()
        )),
        BackendError::NoFirecracker { .. } | BackendError::TooOld { .. } => {
            Some("name a newer program with --firecracker, or take QEMU: --backend qemu".to_owned())
        }
        BackendError::NoJail { .. } => Some(
            "run banger as root, with Firecracker's own `jailer` beside it; or let it run without a \
             jail: `mode = \"auto\"` under [jail] in the configuration"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Debian's package with QEMU's system emulator for the host's architecture.
const fn debian_qemu_package() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "qemu-system-x86"
    } else {
        "qemu-system-arm"
    }
}

pub(super) fn start(error: &StartVmError) -> Option<String> {
    match error {
        StartVmError::Query(error) => vm_query(error),
        StartVmError::Backend(error) => backend(error),
        StartVmError::Port { source, .. } => Some(port(source)),
        StartVmError::Boot { name, source } => boot_hint::of_preparation(name, source),
        StartVmError::BootFailed { name, failure, .. } => {
            Some(boot_hint::of_failure(name, *failure))
        }
        StartVmError::LeaseOver { name } => Some(format!(
            "give it a new one: `banger vm set {name} --lifetime DURATION`, or --no-lease"
        )),
        StartVmError::WrongState { name, .. } => Some(format!("`banger vm show {name}` says why")),
        _ => None,
    }
}

fn port(error: &std::io::Error) -> String {
    let text = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "publish another port of the host, or leave it out for any free one: --publish GUEST"
        }
        std::io::ErrorKind::PermissionDenied => {
            "low ports are for root: publish one above 1023, or leave it out for any free one"
        }
        _ => "publish it on an address of this host, or on the loopback by leaving the address out",
    };
    text.to_owned()
}

fn restart(error: &RestartVmError) -> Option<String> {
    match error {
        RestartVmError::Query(error) => vm_query(error),
        RestartVmError::Stop(error) => stop(error),
        RestartVmError::Start(error) => start(error),
        _ => None,
    }
}

fn pause(error: &PauseVmError) -> Option<String> {
    match error {
        PauseVmError::Query(error) => vm_query(error),
        _ => None,
    }
}

fn stats(error: &VmStatsError) -> Option<String> {
    match error {
        VmStatsError::Query(error) => vm_query(error),
        _ => None,
    }
}

fn kill(error: &KillVmError) -> Option<String> {
    match error {
        KillVmError::Query(error) => vm_query(error),
        KillVmError::Stop(error) => stop(error),
        _ => None,
    }
}

fn set(error: &SetVmError) -> Option<String> {
    match error {
        SetVmError::Query(error) => vm_query(error),
        SetVmError::Running { name, .. } => Some(format!("stop it first: `banger vm stop {name}`")),
        SetVmError::Disk { source, .. } => resize(source),
        _ => None,
    }
}

fn changes(error: &VmChangesError) -> Option<String> {
    match error {
        VmChangesError::Query(error) => vm_query(error),
        VmChangesError::Forgotten { .. } => {
            Some("without --after all that are kept are printed".to_owned())
        }
        _ => None,
    }
}

fn wait(error: &WaitVmError) -> Option<String> {
    match error {
        WaitVmError::Query(error) => vm_query(error),
        WaitVmError::TimedOut { name, .. } => {
            Some(format!("`banger vm show {name}` says what it does"))
        }
        _ => None,
    }
}

pub(super) fn vm_query(error: &VmQueryError) -> Option<String> {
    match error {
        VmQueryError::NotFound { .. } | VmQueryError::Ambiguous { .. } => {
            Some("`banger vm list` shows the VMs".to_owned())
        }
        _ => None,
    }
}

fn delete(error: &DeleteVmError) -> Option<String> {
    match error {
        DeleteVmError::Query(error) => vm_query(error),
        DeleteVmError::Stop(error) => stop(error),
        DeleteVmError::Running { name, .. } => Some(format!("`banger vm delete --force {name}`")),
        _ => None,
    }
}

fn exec(error: &ExecError) -> Option<String> {
    match error {
        ExecError::Query(error) => vm_query(error),
        ExecError::NotRunning { name, .. } => Some(format!("start it: `banger vm start {name}`")),
        ExecError::NoCommand => Some("give one after `--`".to_owned()),
        ExecError::NoSuchExec { name, .. } => {
            Some(format!("`banger vm execs {name}` shows the ids"))
        }
        ExecError::IdTaken { .. } => Some("choose another with --id".to_owned()),
        ExecError::TakenOver { id } => Some(format!("attach again: `banger vm attach VM {id}`")),
        ExecError::Outdated { name } => Some(format!("restart it: `banger vm restart {name}`")),
        ExecError::Image(error) => image_query(error),
        _ => None,
    }
}

fn copy(error: &CopyError) -> Option<String> {
    match error {
        CopyError::Query(error) => vm_query(error),
        CopyError::NotRunning { name, .. } => Some(format!("start it: `banger vm start {name}`")),
        CopyError::AgentTooOld { name } => Some(format!("`banger vm restart {name}`")),
        _ => None,
    }
}

fn connect(error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Query(error) => vm_query(error),
        ConnectError::NotRunning { name, .. } => {
            Some(format!("start it: `banger vm start {name}`"))
        }
        ConnectError::AgentTooOld { name } => Some(format!("`banger vm restart {name}`")),
        _ => None,
    }
}

fn delete_image(error: &DeleteImageError) -> Option<String> {
    match error {
        DeleteImageError::Query(error) => image_query(error),
        DeleteImageError::InUse { vms, snapshots, .. } => Some(users(vms, snapshots)),
        _ => None,
    }
}

/// How to delete what uses an image.
fn users(vms: &[VmName], snapshots: &[SnapshotId]) -> String {
    let vms = (!vms.is_empty()).then(|| format!("`banger vm delete {}`", spaced(vms)));
    let snapshots =
        (!snapshots.is_empty()).then(|| format!("`banger snapshot delete {}`", spaced(snapshots)));
    let commands: Vec<String> = vms.into_iter().chain(snapshots).collect();
    format!("delete what uses it: {}", list(&commands))
}

fn kernel_query(error: &KernelQueryError) -> Option<String> {
    match error {
        KernelQueryError::NotFound { .. } => Some(LIST_KERNELS.to_owned()),
        _ => None,
    }
}

fn delete_kernel(error: &DeleteKernelError) -> Option<String> {
    match error {
        DeleteKernelError::NotFound { .. } => Some(LIST_KERNELS.to_owned()),
        DeleteKernelError::InUse { images, .. } => Some(format!(
            "delete what uses it: `banger image delete {}`",
            spaced(images)
        )),
        _ => None,
    }
}

fn stop(error: &StopVmError) -> Option<String> {
    match error {
        StopVmError::Query(error) => vm_query(error),
        StopVmError::TimedOut { name, .. } => {
            Some(format!("end it at once: `banger vm kill {name}`"))
        }
        _ => None,
    }
}

fn logs(error: &LogsError) -> Option<String> {
    match error {
        LogsError::Query(error) => vm_query(error),
        _ => None,
    }
}
