//! Trees through a stream and back, and streams that mean harm.

use std::{
    fs::{self, File, Permissions},
    io::Cursor,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, PermissionsExt as _, symlink},
            net::UnixListener,
        },
    },
    path::Path,
};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::{Failure, Mounts, Packed, Packing, pack};

const TRUSTED: Unpacking = Unpacking {
    owners: Owners::Receiver,
    origin: Origin::Trusted,
    limits: Limits {
        path: 4096,
        depth: 64,
        entries: 1000,
        content: 1 << 30,
        links: 1000,
        headers: 256 << 10,
    },
};

fn unpack_with(
    stream: &[u8],
    directory: &Path,
    unpacking: Unpacking,
) -> Result<Unpacked, TransferError> {
    let directory = File::open(directory).unwrap();
    unpack(Cursor::new(stream), directory.as_fd(), unpacking)
}

fn unpacked(stream: &[u8]) -> (TempDir, Result<Unpacked, TransferError>) {
    let scratch = tempdir().unwrap();
    let outcome = unpack_with(stream, scratch.path(), TRUSTED);
    (scratch, outcome)
}

fn packed(path: &Path, archived_as: Option<&[u8]>) -> (Vec<u8>, Packed) {
    let mut stream = Vec::new();
    let packing = Packing {
        path,
        archived_as,
        mounts: Mounts::Enter,
        limits: TRUSTED.limits,
    };
    let packed = pack(&packing, &mut stream).unwrap();
    (stream, packed)
}

/// A tar file by another writer.
fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

/// An entry whose path is not checked by its writer.
fn raw(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &[u8], target: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    builder.append(&header, &[][..]).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A tree with everything in it.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er/empty")).unwrap();
    fs::write(root.join("file"), b"content").unwrap();
    fs::write(root.join("none"), b"secret").unwrap();
    fs::write(root.join("tool"), b"#!").unwrap();
    fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"odd\xff\n name")),
        b"odd",
    )
    .unwrap();
    fs::write(root.join("deep/large"), vec![7; 300_000]).unwrap();
    fs::hard_link(root.join("file"), root.join("deep/same")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink("deep", root.join("to-deep")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    let holes = File::create(root.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"end", (1 << 20) - 3).unwrap();
    let long = root.join("n".repeat(120)).join("m".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("x"), b"x").unwrap();
    for (name, bits) in [
        ("none", 0),
        ("tool", 0o4755),
        ("deep", 0o2750),
        ("file", 0o604),
    ] {
        fs::set_permissions(root.join(name), Permissions::from_mode(bits)).unwrap();
    }
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["file", "deep"] {
        File::open(root.join(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
}

/// What a tree is: path, mode, size, time and what a link says.
fn shape(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let kind = found.mode() >> 12;
            let size = if found.is_dir() { 0 } else { found.size() };
            let target = fs::read_link(&path).unwrap_or_default();
            let content = if found.is_file() {
                fs::read(&path).unwrap_or_default()
            } else {
                Vec::new()
            };
            let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
            let name = path.strip_prefix(root).unwrap();
            lines.push(format!(
                "{name:?} {kind} {:o} {size} {}.{} {target:?} {sum}",
                found.mode(),
                found.mtime(),
                found.mtime_nsec(),
            ));
            if found.is_dir() {
                left.push(path);
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let scratch = tempdir().unwrap();
    let (source, copy) = (scratch.path().join("source"), scratch.path().join("copy"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&copy).unwrap();
    tree(&source);
    let (stream, told) = packed(&source, Some(b"made"));
    assert_eq!(told.sockets_left_out, 1);
    let unpacked = unpack_with(&stream, &copy, TRUSTED).unwrap();
    assert_eq!(unpacked.entries, told.entries);
    assert_eq!(unpacked.content, told.content);
    fs::remove_file(source.join("socket")).unwrap();
    // directories on the way have the time of their last change
    fs::set_permissions(source.join("none"), Permissions::from_mode(0o0)).unwrap();
    assert_eq!(shape(&source), shape(&copy.join("made")));
    let same = fs::metadata(copy.join("made/file")).unwrap();
    assert_eq!(
        same.ino(),
        fs::metadata(copy.join("made/deep/same")).unwrap().ino()
    );
    let holes = fs::metadata(copy.join("made/holes")).unwrap();
    assert!(holes.blocks() * 512 < 100_000, "holes stay holes");
    // what the directory holds, once more over what is there
    let (stream, _) = packed(&source, None);
    unpack_with(&stream, &copy.join("made"), TRUSTED).unwrap();
    assert_eq!(fs::read_dir(&copy).unwrap().count(), 1);
}

#[test]
fn other_tars_read_ours_and_we_read_theirs() {
    let scratch = tempdir().unwrap();
    fs::write(scratch.path().join("a"), b"content").unwrap();
    let (stream, _) = packed(scratch.path(), Some(b"."));
    let mut archive = tar::Archive::new(&stream[..]);
    let paths: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(paths, [Path::new("./"), Path::new("./a")]);
    let long = format!("{}file", "directory/".repeat(20));
    let theirs = tar(|builder| {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o640);
        builder
            .append_data(&mut header, &long, &b"abc"[..])
            .unwrap();
    });
    let (scratch, outcome) = unpacked(&theirs);
    outcome.unwrap();
    assert_eq!(fs::read(scratch.path().join(&long)).unwrap(), b"abc");
    // no end marker
    let (_scratch, outcome) = unpacked(&theirs[..theirs.len() - 1024]);
    assert_eq!(outcome.unwrap().entries, 1);
    let (_scratch, outcome) = unpacked(b"");
    assert_eq!(outcome.unwrap().entries, 0);
}

/// Adds entries to an archive.
type Making<'a> = dyn Fn(&mut tar::Builder<Vec<u8>>) + 'a;

#[test]
fn no_entry_leads_out_of_the_directory() {
    let outside = tempdir().unwrap();
    let away = outside.path().as_os_str().as_bytes();
    let cases: [(&str, &Making<'_>); 6] = [
        ("upwards", &|tar| {
            raw(tar, tar::EntryType::Regular, b"../evil", b"");
        }),
        ("inside, upwards", &|tar| {
            raw(tar, tar::EntryType::Regular, b"a/../../evil", b"");
        }),
        ("through a link", &|tar| {
            raw(tar, tar::EntryType::Symlink, b"way", away);
            raw(tar, tar::EntryType::Regular, b"way/evil", b"");
        }),
        ("a directory in place of a link", &|tar| {
            raw(tar, tar::EntryType::Symlink, b"way", away);
            raw(tar, tar::EntryType::Directory, b"way/", b"");
        }),
        ("a link from outside", &|tar| {
            raw(tar, tar::EntryType::Link, b"evil", b"../../etc/passwd");
        }),
        ("a link through a link", &|tar| {
            raw(tar, tar::EntryType::Symlink, b"way", b"/etc");
            raw(tar, tar::EntryType::Link, b"evil", b"way/passwd");
        }),
    ];
    for (what, fill) in cases {
        let (_scratch, outcome) = unpacked(&tar(fill));
        let error = outcome.expect_err(what);
        assert!(
            error.to_string().contains("way") || error.to_string().contains("evil"),
            "{error}"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let scratch = tempdir().unwrap();
    let target = scratch.path().join("target");
    fs::write(&target, b"old").unwrap();
    let inside = scratch.path().join("inside");
    fs::create_dir(&inside).unwrap();
    symlink(&target, inside.join("name")).unwrap();
    let stream = tar(|tar| raw(tar, tar::EntryType::Regular, b"name", b""));
    unpack_with(&stream, &inside, TRUSTED).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert!(fs::symlink_metadata(inside.join("name")).unwrap().is_file());
}

#[test]
fn files_and_directories_do_not_take_each_others_place() {
    let scratch = tempdir().unwrap();
    fs::create_dir(scratch.path().join("directory")).unwrap();
    fs::write(scratch.path().join("file"), b"old").unwrap();
    for (kind, name, failure) in [
        (
            tar::EntryType::Regular,
            &b"directory"[..],
            Failure::IsADirectory,
        ),
        (tar::EntryType::Symlink, b"directory", Failure::IsADirectory),
        (tar::EntryType::Directory, b"file", Failure::NotADirectory),
        (tar::EntryType::Regular, b"file/in", Failure::NotADirectory),
    ] {
        let stream = tar(|tar| raw(tar, kind, name, b"x"));
        let error = unpack_with(&stream, scratch.path(), TRUSTED).unwrap_err();
        assert_eq!(error.failure(), failure, "{error:?}");
    }
    assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"old");
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        2,
        "nothing half made stays"
    );
}

#[test]
fn what_is_there_stays_until_the_new_is_whole() {
    let scratch = tempdir().unwrap();
    fs::write(scratch.path().join("file"), b"old").unwrap();
    let stream = tar(|tar| {
        let mut header = tar::Header::new_gnu();
        header.set_size(100_000);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", &vec![1; 100_000][..])
            .unwrap();
    });
    let cut = unpack_with(&stream[..50_000], scratch.path(), TRUSTED).unwrap_err();
    assert_eq!(cut.failure(), Failure::Invalid, "{cut:?}");
    assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"old");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    unpack_with(&stream, scratch.path(), TRUSTED).unwrap();
    assert_eq!(
        fs::read(scratch.path().join("file")).unwrap(),
        vec![1; 100_000]
    );
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn limits_name_the_entry() {
    let long = "d/".repeat(60_000);
    let many = |count: usize| {
        tar(|tar| {
            for at in 0..count {
                let name = format!("f{at}");
                raw(tar, tar::EntryType::Regular, name.as_bytes(), b"");
            }
        })
    };
    let cases = [
        tar(|tar| {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            tar.append_data(&mut header, &long, &[][..]).unwrap();
        }),
        tar(|tar| raw(tar, tar::EntryType::Regular, &b"d/".repeat(40)[..79], b"")),
        many(21),
    ];
    let unpacking = Unpacking {
        limits: Limits {
            entries: 20,
            depth: 30,
            ..TRUSTED.limits
        },
        ..TRUSTED
    };
    for stream in cases {
        let scratch = tempdir().unwrap();
        let error = unpack_with(&stream, scratch.path(), unpacking).unwrap_err();
        assert_eq!(error.failure(), Failure::Limit, "{error:?}");
        assert!(error.to_string().len() < 400, "{error}");
    }
    let mut header = tar::Header::new_ustar();
    header.set_size(2 << 30);
    header.set_path("large").unwrap();
    header.set_cksum();
    let (_scratch, outcome) = unpacked(header.as_bytes());
    assert_eq!(outcome.unwrap_err().failure(), Failure::Limit);
}

#[test]
fn an_untrusted_stream_makes_no_device_and_no_set_id_program() {
    let stream = tar(|tar| {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o6755);
        header.set_path("tool").unwrap();
        header.set_cksum();
        tar.append(&header, &[][..]).unwrap();
    });
    let untrusted = Unpacking {
        origin: Origin::Untrusted,
        ..TRUSTED
    };
    let scratch = tempdir().unwrap();
    unpack_with(&stream, scratch.path(), untrusted).unwrap();
    assert_eq!(mode(&scratch.path().join("tool")), 0o755);
    unpack_with(&stream, scratch.path(), TRUSTED).unwrap();
    assert_eq!(mode(&scratch.path().join("tool")), 0o6755);
    let device = tar(|tar| raw(tar, tar::EntryType::Char, b"null", b""));
    let refused = unpack_with(&device, scratch.path(), untrusted).unwrap_err();
    assert!(refused.to_string().contains("device"), "{refused}");
}

#[test]
fn directories_that_are_there_keep_their_mode_unless_owners_are_kept() {
    let scratch = tempdir().unwrap();
    let there = scratch.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, Permissions::from_mode(0o711)).unwrap();
    let owner = fs::metadata(&there).unwrap();
    let stream = tar(|tar| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o750);
        header.set_uid(owner.uid().into());
        header.set_gid(owner.gid().into());
        for name in ["there", "new"] {
            header.set_path(name).unwrap();
            header.set_cksum();
            tar.append(&header, &[][..]).unwrap();
        }
    });
    unpack_with(&stream, scratch.path(), TRUSTED).unwrap();
    assert_eq!(
        (mode(&there), mode(&scratch.path().join("new"))),
        (0o711, 0o750)
    );
    let kept = Unpacking {
        owners: Owners::Archive,
        ..TRUSTED
    };
    unpack_with(&stream, scratch.path(), kept).unwrap();
    assert_eq!(mode(&there), 0o750);
}

#[test]
fn sparse_files_of_gnu_tar_are_read() {
    let scratch = tempdir().unwrap();
    let source = File::create(scratch.path().join("sparse")).unwrap();
    source.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&source, b"middle", 1 << 20).unwrap();
    for format in ["gnu", "posix"] {
        #[expect(clippy::disallowed_methods, reason = "the real tar")]
        let stream = std::process::Command::new("tar")
            .args(["--format", format, "-S", "-c", "-C"])
            .arg(scratch.path())
            .arg("sparse")
            .output()
            .unwrap()
            .stdout;
        assert!(stream.len() < 100_000);
        let (copy, outcome) = unpacked(&stream);
        outcome.unwrap();
        let expected = fs::read(scratch.path().join("sparse")).unwrap();
        assert!(
            fs::read(copy.path().join("sparse")).unwrap() == expected,
            "{format}"
        );
    }
}

#[test]
fn files_of_the_kernel_are_read_though_they_tell_no_size() {
    let (stream, told) = packed(Path::new("/proc/self/status"), Some(b"status"));
    assert!(told.content > 100);
    let (scratch, outcome) = unpacked(&stream);
    outcome.unwrap();
    assert!(
        fs::read_to_string(scratch.path().join("status"))
            .unwrap()
            .contains("Pid:")
    );
}
