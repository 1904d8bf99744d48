//! Disks of images, archives, and what else is done with images that are there.

use banger_api::v1::{
    Image, ImageArchiveFormat, ListImageFilesRequest, Operation, OperationKind,
    PromoteImageRequest, PruneImageCacheRequest, ReadImageFileRequest, RegisterImageRequest,
    SaveImageEnd, SaveImageRequest, operation::Outcome, read_image_file_response::Piece as Read,
    register_image_request::Boot, save_image_response::Piece as Saved,
};
use banger_grpc::server::Limits;
use tonic::Code;

use super::{
    certificates::{Papers, options},
    harness::{Running, fresh, reason, succeeded, wait},
};

const SMALL: &str = "images/small";

fn image(operation: &Operation) -> Image {
    match &operation.outcome {
        Some(Outcome::Image(image)) => image.clone(),
        other => panic!("{other:?} is no image"),
    }
}

/// The archive from an offset on.
async fn saved(running: &Running, offset_bytes: u64) -> (Vec<u8>, SaveImageEnd) {
    let request = SaveImageRequest {
        name: SMALL.to_owned(),
        format: ImageArchiveFormat::Docker.into(),
        offset_bytes,
        ..SaveImageRequest::default()
    };
    let stream = running.images().save_image(request).await.unwrap();
    let (mut stream, mut bytes, mut end) = (stream.into_inner(), Vec::new(), None);
    while let Some(piece) = stream.message().await.unwrap() {
        assert!(end.is_none(), "something came after the end");
        match piece.piece.unwrap() {
            Saved::Data(data) => {
                assert!(!data.is_empty() && data.len() <= 65_536);
                bytes.extend_from_slice(&data);
            }
            Saved::End(told) => end = Some(told),
            Saved::Progress(progress) => panic!("{progress:?} is of no bundle"),
        }
    }
    (bytes, end.expect("the archive has no end"))
}

#[tokio::test]
async fn an_archive_goes_on_at_any_offset() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let (whole, end) = saved(&running, 0).await;
    assert_eq!(whole.len() as u64, end.size_bytes);
    for offset in [1, 65_535, 65_536, 300_001, end.size_bytes] {
        let (rest, again) = saved(&running, offset).await;
        assert_eq!(again, end);
        assert!(rest == whole[usize::try_from(offset).unwrap()..]);
    }
    let (nothing, again) = saved(&running, u64::MAX).await;
    assert_eq!((nothing.len(), again), (0, end));
}

#[tokio::test]
async fn a_caller_has_so_many_disks_open_and_no_more() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let listing = ListImageFilesRequest {
        name: SMALL.to_owned(),
        path: "/".into(),
        recursive: true,
        ..ListImageFilesRequest::default()
    };
    let reading = ReadImageFileRequest {
        name: SMALL.to_owned(),
        path: "/bin/busybox".into(),
        offset_bytes: 0,
    };
    // nobody takes what is read; some of it is on its way all the same
    let mut open = Vec::new();
    let refused = loop {
        match running.images().read_image_file(reading.clone()).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
        assert!(open.len() < 100);
    };
    assert!(16 <= open.len());
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");
    drop(open);
    // streams that were given up end by themselves
    let mut again = running.images().list_image_files(listing.clone()).await;
    while again.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        again = running.images().list_image_files(listing.clone()).await;
    }
    let mut stream = again.unwrap().into_inner();
    let mut paths = Vec::new();
    while let Some(some) = stream.message().await.unwrap() {
        paths.extend(some.files.into_iter().map(|file| file.path));
    }
    assert!(paths.is_sorted() && paths.contains(&"/bin/busybox".into()));
    // and one that was cut goes on behind any of them
    let after = paths[paths.len() / 2].clone();
    let rest = ListImageFilesRequest {
        after_path: after.clone(),
        ..listing
    };
    let stream = running.images().list_image_files(rest).await.unwrap();
    let next = stream.into_inner().message().await.unwrap().unwrap();
    assert_eq!(next.files[0].path, paths[paths.len() / 2 + 1]);
}

#[tokio::test]
async fn a_file_begins_with_its_length_and_is_read_from_anywhere() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let read = |offset_bytes| ReadImageFileRequest {
        name: SMALL.to_owned(),
        path: "bin/busybox".into(),
        offset_bytes,
    };
    let mut whole: Vec<u8> = Vec::new();
    for offset in [0, 70_000, u64::MAX] {
        let stream = running.images().read_image_file(read(offset)).await;
        let mut stream = stream.unwrap().into_inner();
        let start = stream.message().await.unwrap().unwrap().piece;
        let Some(Read::Start(start)) = start else {
            panic!("{start:?} is no start");
        };
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.unwrap() {
            match piece.piece {
                Some(Read::Data(data)) if data.len() <= 65_536 => bytes.extend_from_slice(&data),
                other => panic!("{other:?} is no piece"),
            }
        }
        if offset == 0 {
            assert_eq!(start.size_bytes, bytes.len() as u64);
            whole.clone_from(&bytes);
        }
        let offset = usize::try_from(offset).unwrap().min(whole.len());
        assert!(bytes == whole[offset..]);
    }
    let missing = ReadImageFileRequest {
        path: "/none".into(),
        ..read(0)
    };
    let missing = running.images().read_image_file(missing).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "OBJECT_NOT_FOUND")
    );
    let nowhere = ReadImageFileRequest {
        name: "images/none".to_owned(),
        ..read(0)
    };
    let nowhere = running.images().read_image_file(nowhere).await.unwrap_err();
    assert_eq!(reason(&nowhere), "IMAGE_NOT_FOUND");
}

#[tokio::test]
async fn files_of_the_host_become_an_image_once() {
    let running = Running::serving(Limits::default()).await;
    running.prepare().await;
    let found = running.store().await.images().await.unwrap();
    let register = RegisterImageRequest {
        request_id: fresh(),
        image_id: "own".to_owned(),
        rootfs: found[0].rootfs.to_string(),
        boot: Some(Boot::Kernel("kernels/linux".to_owned())),
        wait: wait(60),
    };
    let made = running.images().register_image(register.clone()).await;
    let made = succeeded(made.unwrap().into_inner().operation);
    assert_eq!(made.kind(), OperationKind::RegisterImage);
    assert_eq!(made.target, "images/own");
    assert!(!image(&made).managed);
    let again = running.images().register_image(register.clone()).await;
    assert_eq!(again.unwrap().into_inner().operation.unwrap(), made);

    let promote = PromoteImageRequest {
        request_id: fresh(),
        name: "images/own".to_owned(),
        wait: wait(60),
    };
    let promoted = running.images().promote_image(promote.clone()).await;
    let promoted = succeeded(promoted.unwrap().into_inner().operation);
    assert!(image(&promoted).managed);
    assert_eq!(image(&promoted).uid, image(&made).uid);
    let again = running.images().promote_image(promote.clone()).await;
    assert_eq!(again.unwrap().into_inner().operation.unwrap(), promoted);
    let managed = PromoteImageRequest {
        request_id: fresh(),
        ..promote
    };
    let managed = running.images().promote_image(managed).await.unwrap();
    let Some(Outcome::Failure(failure)) = managed.into_inner().operation.unwrap().outcome else {
        panic!("it was managed already");
    };
    assert_eq!(failure.metadata["state"], "managed");

    let wrong = RegisterImageRequest {
        request_id: fresh(),
        image_id: "X".to_owned(),
        rootfs: "relative".to_owned(),
        boot: None,
        wait: None,
    };
    let wrong = running.images().register_image(wrong).await.unwrap_err();
    for field in ["image_id", "rootfs", "boot"] {
        assert!(wrong.message().contains(field), "{wrong}");
    }
}

#[tokio::test]
async fn the_cache_is_pruned_by_who_may() {
    let papers = Papers::new();
    papers.list(&[("ann", "token-of-ann", &["images", "vms:own"])]);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let blobs = running.state().parent().unwrap().join("cache/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let old = blobs.join("a".repeat(64));
    std::fs::write(&old, [0; 1000]).unwrap();
    let prune = |dry_run| PruneImageCacheRequest {
        request_id: fresh(),
        dry_run,
        wait: wait(60),
        ..PruneImageCacheRequest::default()
    };
    let ann = papers.client(&running, Some("token-of-ann"), None);
    let refused = ann.images().prune_image_cache(prune(true)).await;
    assert_eq!(reason(&refused.unwrap_err()), "OUT_OF_SCOPE");
    let register = RegisterImageRequest::default();
    let refused = ann.images().register_image(register).await;
    assert_eq!(reason(&refused.unwrap_err()), "OUT_OF_SCOPE");
    // what is on a disk is for whoever makes machines of it
    let listing = ListImageFilesRequest {
        name: SMALL.to_owned(),
        ..ListImageFilesRequest::default()
    };
    ann.images().list_image_files(listing).await.unwrap();

    for dry_run in [true, false] {
        assert!(old.exists());
        let pruned = running.images().prune_image_cache(prune(dry_run)).await;
        let pruned = succeeded(pruned.unwrap().into_inner().operation);
        let Some(Outcome::PrunedImageCache(pruned)) = pruned.outcome else {
            panic!("{pruned:?} does not tell what went");
        };
        assert_eq!((pruned.blob_count, pruned.freed_bytes), (1, 1000));
        assert_eq!(pruned.blobs[0].digest, format!("sha256:{}", "a".repeat(64)));
    }
    assert!(!old.exists());
}
