//! Going on from a snapshot: a VM is made whose disks are copies of what was
//! kept, and its monitor goes on from there instead of booting it.
//!
//! A VM that does not come up is removed again. Until its monitor has it, it is
//! bound to its maker, and so gone with it.

use std::sync::Arc;

use camino::Utf8PathBuf;

use super::{RestoreVm, RestoreVmError, find};
use crate::{
    domain::{ImageId, Selector, Snapshot, Vm, VmSpec},
    progress::ProgressSink,
    task::off_thread,
    vm::{
        CreateVm, Lifetime, StartVmError, StartedVm,
        create::{self, Disks, Wanted},
        delete, in_words,
        kept::Kept,
        launch::LaunchError,
        start::start_kept,
        supervisor::Host,
    },
    vmm::{Acceleration, ChosenBackend},
};

/// Makes a VM of a snapshot and has it go on.
pub(in crate::vm) async fn restore(
    host: &Arc<Host>,
    selector: &Selector,
    request: RestoreVm,
    lifetime: Lifetime,
    progress: &dyn ProgressSink,
) -> Result<StartedVm, RestoreVmError> {
    let snapshot = find(host, selector).await?;
    let directory = host.options.directories.snapshot(snapshot.id);
    let kept = load(&snapshot, directory.clone()).await?;
    let network = snapshot.vm.spec.network;
    let backend = create::backend(host, Some(snapshot.backend), network).await;
    let backend = backend.map_err(StartVmError::Backend)?;
    check_backend(&snapshot, &kept, &backend)?;
    let disks = Disks::Kept {
        directory: directory.clone(),
        names: kept.own_names(),
    };
    let wanted = Wanted {
        image: snapshot.vm.image,
        request: create_request(snapshot.vm.image, snapshot.vm.spec.clone(), request),
        volumes: snapshot.vm.spec.volumes.clone(),
        lifetime: Lifetime::BoundToCaller,
        disks,
    };
    let created = create::create_wanted(host, wanted, &backend, progress).await?;
    let mut launch = kept.moved_to(&host.files(created.vm.id));
    launch.vm = created.vm.id;
    launch.directories = host.options.directories.clone();
    launch.backend = backend;
    launch.purpose.reason = format!("it went on from snapshot {}", snapshot.id);
    launch.snapshot = Some(directory);
    let started = start_kept(host, &created.vm, launch, lifetime, progress).await;
    match started {
        Ok(started) => Ok(started),
        Err(error) => {
            remove(host, &created.vm).await;
            Err(error.into())
        }
    }
}

/// Reads what was kept, and sees to it that nothing of it changed.
async fn load(snapshot: &Snapshot, directory: Utf8PathBuf) -> Result<Kept, RestoreVmError> {
    let id = snapshot.id;
    let read = move || {
        let kept = Kept::load(&directory)?;
        let changed = kept.changed_disk()?.map(str::to_owned);
        Ok((kept, changed))
    };
    match off_thread(read).await {
        Ok((kept, None)) => Ok(kept),
        Ok((_, Some(path))) => Err(RestoreVmError::DiskChanged { id, path }),
        Err(LaunchError::Io(source)) => Err(RestoreVmError::Io { id, source }),
        Err(malformed @ LaunchError::Malformed { .. }) => Err(RestoreVmError::Unsuited {
            id,
            problem: in_words(&malformed),
        }),
    }
}

/// A processor that is emulated differs from a real one.
fn check_backend(
    snapshot: &Snapshot,
    kept: &Kept,
    backend: &ChosenBackend,
) -> Result<(), RestoreVmError> {
    let words = |acceleration| match acceleration {
        Acceleration::Kvm => "on KVM",
        Acceleration::Software => "by software emulation",
    };
    let (then, now) = (kept.launch.backend.acceleration, backend.acceleration);
    if then == now {
        return Ok(());
    }
    Err(RestoreVmError::Unsuited {
        id: snapshot.id,
        problem: format!("it ran {}, and would run {}", words(then), words(now)),
    })
}

/// The request that the VM would be made by.
fn create_request(image: ImageId, spec: VmSpec, request: RestoreVm) -> CreateVm {
    let mut labels = spec.labels;
    labels.extend(request.labels);
    CreateVm {
        image: image.into(),
        name: request.name,
        vcpus: spec.vcpus,
        memory: spec.memory,
        boot_mode: spec.boot_mode,
        root_disk: spec.root_disk,
        disk_size: spec.disk_size,
        backend: spec.backend,
        network: spec.network,
        ports: request.ports.unwrap_or(spec.ports),
        remove_on_stop: request.remove_on_stop,
        lease: request.lease,
        labels,
        // they are what was kept
        volumes: Vec::new(),
        process: spec.process,
    }
}

async fn remove(host: &Host, vm: &Vm) {
    let selector = Selector::from(vm.id.to_string().as_str());
    if let Err(error) = delete::delete(host, &selector, true).await {
        let error = in_words(&error);
        tracing::warn!(error, vm = %vm.name, "a VM that did not come up is left");
    }
}
