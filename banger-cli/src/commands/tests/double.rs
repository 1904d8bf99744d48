//! One strict double of all three services: a call that a command must not
//! make panics, and every call is written down.

mod doctor;
pub(super) mod files;
mod snapshots;
mod vms;
mod volumes;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::SystemTime,
};

use async_trait::async_trait;
use banger_core::{
    bundle::Written,
    catalog::Available,
    diagnostics::Check,
    disk::{Difference, DiskEntry},
    domain::{
        BootArtifacts, Bytes, Digest, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes,
        Kernel, KernelName, KernelOrigin, ResolvedKernel, RunConfig, Selector, Snapshot, Vm, VmId,
        VmSpec, VmState, Volume,
    },
    host_fs::Output,
    image::{
        BundleImageError, BundleImageRequest, DeleteImageError, DiskStream, ImageFile,
        ImageManager, ImageQueryError, ListImageFiles, LoadRequest, LoadSource, PromoteError,
        PruneError, PruneRequest, PrunedBlob, PrunedCache, PullError, PullRequest, ReadImageError,
        RegisterError, RegisterRequest, SaveError, SaveOutput, SaveRequest, SavedImage,
    },
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, KernelResolver,
        KernelSelection, KernelSource, PullKernelError, ResolveKernelError,
    },
    progress::{ProgressEvent, ProgressSink},
    vm::{CreateVm, ExecControl, ExecError, ExecEvent, ExecRequest, VmQueryError},
};
use tokio::sync::mpsc;

/// What the next command in a guest does.
#[derive(Debug)]
pub(super) enum Script {
    /// Sends these and is over.
    Events(Vec<ExecEvent>),
    /// Cannot be started.
    Refused(ExecError),
    /// Runs until it is given up; it is told things here.
    Endless(mpsc::Sender<ExecControl>),
}

/// Keeps a session from ending.
type GuestEnd = (
    mpsc::Sender<Result<ExecEvent, ExecError>>,
    Option<mpsc::Receiver<ExecControl>>,
);

/// What starting a VM does.
#[derive(Debug, Default)]
pub(super) enum Boot {
    /// Works.
    #[default]
    Works,
    /// Fails.
    Fails,
    /// Never ends; says when it began.
    Hangs(mpsc::Sender<()>),
}

#[derive(Debug, Default)]
pub(super) struct World {
    calls: Mutex<Vec<String>>,
    pub(super) images: Mutex<Vec<Image>>,
    pub(super) kernels: Mutex<Vec<Kernel>>,
    pub(super) vms: Mutex<Vec<Vm>>,
    volumes: Mutex<Vec<Volume>>,
    snapshots: Mutex<Vec<Snapshot>>,
    pub(super) scripts: Mutex<VecDeque<Script>>,
    pub(super) requests: Mutex<Vec<ExecRequest>>,
    pub(super) boot: Mutex<Boot>,
    pub(super) stop_fails: Mutex<bool>,
    /// What is found of the host.
    pub(super) checks: Mutex<Vec<Check>>,
    /// Another process pulls the same just before.
    pub(super) peer_pulls: Mutex<bool>,
    /// The files of every guest.
    pub(super) guest: Mutex<files::GuestFiles>,
    /// The guest's ends of sessions, which last as long as the world.
    sessions: Mutex<Vec<GuestEnd>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl World {
    pub(super) fn call(&self, text: impl Into<String>) {
        lock(&self.calls).push(text.into());
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<String> {
        lock(&self.calls).clone()
    }

    pub(super) fn with_image(self, name: &str, reference: &str) -> Self {
        lock(&self.images).push(image(name, reference));
        self
    }

    pub(super) fn with_kernels(self, names: &[&str]) -> Self {
        lock(&self.kernels).extend(names.iter().map(|name| kernel(name)));
        self
    }

    pub(super) fn with_vm(self, name: &str, state: VmState) -> Self {
        let request = CreateVm {
            name: name.parse().ok(),
            ..CreateVm::new("any".into())
        };
        let vm = Vm {
            state,
            ..vm(ImageId::generate(), request)
        };
        lock(&self.vms).push(vm);
        self
    }

    pub(super) fn with_script(self, script: Script) -> Self {
        lock(&self.scripts).push_back(script);
        self
    }

    fn find_vm(&self, selector: &Selector) -> Option<Vm> {
        let text = selector.as_str();
        let vms = lock(&self.vms);
        vms.iter()
            .find(|vm| vm.name.as_str() == text || vm.id.to_string() == text)
            .cloned()
    }

    fn known_vm(&self, selector: &Selector) -> Result<Vm, VmQueryError> {
        let selector = selector.clone();
        self.find_vm(&selector)
            .ok_or(VmQueryError::NotFound { selector })
    }

    fn set_state(&self, id: VmId, state: VmState) -> Vm {
        let mut vms = lock(&self.vms);
        let vm = vms.iter_mut().find(|vm| vm.id == id).unwrap();
        vm.state = state;
        vm.clone()
    }

    fn remove(&self, id: VmId) {
        lock(&self.vms).retain(|vm| vm.id != id);
    }
}

pub(super) fn image(name: &str, reference: &str) -> Image {
    Image {
        id: ImageId::generate(),
        name: name.parse().unwrap(),
        artifact_directory: Some("/i".into()),
        rootfs: "/i/rootfs.ext4".into(),
        boot: BootArtifacts::default(),
        kernel: "k".parse().ok(),
        origin: ImageOrigin::Oci {
            reference: reference.to_owned(),
            manifest: Digest::of(b"manifest"),
        },
        run_config: RunConfig::default(),
        sizes: ImageSizes {
            apparent: Bytes::new(Bytes::GIB),
            on_disk: Bytes::from_mib(1),
        },
        package_hash: None,
        disk: DiskProvenance::default(),
        verdict: None,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

fn kernel(name: &str) -> Kernel {
    Kernel {
        name: name.parse().unwrap(),
        distribution: None,
        architecture: "x86_64".into(),
        version: "6.1".into(),
        sha256: Digest::of(b"kernel"),
        origin: KernelOrigin::File("/k".into()),
        directory: "/k".into(),
        boot: BootArtifacts::default(),
        verdict: None,
        imported: SystemTime::UNIX_EPOCH,
    }
}

fn vm(image: ImageId, request: CreateVm) -> Vm {
    Vm {
        id: VmId::generate(),
        name: request.name.unwrap_or_else(|| "made-up".parse().unwrap()),
        image,
        spec: VmSpec {
            vcpus: request.vcpus,
            memory: request.memory,
            boot_mode: request.boot_mode,
            root_disk: request.root_disk,
            disk_size: request.disk_size,
            backend: request.backend,
            network: request.network,
            ports: request.ports,
            remove_on_stop: request.remove_on_stop,
            labels: request.labels,
            ..VmSpec::default()
        },
        state: VmState::Created,
        reason: "created".into(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: SystemTime::UNIX_EPOCH,
        started: None,
        stopped: None,
        generation: 1,
    }
}

#[async_trait]
impl ImageManager for World {
    async fn pull(
        &self,
        request: PullRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        let kernel = request.kernel.name.as_ref().map(ToString::to_string);
        self.call(format!(
            "pull {} {}",
            request.reference,
            kernel.unwrap_or_default()
        ));
        progress.emit(ProgressEvent::StagingKernel);
        let name = request
            .name
            .or_else(|| request.reference.default_name())
            .unwrap();
        let pulled = image(name.as_str(), &request.reference.to_string());
        lock(&self.images).push(pulled.clone());
        if *lock(&self.peer_pulls) {
            return Err(PullError::AlreadyExists { name });
        }
        Ok(pulled)
    }

    async fn register(&self, request: RegisterRequest) -> Result<Image, RegisterError> {
        let kernel = request.kernel.name.as_ref().map(ToString::to_string);
        let kernel = kernel.unwrap_or_default();
        self.call(format!("register {} {kernel}", request.rootfs));
        let registered = Image {
            rootfs: request.rootfs,
            artifact_directory: None,
            origin: ImageOrigin::Registered,
            ..image(request.name.as_str(), "")
        };
        lock(&self.images).push(registered.clone());
        Ok(registered)
    }

    async fn promote(&self, selector: &Selector) -> Result<Image, PromoteError> {
        self.call(format!("promote {}", selector.as_str()));
        let image = ImageManager::show(self, selector).await?;
        if image.is_managed() {
            return Err(PromoteError::Managed { name: image.name });
        }
        Ok(image)
    }

    async fn save(
        &self,
        selector: &Selector,
        request: SaveRequest,
    ) -> Result<SavedImage, SaveError> {
        let SaveOutput::File(file) = request.output else {
            panic!("the test's standard output is no file")
        };
        self.call(format!(
            "save {selector} {} {file}",
            request.format.as_str()
        ));
        Ok(SavedImage {
            image: ImageManager::show(self, selector).await?,
            size: Bytes::from_mib(1),
            digest: Digest::of(b"saved"),
            sockets: 2,
        })
    }

    async fn load(
        &self,
        request: LoadRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Image, PullError> {
        match request.source {
            LoadSource::Catalog(name) if name.as_str() != "golden" => {
                Err(PullError::NotInCatalog { name })
            }
            LoadSource::Catalog(name) => {
                self.call(format!("load {name}"));
                let loaded = image(name.as_str(), "");
                lock(&self.images).push(loaded.clone());
                Ok(loaded)
            }
            source => panic!("{source:?} is not loaded by these tests"),
        }
    }

    async fn bundle(
        &self,
        _request: BundleImageRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Written, BundleImageError> {
        panic!("nothing is bundled by these tests")
    }

    async fn available(&self) -> Available {
        panic!("no catalog is listed by these tests")
    }

    async fn list(&self) -> Result<Vec<Image>, ImageQueryError> {
        self.call("list images");
        Ok(lock(&self.images).clone())
    }

    async fn show(&self, selector: &Selector) -> Result<Image, ImageQueryError> {
        self.call(format!("show image {selector}"));
        let images = lock(&self.images);
        let found = images
            .iter()
            .find(|image| image.name.as_str() == selector.as_str());
        found.cloned().ok_or_else(|| ImageQueryError::NotFound {
            selector: selector.clone(),
        })
    }

    async fn delete(&self, selector: &Selector) -> Result<Image, DeleteImageError> {
        self.call(format!("delete image {selector}"));
        let mut images = lock(&self.images);
        let found = images
            .iter()
            .position(|image| image.name.as_str() == selector.as_str());
        let missing = ImageQueryError::NotFound {
            selector: selector.clone(),
        };
        Ok(images.remove(found.ok_or(missing)?))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PrunedCache, PruneError> {
        self.call(format!("{request:?}"));
        Ok(PrunedCache {
            removed: vec![PrunedBlob {
                digest: Digest::of(b"old"),
                size: Bytes::from_mib(3),
                is_partial: true,
            }],
            freed: Bytes::from_mib(3),
            kept: Bytes::from_mib(2),
        })
    }

    async fn list_files(
        &self,
        _image: &Selector,
        _request: ListImageFiles,
    ) -> Result<DiskStream<DiskEntry>, ReadImageError> {
        panic!("no disk is listed by these tests")
    }

    async fn read_file(
        &self,
        _image: &Selector,
        _path: Vec<u8>,
        _offset: u64,
    ) -> Result<ImageFile, ReadImageError> {
        panic!("no disk is read by these tests")
    }

    async fn diff(
        &self,
        _one: &Selector,
        _other: &Selector,
        _after: Vec<u8>,
    ) -> Result<DiskStream<Difference>, ReadImageError> {
        panic!("no disks are compared by these tests")
    }
}

#[async_trait]
impl KernelResolver for World {
    async fn resolve(
        &self,
        _selection: &KernelSelection,
        _progress: &dyn ProgressSink,
    ) -> Result<ResolvedKernel, ResolveKernelError> {
        panic!("resolving is the image manager's business")
    }

    async fn import(
        &self,
        source: &KernelSource,
        name: Option<KernelName>,
        _progress: &dyn ProgressSink,
    ) -> Result<Kernel, ImportKernelError> {
        self.call(format!("import {source:?}"));
        let name = name.unwrap_or_else(|| "linux-6.1".parse().unwrap());
        Ok(kernel(name.as_str()))
    }

    async fn pull(
        &self,
        name: &KernelName,
        _force: bool,
        _progress: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        Err(PullKernelError::NotInCatalog { name: name.clone() })
    }

    async fn bundle(
        &self,
        _name: &KernelName,
        _target: Output,
        _progress: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        panic!("nothing is bundled by these tests")
    }

    async fn available(&self) -> Available {
        panic!("no catalog is listed by these tests")
    }

    async fn list(&self) -> Result<Vec<Kernel>, KernelQueryError> {
        self.call("list kernels");
        Ok(lock(&self.kernels).clone())
    }

    async fn show(&self, name: &KernelName) -> Result<Kernel, KernelQueryError> {
        let kernels = lock(&self.kernels);
        let found = kernels.iter().find(|kernel| kernel.name == *name);
        found
            .cloned()
            .ok_or_else(|| KernelQueryError::NotFound { name: name.clone() })
    }

    async fn delete(&self, name: &KernelName) -> Result<Kernel, DeleteKernelError> {
        let images = vec!["debian".parse().unwrap()];
        Err(DeleteKernelError::InUse {
            name: name.clone(),
            images,
        })
    }
}
