//! Bundles of a service's images and kernels, whatever breaks on the way.

use std::{fs, process::Command, sync::Mutex};

use banger_api::v1::{ImportKernelRequest, PullImageRequest};
use banger_client::{Client, services::RemoteServices};
use banger_core::{
    bundle::Written,
    domain::Digest,
    image::BundleImageRequest,
    progress::{BundleStep, ProgressEvent, ProgressSink},
};
use camino::Utf8Path;

use super::{
    cut::BUDGET,
    daemon::Daemon,
    everywhere::{everywhere, noise},
};

/// Bytes that no bundle makes less of.
const BYTES: u32 = 400_000;
/// What fits around them.
const DISK: u64 = 32 << 20;

/// Keeps what is told of the packing.
#[derive(Debug, Default)]
struct Packing(Mutex<Vec<(u64, u64)>>);

impl ProgressSink for Packing {
    fn emit(&self, event: ProgressEvent) {
        let ProgressEvent::Bundle { step, done, total } = event else {
            panic!("{event:?} is nothing of a bundle");
        };
        assert_eq!(step, BundleStep::Packing);
        self.0.lock().unwrap().push((done.get(), total.get()));
    }
}

/// A service with a kernel that is hardly one, and an image with it.
async fn with_small_things() -> Daemon {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon.socket(), BUDGET).unwrap();
    // an ELF header for x86-64, and what kernels say of themselves
    let mut kernel = b"\x7fELF\x02\x01".to_vec();
    kernel.resize(64, 0);
    kernel[18] = 62;
    kernel.extend_from_slice(b"Linux version 6.1.0-tiny (builder) #1\n\0");
    kernel.extend(noise(BYTES));
    let vmlinux = daemon.root.join("vmlinux");
    fs::write(&vmlinux, kernel).unwrap();
    let import = ImportKernelRequest {
        source: vmlinux.into_string(),
        kernel_id: "tiny".to_owned(),
        ..ImportKernelRequest::default()
    };
    client.change(import).await.unwrap();

    let tree = daemon.root.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("noise"), noise(BYTES)).unwrap();
    let archive = daemon.root.join("tree.tar");
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut tar = Command::new("tar");
    let made = tar.args(["-C", tree.as_str(), "-cf", archive.as_str(), "."]);
    assert!(made.status().unwrap().success());
    let pull = PullImageRequest {
        reference: format!("rootfs-tar:{archive}"),
        image_id: "small".to_owned(),
        kernel: "kernels/tiny".to_owned(),
        disk_bytes: DISK,
        ..PullImageRequest::default()
    };
    client.change(pull).await.unwrap();
    daemon
}

/// What is in a file that was written, which is removed.
fn taken(file: &Utf8Path, written: &Written) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    assert_eq!(written.sha256, Digest::of(&bytes));
    assert_eq!(written.size.get(), bytes.len() as u64);
    fs::remove_file(file).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_the_same_wherever_their_streams_are_cut() {
    let daemon = with_small_things().await;
    let out = daemon.root.join("out");
    fs::create_dir(&out).unwrap();
    let file = out.join("bundle");
    for with_kernel in [true, false] {
        everywhere("SaveImage as a bundle", &daemon, 30, async |client| {
            let request = BundleImageRequest {
                image: "small".into(),
                target: file.clone().into(),
                with_kernel,
            };
            let (images, packing) = (RemoteServices::new(client).images, Packing::default());
            let written = images.bundle(request, &packing).await.unwrap();
            let told = packing.0.into_inner().unwrap();
            assert!(told.is_sorted_by(|one, other| one.0 < other.0), "{told:?}");
            assert!(told.iter().any(|(done, total)| done == total), "{told:?}");
            let kernel = if with_kernel { u64::from(BYTES) } else { 0 };
            assert!(DISK + kernel <= written.unpacked.get());
            (taken(&file, &written), written)
        })
        .await;
    }
    everywhere("SaveKernel", &daemon, 30, async |client| {
        let (kernels, packing) = (RemoteServices::new(client).kernels, Packing::default());
        let name = "tiny".parse().unwrap();
        let bundled = kernels.bundle(&name, file.clone().into(), &packing).await;
        let written = bundled.unwrap();
        assert!(!packing.0.into_inner().unwrap().is_empty());
        (taken(&file, &written), written)
    })
    .await;
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}
