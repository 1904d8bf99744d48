//! The stages of a boot and their failures.

use std::{fmt, io};

use super::{boot_config::ConfigError, disks::MissingDisk, network::MissingInterface};

/// A step of the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// proc, sysfs and devtmpfs of the initramfs.
    Mounts,
    /// Reading what the host wrote.
    BootConfig,
    /// Loading kernel modules.
    Modules,
    /// Finding the disks.
    Disks,
    /// Mounting the root file system.
    Root,
    /// Making it the root.
    SwitchRoot,
    /// The mounts inside it.
    System,
    /// Host name and its files.
    Names,
    /// The volumes.
    Volumes,
    /// The loopback interface and the other one.
    Network,
    /// Finding the image's own init, and becoming it.
    Init,
    /// Starting the agent and opening the channel.
    Agent,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mounts => "mounts",
            Self::BootConfig => "boot-config",
            Self::Modules => "modules",
            Self::Disks => "disks",
            Self::Root => "root",
            Self::SwitchRoot => "switch-root",
            Self::System => "system",
            Self::Names => "names",
            Self::Volumes => "volumes",
            Self::Network => "network",
            Self::Init => "init",
            Self::Agent => "agent",
        })
    }
}

/// Why a stage failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// A call failed.
    #[error("cannot {action} {object}: {source}")]
    Call {
        /// What was done.
        action: &'static str,
        /// To what.
        object: String,
        /// The cause.
        source: io::Error,
    },
    /// The boot configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A disk did not appear.
    #[error(transparent)]
    Disk(#[from] MissingDisk),
    /// The image has no init that could become the first process.
    #[error("the image has no init: there is neither {}", looked_for.join(" nor "))]
    NoInit {
        /// Where one was looked for.
        looked_for: Vec<String>,
    },
    /// The network interface did not appear.
    #[error(transparent)]
    Interface(#[from] MissingInterface),
}

impl Cause {
    /// For `map_err`: names the action and its object.
    pub(super) fn of<E: Into<io::Error>>(
        action: &'static str,
        object: impl fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Call {
            action,
            object: object.to_string(),
            source: source.into(),
        }
    }
}

/// A stage that failed: the line on the console.
#[derive(Debug, thiserror::Error)]
#[error("stage {stage} failed: {cause}")]
pub(super) struct Failure {
    stage: Stage,
    #[source]
    cause: Cause,
}

impl Failure {
    pub(super) fn new(stage: Stage, cause: Cause) -> Self {
        Self { stage, cause }
    }
}

/// Names the stage of a failure.
pub(super) trait During<T> {
    /// Says in which stage the failure happened.
    fn during(self, stage: Stage) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, Cause> {
    fn during(self, stage: Stage) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(stage, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_stage_action_object_and_cause() {
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        let result: Result<(), io::Error> = Err(missing);
        let failure = result
            .map_err(Cause::of("read", "/banger/boot.pb"))
            .during(Stage::BootConfig)
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "stage boot-config failed: cannot read /banger/boot.pb: \
             No such file or directory (os error 2)"
        );
    }
}
