//! Kernels end to end: a real distribution's kernel, and the state directory
//! under clashes, cancellation and crashes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic, its helpers too"
)]

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use banger_core::{
    ErrorKind,
    clock::SystemClock,
    directories::Directories,
    domain::{
        Digest, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes, Kernel, KernelName,
        KernelOrigin, RunConfig,
    },
    host_fs::Staging,
    initrd::{InitrdRequest, build},
    kernel::{
        DeleteKernelError, ImportKernelError, KernelPaths, KernelResolver as _, KernelSelection,
        KernelSource, LocalKernelResolver,
    },
    progress::NoProgress,
    store::Store,
};
use camino::{Utf8Path, Utf8PathBuf};

/// A state directory of one test.
struct Host {
    scratch: tempfile::TempDir,
    directories: Directories,
    store: Store,
    kernels: LocalKernelResolver,
}

impl Host {
    async fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let store = Store::open(&directories).await.unwrap();
        let clock = Arc::new(SystemClock);
        Self {
            kernels: LocalKernelResolver::new(store.clone(), directories.clone(), clock),
            directories,
            store,
            scratch,
        }
    }

    fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.scratch.path()).unwrap()
    }

    async fn import(&self, source: &str, name: Option<&str>) -> Result<Kernel, ImportKernelError> {
        let source: KernelSource = source.parse().unwrap();
        let name = name.map(|name| name.parse().unwrap());
        self.kernels.import(&source, name, &NoProgress).await
    }

    /// A directory with a kernel small enough to be imported in no time.
    fn small_kernel(&self) -> String {
        let directory = self.root().join("small");
        fs::create_dir_all(directory.join("lib/modules/6.1.0-small/kernel")).unwrap();
        fs::write(directory.join("vmlinux"), small_vmlinux()).unwrap();
        let module = directory.join("lib/modules/6.1.0-small/kernel/a.ko");
        fs::write(module, "module").unwrap();
        fs::write(directory.join("initrd.img"), "initrd").unwrap();
        format!("dir:{directory}")
    }

    /// The names in the directory of kernels.
    fn kept(&self) -> Vec<String> {
        names_in(&self.directories.kernels())
    }

    async fn insert_image_of(&self, kernel: &Kernel) -> ImageId {
        let id = ImageId::generate();
        let image = Image {
            id,
            name: "user".parse().unwrap(),
            artifact_directory: None,
            rootfs: "/disk".into(),
            boot: kernel.boot.clone(),
            kernel: Some(kernel.name.clone()),
            origin: ImageOrigin::Registered,
            run_config: RunConfig::default(),
            sizes: ImageSizes::default(),
            package_hash: None,
            disk: DiskProvenance::default(),
            verdict: None,
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        };
        self.store.insert_image(&image).await.unwrap();
        id
    }
}

/// An ELF header for x86-64 and a version banner.
fn small_vmlinux() -> Vec<u8> {
    let mut kernel = vec![0; 64];
    kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
    kernel[18] = 62;
    kernel.extend(b"Linux version 6.1.0-small (builder) #1\n\0");
    kernel
}

fn names_in(directory: &Utf8Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir_utf8() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect();
    names.sort();
    names
}

#[expect(clippy::disallowed_methods, reason = "where the test bed is")]
fn kernel_package() -> Utf8PathBuf {
    let testbed =
        std::env::var("BANGER_TESTBED").expect("the test bed is missing: run `cargo xtask test`");
    let package = Utf8Path::new(&testbed).join("kernel/kernel.deb");
    assert!(
        package.is_file(),
        "{package} is missing: run `cargo xtask test`"
    );
    package
}

fn name(text: &str) -> KernelName {
    text.parse().unwrap()
}

/// What every import of the distribution's kernel must have made.
fn assert_is_cloud_kernel(kernel: &Kernel) {
    assert!(kernel.version.ends_with("-cloud-amd64"), "{kernel:?}");
    assert_eq!(kernel.name.as_str(), format!("linux-{}", kernel.version));
    assert_eq!(kernel.architecture, "x86_64");
    assert_eq!(kernel.distribution.as_deref(), Some("debian"));
    let vmlinux = fs::read(&kernel.boot.kernel).unwrap();
    assert!(vmlinux.starts_with(b"\x7fELF"));
    assert_eq!(kernel.sha256, Digest::of(&vmlinux));
    let banner = format!("Linux version {} (", kernel.version);
    let banner = banner.as_bytes();
    assert!(vmlinux.windows(banner.len()).any(|bytes| bytes == banner));
    let modules = kernel.boot.modules.as_ref().unwrap();
    assert!(modules.join("kernel/drivers/block/virtio_blk.ko").is_file());
    assert_eq!(
        names_in(&kernel.directory),
        ["config", "manifest.json", "modules", "vmlinux"]
    );
}

#[tokio::test]
async fn a_debian_package_becomes_a_kernel_with_modules() {
    let host = Host::new().await;
    let package = kernel_package();
    let kernel = host.import(&format!("deb:{package}"), None).await.unwrap();
    assert_is_cloud_kernel(&kernel);
    assert_eq!(kernel.origin, KernelOrigin::DebFile(package));
    assert_eq!(host.kernels.show(&kernel.name).await.unwrap(), kernel);
    assert_eq!(host.kept(), [kernel.name.as_str()]);
    let manifest = fs::read(kernel.directory.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["version"], kernel.version.as_str());
    assert_eq!(manifest["sha256"], kernel.sha256.to_hex());
    assert_eq!(manifest["files"]["modules"], "modules");

    assert_initrd_has_drivers(&host, &kernel);

    let again = host.import(kernel.boot.kernel.as_str(), Some("bare")).await;
    let again = again.unwrap();
    assert_eq!(
        (&again.version, again.sha256),
        (&kernel.version, kernel.sha256)
    );
    assert_eq!(again.boot.modules, None);
}

/// The drivers the guest needs, in an order in which they can be loaded.
fn assert_initrd_has_drivers(host: &Host, kernel: &Kernel) {
    let guest_program = host.root().join("guest");
    fs::write(&guest_program, "program").unwrap();
    let wanted = [
        "virtio_mmio",
        "virtio_blk",
        "virtio_console",
        "overlay",
        "ext4",
    ];
    let initrd = build(&InitrdRequest {
        guest_program: &guest_program,
        modules: kernel.boot.modules.as_deref(),
        wanted: &wanted,
        wished: &[],
    })
    .unwrap();
    let place = |module: &str| {
        let path = format!("/lib/modules/{module}.ko");
        let place = initrd.module_paths.iter().position(|found| *found == path);
        place.unwrap_or_else(|| panic!("{module} is not in {:?}", initrd.module_paths))
    };
    // which of the two needs the other changed between kernels
    for driver in ["virtio_mmio", "virtio_blk", "virtio_console"] {
        assert!(place("virtio") < place(driver), "{driver}");
        assert!(place("virtio_ring") < place(driver), "{driver}");
    }
    place("overlay");
    let paths = initrd.module_paths.join(" ");
    assert!(!paths.contains("ext4"), "ext4 is built in: {paths}");
}

#[tokio::test]
async fn apt_finds_and_fetches_the_kernel_of_a_metapackage() {
    let host = Host::new().await;
    let kernel = host
        .import("apt:linux-image-cloud-amd64", None)
        .await
        .unwrap();
    assert_is_cloud_kernel(&kernel);
    let package = "linux-image-cloud-amd64".to_owned();
    assert_eq!(kernel.origin, KernelOrigin::AptPackage(package));
    assert_eq!(host.kept(), [kernel.name.as_str()]);

    let error = host.import("apt:no-such-package-of-any-name", None).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, ImportKernelError::Fetch { .. }),
        "{error:?}"
    );
    assert_eq!(host.kept(), [kernel.name.as_str()]);
}

#[tokio::test]
async fn a_directory_is_imported_and_resolved_by_name() {
    let host = Host::new().await;
    let kernel = host.import(&host.small_kernel(), None).await.unwrap();
    assert_eq!(kernel.name.as_str(), "linux-6.1.0-small");
    assert_eq!(
        names_in(&kernel.directory),
        ["initrd.img", "manifest.json", "modules", "vmlinux"]
    );
    let selection = KernelSelection {
        name: Some(kernel.name.clone()),
        paths: KernelPaths::default(),
    };
    let resolved = host.kernels.resolve(&selection, &NoProgress).await.unwrap();
    assert_eq!(resolved.boot, kernel.boot);
    assert_eq!(resolved.name, Some(kernel.name.clone()));
    assert_eq!(
        host.kernels.list().await.unwrap().as_slice(),
        std::slice::from_ref(&kernel)
    );

    fs::remove_file(&kernel.boot.kernel).unwrap();
    let error = host
        .kernels
        .resolve(&selection, &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_taken_or_reserved_name_is_refused_before_any_work() {
    let host = Host::new().await;
    host.import(&host.small_kernel(), Some("mine"))
        .await
        .unwrap();
    // a source that does not exist shows that it was not looked at
    let taken = host
        .import("deb:/nowhere.deb", Some("mine"))
        .await
        .unwrap_err();
    assert!(
        matches!(taken, ImportKernelError::AlreadyExists { .. }),
        "{taken:?}"
    );
    let reserved = host.import("deb:/nowhere.deb", Some("x.staging")).await;
    let reserved = reserved.unwrap_err();
    assert!(matches!(reserved, ImportKernelError::ReservedName { .. }));
    let missing = host.import("deb:/nowhere.deb", None).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn of_two_imports_of_one_name_one_wins() {
    let host = Host::new().await;
    let source = host.small_kernel();
    let (first, second) = tokio::join!(
        host.import(&source, Some("one")),
        host.import(&source, Some("one"))
    );
    let (winners, losers): (Vec<_>, Vec<_>) = [first, second].into_iter().partition(Result::is_ok);
    assert_eq!((winners.len(), losers.len()), (1, 1), "{losers:?}");
    let loser = losers.into_iter().next().unwrap().unwrap_err();
    let expected = matches!(
        loser,
        ImportKernelError::Busy { .. } | ImportKernelError::AlreadyExists { .. }
    );
    assert!(expected, "{loser:?}");
    assert_eq!(host.kept(), ["one"]);
}

#[tokio::test]
async fn a_source_without_a_kernel_leaves_nothing() {
    let host = Host::new().await;
    let file = host.root().join("file");
    fs::write(&file, "text").unwrap();
    for source in [format!("deb:{file}"), file.to_string()] {
        let error = host.import(&source, Some("name")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains(&source), "{error}");
    }
    // found to be damaged only when it is unpacked
    let directory = host.small_kernel();
    let modules = host.root().join("small/lib/modules/6.1.0-small");
    fs::remove_dir_all(modules.join("kernel")).unwrap();
    let error = host.import(&directory, Some("name")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(host.kept().is_empty(), "{:?}", host.kept());
}

#[tokio::test]
async fn deletion_waits_for_images_and_leaves_nothing() {
    let host = Host::new().await;
    let kernel = host.import(&host.small_kernel(), None).await.unwrap();
    let image = host.insert_image_of(&kernel).await;
    let error = host.kernels.delete(&kernel.name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("image user"), "{error}");
    assert!(kernel.boot.kernel.is_file());

    host.store.delete_image(image).await.unwrap();
    assert_eq!(host.kernels.delete(&kernel.name).await.unwrap(), kernel);
    assert!(host.kept().is_empty());
    let error = host.kernels.delete(&kernel.name).await.unwrap_err();
    assert!(matches!(error, DeleteKernelError::NotFound { .. }));
}

#[tokio::test]
async fn reconcile_removes_what_a_crash_left_and_nothing_else() {
    let host = Host::new().await;
    let kernel = host.import(&host.small_kernel(), None).await.unwrap();
    let kernels = host.directories.kernels();
    // killed while staging; killed between publishing and recording
    let abandoned = kernels.join("abandoned.staging");
    let unrecorded = kernels.join("unrecorded");
    for directory in [&abandoned, &unrecorded] {
        fs::create_dir_all(directory.join("modules/kernel")).unwrap();
        fs::write(directory.join("vmlinux"), "half").unwrap();
    }
    fs::write(kernels.join("a-file-of-the-user"), "kept").unwrap();
    let at_work = Staging::create(&kernels.join("live")).unwrap();

    let mut removed = host.kernels.reconcile().await.unwrap();
    removed.sort();
    assert_eq!(removed, [abandoned, unrecorded]);
    assert!(at_work.path().is_dir());
    assert_eq!(
        host.kept(),
        ["a-file-of-the-user", kernel.name.as_str(), "live.staging"]
    );
    assert!(host.kernels.reconcile().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_import_after_a_crash_needs_no_repair() {
    let host = Host::new().await;
    for leftover in ["mine.staging", "mine"] {
        let directory = host.directories.kernels().join(leftover);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("vmlinux"), "half").unwrap();
    }
    let kernel = host
        .import(&host.small_kernel(), Some("mine"))
        .await
        .unwrap();
    assert_eq!(fs::read(kernel.boot.kernel).unwrap(), small_vmlinux());
    assert_eq!(host.kept(), ["mine"]);
}

#[test]
fn an_import_that_is_given_up_leaves_nothing() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let first = runtime();
    let host = first.block_on(Host::new());
    let source = format!("deb:{}", kernel_package());
    let packed_kernel = host.directories.kernels().join("mine.staging/vmlinuz");
    first.block_on(async {
        let unpacking = async {
            while !packed_kernel.exists() {
                tokio::task::yield_now().await;
            }
        };
        let started = tokio::time::timeout(Duration::from_mins(1), unpacking);
        tokio::select! {
            biased;
            started = started => started.unwrap(),
            imported = host.import(&source, Some("mine")) => panic!("{imported:?}"),
        }
    });
    // waits for the work on other threads, which ends because nobody waits for it
    drop(first);
    assert!(host.kept().is_empty(), "{:?}", host.kept());
    let kernel = runtime().block_on(host.kernels.show(&name("mine")));
    assert_eq!(kernel.unwrap_err().kind(), ErrorKind::NotFound);
}
