//! Why an image could not be built.

use std::time::Duration;

use camino::Utf8PathBuf;

use super::super::{
    ImageQueryError, PullError, ResizeRootfsError, ValidationError, keep::KeepError,
};
use crate::{
    domain::ImageName,
    error::ErrorKind,
    host_fs::{LockError, PathError},
    kernel::ResolveKernelError,
    process::ChildError,
    remote::RemoteError,
    store::StoreError,
    vm::{CreateVmError, ExecError, StartVmError, StopVmError},
};

/// An image could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildImageError {
    /// The name is taken.
    #[error("image {name} exists already")]
    AlreadyExists {
        /// The name.
        name: ImageName,
    },
    /// The image to start from cannot be looked up.
    #[error(transparent)]
    Base(#[from] ImageQueryError),
    /// Files cannot be used.
    #[error("image {name} cannot be built of these files")]
    Invalid {
        /// The image's name.
        name: ImageName,
        /// Every problem.
        source: ValidationError,
    },
    /// The kernel cannot be used.
    #[error("image {name} cannot be built without a usable kernel")]
    Kernel {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: ResolveKernelError,
    },
    /// No program builds Containerfiles.
    #[error("image {name} cannot be built: none of {} is installed", programs.join(", "))]
    NoProgram {
        /// The image's name.
        name: ImageName,
        /// The programs that were looked for.
        programs: Vec<&'static str>,
    },
    /// The program that builds Containerfiles failed.
    #[error("image {name} failed to build; its log is {log}")]
    Program {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: ChildError,
        /// Everything the program said.
        log: Utf8PathBuf,
    },
    /// What the program made could not be pulled.
    #[error("failed to take over what was built; its log is {log}")]
    Pull {
        /// The cause.
        source: Box<PullError>,
        /// Everything the program said.
        log: Utf8PathBuf,
    },
    /// A step in the guest failed.
    #[error("image {name} failed to build at {step}: {problem}; its log is {log}")]
    Step {
        /// The image's name.
        name: ImageName,
        /// The step.
        step: String,
        /// How it ended.
        problem: String,
        /// Whether the step is a part of banger's own, which can be left out.
        is_own: bool,
        /// Everything the guest said.
        log: Utf8PathBuf,
    },
    /// The guest took too long.
    #[error("image {name} was not built within {deadline:?}: it was at {step}; its log is {log}")]
    TimedOut {
        /// The image's name.
        name: ImageName,
        /// The step it was at.
        step: String,
        /// What it was given.
        deadline: Duration,
        /// Everything the guest said.
        log: Utf8PathBuf,
    },
    /// The machine failed.
    #[error("the machine that builds image {name} failed at {step}; its log is {log}")]
    Machine {
        /// The image's name.
        name: ImageName,
        /// The step it was at.
        step: String,
        /// The cause.
        source: Box<BuildMachineError>,
        /// Everything the guest said.
        log: Utf8PathBuf,
    },
    /// The disk that was built is not whole.
    #[error("the disk that was built for image {name} cannot be used; its log is {log}")]
    Disk {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: Box<ResizeRootfsError>,
        /// Everything the guest said.
        log: Utf8PathBuf,
    },
    /// A host file failed.
    #[error("failed to build image {name}")]
    Io {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: PathError,
    },
    /// A lock could not be taken.
    #[error("failed to build image {name}")]
    Lock {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: LockError,
    },
    /// The store failed.
    #[error("failed to record image {name}")]
    Store {
        /// The image's name.
        name: ImageName,
        /// The cause.
        source: StoreError,
    },
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// The machine that builds an image failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildMachineError {
    /// It could not be made.
    #[error(transparent)]
    Create(#[from] CreateVmError),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartVmError),
    /// A command could not be run in it.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// It could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopVmError),
    /// A command's session ended without an exit.
    #[error("a command's session ended without an exit status")]
    SessionLost,
    /// It was ended by force, so that what it wrote last is lost.
    #[error("the guest did not power off in order")]
    NotInOrder,
}

impl BuildImageError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Base(error) => error.kind(),
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Kernel { source, .. } => source.kind(),
            Self::NoProgram { .. } => ErrorKind::Unsupported,
            Self::Program { source, .. } => source.kind(),
            Self::Pull { source, .. } => source.kind(),
            Self::Step { .. } => ErrorKind::Internal,
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Machine { source, .. } => source.kind(),
            Self::Disk { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Lock { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }

    pub(super) fn keep(name: &ImageName) -> impl Fn(KeepError) -> Self {
        |error| {
            let name = name.clone();
            match error {
                KeepError::Lock(source) => Self::Lock { name, source },
                KeepError::Io(source) => Self::Io { name, source },
                KeepError::Taken => Self::AlreadyExists { name },
                KeepError::Store(source) => Self::Store { name, source },
            }
        }
    }

    pub(super) fn io(name: &ImageName) -> impl Fn(PathError) -> Self {
        |source| Self::Io {
            name: name.clone(),
            source,
        }
    }

    pub(super) fn lock(name: &ImageName) -> impl Fn(LockError) -> Self {
        |source| Self::Lock {
            name: name.clone(),
            source,
        }
    }

    pub(super) fn store(name: &ImageName) -> impl Fn(StoreError) -> Self {
        |source| Self::Store {
            name: name.clone(),
            source,
        }
    }
}

impl BuildMachineError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create(error) => error.kind(),
            Self::Start(error) => error.kind(),
            Self::Exec(error) => error.kind(),
            Self::Stop(error) => error.kind(),
            Self::SessionLost => ErrorKind::Internal,
            Self::NotInOrder => ErrorKind::Corrupt,
        }
    }
}
