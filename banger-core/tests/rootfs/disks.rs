//! What single rules and formats make of a disk.

use std::{fs, os::unix::fs::MetadataExt as _};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest},
    oci::Compression,
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsError, format_empty},
};
use tokio_util::sync::CancellationToken;

use super::{
    fixture::{Bench, Layer, Mount, check_disk, gzip_members, run},
    snapshot::{Snapshot, snapshot},
};

/// Builds, mounts and describes.
fn tree(bench: &Bench, layers: &[Vec<u8>]) -> Snapshot {
    bench.build_layers(layers).unwrap();
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "ro,loop,noload");
    let mut tree = snapshot(mount.path.as_std_path());
    tree.remove(std::path::Path::new("lost+found"));
    tree
}

#[test]
fn metadata_survives_exactly() {
    let bench = Bench::new();
    let setuid = Layer::header(tar::EntryType::Regular, 0o4755);
    let nothing = Layer::header(tar::EntryType::Regular, 0);
    let mut large = Layer::header(tar::EntryType::Regular, 0o644);
    large.set_uid(2_000_000_000);
    let old = Layer::header(tar::EntryType::Regular, 0o644);
    let layer = Layer::new()
        .entry(
            "setuid",
            setuid,
            &[("mtime", b"1600000000.123456789")],
            b"x",
        )
        .entry("nothing", nothing, &[], b"")
        .entry("large-owner", large, &[("uid", b"4294967294")], b"")
        .entry("before-1970", old.clone(), &[("mtime", b"-86400.5")], b"")
        .entry("after-2038", old, &[("mtime", b"4102444800")], b"")
        .directory("sticky/", 0o1777)
        .directory("lost+found/", 0o700)
        .device("null", tar::EntryType::Char, 1, 3)
        .device("disk", tar::EntryType::Block, 259, 70_000)
        .device("pipe", tar::EntryType::Fifo, 0, 0)
        .finish();
    let tree = tree(&bench, &[layer]);
    let get = |path: &str| tree[std::path::Path::new(path)].clone();
    assert_eq!(
        (get("setuid").mode, get("setuid").mtime),
        (0o4755, (1_600_000_000, 123_456_789))
    );
    assert_eq!(
        (get("nothing").mode, get("nothing").owner),
        (0, (1000, 2000))
    );
    assert_eq!(get("large-owner").owner.0, 4_294_967_294);
    assert_eq!(get("before-1970").mtime, (-86_401, 500_000_000));
    assert_eq!(get("after-2038").mtime, (4_102_444_800, 0));
    assert_eq!(get("sticky").mode, 0o1777);
    assert_eq!(get("null").device, rustix::fs::makedev(1, 3));
    assert_eq!(get("disk").device, rustix::fs::makedev(259, 70_000));
    assert_eq!(get("pipe").kind, "type 10000");
}

#[test]
fn links_of_every_length_and_names_of_255_bytes_survive() {
    let bench = Bench::new();
    let (short, long) = ("t".repeat(59), "t".repeat(600));
    let name = "n".repeat(255);
    let file = Layer::header(tar::EntryType::Regular, 0o644);
    let layer = Layer::new()
        .symlink("fast", &short)
        .symlink("slow", &long)
        .symlink("absolute", "/etc/passwd")
        .entry("short", file, &[("path", name.as_bytes())], b"named")
        .file("first", b"shared")
        .hard_link("second", "first")
        .finish();
    let tree = tree(&bench, &[layer]);
    let get = |path: &str| tree[std::path::Path::new(path)].clone();
    assert_eq!(get("fast").kind, format!("link to {short}"));
    assert_eq!(get("slow").kind, format!("link to {long}"));
    assert_eq!(get("absolute").kind, "link to /etc/passwd");
    assert!(get(&name).kind.starts_with("file of 5 bytes"));
    assert_eq!(get("second").same_as, get("first").same_as);
    assert!(get("second").same_as.is_some());
}

#[test]
fn sparse_files_keep_content_and_holes() {
    let bench = Bench::new();
    let size = 8 << 20;
    let file = Layer::header(tar::EntryType::Regular, 0o644);
    let sparse = |map: &'static str| {
        [
            ("GNU.sparse.major", b"0".as_slice()),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.size", b"8388608"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", map.as_bytes()),
        ]
    };
    let layer = Layer::new()
        .entry(
            "GNUSparseFile.0/sparse",
            file,
            &sparse("5000,3,8388600,8"),
            b"abctail-end",
        )
        .finish();
    bench.build_layers(&[layer]).unwrap();
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "ro,loop,noload");
    let path = mount.path.join("sparse");
    let content = fs::read(&path).unwrap();
    let mut expected = vec![0; size];
    expected[5000..5003].copy_from_slice(b"abc");
    expected[size - 8..].copy_from_slice(b"tail-end");
    assert!(content == expected);
    let blocks = fs::metadata(&path).unwrap().blocks();
    assert!(blocks <= 32, "{blocks} blocks of 512 bytes");
}

#[test]
fn attributes_and_acls_survive() {
    let bench = Bench::new();
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 1234),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 4, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let file = Layer::header(tar::EntryType::Regular, 0o644);
    let pax: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.note", b"a\0b\n"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.system.posix_acl_access", &acl),
        ("SCHILY.xattr.com.example.other", b"left out"),
    ];
    let layer = Layer::new().entry("file", file, &pax, b"x").finish();
    let tree = tree(&bench, &[layer]);
    let attributes = &tree[std::path::Path::new("file")].xattrs;
    let get = |name: &str| attributes.get(std::ffi::OsStr::new(name)).cloned();
    assert_eq!(get("user.note").as_deref(), Some(b"a\0b\n".as_slice()));
    assert_eq!(
        get("security.capability").as_deref(),
        Some(capability.as_slice())
    );
    assert_eq!(get("system.posix_acl_access"), Some(acl));
    assert_eq!(attributes.len(), 3);
}

#[test]
fn large_directories_are_indexed_and_whole() {
    let bench = Bench::new();
    let mut layer = Layer::new();
    for number in 0..20_000 {
        layer = layer.file(&format!("many/file-with-a-longer-name-{number}"), b"");
    }
    let report = bench.build_layers(&[layer.finish()]).unwrap();
    assert_eq!(report.entries, 20_001);
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "ro,loop,noload");
    assert_eq!(
        fs::read_dir(mount.path.join("many")).unwrap().count(),
        20_000
    );
    assert!(
        mount
            .path
            .join("many/file-with-a-longer-name-12345")
            .exists()
    );
}

#[test]
fn every_member_and_frame_of_a_layer_counts() {
    let bench = Bench::new();
    let tar = Layer::new()
        .file("a", &[b'a'; 3000])
        .file("b", &[b'b'; 3000])
        .finish();
    let (head, tail) = tar.split_at(2000);
    let mut zstd = zstd::encode_all(head, 1).unwrap();
    zstd.extend(zstd::encode_all(tail, 1).unwrap());
    for (bytes, compression) in [
        (gzip_members(&[head, tail]), Compression::Gzip),
        (zstd, Compression::Zstd),
    ] {
        let mut blob = bench.blob(&tar, compression);
        fs::write(&blob.path, &bytes).unwrap();
        blob.descriptor.size = Bytes::new(bytes.len() as u64);
        blob.descriptor.digest = Digest::of(&bytes);
        let report = bench.build(&Bench::request(vec![blob])).unwrap();
        assert_eq!(report.content, Bytes::new(6000), "{compression:?}");
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn the_same_layers_give_the_same_bytes_however_compressed() {
    let bench = Bench::new();
    let lower = Layer::new()
        .directory("d/", 0o755)
        .file("d/x", b"lower")
        .file("y", &vec![7; 100_000])
        .finish();
    let upper = Layer::new()
        .file("d/x", b"upper")
        .file(".wh.y", b"")
        .symlink("l", "d")
        .finish();
    let mut disks = Vec::new();
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Gzip,
    ] {
        let blobs = [&lower, &upper]
            .map(|layer| bench.blob(layer, compression))
            .to_vec();
        bench.build(&Bench::request(blobs)).unwrap();
        disks.push(fs::read(bench.path("disk")).unwrap());
        fs::remove_file(bench.path("disk")).unwrap();
    }
    assert!(disks.iter().all(|disk| *disk == disks[0]));
}

#[test]
fn sizes_are_kept_defaulted_or_refused() {
    let bench = Bench::new();
    let layer = Layer::new().file("a", &vec![1; 40 << 20]).finish();
    let blob = bench.blob(&layer, Compression::None);
    let default = Bench::request(vec![blob.clone()]);
    let report = bench
        .build(&banger_core::rootfs::RootfsRequest {
            size: None,
            ..default.clone()
        })
        .unwrap();
    assert_eq!(report.sizes.apparent, Bytes::new(Bytes::GIB));
    assert!(
        report.sizes.on_disk < Bytes::from_mib(64),
        "{:?}",
        report.sizes
    );
    fs::remove_file(bench.path("disk")).unwrap();

    let small = banger_core::rootfs::RootfsRequest {
        size: Some(Bytes::from_mib(20)),
        ..default.clone()
    };
    let Err(RootfsError::TooSmall { needed, .. }) = bench.build(&small) else {
        panic!("it fitted")
    };
    assert!(needed < Bytes::from_mib(64), "{needed}");
    let exact = banger_core::rootfs::RootfsRequest {
        size: Some(needed),
        ..default
    };
    assert_eq!(bench.build(&exact).unwrap().sizes.apparent, needed);
}

#[test]
fn an_existing_file_is_left_alone() {
    let bench = Bench::new();
    fs::write(bench.path("disk"), "precious").unwrap();
    let request = Bench::request(Vec::new());
    let disk = bench.path("disk");
    let error = Ext4RootfsBuilder
        .build(&request, &disk, &NoProgress, &CancellationToken::new())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(disk).unwrap(), "precious");
}

#[test]
fn empty_disks_of_every_size_are_clean_sparse_and_usable() {
    let bench = Bench::new();
    for (name, mib) in [("small", 16), ("middle", 1000), ("large", 64 << 10)] {
        let disk = bench.path(name);
        format_empty(&disk, Bytes::from_mib(mib), [7; 16]).unwrap();
        check_disk(&disk);
        let metadata = fs::metadata(&disk).unwrap();
        assert_eq!(metadata.len(), mib << 20);
        assert!(
            metadata.blocks() * 512 < 32 << 20,
            "{name}: {} blocks",
            metadata.blocks()
        );
    }
    let mount = Mount::new(&bench.path("small"), bench.path("mount"), "loop");
    fs::create_dir(mount.path.join("d")).unwrap();
    fs::write(mount.path.join("d/file"), vec![1; 4 << 20]).unwrap();
    drop(mount);
    check_disk(&bench.path("small"));
    let features = run("dumpe2fs", &["-h", bench.path("small").as_str()]);
    assert!(String::from_utf8_lossy(&features.stdout).contains("has_journal"));
}

/// Go's reader, and so docker, accepts a stream that ends at a header or in the
/// padding before it; `umoci insert` writes such.
#[test]
fn a_missing_or_cut_end_marker_is_accepted() {
    let whole = Layer::new()
        .directory("d/", 0o755)
        .file("d/f", b"x")
        .finish();
    let expected = tree(&Bench::new(), std::slice::from_ref(&whole));
    for cut in [1, 512, 1024, 1025, 1535] {
        let tar = whole[..whole.len() - cut].to_vec();
        assert_eq!(tree(&Bench::new(), &[tar]), expected, "{cut} bytes cut");
    }
    let cut = whole[..whole.len() - 1536].to_vec();
    let bench = Bench::new();
    let error = bench.build_layers(&[cut]).unwrap_err();
    assert_eq!(error.kind(), banger_core::ErrorKind::Corrupt, "{error}");
}

/// A global header is for all entries that follow, and a contiguous file is a
/// file (POSIX pax, "pax Header Block"; "ustar Interchange Format"); umoci can
/// read neither.
#[test]
fn global_headers_and_contiguous_files_are_read() {
    let entries = |layer: Layer, kind| {
        let header = Layer::header(kind, 0o640);
        layer
            .directory("./", 0o755)
            .entry("f", header, &[], b"x")
            .finish()
    };
    let odd = Layer::new().global(&[("comment", b"made by git")]);
    let odd = entries(odd, tar::EntryType::Continuous);
    let plain = entries(Layer::new(), tar::EntryType::Regular);
    assert_eq!(tree(&Bench::new(), &[odd]), tree(&Bench::new(), &[plain]));
}

#[test]
fn what_a_newer_layer_hides_is_not_written() {
    let bench = Bench::new();
    let files = |first: Layer, value: u8| {
        (0..40).fold(first, |layer, number| {
            layer.file(&format!("file{number}"), &vec![value; 1 << 20])
        })
    };
    // the newer layer is behind the older one by what it has of its own
    let lower = files(Layer::new(), 1).finish();
    let upper = files(Layer::new().file("first", &vec![3; 8 << 20]), 2).finish();
    let report = bench.build_layers(&[lower, upper]).unwrap();
    let shown = report.stored.get() + report.metadata.get();
    assert!(report.written.get() <= shown + shown / 20, "{report:?}");
}
