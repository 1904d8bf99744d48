//! The same content gives the same bytes, whatever the work may use.

use std::fs;

use banger_core::{
    domain::{Bytes, Digest},
    oci::Compression,
    rootfs::{RootfsRequest, RootfsResources},
};

use super::fixture::{Bench, Layer, Mount};

/// Layers of different sizes that hide parts of one another.
fn layers() -> Vec<Vec<u8>> {
    let numbered = |prefix: &str, count: usize, length: usize| {
        (0..count).fold(Layer::new(), |layer, number| {
            let content: Vec<u8> = (0..length + number)
                .map(|at| u8::try_from(at * number % 251).unwrap())
                .collect();
            layer.file(&format!("{prefix}{number}"), &content)
        })
    };
    vec![
        numbered("a", 200, 9000).finish(),
        numbered("b", 2, 3_000_000).file(".wh.a7", b"").finish(),
        numbered("a", 100, 10).hard_link("again", "a150").finish(),
        numbered("c", 300, 700).symlink("link", "c1").finish(),
    ]
}

#[test]
fn bytes_depend_on_neither_threads_nor_memory_nor_compression() {
    let bench = Bench::new();
    let layers = layers();
    let mut digests = Vec::new();
    for (decoders, mebibytes) in [(1, 16), (2, 256), (8, 64), (8, 1), (1, 16)] {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let blobs = layers.iter().map(|layer| bench.blob(layer, compression));
            let request = RootfsRequest {
                resources: RootfsResources {
                    memory: Bytes::from_mib(mebibytes),
                    decoders,
                },
                ..Bench::request(blobs.collect())
            };
            bench.build(&request).unwrap();
            digests.push(Digest::of(&fs::read(bench.path("disk")).unwrap()));
            fs::remove_file(bench.path("disk")).unwrap();
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn bytes_do_not_depend_on_what_the_file_system_can_do() {
    let bench = Bench::new();
    // a file that its own layer writes twice leaves blocks that nothing shows
    let twice = Layer::new()
        .file("twice", &vec![1; 50_000])
        .file("twice", &vec![2; 9000]);
    let layers = layers().into_iter().chain([twice.finish()]);
    let blobs = layers.map(|layer| bench.blob(&layer, Compression::Gzip));
    let request = Bench::request(blobs.collect());
    let ram = Mount::ramfs(bench.path("ram"));
    let disks = [bench.path("disk"), ram.path.join("disk")];
    let digests = disks.map(|disk| {
        Bench::build_at(&request, &disk).unwrap();
        Digest::of(&fs::read(disk).unwrap())
    });
    assert_eq!(digests[0], digests[1]);
}
