//! Every way a pull can end leaves a record with files, or nothing.

use std::{
    fs,
    sync::{Mutex, atomic::Ordering},
};

use banger_core::{
    ErrorKind,
    domain::{Bytes, DiskMethod, ImageId, Selector},
    image::{ImageManager as _, PullError, PullRequest},
    kernel::KernelSelection,
    progress::{NoProgress, ProgressEvent, ProgressSink},
};

use camino::Utf8Path;

use super::doubles::{Fault, World};

fn request(reference: &str) -> PullRequest {
    PullRequest {
        reference: reference.parse().unwrap(),
        name: None,
        kernel: KernelSelection::default(),
        size: None,
        containerfile: None,
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<ProgressEvent>>);

impl ProgressSink for Kept {
    fn emit(&self, event: ProgressEvent) {
        self.0.lock().unwrap().push(event);
    }
}

#[tokio::test]
async fn a_pull_tells_what_it_resolves_and_how_much_there_is_before_it_fetches() {
    let world = World::new(Fault::None).await;
    let kept = Kept::default();
    world
        .manager
        .pull(request("localhost/a:b"), &kept)
        .await
        .unwrap();
    let events = kept.0.into_inner().unwrap();
    assert_eq!(
        events[0],
        ProgressEvent::Resolving {
            reference: "localhost/a:b".to_owned()
        }
    );
    assert!(
        matches!(events[1], ProgressEvent::Resolved { layers: 0, .. }),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_pull_publishes_a_managed_image_with_its_kernel() {
    let world = World::new(Fault::None).await;
    let image = world
        .manager
        .pull(request("localhost/debian:bookworm"), &NoProgress)
        .await
        .unwrap();
    assert_eq!(image.name.as_str(), "debian-bookworm");
    assert!(image.is_managed());
    assert_eq!(
        image.rootfs,
        world.directories.image(image.id).join("rootfs.ext4")
    );
    assert_eq!(fs::read_to_string(&image.boot.kernel).unwrap(), "kernel");
    assert!(
        image
            .boot
            .kernel
            .starts_with(world.directories.image(image.id))
    );
    assert_eq!(world.image_entries(), [image.id.to_string()]);
    assert_eq!(
        world.manager.list().await.unwrap(),
        std::slice::from_ref(&image)
    );
    assert_eq!(
        world
            .manager
            .show(&Selector::from("debian-bookworm"))
            .await
            .unwrap(),
        image
    );
}

#[tokio::test]
async fn every_failure_leaves_neither_staging_nor_record() {
    let faults = [
        (Fault::Kernel, ErrorKind::InvalidInput),
        (Fault::Resolve, ErrorKind::NotFound),
        (Fault::Fetch, ErrorKind::Unavailable),
        (Fault::Rootfs, ErrorKind::InvalidInput),
        (Fault::VanishedKernel, ErrorKind::NotFound),
    ];
    for (fault, kind) in faults {
        let world = World::new(fault).await;
        let error = world
            .manager
            .pull(request("localhost/a:b"), &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(world.image_entries(), [""; 0], "{fault:?}");
        assert!(world.store.images().await.unwrap().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_before_anything_is_fetched() {
    let world = World::new(Fault::None).await;
    world
        .manager
        .pull(request("localhost/a:b"), &NoProgress)
        .await
        .unwrap();
    let error = world
        .manager
        .pull(request("localhost/a:b"), &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_parallel_pulls_of_a_name_one_fetches_and_one_is_told() {
    let world = World::new(Fault::None).await;
    let (first, second) = tokio::join!(
        world.manager.pull(request("localhost/a:b"), &NoProgress),
        world.manager.pull(request("localhost/a:b"), &NoProgress)
    );
    let failed: Vec<PullError> = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].kind(), ErrorKind::AlreadyExists);
    assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
    assert_eq!(world.image_entries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pull_ends_its_work_and_removes_its_staging_directory() {
    let world = World::new(Fault::EndlessRootfs).await;
    {
        let pull = world.manager.pull(request("localhost/a:b"), &NoProgress);
        tokio::select! {
            ended = pull => panic!("an endless pull ended: {ended:?}"),
            began = world.building.acquire() => drop(began.unwrap()),
        }
    }
    let emptied = async {
        while !world.image_entries().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), emptied)
        .await
        .unwrap();
    assert!(world.store.images().await.unwrap().is_empty());
}

#[tokio::test]
async fn reconcile_removes_what_crashes_leave_and_nothing_else() {
    let world = World::new(Fault::None).await;
    let image = world
        .manager
        .pull(request("localhost/a:b"), &NoProgress)
        .await
        .unwrap();
    let images = world.directories.images();
    let unrecorded = images.join(ImageId::generate().to_string());
    let abandoned = images.join(format!("{}.staging", ImageId::generate()));
    let foreign = images.join("notes");
    for directory in [&unrecorded, &abandoned, &foreign] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("file"), "x").unwrap();
    }
    let mut removed = world.manager.reconcile().await.unwrap();
    removed.sort();
    let mut expected = vec![unrecorded, abandoned];
    expected.sort();
    assert_eq!(removed, expected);
    assert!(foreign.join("file").exists() && image.rootfs.exists());
    assert!(world.manager.reconcile().await.unwrap().is_empty());
}

#[tokio::test]
async fn deleting_removes_record_and_files_unless_a_vm_uses_them() {
    let world = World::new(Fault::None).await;
    let image = world
        .manager
        .pull(request("localhost/a:b"), &NoProgress)
        .await
        .unwrap();
    let vm = super::doubles::vm(image.id);
    world.store.insert_vm(&vm).await.unwrap();
    let selector = Selector::from(image.name.as_str());
    let refused = world.manager.delete(&selector).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains(vm.name.as_str()), "{refused}");
    assert!(image.rootfs.exists());
    assert!(world.store.delete_vm(vm.id).await.unwrap());
    world.manager.delete(&selector).await.unwrap();
    assert_eq!(world.image_entries(), [""; 0]);
    assert_eq!(
        world.manager.delete(&selector).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn the_same_image_under_another_name_is_copied_and_no_layer_is_fetched() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let world = World::with_disks(root).await;
    let sized = |name: &str, mib| PullRequest {
        name: name.parse().ok(),
        size: Some(Bytes::from_mib(mib)),
        ..request("localhost/a:b")
    };
    let pull = async |request| world.manager.pull(request, &NoProgress).await.unwrap();
    let fetches = || world.fetches.load(Ordering::SeqCst);
    let one = pull(sized("one", 16)).await;
    let twin = pull(sized("twin", 16)).await;
    assert_eq!(fetches(), 1);
    assert_eq!(one.disk.method, Some(DiskMethod::Written));
    assert_ne!(twin.disk.method, one.disk.method);
    assert_eq!(twin.sizes.apparent, one.sizes.apparent);
    assert_eq!(
        fs::read(&one.rootfs).unwrap(),
        fs::read(&twin.rootfs).unwrap()
    );
    // another size is another disk
    let larger = pull(sized("larger", 32)).await;
    assert_eq!((fetches(), larger.disk.method), (2, one.disk.method));
    // a disk that is not as long as its record says is no twin
    fs::write(&larger.rootfs, "cut off").unwrap();
    let again = pull(sized("again", 32)).await;
    assert_eq!((fetches(), again.disk.method), (3, one.disk.method));
}
