//! Root disks of another size: content, e2fsck and refusals.

use std::{fs, os::unix::fs::FileExt as _, time::Duration};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest},
    image::{ResizeRootfsError, resize_rootfs},
    oci::Compression,
    rootfs::RootfsRequest,
};

use super::{
    fixture::{Bench, Layer, check_disk, run},
    umoci::mounted,
};

/// Bytes that no file system stores as a hole.
const NOISE: usize = 40 << 20;

fn build(bench: &Bench, mebibytes: u64) {
    let noise: Vec<u8> = (0..=250_u8)
        .cycle()
        .take(NOISE)
        .map(|byte| byte | 1)
        .collect();
    let layer = Layer::new()
        .file("noise", &noise)
        .symlink("link", "noise")
        .hard_link("again", "noise");
    let request = RootfsRequest {
        size: Some(Bytes::from_mib(mebibytes)),
        ..Bench::request(vec![bench.blob(&layer.finish(), Compression::None)])
    };
    bench.build(&request).unwrap();
}

fn names(bench: &Bench) -> Vec<String> {
    let entries = bench.path("").read_dir_utf8().unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_disk_grows_and_shrinks_and_keeps_what_it_has() {
    let bench = Bench::new();
    build(&bench, 128);
    let disk = bench.path("disk");
    let before = mounted(&bench);
    fs::remove_dir(bench.path("mount")).unwrap();
    for (wanted, expected) in [
        (Bytes::from_mib(700), 700 << 20),
        (Bytes::from_mib(5000), 5000 << 20),
        (Bytes::from_mib(5000), 5000 << 20),
        (Bytes::new((200 << 20) - 1), 200 << 20),
    ] {
        resize_rootfs(&disk, wanted).await.unwrap();
        assert_eq!(disk.metadata().unwrap().len(), expected);
        check_disk(&disk);
        let header = run("dumpe2fs", &["-h", disk.as_str()]);
        let header = String::from_utf8(header.stdout).unwrap();
        let blocks = header
            .lines()
            .find_map(|line| line.strip_prefix("Block count:"));
        assert_eq!(blocks.unwrap().trim(), (expected / 4096).to_string());
        assert_eq!(mounted(&bench), before, "{wanted}");
        fs::remove_dir(bench.path("mount")).unwrap();
    }
}

#[tokio::test]
async fn a_size_that_the_content_does_not_fit_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    build(&bench, 128);
    let disk = bench.path("disk");
    let (digest, names_before) = (Digest::of(&fs::read(&disk).unwrap()), names(&bench));
    let refused = resize_rootfs(&disk, Bytes::from_mib(40)).await.unwrap_err();
    let ResizeRootfsError::TooSmall { path, needed, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        *path == disk && Bytes::new(NOISE as u64) < *needed,
        "{refused}"
    );
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(Digest::of(&fs::read(&disk).unwrap()), digest);
    assert_eq!(names(&bench), names_before);
}

#[tokio::test]
async fn a_damaged_disk_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    build(&bench, 64);
    let disk = bench.path("disk");
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    // the superblock
    file.write_all_at(&[0xa5; 3072], 1024).unwrap();
    drop(file);
    let (digest, names_before) = (Digest::of(&fs::read(&disk).unwrap()), names(&bench));
    let refused = resize_rootfs(&disk, Bytes::from_mib(100))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused:?}");
    assert_eq!(Digest::of(&fs::read(&disk).unwrap()), digest);
    assert_eq!(names(&bench), names_before);
    let missing = resize_rootfs(&bench.path("none"), Bytes::from_mib(100)).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_is_given_up_changes_nothing() {
    let bench = Bench::new();
    build(&bench, 128);
    let disk = bench.path("disk");
    let (digest, names_before) = (Digest::of(&fs::read(&disk).unwrap()), names(&bench));
    for milliseconds in [0, 1, 5, 20, 60] {
        let given_up = Duration::from_millis(milliseconds);
        let resize = resize_rootfs(&disk, Bytes::from_mib(4000));
        if tokio::time::timeout(given_up, resize).await.is_ok() {
            // the host is faster than that
            resize_rootfs(&disk, Bytes::from_mib(128)).await.unwrap();
            check_disk(&disk);
            return;
        }
        while names(&bench) != names_before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(Digest::of(&fs::read(&disk).unwrap()), digest);
    }
}
