//! Strict doubles of what the image manager works with.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use banger_core::{
    bundle::Written,
    catalog::{Available, Supply, SupplyOptions},
    clock::{Clock as _, SystemClock},
    directories::Directories,
    domain::{
        BootArtifacts, Bytes, Digest, ImageId, ImageSizes, Kernel, KernelName, ResolvedKernel,
        RunConfig, Vm, VmId, VmSpec, VmState,
    },
    host_fs::{IoContext as _, Output, PathError},
    image::{LocalImageManager, LocalImageOptions},
    kernel::{
        BundleKernelError, DeleteKernelError, ImportKernelError, KernelQueryError, KernelResolver,
        KernelSelection, KernelSource, PullKernelError, ResolveKernelError,
    },
    oci::{
        ImageReference, ImageSource, ImageSources, LayerBlob, LayerDescriptor, Platform,
        ResolvedImage, SourceError, SourceOptions,
    },
    progress::ProgressSink,
    rootfs::{
        Ext4RootfsBuilder, RootfsBuilder, RootfsError, RootfsLimits, RootfsReport, RootfsRequest,
        RootfsTimings,
    },
    store::Store,
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What the doubles do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    Kernel,
    Resolve,
    Fetch,
    Rootfs,
    /// The kernel file vanishes before it is staged.
    VanishedKernel,
    /// The root disk is built until the build is cancelled.
    EndlessRootfs,
}

/// A state directory and a manager over doubles.
pub(crate) struct World {
    _scratch: Option<TempDir>,
    pub(crate) directories: Directories,
    pub(crate) store: Store,
    pub(crate) manager: Arc<LocalImageManager>,
    pub(crate) fetches: Arc<AtomicUsize>,
    /// Gets a permit for each root disk whose building began.
    pub(crate) building: Arc<Semaphore>,
}

impl World {
    pub(crate) async fn new(fault: Fault) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let building = Arc::new(Semaphore::new(0));
        let rootfs = Arc::new(TinyRootfs {
            fault,
            kernel: root.join("vmlinux"),
            building: Arc::clone(&building),
        });
        let world = Self::at(root, fault, rootfs, building).await;
        Self {
            _scratch: Some(scratch),
            ..world
        }
    }

    /// A world below `root`, which may have been there before, with real disks
    /// and a kernel that passes for one.
    pub(crate) async fn with_disks(root: &Utf8Path) -> Self {
        let building = Arc::new(Semaphore::new(0));
        let world = Self::at(root, Fault::None, Arc::new(Ext4RootfsBuilder), building).await;
        fs::write(root.join("vmlinux"), vmlinux("image")).unwrap();
        world
    }

    async fn at(
        root: &Utf8Path,
        fault: Fault,
        rootfs: Arc<dyn RootfsBuilder>,
        building: Arc<Semaphore>,
    ) -> Self {
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let store = Store::open(&directories).await.unwrap();
        fs::write(root.join("vmlinux"), "kernel").unwrap();
        let fetches = Arc::new(AtomicUsize::new(0));
        let double = OneImage {
            fault,
            fetches: Arc::clone(&fetches),
        };
        let manager = Arc::new(LocalImageManager::new(LocalImageOptions {
            store: store.clone(),
            directories: directories.clone(),
            kernels: Arc::new(OneKernel {
                path: root.join("vmlinux"),
                fault,
            }),
            sources: Arc::new(Sources {
                double,
                real: SourceOptions::new(directories.clone()),
            }),
            rootfs,
            clock: Arc::new(SystemClock),
            platform: Platform::host(),
            limits: RootfsLimits::default(),
            supply: Supply::new(
                SourceOptions::new(directories.clone()),
                RootfsLimits::default(),
                SupplyOptions::default(),
            ),
        }));
        Self {
            _scratch: None,
            directories,
            store,
            manager,
            fetches,
            building,
        }
    }

    /// The names of everything below the image directory.
    pub(crate) fn image_entries(&self) -> Vec<String> {
        let Ok(entries) = self.directories.images().read_dir_utf8() else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().to_owned())
            .collect()
    }
}

#[derive(Debug)]
struct OneKernel {
    path: Utf8PathBuf,
    fault: Fault,
}

#[async_trait]
impl KernelResolver for OneKernel {
    async fn resolve(
        &self,
        _: &KernelSelection,
        _: &dyn ProgressSink,
    ) -> Result<ResolvedKernel, ResolveKernelError> {
        if self.fault == Fault::Kernel {
            return Err(ResolveKernelError::Nothing);
        }
        let boot = BootArtifacts {
            kernel: self.path.clone(),
            initrd: None,
            modules: None,
        };
        Ok(ResolvedKernel { boot, name: None })
    }

    async fn import(
        &self,
        _: &KernelSource,
        _: Option<KernelName>,
        _: &dyn ProgressSink,
    ) -> Result<Kernel, ImportKernelError> {
        panic!("an image manager imports no kernels")
    }

    async fn pull(
        &self,
        _: &KernelName,
        _: bool,
        _: &dyn ProgressSink,
    ) -> Result<Kernel, PullKernelError> {
        panic!("an image manager pulls no kernels")
    }

    async fn bundle(
        &self,
        _: &KernelName,
        _: Output,
        _: &dyn ProgressSink,
    ) -> Result<Written, BundleKernelError> {
        panic!("an image manager bundles no kernels")
    }

    async fn available(&self) -> Available {
        panic!("an image manager offers no kernels")
    }

    async fn list(&self) -> Result<Vec<Kernel>, KernelQueryError> {
        panic!("an image manager lists no kernels")
    }

    async fn show(&self, _: &KernelName) -> Result<Kernel, KernelQueryError> {
        panic!("an image manager shows no kernels")
    }

    async fn delete(&self, _: &KernelName) -> Result<Kernel, DeleteKernelError> {
        panic!("an image manager deletes no kernels")
    }
}

#[derive(Clone, Debug)]
struct OneImage {
    fault: Fault,
    fetches: Arc<AtomicUsize>,
}

/// A double, but for layouts and registries of this host.
#[derive(Debug)]
struct Sources {
    double: OneImage,
    real: SourceOptions,
}

impl ImageSources for Sources {
    fn open(&self, reference: &ImageReference) -> Result<Box<dyn ImageSource>, SourceError> {
        let text = reference.to_string();
        if ["oci:", "127.0.0.1:"]
            .iter()
            .any(|real| text.starts_with(real))
        {
            return self.real.open(reference);
        }
        Ok(Box::new(self.double.clone()))
    }
}

#[async_trait]
impl ImageSource for OneImage {
    async fn resolve(&self, _: &Platform) -> Result<ResolvedImage, SourceError> {
        if self.fault == Fault::Resolve {
            return Err(SourceError::NotFound {
                reference: "the image".into(),
            });
        }
        Ok(ResolvedImage {
            root: Digest::of(b"manifest"),
            manifest: Digest::of(b"manifest"),
            layers: Vec::new(),
            run_config: RunConfig {
                cmd: vec!["sh".into()],
                ..RunConfig::default()
            },
            created_unix: None,
        })
    }

    async fn fetch_layers(
        &self,
        layers: &[LayerDescriptor],
        _: &dyn ProgressSink,
    ) -> Result<Vec<LayerBlob>, SourceError> {
        assert!(layers.is_empty(), "the image has no layers");
        self.fetches.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::Fetch {
            let reason = "connection reset".to_owned();
            return Err(SourceError::Unavailable {
                reference: "the image".into(),
                reason,
            });
        }
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct TinyRootfs {
    fault: Fault,
    kernel: Utf8PathBuf,
    building: Arc<Semaphore>,
}

impl RootfsBuilder for TinyRootfs {
    fn build(
        &self,
        request: &RootfsRequest,
        output: &Utf8Path,
        _: &dyn ProgressSink,
        cancel: &CancellationToken,
    ) -> Result<RootfsReport, RootfsError> {
        self.building.add_permits(1);
        write_new(output).map_err(RootfsError::Io)?;
        match self.fault {
            Fault::Rootfs => {
                let size = request.size.unwrap_or_default();
                return Err(RootfsError::TooSmall {
                    size,
                    needed: Bytes::from_mib(1),
                });
            }
            Fault::EndlessRootfs => {
                while !cancel.is_cancelled() {
                    std::thread::yield_now();
                }
                return Err(RootfsError::Cancelled);
            }
            Fault::VanishedKernel => fs::remove_file(&self.kernel).unwrap(),
            Fault::None | Fault::Kernel | Fault::Resolve | Fault::Fetch => {}
        }
        Ok(RootfsReport {
            content: Bytes::new(4),
            stored: Bytes::new(4),
            metadata: Bytes::new(0),
            entries: 1,
            sizes: ImageSizes::default(),
            written: Bytes::new(4),
            timings: RootfsTimings::default(),
        })
    }
}

/// The start of a kernel of that release, which nobody boots.
pub(crate) fn vmlinux(release: &str) -> Vec<u8> {
    let mut kernel = b"\x7fELF\x02\x01".to_vec();
    kernel.resize(64, 0);
    kernel[18] = 62;
    kernel.extend(format!("Linux version 6.1.0-{release} (builder) #1\n\0").bytes());
    kernel
}

/// A VM's record that uses an image.
pub(crate) fn vm(image: ImageId) -> Vm {
    Vm {
        id: VmId::generate(),
        name: "user-of-the-image".parse().unwrap(),
        image,
        spec: VmSpec::default(),
        state: VmState::Created,
        reason: String::new(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: SystemClock.now(),
        started: None,
        stopped: None,
        generation: 1,
    }
}

fn write_new(output: &Utf8Path) -> Result<(), PathError> {
    fs::File::create_new(output).map(drop).at("create", output)
}
