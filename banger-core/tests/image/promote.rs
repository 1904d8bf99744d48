//! Promoting images made of files of the user.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{Image, ImageOrigin},
    image::{ImageManager as _, PromoteError, PullRequest, RegisterRequest},
    kernel::KernelSelection,
    progress::NoProgress,
};
use camino::Utf8PathBuf;

use super::doubles::{Fault, World};

/// A registered image over a disk with a hole.
async fn registered(world: &World) -> Image {
    let rootfs: Utf8PathBuf = world.directories.state.join("disk.ext4");
    let mut bytes = vec![0; 1 << 20];
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    fs::write(&rootfs, bytes).unwrap();
    let disk = fs::OpenOptions::new().write(true).open(&rootfs).unwrap();
    disk.set_len(1 << 30).unwrap();
    let request = RegisterRequest {
        name: "mine".parse().unwrap(),
        rootfs,
        kernel: KernelSelection::default(),
    };
    world.manager.register(request).await.unwrap()
}

#[tokio::test]
async fn a_promoted_image_has_copies_and_keeps_its_id_and_name() {
    let world = World::new(Fault::None).await;
    let before = registered(&world).await;
    let image = world.manager.promote(&"mine".into()).await.unwrap();
    assert_eq!((image.id, &image.name), (before.id, &before.name));
    assert_eq!(image.origin, ImageOrigin::Promoted);
    let directory = world.directories.image(image.id);
    assert_eq!(image.artifact_directory, Some(directory.clone()));
    assert_eq!(image.rootfs, directory.join("rootfs.ext4"));
    assert!(image.boot.kernel.starts_with(&directory));
    assert!(image.disk.method.is_some());
    assert!(image.sizes.on_disk.get() < 16 << 20, "{:?}", image.sizes);
    assert_eq!(world.manager.show(&"mine".into()).await.unwrap(), image);
    assert_eq!(world.image_entries(), [image.id.to_string()]);
    assert_eq!(
        fs::read(&image.boot.kernel).unwrap(),
        fs::read(&before.boot.kernel).unwrap()
    );

    assert!(world.manager.reconcile().await.unwrap().is_empty());
    world.manager.delete(&"mine".into()).await.unwrap();
    assert_eq!(world.image_entries(), [""; 0]);
    assert!(before.rootfs.exists() && before.boot.kernel.exists());
}

#[tokio::test]
async fn a_managed_image_is_refused() {
    let world = World::new(Fault::None).await;
    let request = PullRequest {
        reference: "localhost/a:b".parse().unwrap(),
        name: None,
        kernel: KernelSelection::default(),
        size: None,
        containerfile: None,
    };
    let image = world.manager.pull(request, &NoProgress).await.unwrap();
    let refused = world.manager.promote(&image.id.into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(refused.to_string(), "image a-b is managed already");
    let missing = world.manager.promote(&"none".into()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn every_missing_file_is_told_at_once_and_nothing_is_staged() {
    let world = World::new(Fault::None).await;
    let image = registered(&world).await;
    fs::remove_file(&image.rootfs).unwrap();
    fs::remove_file(&image.boot.kernel).unwrap();
    let refused = world.manager.promote(&"mine".into()).await;
    let Err(PromoteError::Invalid { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    let roles: Vec<&str> = source.problems().iter().map(|it| it.role).collect();
    assert_eq!(roles, ["rootfs", "kernel"]);
    assert_eq!(world.image_entries(), [""; 0]);
    assert_eq!(world.manager.show(&"mine".into()).await.unwrap(), image);
}

#[tokio::test]
async fn what_an_interrupted_promotion_left_is_removed_or_replaced() {
    let world = World::new(Fault::None).await;
    let image = registered(&world).await;
    let directory = world.directories.image(image.id);
    fs::create_dir_all(directory.join("half")).unwrap();
    assert_eq!(
        world.manager.reconcile().await.unwrap(),
        std::slice::from_ref(&directory)
    );
    fs::create_dir_all(directory.join("half")).unwrap();
    world.manager.promote(&"mine".into()).await.unwrap();
    assert!(!directory.join("half").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_promotions_one_copies_and_one_is_told() {
    let world = World::new(Fault::None).await;
    registered(&world).await;
    let selector = "mine".into();
    let (one, other) = tokio::join!(
        world.manager.promote(&selector),
        world.manager.promote(&selector)
    );
    let refused: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
    assert!(
        matches!(refused.as_slice(), [PromoteError::Managed { .. }]),
        "{refused:?}"
    );
}
