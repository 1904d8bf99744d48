//! Changing what is asked of a VM.
//!
//! A disk grows at once, in a copy that takes its place by one rename
//! (`image::resize_rootfs`), under the VM's lock; then the record is changed.
//! A crash before the rename leaves the old disk and perhaps that copy, which
//! goes with the VM; one after it leaves a disk larger than its record says,
//! which works and which the same call puts right.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::{
    VmQueryError,
    create::{Refused, check_machine},
    lease::grant,
    lock::{Taken, take},
    stop::is_up,
    supervisor::Host,
};
use crate::{
    clock::Clock,
    domain::{Bytes, Lease, RootDiskMode, Selector, Vm, VmName, VmSpec, VmState},
    error::ErrorKind,
    host_fs::PathError,
    image::{ResizeRootfsError, resize_rootfs},
    remote::RemoteError,
    store::{ChangedSpec, StoreError},
};

/// What is to be different; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetVm {
    /// Number of virtual CPUs of the next boot, 1 to 64.
    pub vcpus: Option<u32>,
    /// Guest memory of the next boot, at least 64 MiB.
    pub memory: Option<Bytes>,
    /// Size of the disk that takes the writes, no less than it is. Only for a
    /// VM that does not run; needs e2fsprogs on the host.
    pub disk_size: Option<Bytes>,
    /// The lease it gets in place of the one it has, counted from now; none in
    /// there takes the lease away.
    pub lease: Option<Option<Lease>>,
    /// Labels that it gets, in place of those with the same keys.
    pub labels: BTreeMap<String, String>,
    /// Keys of labels that it loses; others are no error.
    pub removed_labels: BTreeSet<String>,
    /// The generation that its record must have; any when none is given.
    pub generation: Option<u64>,
}

/// What is asked of a VM could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetVmError {
    /// It could not be looked up.
    #[error(transparent)]
    Query(#[from] VmQueryError),
    /// The request cannot be met whatever the state.
    #[error("{field} {value} is not allowed: {problem}")]
    InvalidSpec {
        /// Which field.
        field: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        problem: String,
    },
    /// Its disk is in use.
    #[error("VM {name} is {}: its disk can only grow while it does not run", state.as_str())]
    Running {
        /// The VM.
        name: VmName,
        /// The state.
        state: VmState,
    },
    /// Another call is working on it.
    #[error("VM {name} is being worked on by another call")]
    Busy {
        /// The VM.
        name: VmName,
    },
    /// Its record has another generation than the request says.
    #[error("VM {name} has changed meanwhile")]
    Changed {
        /// The VM.
        name: VmName,
    },
    /// Its disk could not be given the size.
    #[error("failed to grow the disk of VM {name}")]
    Disk {
        /// The VM.
        name: VmName,
        /// The cause.
        source: Box<ResizeRootfsError>,
    },
    /// A host file failed.
    #[error("failed to change VM {name}")]
    Io {
        /// The VM.
        name: VmName,
        /// The cause.
        source: PathError,
    },
    /// The store failed.
    #[error("failed to record the change of the VM")]
    Store(#[source] StoreError),
    /// What a server said.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl SetVmError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote(error) => error.kind(),
            Self::Query(error) => error.kind(),
            Self::InvalidSpec { .. } => ErrorKind::InvalidInput,
            Self::Running { .. } | Self::Busy { .. } | Self::Changed { .. } => ErrorKind::Conflict,
            Self::Disk { source, .. } => source.kind(),
            Self::Io { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

impl From<Refused> for SetVmError {
    fn from(refused: Refused) -> Self {
        Self::InvalidSpec {
            field: refused.field,
            value: refused.value,
            problem: refused.problem,
        }
    }
}

/// Changes what is asked of a VM.
pub(super) async fn set(
    host: &Host,
    selector: &Selector,
    request: SetVm,
) -> Result<Vm, SetVmError> {
    let vm = host.find(selector).await?;
    validate(&vm.spec, &request)?;
    match request.disk_size {
        Some(size) if size != vm.spec.disk_size => grow(host, &vm, size, request).await,
        _ => record(host, &vm, request).await,
    }
}

fn validate(spec: &VmSpec, request: &SetVm) -> Result<(), SetVmError> {
    let disk = request.disk_size.unwrap_or(spec.disk_size);
    check_machine(
        request.vcpus.unwrap_or(spec.vcpus),
        request.memory.unwrap_or(spec.memory),
        disk,
    )?;
    if disk < spec.disk_size {
        return Err(SetVmError::InvalidSpec {
            field: "disk size",
            value: disk.to_string(),
            problem: format!("it has {} and never shrinks", spec.disk_size),
        });
    }
    Ok(())
}

/// Grows the disk of a VM that nobody may start meanwhile.
async fn grow(host: &Host, vm: &Vm, size: Bytes, request: SetVm) -> Result<Vm, SetVmError> {
    refuse_running(vm)?;
    let directory = host.files(vm.id).directory;
    let taken = take(&directory).await.map_err(io_error(vm))?;
    let now = host.refreshed(vm).await?;
    refuse_running(&now)?;
    let Taken::Ours(_lock) = taken else {
        return Err(SetVmError::Busy { name: now.name });
    };
    // it may have grown before the lock was ours
    validate(&now.spec, &request)?;
    if request
        .generation
        .is_some_and(|expected| expected != now.generation)
    {
        return Err(SetVmError::Changed { name: now.name });
    }
    let grown = resize_rootfs(&disk(host, &now), size).await;
    grown.map_err(|source| SetVmError::Disk {
        name: now.name.clone(),
        source: Box::new(source),
    })?;
    record(host, &now, request).await
}

fn refuse_running(vm: &Vm) -> Result<(), SetVmError> {
    if !is_up(vm.state) {
        return Ok(());
    }
    Err(SetVmError::Running {
        name: vm.name.clone(),
        state: vm.state,
    })
}

/// The disk that takes a VM's writes.
fn disk(host: &Host, vm: &Vm) -> Utf8PathBuf {
    let files = host.files(vm.id);
    match vm.spec.root_disk {
        RootDiskMode::Overlay => files.writable_disk(),
        RootDiskMode::Clone => files.root_disk,
    }
}

async fn record(host: &Host, vm: &Vm, request: SetVm) -> Result<Vm, SetVmError> {
    let clock = host.options.clock.as_ref();
    let changed = host
        .store()
        .change_vm_spec(vm.id, request.generation, |spec| {
            apply(spec, request, clock);
        });
    match changed.await.map_err(SetVmError::Store)? {
        ChangedSpec::Done(vm) => Ok(*vm),
        ChangedSpec::Stale => Err(SetVmError::Changed {
            name: vm.name.clone(),
        }),
        ChangedSpec::Gone => {
            let selector = Selector::from(vm.name.as_str());
            Err(VmQueryError::NotFound { selector }.into())
        }
    }
}

fn apply(spec: &mut VmSpec, request: SetVm, clock: &dyn Clock) {
    if let Some(lease) = request.lease {
        spec.lease = lease.map(|lease| grant(lease, clock));
    }
    spec.vcpus = request.vcpus.unwrap_or(spec.vcpus);
    spec.memory = request.memory.unwrap_or(spec.memory);
    spec.disk_size = request.disk_size.unwrap_or(spec.disk_size);
    spec.labels
        .retain(|key, _| !request.removed_labels.contains(key));
    spec.labels.extend(request.labels);
}

fn io_error(vm: &Vm) -> impl Fn(PathError) -> SetVmError {
    let name = vm.name.clone();
    move |source| SetVmError::Io {
        name: name.clone(),
        source,
    }
}
