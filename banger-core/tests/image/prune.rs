//! Pruning the cache.

use std::{
    fs::{self, File},
    time::Duration,
};

use banger_core::{
    clock::{Clock as _, SystemClock},
    domain::{Bytes, Digest, DiskProvenance, Image},
    host_fs::FileLock,
    image::{ImageManager as _, PruneRequest, PullRequest},
    kernel::KernelSelection,
    progress::NoProgress,
};

use super::doubles::{Fault, World};

const DAY: Duration = Duration::from_hours(24);

/// Puts a blob of so many bytes there, fetched so many days ago.
fn put(world: &World, content: &str, size: u64, days: u32) -> Digest {
    let digest = Digest::of(content.as_bytes());
    let path = world.directories.blob(&digest);
    fs::create_dir_all(world.directories.blobs()).unwrap();
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    file.set_modified(SystemClock.now() - DAY * days).unwrap();
    fs::write(path.with_extension("lock"), "").unwrap();
    // the newest file of a blob counts
    let lock = File::options()
        .write(true)
        .open(path.with_extension("lock"));
    lock.unwrap()
        .set_modified(SystemClock.now() - DAY * days)
        .unwrap();
    digest
}

async fn pruned(world: &World, request: PruneRequest) -> Vec<Digest> {
    let pruned = world.manager.prune(request).await.unwrap();
    let sizes = pruned.removed.iter().map(|blob| blob.size.get());
    assert_eq!(pruned.freed.get(), sizes.sum::<u64>());
    pruned.removed.iter().map(|blob| blob.digest).collect()
}

/// A record of an image that was made of these blobs.
async fn record(world: &World, layers: Vec<Digest>) {
    let request = PullRequest {
        reference: "localhost/a:b".parse().unwrap(),
        name: None,
        kernel: KernelSelection::default(),
        size: None,
        containerfile: None,
    };
    let image = world.manager.pull(request, &NoProgress).await.unwrap();
    let image = Image {
        disk: DiskProvenance {
            layers,
            ..image.disk
        },
        ..image
    };
    assert!(world.store.update_image_files(&image).await.unwrap());
}

#[tokio::test]
async fn what_no_record_reaches_goes_and_the_rest_stays() {
    let world = World::new(Fault::None).await;
    let [old, kept] = [put(&world, "old", 5, 9), put(&world, "kept", 7, 9)];
    record(&world, vec![kept]).await;
    let dry = PruneRequest {
        dry_run: true,
        ..PruneRequest::default()
    };
    assert_eq!(pruned(&world, dry).await, [old]);
    assert!(world.directories.blob(&old).exists());
    assert_eq!(pruned(&world, PruneRequest::default()).await, [old]);
    assert_eq!(pruned(&world, PruneRequest::default()).await, []);
    let names = world.directories.blobs().read_dir_utf8().unwrap().count();
    assert_eq!(names, 2, "the blob that stays, and its lock");
    let all = PruneRequest {
        all: true,
        ..PruneRequest::default()
    };
    assert_eq!(pruned(&world, all).await, [kept]);
}

#[tokio::test]
async fn age_and_size_bound_what_goes() {
    let world = World::new(Fault::None).await;
    let [oldest, older, new] =
        [("a", 30), ("b", 20), ("c", 1)].map(|(content, days)| put(&world, content, 100, days));
    let request = |days, size| PruneRequest {
        dry_run: true,
        older_than: Some(DAY * days),
        max_size: size,
        ..PruneRequest::default()
    };
    assert_eq!(pruned(&world, request(0, None)).await, [oldest, older, new]);
    assert_eq!(pruned(&world, request(10, None)).await, [oldest, older]);
    let small = Some(Bytes::new(200));
    assert_eq!(pruned(&world, request(0, small)).await, [oldest]);
    assert_eq!(
        pruned(&world, request(25, Some(Bytes::new(0)))).await,
        [oldest]
    );
    assert_eq!(pruned(&world, request(0, Some(Bytes::new(300)))).await, []);
}

#[tokio::test]
async fn what_is_being_downloaded_stays_and_what_is_not_ours_too() {
    let world = World::new(Fault::None).await;
    let busy = put(&world, "busy", 5, 9);
    let path = world.directories.blob(&busy);
    fs::rename(&path, path.with_extension("partial")).unwrap();
    let foreign = world.directories.blobs().join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    let lock = FileLock::try_acquire(&path.with_extension("lock")).unwrap();
    assert_eq!(pruned(&world, PruneRequest::default()).await, []);
    drop(lock);
    let report = world.manager.prune(PruneRequest::default()).await.unwrap();
    assert!(report.removed[0].is_partial && report.removed[0].digest == busy);
    assert!(foreign.exists());
}
