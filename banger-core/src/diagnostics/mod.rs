//! Whether a host has what banger needs.
//!
//! Purpose: what would fail later is found before, with what to do about it.
//! Invariants: looking ([`Facts::gather`]) and judging ([`judge`]) are apart, and
//! judging is pure; looking changes nothing and makes nothing, and every look
//! has a deadline; what the code decides elsewhere (the backend, the jail, the
//! paths of sockets) is decided here by the same code.
//! Entry points: [`Doctor`], [`LocalDoctor`], [`judge`].

mod checks;
mod database;
mod facts;
mod gather;

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use camino::Utf8PathBuf;

use crate::{
    clock::{Clock, SystemClock},
    directories::Directories,
    local::LocalOptions,
    remote::RemoteError,
    vmm::VmmPrograms,
};

pub use checks::judge;
pub use database::DatabaseFacts;
pub use facts::{Answer, DirectoryFacts, Facts, GuestFacts, HelperFacts, PlaceFacts, ToolFacts};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckStatus {
    /// All is well.
    Ok,
    /// banger works, but not as well as it could, or not all of it.
    Warning,
    /// banger, or what was configured, does not work.
    Failed,
    /// It does not matter on this host.
    Skipped,
}

impl CheckStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::Skipped];

    /// The word that means it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What, as a name that stays: `kvm`, `database`. That of a newer server may be
    /// unknown here.
    pub id: Cow<'static, str>,
    /// How it came out.
    pub status: CheckStatus,
    /// What was found.
    pub found: String,
    /// What to do; none when there is nothing to be done.
    pub advice: Option<String>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where files lie.
    pub directories: Directories,
    /// The static program that becomes the guest's init.
    pub guest_program: Utf8PathBuf,
    /// The programs that run virtual machines.
    pub vmm: VmmPrograms,
}

impl From<&LocalOptions> for HostOptions {
    fn from(options: &LocalOptions) -> Self {
        Self {
            directories: options.directories.clone(),
            guest_program: options.guest_program.clone(),
            vmm: options.vmm.clone(),
        }
    }
}

/// Looks at a host.
#[async_trait]
pub trait Doctor: Send + Sync + fmt::Debug {
    /// All checks, in an order that stays. Takes some seconds at most; dropping
    /// the future ends what was started.
    async fn diagnose(&self) -> Result<Vec<Check>, RemoteError>;
}

/// Looks at this host. It needs nothing to be opened before, so it can say why
/// nothing can be opened.
#[derive(Clone, Debug)]
pub struct LocalDoctor(HostOptions);

impl LocalDoctor {
    /// One that looks at that.
    #[must_use]
    pub const fn new(options: HostOptions) -> Self {
        Self(options)
    }
}

#[async_trait]
impl Doctor for LocalDoctor {
    async fn diagnose(&self) -> Result<Vec<Check>, RemoteError> {
        let facts = Box::pin(Facts::gather(&self.0, SystemClock.now())).await;
        Ok(judge(&facts))
    }
}
