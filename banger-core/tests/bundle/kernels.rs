//! Kernels in bundles and in catalogs.

use std::{fs, sync::Mutex};

use banger_core::{
    ErrorKind,
    bundle::{BundleContents, Content, KernelFacts, Location, Written, write},
    catalog::{CatalogOptions, SupplyOptions},
    domain::{BootArtifacts, Kernel, KernelOrigin},
    kernel::{KernelPaths, KernelSelection, KernelSource, PullKernelError, ResolveKernelError},
    progress::{BundleStep, NoProgress, ProgressEvent, ProgressSink},
    trust::Policy,
};
use camino::Utf8PathBuf;
use tokio_util::sync::CancellationToken;

use super::host::Host;

/// Keeps all events.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<ProgressEvent>>);

impl ProgressSink for Recorder {
    fn emit(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

/// A bundle of the maker's kernel files, named `linux-test`.
pub(crate) fn kernel_bundle(maker: &Host, file: &str) -> (Utf8PathBuf, Written) {
    let KernelPaths {
        kernel,
        initrd,
        modules,
    } = maker.kernel();
    let contents = BundleContents {
        content: Content::Kernel(KernelFacts {
            name: "linux-test".parse().unwrap(),
            version: "6.1.0-test".into(),
            distribution: Some("test".into()),
        }),
        architecture: "x86_64".into(),
        rootfs: None,
        boot: Some(BootArtifacts {
            kernel: kernel.unwrap(),
            initrd,
            modules,
        }),
    };
    let target = maker.root.join(file);
    let token = CancellationToken::new();
    let written = write(&contents, &target.clone().into(), &NoProgress, &token).unwrap();
    (target, written)
}

/// A host whose catalog has `linux-test`.
async fn host_with_catalog(maker: &Host, policy: Policy) -> Host {
    let (_, written) = kernel_bundle(maker, "kernel.tar.zst");
    let document = serde_json::json!({
        "format": 1,
        "kernels": [{
            "name": "linux-test", "architecture": std::env::consts::ARCH,
            "version": "6.1.0-test", "source": "kernel.tar.zst",
            "sha256": written.sha256.to_hex(), "size": written.size.get(),
        }],
    });
    let path = maker.root.join("catalog.json");
    fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    let catalog = CatalogOptions {
        name: "team".into(),
        location: Location::File(path),
        sha256: None,
        key: None,
    };
    let catalogs = vec![catalog];
    Host::with(SupplyOptions { catalogs, policy }).await
}

fn named(name: &str) -> KernelSelection {
    KernelSelection {
        name: Some(name.parse().unwrap()),
        ..KernelSelection::default()
    }
}

#[tokio::test]
async fn a_kernel_comes_back_from_its_bundle() {
    let (maker, host) = (Host::new().await, Host::new().await);
    let (bundle, written) = kernel_bundle(&maker, "kernel.tar.zst");
    let source: KernelSource = format!("file:{bundle}").parse().unwrap();
    let kernels = &host.local.kernels;
    let kernel: Kernel = kernels.import(&source, None, &NoProgress).await.unwrap();
    assert_eq!(kernel.name.as_str(), "linux-test");
    assert_eq!(kernel.version, "6.1.0-test");
    let origin = format!("file:{bundle}@{}", written.sha256);
    assert_eq!(kernel.origin, KernelOrigin::Bundle(origin.parse().unwrap()));
    assert_eq!(kernels.show(&kernel.name).await.unwrap(), kernel);
    assert!(kernel.directory.join("manifest.json").exists());
    // bundled once more, it is the same kernel
    let again = host.root.join("again.tar.zst");
    let written_again = kernels
        .bundle(&kernel.name, again.into(), &NoProgress)
        .await;
    assert_eq!(written_again.unwrap(), written);
    let twice = kernels
        .import(&source, None, &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists, "{twice}");
}

#[tokio::test]
async fn bundles_of_the_other_kind_are_refused() {
    let (maker, host) = (Host::new().await, Host::new().await);
    let (kernel, _) = kernel_bundle(&maker, "kernel.tar.zst");
    let (image, _) = maker.bundle("golden.tar.zst", true).await;
    let error = host.load(&format!("file:{kernel}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    let source: KernelSource = format!("file:{image}").parse().unwrap();
    let import = host.local.kernels.import(&source, None, &NoProgress);
    let error = import.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    host.assert_nothing_kept().await;
}

#[tokio::test]
async fn a_name_that_is_not_here_is_pulled_when_it_is_resolved() {
    let maker = Host::new().await;
    let host = host_with_catalog(&maker, Policy::default()).await;
    let kernels = &host.local.kernels;
    let selection = named("linux-test");
    let events = Recorder::default();
    let resolve = || kernels.resolve(&selection, &events);
    let both = futures_util::future::join(resolve(), resolve());
    let (one, other) = both.await;
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(kernels.list().await.unwrap().len(), 1);
    let is_unpacking = |event: &ProgressEvent| {
        let step = BundleStep::Unpacking;
        matches!(event, ProgressEvent::Bundle { step: told, .. } if *told == step)
    };
    let events = events.0.into_inner().unwrap();
    assert!(events.iter().any(is_unpacking), "{events:?}");
    let missing = kernels
        .resolve(&named("nobody"), &NoProgress)
        .await
        .unwrap_err();
    assert!(
        matches!(missing, ResolveKernelError::NotFound { .. }),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_pull_replaces_a_kernel_only_by_force_and_when_nothing_was_made_of_it() {
    let maker = Host::new().await;
    let host = host_with_catalog(&maker, Policy::default()).await;
    let kernels = &host.local.kernels;
    let name = "linux-test".parse().unwrap();
    let first = kernels.pull(&name, false, &NoProgress).await.unwrap();
    let again = kernels.pull(&name, false, &NoProgress).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    fs::write(first.directory.join("vmlinux"), "damaged").unwrap();
    let second = kernels.pull(&name, true, &NoProgress).await.unwrap();
    assert_eq!(fs::metadata(&second.boot.kernel).unwrap().len(), 8192);
    assert_eq!(kernels.show(&name).await.unwrap(), second);
    assert_ne!(second.directory, first.directory);
    assert!(!first.directory.exists());
    kernels.delete(&name).await.unwrap();
    assert!(!second.directory.exists());
    let third = kernels.pull(&name, false, &NoProgress).await.unwrap();
    assert_eq!(third.directory, first.directory);
    let second = kernels.pull(&name, true, &NoProgress).await.unwrap();
    // an image made from it by name
    let request = banger_core::image::RegisterRequest {
        name: "golden".parse().unwrap(),
        rootfs: {
            maker.golden().await;
            maker.root.join("disk.ext4")
        },
        kernel: named("linux-test"),
    };
    host.local.images.register(request).await.unwrap();
    let used = kernels.pull(&name, true, &NoProgress).await.unwrap_err();
    assert!(matches!(used, PullKernelError::Replace(_)), "{used:?}");
    assert_eq!(used.kind(), ErrorKind::Conflict);
    assert!(second.boot.kernel.exists());
    let unknown = "nobody".parse().unwrap();
    let unknown = kernels.pull(&unknown, true, &NoProgress).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
}
