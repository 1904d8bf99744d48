//! The whole engine, fed with any blob, or a stack of layers.
#![no_main]

mod tar_stream;

use std::fs;

use arbitrary::Arbitrary;
use banger_core::{
    domain::{Bytes, Digest},
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsLimits, RootfsRequest, RootfsResources},
};
use camino::{Utf8Path, Utf8PathBuf};
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

use tar_stream::{Piece, render};

#[derive(Arbitrary, Debug)]
enum Input {
    Gzip(Vec<u8>),
    Zstd(Vec<u8>),
    Stack(Vec<Vec<Piece>>),
}

impl Input {
    fn blobs(&self) -> (Compression, Vec<Vec<u8>>) {
        match self {
            Self::Gzip(blob) => (Compression::Gzip, vec![blob.clone()]),
            Self::Zstd(blob) => (Compression::Zstd, vec![blob.clone()]),
            Self::Stack(layers) => {
                let layers = layers.iter().take(5).map(|pieces| render(pieces));
                (Compression::None, layers.collect())
            }
        }
    }
}

fn write(directory: &Utf8Path, number: usize, compression: Compression, blob: &[u8]) -> LayerBlob {
    let path = directory.join(format!("blob-{number}"));
    fs::write(&path, blob).unwrap();
    LayerBlob {
        path,
        bytes: LayerBytes::File,
        descriptor: LayerDescriptor {
            digest: Digest::of(blob),
            size: Bytes::new(blob.len() as u64),
            compression,
            // right for plain streams alone: the others end with it
            diff_id: Digest::of(blob),
        },
        verified: false,
    }
}

fuzz_target!(|input: Input| {
    let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let disk = scratch.join("disk");
    let (compression, blobs) = input.blobs();
    let layers = blobs.iter().enumerate();
    let layers = layers.map(|(number, blob)| write(&scratch, number, compression, blob));
    let request = RootfsRequest {
        limits: RootfsLimits {
            layer_bytes: Bytes::from_mib(64),
            ..RootfsLimits::default()
        },
        resources: RootfsResources {
            memory: Bytes::from_mib(16),
            decoders: 2,
        },
        ..RootfsRequest::new(layers.collect())
    };
    let built = Ext4RootfsBuilder.build(&request, &disk, &NoProgress, &CancellationToken::new());
    assert_eq!(built.is_ok(), disk.exists());
    drop(fs::remove_file(&disk));
});
