//! Disks that grow, fill up, and lose their power.

use std::{
    fs::{self, File},
    io::{self, Write as _},
};

use banger_core::{domain::Bytes, host_fs::copy_file, oci::Compression, rootfs::RootfsRequest};

use super::{
    fixture::{Bench, Layer, Mount, check_disk, must, run},
    umoci::mounted,
};

/// A disk with a little of everything.
fn build(bench: &Bench, mebibytes: u64) {
    let layer = (0..500_u16).fold(Layer::new(), |layer, number| {
        layer.file(
            &format!("dir/file-with-a-long-name-{number}"),
            &vec![number.to_le_bytes()[0]; 5000],
        )
    });
    let layer = layer
        .symlink("link", &"t".repeat(200))
        .hard_link("again", "dir/file-with-a-long-name-1");
    let request = RootfsRequest {
        size: Some(Bytes::from_mib(mebibytes)),
        ..Bench::request(vec![bench.blob(&layer.finish(), Compression::Gzip)])
    };
    bench.build(&request).unwrap();
}

#[test]
fn a_disk_grows_offline_and_keeps_what_it_has() {
    for (from, to) in [(64, "3G"), (200, "500M"), (1024, "40G")] {
        let bench = Bench::new();
        build(&bench, from);
        let disk = bench.path("disk");
        let before = mounted(&bench);
        fs::remove_dir(bench.path("mount")).unwrap();
        must("resize2fs", &[disk.as_str(), to]);
        check_disk(&disk);
        assert_eq!(mounted(&bench), before, "{from} MiB to {to}");
    }
}

#[test]
fn a_full_disk_is_full_in_order() {
    let bench = Bench::new();
    build(&bench, 64);
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "loop");
    for number in 0.. {
        let name = mount.path.join(format!("dir/more-{number}"));
        match fs::write(&name, vec![2; 100_000]) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                break;
            }
        }
    }
    for number in 0..200 {
        fs::remove_file(
            mount
                .path
                .join(format!("dir/file-with-a-long-name-{number}")),
        )
        .unwrap();
    }
    drop(mount);
    check_disk(&bench.path("disk"));
}

/// The file is copied while it is mounted, as if the power had gone: what was
/// synced is in the journal, and must come back from there.
#[test]
fn the_journal_recovers_what_was_synced() {
    let bench = Bench::new();
    build(&bench, 64);
    let mount = Mount::new(&bench.path("disk"), bench.path("mount"), "loop");
    for number in 0..50 {
        let mut file = File::create(mount.path.join(format!("synced-{number}"))).unwrap();
        file.write_all(&vec![number; 3000]).unwrap();
        file.sync_all().unwrap();
    }
    let lost = bench.path("lost");
    copy_file(&bench.path("disk"), &lost).unwrap();
    drop(mount);
    let header = run("dumpe2fs", &["-h", lost.as_str()]);
    let header = String::from_utf8_lossy(&header.stdout);
    assert!(header.contains("needs_recovery"), "{header}");
    fs::remove_dir(bench.path("mount")).unwrap();
    let mount = Mount::new(&lost, bench.path("mount"), "loop");
    for number in 0..50 {
        let content = fs::read(mount.path.join(format!("synced-{number}"))).unwrap();
        assert_eq!(content, vec![number; 3000]);
    }
    drop(mount);
    check_disk(&lost);
}
