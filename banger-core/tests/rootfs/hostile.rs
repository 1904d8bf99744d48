//! Layers that lie, break off, or want too much.

use std::{fs, io::Write};

use banger_core::{
    ErrorKind,
    domain::{Bytes, Digest},
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsError, RootfsLimits, RootfsRequest},
};
use tokio_util::sync::CancellationToken;

use super::fixture::{Bench, Layer, compress};

/// Fails unless a build under these limits is refused for the one named.
fn assert_limited(tar: &[u8], limits: RootfsLimits, limit: &str) {
    let bench = Bench::new();
    let layers = vec![bench.blob(tar, Compression::Gzip)];
    let request = RootfsRequest {
        limits,
        ..Bench::request(layers)
    };
    let error = bench.build(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains(limit), "{error}");
}

#[test]
fn paths_out_of_the_root_and_foreign_entries_are_refused() {
    let cases = [
        Layer::new().file("../escape", b"x").finish(),
        Layer::new().file("a/../../escape", b"x").finish(),
        Layer::new().hard_link("a", "../../etc/passwd").finish(),
        Layer::new().symlink("l", "l").file("l/x", b"").finish(),
        Layer::new().file("f", b"").file("f/x", b"").finish(),
        Layer::new()
            .device("odd", tar::EntryType::new(b'Z'), 0, 0)
            .finish(),
    ];
    for (number, tar) in cases.iter().enumerate() {
        let bench = Bench::new();
        let error = bench.build_layers(std::slice::from_ref(tar)).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Unsupported,
            "case {number}: {error}"
        );
    }
}

#[test]
fn a_link_that_leaves_the_root_stays_inside_the_image() {
    let bench = Bench::new();
    let outside = bench.path("outside");
    fs::create_dir(&outside).unwrap();
    let lower = Layer::new().symlink("door", outside.as_str()).finish();
    let upper = Layer::new().file("door/planted", b"x").finish();
    bench.build_layers(&[lower, upper]).unwrap();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn limits_are_named() {
    type Case<'a> = (&'a [u8], fn(&mut RootfsLimits), &'a str);
    let zeros = Layer::new().file("z", &vec![0; 70 << 20]).finish();
    let deep = Layer::new().file("a/b/c/d", b"").finish();
    let header = || Layer::header(tar::EntryType::Regular, 0o644);
    let value = vec![b'x'; 1 << 16];
    let noted: &[(&str, &[u8])] = &[("SCHILY.xattr.user.n", &value)];
    let noted = Layer::new().entry("p", header(), noted, b"").finish();
    let commented: &[(&str, &[u8])] = &[("comment", &value)];
    let commented = Layer::new()
        .file("before", b"")
        .entry("p", header(), commented, b"")
        .finish();
    let cases: [Case<'_>; 8] = [
        (
            &zeros,
            |limits| limits.layer_bytes = Bytes::from_mib(1),
            "inflated bytes of one layer (1.0 MiB) after entry \"/z\"",
        ),
        (
            &zeros,
            |limits| limits.total_bytes = Bytes::from_mib(1),
            "inflated bytes of all layers (1.0 MiB) after entry \"/z\"",
        ),
        (
            &zeros,
            |limits| limits.ratio = 10,
            "inflated bytes for each compressed byte (10)",
        ),
        (
            &deep,
            |limits| limits.path_depth = 3,
            "path depth (3) at entry \"a/b/c/d\"",
        ),
        (&deep, |limits| limits.path_bytes = 3, "path bytes (3)"),
        (
            &deep,
            |limits| limits.entries = 0,
            "entries of all layers (0) at its first entry",
        ),
        (
            &noted,
            |limits| limits.xattr_bytes = 1000,
            "bytes of an extended attribute (1000) at entry \"p\"",
        ),
        (
            &commented,
            |limits| limits.header_bytes = 4096,
            "extended header bytes (4096) after entry \"/before\"",
        ),
    ];
    for (tar, change, limit) in cases {
        let mut limits = RootfsLimits::default();
        change(&mut limits);
        assert_limited(tar, limits, limit);
    }
}

#[test]
fn a_header_that_claims_a_gibibyte_is_refused_unread() {
    let bench = Bench::new();
    let mut header = Layer::header(tar::EntryType::XHeader, 0o644);
    header.set_size(1 << 30);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend(vec![0; 4096]);
    let error = bench.build_layers(&[tar]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
}

#[test]
fn broken_streams_are_corrupt() {
    let bench = Bench::new();
    let tar = Layer::new().file("a", &vec![b'a'; 100_000]).finish();
    let gzip = compress(&tar, Compression::Gzip);
    let cut = &gzip[..gzip.len() / 2];
    let short = &tar[..2000];
    let cases: [(&[u8], Compression, Digest); 4] = [
        (cut, Compression::Gzip, Digest::of(&tar)),
        (short, Compression::None, Digest::of(short)),
        (
            b"this is no archive of any kind",
            Compression::Gzip,
            Digest::of(b""),
        ),
        (&[0xff; 2048], Compression::None, Digest::of(&[0xff; 2048])),
    ];
    for (bytes, compression, diff_id) in cases {
        let mut blob = bench.blob(&tar, compression);
        fs::write(&blob.path, bytes).unwrap();
        blob.descriptor.diff_id = diff_id;
        let error = bench.build(&Bench::request(vec![blob])).unwrap_err();
        assert!(matches!(error, RootfsError::CorruptLayer { .. }), "{error}");
    }
}

#[test]
fn another_stream_than_the_image_names_is_refused() {
    let bench = Bench::new();
    let mut blob = bench.blob(&Layer::new().file("a", b"x").finish(), Compression::Gzip);
    blob.descriptor.diff_id = Digest::of(b"another");
    let error = bench.build(&Bench::request(vec![blob])).unwrap_err();
    assert!(matches!(error, RootfsError::WrongDiffId { .. }), "{error}");
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let bench = Bench::new();
    let blob = bench.blob(&Layer::new().file("a", b"x").finish(), Compression::Gzip);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let disk = bench.path("disk");
    let error = Ext4RootfsBuilder
        .build(&Bench::request(vec![blob]), &disk, &NoProgress, &cancel)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!disk.exists());
}

/// The most memory this process had since the last call of [`forget_peak`].
fn peak() -> Bytes {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    Bytes::new(kibibytes.trim().parse::<u64>().unwrap() * Bytes::KIB)
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A stream that is much larger than anything that should be held, compressed
/// without being held either.
fn large_stream(write: impl FnOnce(&mut dyn Write)) -> (Vec<u8>, Digest) {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    write(&mut encoder);
    let blob = encoder.finish().unwrap();
    let digest = Digest::of(&blob);
    (blob, digest)
}

/// Builds a disk of such a stream, whose end nobody gets to see.
fn refuse(bench: &Bench, (blob, digest): &(Vec<u8>, Digest), ratio: u64) -> RootfsError {
    let path = bench.path("blob");
    fs::write(&path, blob).unwrap();
    let layer = LayerBlob {
        path,
        bytes: LayerBytes::File,
        descriptor: LayerDescriptor {
            digest: *digest,
            size: Bytes::new(blob.len() as u64),
            compression: Compression::Zstd,
            diff_id: *digest,
        },
        verified: false,
    };
    let request = RootfsRequest {
        size: None,
        limits: RootfsLimits {
            ratio,
            ..RootfsLimits::default()
        },
        ..Bench::request(vec![layer])
    };
    bench.build(&request).unwrap_err()
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = Layer::header(kind, 0o644);
    header.set_path("name").unwrap();
    header.set_size(size);
    header.set_cksum();
    header
}

#[test]
fn streams_that_want_too_much_are_refused_in_little_memory() {
    let zeros = vec![0; 1 << 20];
    let bomb = large_stream(|stream| {
        let header = header(tar::EntryType::Regular, 3 * Bytes::GIB);
        stream.write_all(header.as_bytes()).unwrap();
        (0..3 * 1024).for_each(|_| stream.write_all(&zeros).unwrap());
    });
    let records = large_stream(|stream| {
        let header = header(tar::EntryType::XHeader, Bytes::GIB);
        stream.write_all(header.as_bytes()).unwrap();
        (0..1024).for_each(|_| stream.write_all(&zeros).unwrap());
    });
    let entries = large_stream(|stream| {
        let headers = header(tar::EntryType::Regular, 0).as_bytes().repeat(1000);
        (0..10_000).for_each(|_| stream.write_all(&headers).unwrap());
    });
    for (stream, limit, most) in [
        (bomb, "compressed byte", 200),
        (records, "extended header bytes", 200),
        // with the usual ratio it would be refused earlier
        (entries, "entries", 800),
    ] {
        let bench = Bench::new();
        forget_peak();
        let ratio = if limit == "entries" { u64::MAX } else { 1000 };
        let error = refuse(&bench, &stream, ratio);
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        let said = error.to_string().to_lowercase();
        assert!(said.contains(limit), "{said}");
        assert!(peak() < Bytes::from_mib(most), "{limit}: {}", peak());
    }
}
