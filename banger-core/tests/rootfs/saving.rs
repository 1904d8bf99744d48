//! Saved images: other tools read them, and loading them again makes the same
//! tree.

use std::{fs, io, path::Path, time::SystemTime};

use banger_core::{
    ErrorKind,
    catalog::SupplyOptions,
    directories::Directories,
    domain::{
        BootArtifacts, Bytes, Digest, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes,
        RunConfig,
    },
    image::{SaveError, SaveFormat, SaveOutput, SaveRequest, SavedImage, write_tree},
    local::{Local, LocalOptions},
    oci::{ImageSources as _, Platform, SourceOptions},
    progress::NoProgress,
    rootfs::{RootfsLimits, RootfsRequest},
    store::{Connections, Store},
    vm::MonitorProgram,
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{
    fixture::{Bench, CREATED, Layer, Mount, must, run},
    snapshot::{Snapshot, snapshot},
    umoci::{difference, unpacked},
};

fn directories(bench: &Bench) -> Directories {
    Directories {
        state: bench.path("state"),
        cache: bench.path("cache"),
        runtime: bench.path("run"),
    }
}

/// A banger without images.
pub(crate) async fn local(bench: &Bench) -> Local {
    let options = LocalOptions {
        connections: Connections::default(),
        directories: directories(bench),
        guest_program: "/nowhere".into(),
        monitor: MonitorProgram {
            program: "/nowhere".into(),
            arguments: Vec::new(),
        },
        vmm: VmmPrograms::default(),
        sources: SourceOptions::new(directories(bench)),
        limits: RootfsLimits::default(),
        supply: SupplyOptions::default(),
    };
    Local::open(options).await.unwrap()
}

/// A banger that has the disk `disk` as an image.
async fn banger(bench: &Bench) -> Local {
    let store = Store::open(&directories(bench)).await.unwrap();
    let image = Image {
        id: ImageId::generate(),
        name: "mine".parse().unwrap(),
        artifact_directory: None,
        rootfs: bench.path("disk"),
        boot: BootArtifacts::default(),
        kernel: None,
        origin: ImageOrigin::Registered,
        run_config: RunConfig::default(),
        sizes: ImageSizes::default(),
        disk: DiskProvenance::default(),
        package_hash: None,
        verdict: None,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    };
    store.insert_image(&image).await.unwrap();
    local(bench).await
}

async fn save(
    banger: &Local,
    format: SaveFormat,
    output: &Utf8Path,
) -> Result<SavedImage, SaveError> {
    let request = SaveRequest {
        format,
        output: SaveOutput::File(output.to_owned()),
    };
    banger.images.save(&"mine".into(), request).await
}

/// The tree of what a reference means, by way of a disk of banger's.
async fn loaded(bench: &Bench, reference: &str) -> Snapshot {
    let sources = SourceOptions::new(directories(bench));
    let source = sources.open(&reference.parse().unwrap()).unwrap();
    let image = source.resolve(&Platform::host()).await.unwrap();
    let layers = source.fetch_layers(&image.layers, &NoProgress).await;
    let disk = bench.path("loaded");
    let request = RootfsRequest {
        created_unix: CREATED,
        ..RootfsRequest::new(layers.unwrap())
    };
    Bench::build_at(&request, &disk).unwrap();
    let tree = tree(bench, &disk);
    fs::remove_file(disk).unwrap();
    tree
}

/// The tree on a disk.
pub(crate) fn tree(bench: &Bench, disk: &Utf8Path) -> Snapshot {
    let at = bench.path("mount-of-saved");
    let mount = Mount::new(disk, at.clone(), "ro,loop");
    let mut tree = snapshot(mount.path.as_std_path());
    tree.remove(Path::new("lost+found"));
    drop(mount);
    fs::remove_dir(at).unwrap();
    tree
}

/// What differs after the disk `disk` was saved and loaded again.
pub(crate) fn round_trip(bench: &Bench, expected: &Snapshot) -> Option<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let banger = banger(bench).await;
        let archive = bench.path("saved");
        if let Err(error) = save(&banger, SaveFormat::RootfsTar, &archive).await {
            return Some(format!("it cannot be saved: {error}"));
        }
        let found = loaded(bench, &format!("rootfs-tar:{archive}")).await;
        difference(&found, expected)
    })
}

fn rich() -> Layer {
    let sparse = [vec![0; 3_000_000], b"middle".to_vec(), vec![0; 3_000_000]].concat();
    let header = |mode| Layer::header(tar::EntryType::Regular, mode);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let many = (0..3000).fold(
        Layer::new()
            .directory("./", 0o751)
            .directory("many/", 0o755),
        |layer, number| layer.file(&format!("many/{number}-{}", "n".repeat(60)), b"few"),
    );
    many.file("sparse", &sparse)
        .file("empty", b"")
        .file("large", &vec![b'l'; 2_000_001])
        .hard_link("large-again", "large")
        .symlink("link", "/many/of them")
        .symlink("long-link", &"t/".repeat(300))
        .long_entry(&"deep/".repeat(60), tar::EntryType::Directory, b"")
        .raw_name(b"not-\xff-utf8", b"x")
        .device("null", tar::EntryType::Char, 1, 3)
        .device("disk", tar::EntryType::Block, 259, 70_000)
        .device("pipe", tar::EntryType::Fifo, 0, 0)
        .entry(
            "capable",
            header(0o4755),
            &[("SCHILY.xattr.security.capability", &capability)],
            b"c",
        )
        .entry(
            "dated",
            header(0),
            &[
                ("mtime", b"-1.25"),
                ("uid", b"3000000000"),
                ("SCHILY.xattr.user.note", b"kept\0and\nkept"),
                ("SCHILY.xattr.user.large", &[b'v'; 3000]),
            ],
            b"d",
        )
}

async fn rich_banger(bench: &Bench) -> (Local, Snapshot) {
    bench.build_layers(&[rich().finish()]).unwrap();
    let expected = tree(bench, &bench.path("disk"));
    (banger(bench).await, expected)
}

#[tokio::test]
async fn every_format_is_loaded_again_as_the_same_tree() {
    let bench = Bench::new();
    let (banger, expected) = rich_banger(&bench).await;
    for format in SaveFormat::ALL {
        let archive = bench.path(format.as_str());
        let saved = save(&banger, format, &archive).await.unwrap();
        assert_eq!(saved.size.get(), fs::metadata(&archive).unwrap().len());
        let found = loaded(&bench, &format!("{}:{archive}", format.as_str())).await;
        assert_eq!(difference(&found, &expected), None, "{format:?}");
    }
}

/// A layer that inflates too well would be taken for a bomb.
#[tokio::test]
async fn a_large_hole_is_loaded_again() {
    let bench = Bench::new();
    let hole = Layer::new().file("hole", &vec![0; 300 << 20]);
    bench.build_layers(&[hole.finish()]).unwrap();
    let expected = tree(&bench, &bench.path("disk"));
    let banger = banger(&bench).await;
    let archive = bench.path("saved");
    save(&banger, SaveFormat::OciArchive, &archive)
        .await
        .unwrap();
    let found = loaded(&bench, &format!("oci-archive:{archive}")).await;
    assert_eq!(difference(&found, &expected), None);
}

#[tokio::test]
async fn saving_twice_makes_the_same_bytes() {
    let bench = Bench::new();
    let (banger, _) = rich_banger(&bench).await;
    for format in SaveFormat::ALL {
        let [one, other] = ["one", "other"].map(|name| bench.path(name));
        let saved = save(&banger, format, &one).await.unwrap();
        assert_eq!(save(&banger, format, &other).await.unwrap(), saved);
        let digests = [&one, &other].map(|file| Digest::of(&fs::read(file).unwrap()));
        assert_eq!(digests[0], digests[1], "{format:?}");
        fs::remove_file(one).unwrap();
        fs::remove_file(other).unwrap();
    }
}

#[tokio::test]
async fn skopeo_and_umoci_take_the_archives() {
    let bench = Bench::new();
    let (banger, expected) = rich_banger(&bench).await;
    for format in [SaveFormat::OciArchive, SaveFormat::DockerArchive] {
        let archive = bench.path(format.as_str());
        let saved = save(&banger, format, &archive).await.unwrap();
        let reference = format!("{}:{archive}", format.as_str());
        let inspected = run("skopeo", &["inspect", &reference]);
        let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(inspected["Os"], "linux", "{inspected}");
        if format == SaveFormat::OciArchive {
            assert_eq!(inspected["Digest"], saved.digest.to_string());
        }
        let layout = bench.path(&format!("{}-layout", format.as_str()));
        let copy = format!("oci:{layout}:copy");
        must(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &reference, &copy],
        );
        let found = unpacked(&bench, &format!("{layout}:copy"));
        assert_eq!(difference(&found, &expected), None, "{format:?}");
        fs::remove_dir_all(bench.path("bundle")).unwrap();
    }
}

#[tokio::test]
async fn tar_unpacks_the_tree() {
    let bench = Bench::new();
    let (banger, expected) = rich_banger(&bench).await;
    let archive = bench.path("tree.tar");
    save(&banger, SaveFormat::RootfsTar, &archive)
        .await
        .unwrap();
    let at: Utf8PathBuf = bench.path("unpacked");
    fs::create_dir(&at).unwrap();
    let options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"];
    must(
        "tar",
        &[&options[..], &[archive.as_str(), "-C", at.as_str()]].concat(),
    );
    assert_eq!(difference(&snapshot(at.as_std_path()), &expected), None);
}

#[tokio::test]
async fn what_is_there_is_not_replaced_and_failures_leave_nothing() {
    let bench = Bench::new();
    bench
        .build_layers(&[Layer::new().file("a", b"a").finish()])
        .unwrap();
    let banger = banger(&bench).await;
    let output = bench.path("out");
    fs::write(&output, "precious").unwrap();
    let refused = save(&banger, SaveFormat::OciArchive, &output).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&output).unwrap(), b"precious");
    // damage in the directory of the root
    let mut bytes = fs::read(bench.path("disk")).unwrap();
    let name = b"lost+found";
    let at = bytes.windows(name.len()).position(|it| it == name);
    bytes[at.unwrap()] = b'/';
    fs::write(bench.path("disk"), bytes).unwrap();
    let output = bench.path("none");
    let refused = save(&banger, SaveFormat::OciArchive, &output).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    for path in [output.clone(), format!("{output}.partial").into()] {
        assert!(!path.exists(), "{path}");
    }
}

/// Disks that other programs made: block maps, small inodes, no checksums,
/// other block sizes.
#[test]
fn disks_of_mke2fs_are_read() {
    for options in [
        &["-t", "ext2"][..],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext4", "-b", "2048", "-I", "128"],
        &["-t", "ext4", "-O", "^metadata_csum,uninit_bg"],
        &["-t", "ext4", "-O", "metadata_csum_seed,64bit"],
    ] {
        let bench = Bench::new();
        let from = bench.path("from");
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("deep/large"), vec![7; 9_000_000]).unwrap();
        for number in 0..300 {
            fs::write(from.join(format!("deep/er/name-{number}")), b"x").unwrap();
        }
        let disk = bench.path("disk");
        let line = [options, &["-q", "-d", from.as_str(), disk.as_str(), "64M"]].concat();
        must("mke2fs", &line);
        let expected = tree(&bench, &disk);
        assert_eq!(round_trip(&bench, &expected), None, "{options:?}");
    }
}

#[tokio::test]
async fn a_disk_that_was_not_unmounted_is_refused() {
    let bench = Bench::new();
    bench
        .build_layers(&[Layer::new().file("a", b"a").finish()])
        .unwrap();
    must(
        "debugfs",
        &[
            "-w",
            "-R",
            "feature needs_recovery",
            bench.path("disk").as_str(),
        ],
    );
    let banger = banger(&bench).await;
    let refused = save(&banger, SaveFormat::OciArchive, &bench.path("out")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
}

/// Features of the superblock, and the one that says that structures have
/// checksums.
const FEATURES_AT: usize = 1024 + 0x64;
const CHECKSUMS: u8 = 0x4;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Flipped bytes of structures that no checksum guards end in an error or
    /// in another tree, never in a panic or without an end.
    #[test]
    fn damage_is_survived(flips in prop::collection::vec((0..12_000_000_usize, 1..=255_u8), 1..400)) {
        let bench = Bench::new();
        bench.build_layers(&[rich().finish()]).unwrap();
        let mut bytes = fs::read(bench.path("disk")).unwrap();
        bytes[FEATURES_AT + 1] &= !CHECKSUMS;
        for (at, flip) in flips {
            bytes[at] ^= flip;
        }
        fs::write(bench.path("disk"), bytes).unwrap();
        let limits = RootfsLimits { layer_bytes: Bytes::from_mib(512), ..RootfsLimits::default() };
        let cancel = CancellationToken::new();
        drop(write_tree(&bench.path("disk"), &limits, &cancel, &mut io::sink()));
    }
}
