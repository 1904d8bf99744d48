//! What a user can do about a boot that failed.

use banger_core::{
    ErrorKind,
    domain::VmName,
    vm::{BootFailure, PrepareBootError},
};

const MAKE_ROOM: &str = "make room on the disk with banger's state directory: \
    `banger vm prune`, `banger image prune`";

/// What helps when what a boot needs is missing.
pub(super) fn of_preparation(name: &VmName, error: &PrepareBootError) -> Option<String> {
    Some(match error {
        PrepareBootError::KernelMissing { .. } | PrepareBootError::RootDiskMissing { .. } => {
            "put the file back, or pull or register the image again".to_owned()
        }
        PrepareBootError::GuestProgramMissing { .. } => {
            "name it with --guest-program, BANGER_GUEST_PROGRAM or guest-program in the configuration"
                .to_owned()
        }
        PrepareBootError::TooLittleMemory { .. } => more_memory(name),
        PrepareBootError::Io(error) if error.kind() == ErrorKind::ResourceExhausted => {
            MAKE_ROOM.to_owned()
        }
        _ => return None,
    })
}

/// What helps when a machine did not come up.
pub(super) fn of_failure(name: &VmName, failure: BootFailure) -> String {
    match failure {
        BootFailure::OutOfMemory => more_memory(name),
        BootFailure::DiskFull => {
            format!("give it a larger disk: `banger vm set {name} --disk SIZE`")
        }
        BootFailure::HostDiskFull => MAKE_ROOM.to_owned(),
        BootFailure::NoInit => "boot the image without an init of its own: --boot entrypoint \
             runs its command, --boot agent waits for `banger vm exec`"
            .to_owned(),
        BootFailure::VolumeInUse => {
            "one VM at a time may write to a volume; several may use it with :ro".to_owned()
        }
        BootFailure::CommandNotFound
        | BootFailure::CommandNotExecutable
        | BootFailure::CommandInvalid => {
            "`banger image show` says what the image runs; give another command after `--`"
                .to_owned()
        }
        _ => format!("`banger vm logs {name}` shows its console, if the VM was kept"),
    }
}

fn more_memory(name: &VmName) -> String {
    format!("give it more with --memory; if the VM was kept: `banger vm set {name} --memory SIZE`")
}
