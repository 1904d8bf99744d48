//! Registering files of the user.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{ImageName, ImageOrigin},
    image::{ImageManager as _, RegisterError, RegisterRequest},
    kernel::KernelSelection,
};
use camino::Utf8PathBuf;

use super::doubles::{Fault, World};

/// A file that says it is an ext4 disk.
fn disk(world: &World) -> Utf8PathBuf {
    let path = world.directories.state.join("disk.ext4");
    let mut bytes = vec![0; 1 << 20];
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    fs::write(&path, bytes).unwrap();
    path
}

fn request(name: &str, rootfs: Utf8PathBuf) -> RegisterRequest {
    RegisterRequest {
        name: name.parse().unwrap(),
        rootfs,
        kernel: KernelSelection::default(),
    }
}

#[tokio::test]
async fn a_registered_image_points_at_the_users_files_and_leaves_them_alone() {
    let world = World::new(Fault::None).await;
    let rootfs = disk(&world);
    let before = fs::read(&rootfs).unwrap();
    let registered = world.manager.register(request("mine", rootfs.clone()));
    let image = registered.await.unwrap();
    assert_eq!(image.rootfs, rootfs);
    assert_eq!(image.origin, ImageOrigin::Registered);
    assert!(!image.is_managed());
    assert_eq!(image.sizes.apparent.get(), 1 << 20);
    let name = "mine".into();
    assert_eq!(world.manager.show(&name).await.unwrap(), image);

    let again = world.manager.register(request("mine", rootfs.clone()));
    let again = again.await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");

    world.manager.reconcile().await.unwrap();
    world.manager.delete(&name).await.unwrap();
    assert_eq!(fs::read(&rootfs).unwrap(), before);
    assert!(image.boot.kernel.exists());
}

#[tokio::test]
async fn what_cannot_be_a_root_disk_is_refused() {
    let world = World::new(Fault::None).await;
    let short = world.directories.state.join("short");
    fs::write(&short, "short").unwrap();
    let other = world.directories.state.join("other");
    fs::write(&other, vec![0; 1 << 20]).unwrap();
    let cases = [
        (short, "is no ext4 file system"),
        (other, "is no ext4 file system"),
        (world.directories.state.join("missing"), "does not exist"),
        (world.directories.state.clone(), "is not a regular file"),
    ];
    for (rootfs, problem) in cases {
        let refused = world.manager.register(request("mine", rootfs)).await;
        let Err(RegisterError::Invalid { source, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(source.to_string().contains(problem), "{source}");
    }
    let names = world.manager.list().await.unwrap();
    let names: Vec<ImageName> = names.into_iter().map(|image| image.name).collect();
    assert_eq!(names, []);
}

#[tokio::test]
async fn without_a_kernel_nothing_is_registered() {
    let world = World::new(Fault::Kernel).await;
    let refused = world.manager.register(request("mine", disk(&world))).await;
    assert!(
        matches!(refused, Err(RegisterError::Kernel { .. })),
        "{refused:?}"
    );
    assert_eq!(world.manager.list().await.unwrap(), []);
}
