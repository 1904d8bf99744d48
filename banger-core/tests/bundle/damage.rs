//! Bundles that are damaged, cut or made to harm leave nothing behind.

use std::{fs, io::Write as _};

use banger_core::{
    ErrorKind,
    catalog::SupplyOptions,
    domain::{Bytes, Digest},
    rootfs::RootfsLimits,
};
use camino::Utf8PathBuf;

use super::host::Host;

/// An entry's path and content.
type Entry<'a> = (&'a str, &'a [u8]);

/// A bundle of these entries, well formed or not.
fn forge(host: &Host, entries: &[Entry<'_>]) -> Utf8PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let path = host.root.join("forged.tar.zst");
    fs::write(&path, zstd::encode_all(tar.as_slice(), 1).unwrap()).unwrap();
    path
}

fn manifest(files: &[Entry<'_>]) -> Vec<u8> {
    let file = |(path, content): &Entry<'_>| {
        serde_json::json!({
            "path": path,
            "size": content.len(),
            "sha256": Digest::of(content).to_hex(),
        })
    };
    let files: Vec<_> = files.iter().map(file).collect();
    let run = serde_json::json!({
        "entrypoint": [], "cmd": [], "env": [], "user": "", "working_directory": ""
    });
    let document = serde_json::json!({
        "format": 1, "kind": "image", "name": "forged", "architecture": std::env::consts::ARCH,
        "run_config": run, "files": files,
    });
    serde_json::to_vec(&document).unwrap()
}

/// What says it is an ext4 disk.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    bytes
}

fn vmlinux() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18] = 62;
    bytes
}

#[tokio::test]
async fn a_forged_bundle_is_as_good_as_its_manifest() {
    let host = Host::new().await;
    let (disk, kernel) = (disk(), vmlinux());
    let files: [Entry<'_>; 2] = [("rootfs.ext4", &disk), ("vmlinux", &kernel)];
    let good = manifest(&files);
    let whole = [("manifest.json", good.as_slice()), files[0], files[1]];
    let path = forge(&host, &whole);
    host.load(&format!("file:{path}")).await.unwrap();
}

#[tokio::test]
async fn entries_that_are_not_the_manifests_are_refused() {
    let host = Host::new().await;
    let (disk, kernel) = (disk(), vmlinux());
    let other = vec![1; 8192];
    let files: [Entry<'_>; 2] = [("rootfs.ext4", &disk), ("vmlinux", &kernel)];
    let good = manifest(&files);
    let escaping = manifest(&[files[0], ("vmlinux", &kernel), ("../../escape", b"x")]);
    let no_disk = manifest(&[("rootfs.ext4", &other), files[1]]);
    let no_kernel = manifest(&[files[0], ("vmlinux", b"text")]);
    let first = ("manifest.json", good.as_slice());
    let cases: &[(&str, &[Entry<'_>])] = &[
        ("no manifest", &[files[0], files[1]]),
        ("a file is missing", &[first, files[0]]),
        ("another order", &[first, files[1], files[0]]),
        (
            "one more",
            &[first, files[0], files[1], ("etc/passwd", b"x")],
        ),
        ("twice", &[first, files[0], files[0], files[1]]),
        ("other bytes", &[first, ("rootfs.ext4", &other), files[1]]),
        (
            "another length",
            &[first, ("rootfs.ext4", &disk[..4096]), files[1]],
        ),
        (
            "an escape",
            &[("manifest.json", &escaping), files[0], files[1]],
        ),
        (
            "no disk",
            &[
                ("manifest.json", &no_disk),
                ("rootfs.ext4", &other),
                files[1],
            ],
        ),
        (
            "no kernel",
            &[
                ("manifest.json", &no_kernel),
                files[0],
                ("vmlinux", b"text"),
            ],
        ),
        ("no JSON", &[("manifest.json", b"["), files[0]]),
    ];
    for (what, entries) in cases {
        let path = forge(&host, entries);
        let error = host.load(&format!("file:{path}")).await;
        let error = error.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
        host.assert_nothing_kept().await;
    }
    assert!(!host.root.join("escape").exists());
}

#[tokio::test]
async fn damaged_and_cut_bundles_are_refused() {
    let host = Host::new().await;
    let maker = Host::new().await;
    let (bundle, written) = maker.bundle("golden.tar.zst", true).await;
    let bytes = fs::read(&bundle).unwrap();
    let pinned = format!("file:{bundle}@{}", written.sha256);
    for position in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        fs::write(&bundle, &damaged).unwrap();
        for reference in [format!("file:{bundle}"), pinned.clone()] {
            let error = host.load(&reference).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{position}: {error:?}");
        }
    }
    for length in [0, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&bundle, &bytes[..length]).unwrap();
        let error = host.load(&format!("file:{bundle}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error:?}");
    }
    let mut longer = fs::File::create(&bundle).unwrap();
    longer.write_all(&bytes).unwrap();
    longer.write_all(b"more").unwrap();
    let error = host.load(&format!("file:{bundle}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    fs::remove_file(&bundle).unwrap();
    let error = host.load(&pinned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    host.assert_nothing_kept().await;
}

#[tokio::test]
async fn limits_hold_before_anything_is_unpacked() {
    let maker = Host::new().await;
    let (bundle, _) = maker.bundle("golden.tar.zst", true).await;
    let usual = RootfsLimits::default();
    let stored = RootfsLimits {
        layer_bytes: Bytes::new(100),
        ..usual
    };
    let unpacked = RootfsLimits {
        total_bytes: Bytes::from_mib(8),
        ..usual
    };
    for limits in [stored, unpacked] {
        let host = Host::limited(SupplyOptions::default(), limits).await;
        let error = host.load(&format!("file:{bundle}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
        host.assert_nothing_kept().await;
    }
}
