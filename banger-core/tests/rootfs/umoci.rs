//! The mounted disk equals what `umoci unpack` makes as root.

use std::{fs, path::Path};

use banger_core::{domain::Digest, oci::Compression, rootfs::RootfsError};
use camino::Utf8Path;

use super::{
    fixture::{Bench, Layer, Mount, compress, must},
    snapshot::{Snapshot, snapshot},
};

fn layers() -> Vec<Vec<u8>> {
    let note: (&str, &[u8]) = ("SCHILY.xattr.user.note", b"kept");
    let dated = Layer::header(tar::EntryType::Regular, 0o2711);
    let lowest = Layer::new()
        .directory("./", 0o755)
        .directory("usr/", 0o755)
        .directory("usr/lib/", 0o700)
        .symlink("lib", "usr/lib")
        .file("usr/lib/a.so", b"a")
        .directory("opt/", 0o755)
        .file("opt/gone", b"gone")
        .file("opt/kept", b"kept")
        .directory("swap-to-file/", 0o755)
        .file("swap-to-file/x", b"x")
        .file("swap-to-directory", b"y")
        .file("linked", b"linked")
        .hard_link("linked-again", "linked")
        .entry(
            "dated",
            dated,
            &[("mtime", b"1234567890.987654321"), note],
            b"dated",
        )
        .device("null", tar::EntryType::Char, 1, 3)
        .device("pipe", tar::EntryType::Fifo, 0, 0)
        .directory("opaque/", 0o755)
        .file("opaque/lower", b"l");
    let middle = Layer::new()
        .directory("usr/", 0o711)
        .directory("usr/lib/", 0o711)
        .file("usr/lib/b.so", b"b")
        .directory("opt/", 0o755)
        .file("opt/.wh.gone", b"")
        .file("swap-to-file", b"now a file")
        .directory("swap-to-directory/", 0o750)
        .file("swap-to-directory/z", b"z")
        .directory("opaque/", 0o700)
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/upper", b"u")
        .file(".wh.linked", b"");
    let highest = Layer::new()
        .directory("opt/", 0o755)
        .file("opt/gone", b"back again")
        .hard_link("kept-again", "opt/kept")
        .directory("deep/", 0o755)
        .directory("deep/er/", 0o755)
        .file("deep/er/file", &vec![b'd'; 300_000]);
    vec![lowest.finish(), middle.finish(), highest.finish()]
}

/// Writes an OCI layout with one image of these layers.
fn write_layout(directory: &Utf8Path, layers: &[Vec<u8>]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |content: &[u8], media_type: &str| {
        let digest = Digest::of(content);
        fs::write(blobs.join(digest.to_hex()), content).unwrap();
        let size = content.len();
        serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    };
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| put(&compress(layer, Compression::Gzip), gzip))
        .collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = put(
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "test"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// The tree that umoci makes of layers, as root.
pub(crate) fn theirs(bench: &Bench, layers: &[Vec<u8>]) -> Snapshot {
    let layout = bench.path("layout");
    write_layout(&layout, layers);
    unpacked(bench, &format!("{layout}:test"))
}

/// The tree that umoci makes of an image.
pub(crate) fn unpacked(bench: &Bench, image: &str) -> Snapshot {
    let bundle = bench.path("bundle");
    must("umoci", &["unpack", "--image", image, bundle.as_str()]);
    snapshot(bundle.join("rootfs").as_std_path())
}

/// The tree on the disk that banger makes of layers.
pub(crate) fn ours(bench: &Bench, layers: &[Vec<u8>]) -> Result<Snapshot, RootfsError> {
    bench.build_layers(layers)?;
    Ok(mounted(bench))
}

/// The tree on the disk that was built.
pub(crate) fn mounted(bench: &Bench) -> Snapshot {
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "ro,loop,noload");
    let mut tree = snapshot(mount.path.as_std_path());
    tree.remove(Path::new("lost+found"));
    tree
}

/// What differs first between two trees.
pub(crate) fn difference(found: &Snapshot, expected: &Snapshot) -> Option<String> {
    for (path, expected) in expected {
        match found.get(path) {
            None => return Some(format!("{} is missing", path.display())),
            Some(found) if found != expected => {
                return Some(format!("{} is {found:?}, not {expected:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    let surplus = found.keys().find(|path| !expected.contains_key(*path));
    surplus.map(|path| format!("{} is too much", path.display()))
}

#[test]
fn the_disk_equals_umocis_tree() {
    let bench = Bench::new();
    let layers = layers();
    let expected = theirs(&bench, &layers);
    let found = ours(&bench, &layers).unwrap();
    assert_eq!(difference(&found, &expected), None);
}
