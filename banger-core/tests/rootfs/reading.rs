//! What the disk reader tells of disks that the engine made.

use std::fs;

use banger_core::{
    ErrorKind,
    disk::{Change, DiskReader, EntryType, WalkOptions, differences},
    oci::Compression,
};
use proptest::prelude::*;

use super::fixture::{Bench, Layer};

/// A disk with a little of everything, in the file `name`.
fn build(bench: &Bench, name: &str, layer: Layer) -> DiskReader {
    let blob = bench.blob(&layer.finish(), Compression::None);
    bench.build(&Bench::request(vec![blob])).unwrap();
    fs::rename(bench.path("disk"), bench.path(name)).unwrap();
    DiskReader::open(&bench.path(name)).unwrap()
}

fn layer() -> Layer {
    let many = (0..400).fold(Layer::new().directory("many/", 0o750), |layer, number| {
        layer.file(&format!("many/name-{number}"), b"")
    });
    let sparse = [vec![0; 9000], b"end".to_vec()].concat();
    many.file("file", b"content")
        .file("sparse", &sparse)
        .symlink("link", "many")
        .symlink("loop", "loop")
        .device("null", tar::EntryType::Char, 1, 3)
}

#[test]
fn a_disk_is_listed_and_read() {
    let bench = Bench::new();
    let disk = build(&bench, "one", layer());
    let paths = |path: &str, recursive| {
        let entries = disk.list(path.as_bytes(), recursive).unwrap();
        let paths = entries.into_iter();
        paths
            .map(|entry| String::from_utf8(entry.path).unwrap())
            .collect::<Vec<_>>()
    };
    let top = [
        "/file",
        "/link",
        "/loop",
        "/lost+found",
        "/many",
        "/null",
        "/sparse",
    ];
    assert_eq!(paths("/", false), top);
    assert_eq!(paths("/many", false).len(), 400);
    assert_eq!(paths("/link/", false).len(), 400, "a link with a slash");
    assert_eq!(paths("/link", false), ["/link"], "a link without one");
    assert_eq!(paths("", true).len(), 407);
    let file = disk.entry(b"file").unwrap();
    assert_eq!(
        (file.kind, file.mode, file.uid, file.gid, file.size),
        (EntryType::File, 0o644, 1000, 2000, 7)
    );
    assert_eq!(file.modified, (1_600_000_000, 0));
    assert_eq!(
        disk.entry(b"/link").unwrap().target.as_deref(),
        Some(&b"many"[..])
    );
    assert_eq!(disk.entry(b"/null").unwrap().kind, EntryType::CharDevice);
    let mut content = Vec::new();
    let read = disk.read(b"/sparse", |bytes| {
        content.extend_from_slice(bytes);
        true
    });
    read.unwrap();
    assert_eq!(content, [vec![0; 9000], b"end".to_vec()].concat());
}

#[test]
fn a_listing_goes_on_behind_any_path_and_a_file_at_any_offset() {
    let bench = Bench::new();
    // a sibling that comes between a directory and what that holds
    let disk = build(&bench, "one", layer().directory("many-", 0o755));
    let walk = |after: &[u8]| {
        let options = WalkOptions {
            recursive: true,
            after: after.to_vec(),
        };
        let walk = disk.walk(b"/", options).unwrap();
        walk.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let all = disk.list(b"/", true).unwrap();
    assert!(all.is_sorted_by(|one, other| one.path < other.path));
    assert!(walk(b"") == all);
    for (number, entry) in all.iter().enumerate() {
        assert!(walk(&entry.path) == all[number + 1..], "{entry:?}");
    }
    assert!(walk(b"/many/name-1z").first().unwrap().path == b"/many/name-2");

    let mut file = disk.open_file(b"/sparse").unwrap();
    assert_eq!(file.size(), 9003);
    let mut buffer = [1; 8];
    file.seek(8998).unwrap();
    assert_eq!(file.read(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"\0\0end");
    file.seek(u64::MAX).unwrap();
    assert_eq!(file.read(&mut buffer).unwrap(), 0);
}

#[test]
fn what_cannot_be_read_says_why() {
    let bench = Bench::new();
    let disk = build(&bench, "one", layer());
    let kind = |path: &str| disk.read(path.as_bytes(), |_| true).unwrap_err().kind();
    assert_eq!(kind("/missing"), ErrorKind::NotFound);
    for path in ["/many", "/null", "/loop", "/file/below"] {
        assert_eq!(kind(path), ErrorKind::InvalidInput, "{path}");
    }
    fs::write(bench.path("none"), b"no disk at all").unwrap();
    let refused = DiskReader::open(&bench.path("none")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}

#[test]
fn two_disks_are_compared() {
    let bench = Bench::new();
    let one = build(&bench, "one", layer());
    assert_eq!(differences(&one, &one).unwrap(), []);
    let other = layer()
        .file("file", b"CONTENT")
        .directory("many/", 0o700)
        .file("new", b"")
        .symlink("link", "elsewhere");
    let other = build(&bench, "other", other);
    let found = |one, other| {
        let found = differences(one, other).unwrap().into_iter();
        let found = found.map(|difference| {
            let path = String::from_utf8(difference.path).unwrap();
            (path, difference.change, difference.properties)
        });
        found.collect::<Vec<_>>()
    };
    let changed = |path: &str, property| (path.to_owned(), Change::Changed, vec![property]);
    let expected = [
        changed("/file", "content"),
        changed("/link", "target"),
        changed("/many", "mode"),
    ];
    let new = |change| [("/new".to_owned(), change, vec![])];
    assert_eq!(
        found(&one, &other),
        [&expected[..], &new(Change::Added)].concat()
    );
    assert_eq!(
        found(&other, &one),
        [&expected[..], &new(Change::Deleted)].concat()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Flipped bytes of the structures end in an error or in other answers,
    /// never in a panic or an endless listing.
    #[test]
    fn damage_is_survived(flips in prop::collection::vec((0..12_000_000_usize, 1..=255_u8), 1..40)) {
        let bench = Bench::new();
        drop(build(&bench, "one", layer()));
        let mut bytes = fs::read(bench.path("one")).unwrap();
        for (at, flip) in flips {
            bytes[at] ^= flip;
        }
        fs::write(bench.path("one"), bytes).unwrap();
        if let Ok(disk) = DiskReader::open(&bench.path("one"))
            && let Ok(entries) = disk.list(b"/", true)
        {
            for entry in entries.iter().filter(|entry| entry.kind == EntryType::File) {
                drop(disk.read(&entry.path, |_| true));
            }
        }
    }
}
