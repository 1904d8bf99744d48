//! Tar streams that a guest or a user sends are unpacked in one directory alone.
#![no_main]

mod tar_stream;

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::symlink},
    path::Path,
};

use arbitrary::Arbitrary;
use banger_transfer::{Limits, Mounts, Origin, Owners, Packing, Unpacking, pack, unpack};
use libfuzzer_sys::fuzz_target;

use tar_stream::{Piece, render};

#[derive(Arbitrary, Debug)]
enum Input {
    Bytes(Vec<u8>),
    Pieces(Vec<Piece>),
}

const LIMITS: Limits = Limits {
    path: 512,
    depth: 16,
    entries: 100,
    content: 1 << 20,
    links: 10,
    headers: 64 << 10,
};

/// What lies around the directory.
fn outside(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("outside")).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap_or_default();
        found.push((path.display().to_string(), content));
    }
    found.push((String::new(), fs::read(root.join("secret")).unwrap()));
    assert_eq!(fs::read_dir(root).unwrap().count(), 3);
    found
}

fuzz_target!(|input: Input| {
    let root = Path::new("/dev/shm").join(format!("banger-fuzz-transfer-{}", std::process::id()));
    drop(fs::remove_dir_all(&root));
    let inside = root.join("inside");
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir(root.join("outside")).unwrap();
    fs::write(root.join("secret"), "secret").unwrap();
    symlink("../outside", inside.join("a")).unwrap();
    symlink("../secret", inside.join("b")).unwrap();
    let before = outside(&root);
    let stream = match &input {
        Input::Bytes(bytes) => bytes.clone(),
        Input::Pieces(pieces) => render(pieces),
    };
    let unpacking = Unpacking {
        owners: Owners::Receiver,
        origin: Origin::Untrusted,
        limits: LIMITS,
    };
    let directory = File::open(&inside).unwrap();
    let unpacked = unpack(&stream[..], directory.as_fd(), unpacking);
    assert_eq!(outside(&root), before);
    if unpacked.is_ok() {
        let packing = Packing {
            path: &inside,
            archived_as: Some(b"."),
            mounts: Mounts::Enter,
            limits: Limits::default(),
        };
        // modes may forbid it to others than root
        drop(pack(&packing, &mut Vec::new()));
    }
    drop(fs::remove_dir_all(&root));
});
