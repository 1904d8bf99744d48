//! The records banger keeps, and the validated values they are made of.
//!
//! Purpose: the vocabulary of the whole library. Invariants: a value of these
//! types is valid by construction; none is serialisable, because rows, wire
//! messages and JSON output are types of their own at the edges.
//! Entry points: [`Image`], [`Kernel`], [`Vm`].

mod digest;
mod identity;
mod image;
mod kernel;
mod lease;
mod network;
mod operation;
mod session;
mod size;
mod snapshot;
mod verdict;
mod vm;
mod vm_change;
mod vm_page;
mod volume;

pub use digest::{Digest, DigestParseError};
pub use identity::{
    IdParseError, ImageId, ImageName, KernelName, NameParseError, OperationId, Selector, SessionId,
    SessionName, SnapshotId, VmId, VmName, VolumeName,
};
pub use image::{
    BootArtifacts, DiskMethod, DiskProvenance, Image, ImageOrigin, ImageSizes, RunConfig,
};
pub use kernel::{Kernel, KernelOrigin, ResolvedKernel};
pub use lease::{GrantedLease, Lease, Moment, OnExpiry, SinceBoot};
pub use network::{NetworkMode, PortParseError, PortProtocol, PublishedPort};
pub use operation::{BegunOperation, Operation, OperationEvent, OperationRequest, OperationState};
pub use session::Session;
pub use size::{Bytes, ParseSizeError};
pub use snapshot::Snapshot;
pub use verdict::{Verdict, Vouched, VouchedParseError};
pub use vm::{
    BackendChoice, BackendKind, BootMode, CommandEnd, RootDiskMode, Vm, VmExit, VmProcess, VmSpec,
    VmState,
};
pub use vm_change::{VmChange, VmChangeKind};
pub use vm_page::{VmOrder, VmPage, VmProperty, VmTerm};
pub use volume::{VmVolume, Volume, VolumeSource};
