//! The reader of disks, fed with a disk in which bytes were changed. The disk
//! has no checksums, which would guard most structures from being looked at.
#![no_main]

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    sync::OnceLock,
};

use arbitrary::Arbitrary;
use banger_core::{
    domain::{Bytes, Digest},
    image::write_tree,
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsLimits, RootfsRequest},
};
use camino::{Utf8Path, Utf8PathBuf};
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

mod tar_stream;

use tar_stream::{Piece, render};

/// The second byte of the features that a kernel may ignore for reading, and
/// the one in it that says that structures have checksums.
const FEATURES_AT: u64 = 1024 + 0x64 + 1;
const CHECKSUMS: u8 = 0x4;

/// What becomes of the disk.
#[derive(Arbitrary, Debug)]
struct Input {
    pieces: Vec<Piece>,
    /// Where in the first 4 MiB, in words, and what is put there.
    changes: Vec<(u32, Change)>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Byte(u8),
    Word(u32),
    /// What lies at another place.
    Copy(u32),
}

fn scratch() -> &'static Utf8Path {
    static SCRATCH: OnceLock<Utf8PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        scratch
    })
}

fn build(disk: &Utf8Path, layer: &[u8]) -> bool {
    let path = scratch().join("layer");
    fs::write(&path, layer).unwrap();
    let blob = LayerBlob {
        path,
        bytes: LayerBytes::File,
        descriptor: LayerDescriptor {
            digest: Digest::of(layer),
            size: Bytes::new(layer.len() as u64),
            compression: Compression::None,
            diff_id: Digest::of(layer),
        },
        verified: false,
    };
    let request = RootfsRequest {
        size: Some(Bytes::from_mib(16)),
        journal: false,
        ..RootfsRequest::new(vec![blob])
    };
    let built = Ext4RootfsBuilder.build(&request, disk, &NoProgress, &CancellationToken::new());
    built.is_ok()
}

fn change(disk: &File, at: u32, change: &Change) {
    let place = |at: u32| u64::from(at % (1 << 20)) * 4;
    match change {
        Change::Byte(byte) => disk.write_all_at(&[*byte], place(at)).unwrap(),
        Change::Word(word) => disk.write_all_at(&word.to_le_bytes(), place(at)).unwrap(),
        Change::Copy(from) => {
            let mut bytes = [0; 64];
            disk.read_exact_at(&mut bytes, place(*from)).unwrap();
            disk.write_all_at(&bytes, place(at)).unwrap();
        }
    }
}

fuzz_target!(|input: Input| {
    let path = scratch().join("disk");
    if build(&path, &render(&input.pieces)) {
        let disk = File::options().read(true).write(true).open(&path).unwrap();
        let mut features = [0];
        disk.read_exact_at(&mut features, FEATURES_AT).unwrap();
        let features = [features[0] & !CHECKSUMS];
        disk.write_all_at(&features, FEATURES_AT).unwrap();
        for (at, made) in &input.changes {
            change(&disk, *at, made);
        }
        let limits = RootfsLimits {
            layer_bytes: Bytes::from_mib(64),
            ..RootfsLimits::default()
        };
        drop(write_tree(
            &path,
            &limits,
            &CancellationToken::new(),
            &mut io::sink(),
        ));
        fs::remove_file(&path).unwrap();
    }
});
