//! An image that goes through a bundle is the same image.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{Digest, ImageOrigin},
    image::{BundleImageError, BundleImageRequest, LoadRequest, LoadSource},
    kernel::{KernelPaths, KernelSelection},
    progress::NoProgress,
};

use super::host::{DISK, Host, entries, on_disk, tool};

#[tokio::test]
async fn an_image_comes_back_with_its_kernel_and_its_holes() {
    let (from, to) = (Host::new().await, Host::new().await);
    let original = from.golden().await;
    let (bundle, written) = from.bundle("golden.tar.zst", true).await;
    let bytes = fs::read(&bundle).unwrap();
    assert_eq!(written.sha256, Digest::of(&bytes));
    assert_eq!(written.size.get(), bytes.len() as u64);
    let reference = format!("file:{bundle}@{}", written.sha256);
    let image = to.load(&reference).await.unwrap();
    assert_eq!(image.name, original.name);
    assert!(image.is_managed());
    assert_eq!(image.kernel, None);
    let origin = ImageOrigin::Bundle {
        reference,
        sha256: written.sha256,
    };
    assert_eq!(image.origin, origin);
    assert_eq!(to.local.images.show(&"golden".into()).await.unwrap(), image);
    assert_eq!(
        fs::read(&image.rootfs).unwrap(),
        fs::read(&original.rootfs).unwrap()
    );
    assert_eq!(image.sizes.apparent, DISK);
    assert!(on_disk(&image.rootfs) <= on_disk(&original.rootfs));
    let modules = image.boot.modules.unwrap();
    let deep = format!("kernel/{}/a.ko", "d".repeat(120));
    assert_eq!(fs::read(modules.join(deep)).unwrap(), b"module");
    let mut names = entries(&modules);
    names.sort();
    assert_eq!(names, ["kernel", "modules.order"]);
    assert_eq!(fs::read(image.boot.initrd.unwrap()).unwrap(), b"initrd");
    // whoever has the bundle's origin deletes nothing of it
    to.local.images.delete(&"golden".into()).await.unwrap();
    assert_eq!(fs::read(&bundle).unwrap(), bytes);
    to.assert_nothing_kept().await;
}

#[tokio::test]
async fn the_same_image_gives_the_same_bytes_and_tar_reads_them() {
    let (one, other) = (Host::new().await, Host::new().await);
    let (bundle, written) = one.bundle("one.tar.zst", true).await;
    other.golden().await;
    let old = std::time::UNIX_EPOCH;
    let disk = fs::File::open(other.root.join("disk.ext4")).unwrap();
    disk.set_modified(old).unwrap();
    assert_eq!(other.bundle("other.tar.zst", true).await.1, written);
    let listing = tool("tar", &["--zstd", "-tvf", bundle.as_str()]);
    let lines: Vec<&str> = listing.lines().collect();
    assert!(lines[0].contains("0/0") && lines[0].ends_with("manifest.json"));
    assert!(lines[1].contains("67108864") && lines[1].ends_with("rootfs.ext4"));
    assert!(lines[2].ends_with("vmlinux") && lines[3].ends_with("initrd.img"));
    assert_eq!(lines.len(), 6, "{listing}");
    let disk = one.root.join("unpacked");
    fs::create_dir(&disk).unwrap();
    tool(
        "tar",
        &["--zstd", "-C", disk.as_str(), "-xf", bundle.as_str()],
    );
    assert_eq!(
        fs::read(disk.join("rootfs.ext4")).unwrap(),
        fs::read(one.root.join("disk.ext4")).unwrap()
    );
    let manifest = fs::read_to_string(disk.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let file = &manifest["files"][0];
    let sum = tool("sha256sum", &[disk.join("rootfs.ext4").as_str()]);
    assert_eq!(file["sha256"], sum.split(' ').next().unwrap());
}

#[tokio::test]
async fn without_its_kernel_a_bundle_has_two_entries_and_takes_another_kernel() {
    let (from, to) = (Host::new().await, Host::new().await);
    let (bundle, _) = from.bundle("golden.tar.zst", false).await;
    let listing = tool("tar", &["--zstd", "-tf", bundle.as_str()]);
    assert_eq!(listing, "manifest.json\nrootfs.ext4\n");
    let reference = format!("file:{bundle}");
    let alone = to.load(&reference).await.unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::InvalidInput, "{alone}");
    to.assert_nothing_kept().await;
    let kernel = KernelSelection {
        name: None,
        paths: KernelPaths {
            initrd: None,
            ..to.kernel()
        },
    };
    let request = LoadRequest {
        source: LoadSource::Bundle(reference.parse().unwrap()),
        name: Some("other".parse().unwrap()),
        kernel,
    };
    let image = to.local.images.load(request, &NoProgress).await.unwrap();
    assert_eq!(image.name.as_str(), "other");
    assert_eq!(image.boot.initrd, None);
    assert!(image.boot.kernel.exists());
}

#[tokio::test]
async fn a_chosen_kernel_takes_the_place_of_the_bundles_own() {
    let (from, to) = (Host::new().await, Host::new().await);
    let (bundle, _) = from.bundle("golden.tar.zst", true).await;
    let paths = KernelPaths {
        initrd: None,
        modules: None,
        ..to.kernel()
    };
    let request = LoadRequest {
        source: LoadSource::Bundle(format!("file:{bundle}").parse().unwrap()),
        name: None,
        kernel: KernelSelection { name: None, paths },
    };
    let image = to.local.images.load(request, &NoProgress).await.unwrap();
    let directory = image.artifact_directory.unwrap();
    let mut names = entries(&directory);
    names.sort();
    assert_eq!(names, ["rootfs.ext4", "vmlinux"]);
}

#[tokio::test]
async fn taken_names_and_targets_are_refused() {
    let host = Host::new().await;
    let (bundle, _) = host.bundle("golden.tar.zst", true).await;
    let taken = host.load(&format!("file:{bundle}")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    let request = BundleImageRequest {
        image: "golden".into(),
        target: bundle.clone().into(),
        with_kernel: true,
    };
    let again = host.local.images.bundle(request, &NoProgress).await;
    assert!(
        matches!(again, Err(BundleImageError::AlreadyExists { .. })),
        "{again:?}"
    );
    // of two that write the same file at once, one does
    let target = host.root.join("both.tar.zst");
    let request = || BundleImageRequest {
        image: "golden".into(),
        target: target.clone().into(),
        with_kernel: true,
    };
    let images = &host.local.images;
    let (one, other) = futures_util::future::join(
        images.bundle(request(), &NoProgress),
        images.bundle(request(), &NoProgress),
    )
    .await;
    let kinds = [&one, &other].map(|done| done.as_ref().err().map(BundleImageError::kind));
    let refused = kinds.into_iter().flatten().collect::<Vec<_>>();
    assert!(
        matches!(
            refused.as_slice(),
            [ErrorKind::Conflict | ErrorKind::AlreadyExists]
        ),
        "{one:?} {other:?}"
    );
    let written = one.or(other).unwrap();
    assert_eq!(written.sha256, Digest::of(&fs::read(&target).unwrap()));
    let left: Vec<String> = entries(&host.root)
        .into_iter()
        .filter(|name| name.contains("partial"))
        .collect();
    assert_eq!(left, [""; 0]);
}
