//! A state directory of one test, with what bundles are made of.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use banger_core::{
    bundle::Written,
    catalog::SupplyOptions,
    directories::Directories,
    domain::{Bytes, Image},
    image::{BundleImageRequest, LoadRequest, LoadSource, PullError, RegisterRequest},
    kernel::{KernelPaths, KernelSelection},
    local::{Local, LocalOptions},
    oci::{RegistryOptions, SourceOptions},
    progress::NoProgress,
    rootfs::{RootfsLimits, format_empty},
    store::Connections,
    vm::MonitorProgram,
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

/// Bytes of the disk that bundles hold.
pub(crate) const DISK: Bytes = Bytes::from_mib(64);

pub(crate) struct Host {
    _scratch: TempDir,
    pub(crate) root: Utf8PathBuf,
    pub(crate) local: Local,
}

impl Host {
    pub(crate) async fn new() -> Self {
        Self::with(SupplyOptions::default()).await
    }

    pub(crate) async fn with(supply: SupplyOptions) -> Self {
        Self::limited(supply, RootfsLimits::default()).await
    }

    pub(crate) async fn limited(supply: SupplyOptions, limits: RootfsLimits) -> Self {
        Self::reaching(RegistryOptions::default(), supply, limits).await
    }

    /// A host that reaches others as `registries` says, without long pauses.
    pub(crate) async fn reaching(
        registries: RegistryOptions,
        supply: SupplyOptions,
        limits: RootfsLimits,
    ) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let mut sources = SourceOptions::new(directories.clone());
        sources.registries = RegistryOptions {
            retry_pause: Duration::from_millis(1),
            ..registries
        };
        let options = LocalOptions {
            sources,
            connections: Connections::default(),
            directories,
            guest_program: root.join("guest"),
            monitor: MonitorProgram {
                program: root.join("monitor"),
                arguments: Vec::new(),
            },
            vmm: VmmPrograms::default(),
            limits,
            supply,
        };
        Self {
            local: Local::open(options).await.unwrap(),
            root,
            _scratch: scratch,
        }
    }

    /// A kernel file, an initrd and a module tree with a link and a long name.
    pub(crate) fn kernel(&self) -> KernelPaths {
        let modules = self.root.join("boot/modules");
        let deep = modules.join("kernel").join("d".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("a.ko"), "module").unwrap();
        fs::write(modules.join("modules.order"), "").unwrap();
        if !modules.join("build").exists() {
            std::os::unix::fs::symlink("/usr/src", modules.join("build")).unwrap();
        }
        let boot = self.root.join("boot");
        let mut vmlinux = b"\x7fELF\x02\x01".to_vec();
        vmlinux.resize(8192, 0);
        vmlinux[18] = 62;
        fs::write(boot.join("vmlinux"), vmlinux).unwrap();
        fs::write(boot.join("initrd.img"), "initrd").unwrap();
        KernelPaths {
            kernel: Some(boot.join("vmlinux")),
            initrd: Some(boot.join("initrd.img")),
            modules: Some(modules),
        }
    }

    /// An image named `golden` of files in this host's root.
    pub(crate) async fn golden(&self) -> Image {
        let rootfs = self.root.join("disk.ext4");
        if !rootfs.exists() {
            format_empty(&rootfs, DISK, [7; 16]).unwrap();
        }
        let request = RegisterRequest {
            name: "golden".parse().unwrap(),
            rootfs,
            kernel: KernelSelection {
                name: None,
                paths: self.kernel(),
            },
        };
        self.local.images.register(request).await.unwrap()
    }

    /// A bundle of [`Self::golden`], as a file of that name in the root.
    pub(crate) async fn bundle(&self, file: &str, with_kernel: bool) -> (Utf8PathBuf, Written) {
        if self.local.images.list().await.unwrap().is_empty() {
            self.golden().await;
        }
        let target = self.root.join(file);
        let request = BundleImageRequest {
            image: "golden".into(),
            target: target.clone().into(),
            with_kernel,
        };
        let written = self.local.images.bundle(request, &NoProgress).await;
        (target, written.unwrap())
    }

    pub(crate) async fn load(&self, reference: &str) -> Result<Image, PullError> {
        self.load_source(LoadSource::Bundle(reference.parse().unwrap()))
            .await
    }

    pub(crate) async fn load_named(&self, name: &str) -> Result<Image, PullError> {
        self.load_source(LoadSource::Catalog(name.parse().unwrap()))
            .await
    }

    async fn load_source(&self, source: LoadSource) -> Result<Image, PullError> {
        let request = LoadRequest {
            source,
            name: None,
            kernel: KernelSelection::default(),
        };
        self.local.images.load(request, &NoProgress).await
    }

    /// Fails if a directory of an image or a kernel is left without a record.
    pub(crate) async fn assert_nothing_kept(&self) {
        assert_eq!(self.local.images.list().await.unwrap(), []);
        assert_eq!(self.local.kernels.list().await.unwrap(), []);
        for directory in ["state/images", "state/kernels"] {
            assert_eq!(entries(&self.root.join(directory)), [""; 0]);
        }
    }
}

/// The names in a directory, none when it is not there.
pub(crate) fn entries(directory: &Utf8Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir_utf8() else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect()
}

/// Bytes that a file takes on the disk.
pub(crate) fn on_disk(path: &Utf8Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Runs a tool and answers its standard output.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "a tool that is the truth")]
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A minisign key pair, made in `root` under `name`; answers the public key's
/// line.
pub(crate) fn key_pair(root: &Utf8Path, name: &str) -> String {
    let (public, secret) = (root.join(format!("{name}.pub")), secret(root, name));
    tool(
        "minisign",
        &["-G", "-W", "-f", "-p", public.as_str(), "-s", &secret],
    );
    let text = fs::read_to_string(public).unwrap();
    text.lines().last().unwrap().to_owned()
}

/// Signs a file with minisign.
pub(crate) fn sign(root: &Utf8Path, name: &str, file: &Utf8Path) {
    let secret = secret(root, name);
    tool("minisign", &["-S", "-s", &secret, "-m", file.as_str()]);
}

fn secret(root: &Utf8Path, name: &str) -> String {
    root.join(format!("{name}.key")).into_string()
}
