//! Building an image in a VM from another image, step by step.
//!
//! The VM has a copy of the base's disk, grown, as its root. A hard link makes
//! the copy one of the staging directory's files too: it outlives the VM, which
//! is removed as soon as it stops, whatever stops it. Invariants: the base is
//! only read; a disk is published after its guest powered off in order and
//! e2fsck found it whole, without the blocks of files that were removed again.

use std::{fs, time::Duration};

use camino::Utf8Path;
use tokio::time::timeout;

use super::{
    super::{
        artifacts::staged_boot_artifacts,
        check_and_trim_rootfs,
        keep::{ROOTFS_FILE, publish, stage},
        local::name_lock,
        stage_boot_artifacts, write_packages_metadata,
    },
    BuildImageError, BuildImageRequest, BuildMachineError, LocalImageBuilder, Source,
    guest::{self, Listeners, StepFailure},
    inputs::{self, GatherError, GuestStep, Inputs},
    log::{BuildLog, LOG_FILE},
    name_is_free,
};
use crate::{
    domain::{
        Bytes, Digest, DiskMethod, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes,
        RootDiskMode, Selector, Vm, VmExit,
    },
    host_fs::{IoContext as _, PathError, Staging, copy_file, disk_usage, sync_file},
    progress::ProgressSink,
    step::reached,
    task::{attended, off_thread},
    vm::{CreateVm, CreatedVm, DeleteVmError, Lifetime, StopVmError, VmQueryError},
};

/// What the guest is given to write everything to its disk and power off.
const GRACE: Duration = Duration::from_mins(2);
/// What a disk has more than its base's, unless a size was given. It is sparse.
pub const GROWTH: Bytes = Bytes::new(2 * Bytes::GIB);
/// The label that says what a VM builds.
const LABEL: &str = "banger.build";

pub(super) async fn build(
    builder: &LocalImageBuilder,
    request: BuildImageRequest,
    progress: &dyn ProgressSink,
) -> Result<Image, BuildImageError> {
    let (manager, name) = (builder.images.as_ref(), &request.name);
    let directories = &manager.options.directories;
    name_is_free(manager, name).await?;
    let base = manager.find(&request.base).await?;
    let checked = match &request.source {
        Source::Host(provision) => provision.check(),
        Source::Packed(packed) => inputs::check_packed(packed),
    };
    checked.map_err(|source| BuildImageError::Invalid {
        name: name.clone(),
        source,
    })?;
    let name_lock = name_lock(directories, name).await;
    let _name_lock = name_lock.map_err(BuildImageError::lock(name))?;
    name_is_free(manager, name).await?;
    let build = Build {
        builder,
        id: ImageId::generate(),
        base,
        log: BuildLog::start(directories, name).await?,
        step: "the start".to_owned(),
        request: &request,
        progress,
    };
    Box::pin(build.run()).await
}

/// One build on its way.
struct Build<'a> {
    builder: &'a LocalImageBuilder,
    request: &'a BuildImageRequest,
    base: Image,
    id: ImageId,
    log: BuildLog,
    /// The step it is at, for errors.
    step: String,
    progress: &'a dyn ProgressSink,
}

impl Build<'_> {
    async fn run(mut self) -> Result<Image, BuildImageError> {
        let manager = self.builder.images.as_ref();
        let target = manager.options.directories.image(self.id);
        let staging = stage(manager, &target).await;
        let staging = staging.map_err(BuildImageError::keep(&self.request.name))?;
        self.announce(&format!("reading what goes into {}", self.request.name))?;
        let (staging, inputs) = self.gather(staging).await?;
        self.in_machine(staging.path(), &inputs.steps).await?;
        self.announce("keeping the disk")?;
        let (staging, record) = self.complete(staging, inputs.digest).await?;
        let published = publish(manager, staging, record).await;
        let image = published.map_err(BuildImageError::keep(&self.request.name))?;
        self.log.remove();
        Ok(image)
    }

    fn announce(&mut self, step: &str) -> Result<(), BuildImageError> {
        step.clone_into(&mut self.step);
        let announced = self.listeners().announce(step);
        announced.map_err(BuildImageError::io(&self.request.name))
    }

    fn listeners(&mut self) -> Listeners<'_> {
        Listeners {
            log: &mut self.log,
            progress: self.progress,
        }
    }

    /// The thread owns the directory meanwhile: it is removed after the last
    /// file was made in it.
    async fn gather(&self, staging: Staging) -> Result<(Staging, Inputs), BuildImageError> {
        let source = self.request.source.clone();
        let boot = self.base.boot.clone();
        let gathered = attended(move |cancel| {
            let packed = match source {
                Source::Host(provision) => provision.pack(staging.path(), cancel)?,
                Source::Packed(packed) => packed,
            };
            let inputs = inputs::gather(&packed, &boot, staging.path(), cancel)?;
            Ok((staging, inputs))
        });
        let gathered: Result<_, GatherError> = gathered.await;
        gathered.map_err(|error| error.of(&self.request.name))
    }

    /// Makes the machine, does everything in it, and ends it, whatever happens.
    async fn in_machine(
        &mut self,
        staging: &Utf8Path,
        steps: &[GuestStep],
    ) -> Result<(), BuildImageError> {
        self.announce(&format!("copying the disk of {}", self.base.name))?;
        // the VM is this process's until it is started
        let CreatedVm {
            vm,
            lifeline: _creator,
        } = self.create().await?;
        let deadline = self.request.deadline;
        let done = match self.share_disk(&vm, staging) {
            Ok(()) => timeout(deadline, Box::pin(self.use_machine(&vm, steps))).await,
            Err(error) => Ok(Err(error)),
        };
        let failure = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => self.timed_out(),
        };
        self.discard(&vm).await;
        Err(failure)
    }

    async fn create(&self) -> Result<CreatedVm, BuildImageError> {
        let machine = &self.request.machine;
        let least = self.base.rootfs.metadata().at("inspect", &self.base.rootfs);
        let least = least.map_err(BuildImageError::io(&self.request.name))?;
        let usual = least.len().saturating_add(GROWTH.get());
        let name = format!("build-{}", self.id.short());
        let mut labels = self.request.labels.clone();
        labels.insert(LABEL.to_owned(), self.request.name.to_string());
        let request = CreateVm {
            name: name.parse().ok(),
            vcpus: machine.vcpus,
            memory: machine.memory,
            root_disk: RootDiskMode::Clone,
            disk_size: self.request.size.unwrap_or(Bytes::new(usual)),
            backend: machine.backend,
            network: machine.network,
            ports: Vec::new(),
            remove_on_stop: true,
            labels,
            ..CreateVm::new(by_id(&self.base.id))
        };
        let vms = &self.builder.vms;
        let created = vms.create(request, Lifetime::BoundToCaller, self.progress);
        created.await.map_err(|error| self.machine_failed(error))
    }

    /// Makes the VM's disk a file of the image's as well.
    fn share_disk(&self, vm: &Vm, staging: &Utf8Path) -> Result<(), BuildImageError> {
        let directories = &self.builder.images.options.directories;
        let disk = directories.vm_root_disk(vm.id);
        let linked = fs::hard_link(&disk, staging.join(ROOTFS_FILE));
        let linked = linked.at("link to the image", &disk);
        reached("linked a disk to an image");
        linked.map_err(BuildImageError::io(&self.request.name))
    }

    async fn use_machine(&mut self, vm: &Vm, steps: &[GuestStep]) -> Result<(), BuildImageError> {
        reached("made the VM of a build");
        self.announce("booting")?;
        let vms = self.builder.vms.clone();
        let id = by_id(&vm.id);
        let started = vms.start(&id, Lifetime::BoundToCaller, self.progress).await;
        let started = started.map_err(|error| self.machine_failed(error))?;
        for step in steps {
            self.announce(&step.name)?;
            let mut listeners = self.listeners();
            let run = guest::run(vms.as_ref(), &id, step, &mut listeners).await;
            run.map_err(|failure| self.step_failed(failure, step.is_own))?;
            reached("ran a step of a build");
        }
        self.announce("powering off")?;
        let stopped = vms.stop(&id, GRACE).await;
        let stopped = stopped.map_err(|error| self.machine_failed(error))?;
        reached("ended the VM of a build");
        drop(started.lifeline);
        if stopped.exit == Some(VmExit::PoweredOff) {
            return Ok(());
        }
        Err(self.machine_failed(BuildMachineError::NotInOrder))
    }

    /// Removes a VM whose build failed; its lifeline would do so later.
    async fn discard(&self, vm: &Vm) {
        match self.builder.vms.delete(&by_id(&vm.id), true).await {
            Ok(_)
            | Err(
                DeleteVmError::Query(VmQueryError::NotFound { .. })
                | DeleteVmError::Stop(StopVmError::Query(VmQueryError::NotFound { .. })),
            ) => {}
            Err(error) => {
                tracing::warn!(%error, vm = %vm.name, "the VM of a failed build is left");
            }
        }
    }

    /// Checks the disk, puts the rest beside it, and makes the record.
    async fn complete(
        &self,
        staging: Staging,
        input: Digest,
    ) -> Result<(Staging, Image), BuildImageError> {
        let disk = staging.path().join(ROOTFS_FILE);
        let checked = check_and_trim_rootfs(&disk).await;
        reached("checked the disk of a build");
        checked.map_err(|source| BuildImageError::Disk {
            name: self.request.name.clone(),
            source: Box::new(source),
            log: self.log.path().to_owned(),
        })?;
        let failed = BuildImageError::io(&self.request.name);
        let (boot, log) = (self.base.boot.clone(), self.log.path().to_owned());
        let staged = off_thread(move || {
            stage_boot_artifacts(&boot, staging.path())?;
            copy_file(&log, &staging.path().join(LOG_FILE))?;
            let sizes = sizes(&staging.path().join(ROOTFS_FILE))?;
            Ok((staging, sizes))
        });
        let (staging, sizes) = staged.await.map_err(&failed)?;
        reached("filled the directory of a build");
        let package_hash = self.package_hash(&disk).map_err(failed)?;
        let record = self.record(staging.target(), input, package_hash, sizes);
        Ok((staging, record))
    }

    /// Packages that were not installed now are those of the base.
    fn package_hash(&self, disk: &Utf8Path) -> Result<Option<String>, PathError> {
        if self.request.source.parts().base_packages {
            return write_packages_metadata(disk).map(Some);
        }
        Ok(self.base.package_hash.clone())
    }

    fn record(
        &self,
        directory: &Utf8Path,
        input: Digest,
        package_hash: Option<String>,
        sizes: ImageSizes,
    ) -> Image {
        let now = self.builder.images.options.clock.now();
        Image {
            id: self.id,
            name: self.request.name.clone(),
            rootfs: directory.join(ROOTFS_FILE),
            boot: staged_boot_artifacts(&self.base.boot, directory),
            artifact_directory: Some(directory.to_owned()),
            origin: ImageOrigin::Built {
                base: self.base.id,
                base_name: self.base.name.clone(),
                input,
            },
            sizes,
            package_hash,
            verdict: None,
            disk: DiskProvenance {
                method: Some(DiskMethod::Copied),
                ..DiskProvenance::default()
            },
            created: now,
            updated: now,
            ..self.base.clone()
        }
    }

    fn step_failed(&self, failure: StepFailure, is_own: bool) -> BuildImageError {
        match failure {
            StepFailure::Io(source) => BuildImageError::io(&self.request.name)(source),
            StepFailure::Machine(error) => self.machine_failed(error),
            StepFailure::Command(problem) => BuildImageError::Step {
                name: self.request.name.clone(),
                step: self.step.clone(),
                problem,
                is_own,
                log: self.log.path().to_owned(),
            },
        }
    }

    fn machine_failed(&self, error: impl Into<BuildMachineError>) -> BuildImageError {
        BuildImageError::Machine {
            name: self.request.name.clone(),
            step: self.step.clone(),
            source: Box::new(error.into()),
            log: self.log.path().to_owned(),
        }
    }

    fn timed_out(&self) -> BuildImageError {
        BuildImageError::TimedOut {
            name: self.request.name.clone(),
            step: self.step.clone(),
            deadline: self.request.deadline,
            log: self.log.path().to_owned(),
        }
    }
}

fn by_id(id: &impl ToString) -> Selector {
    Selector::from(id.to_string().as_str())
}

/// Sizes of a disk that is whole, and on the host's disk.
fn sizes(disk: &Utf8Path) -> Result<ImageSizes, PathError> {
    sync_file(disk)?;
    Ok(ImageSizes {
        apparent: Bytes::new(disk.metadata().at("inspect", disk)?.len()),
        on_disk: disk_usage(disk)?,
    })
}
