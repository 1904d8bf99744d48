//! The whole engine, fed with any blob.
#![no_main]

use std::fs;

use banger_core::{
    domain::{Bytes, Digest},
    oci::{Compression, LayerBlob, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsLimits, RootfsRequest, RootfsResources},
};
use camino::Utf8PathBuf;
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

fuzz_target!(|input: (u8, &[u8])| {
    let (compression, blob) = input;
    let compression = match compression % 3 {
        0 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let (path, disk) = (scratch.join("blob"), scratch.join("disk"));
    fs::write(&path, blob).unwrap();
    let layer = LayerBlob {
        path,
        descriptor: LayerDescriptor {
            digest: Digest::of(blob),
            size: Bytes::new(blob.len() as u64),
            compression,
            // right for plain streams alone: the others end with it
            diff_id: Digest::of(blob),
        },
        verified: false,
    };
    let request = RootfsRequest {
        limits: RootfsLimits {
            layer_bytes: Bytes::from_mib(64),
            ..RootfsLimits::default()
        },
        resources: RootfsResources {
            memory: Bytes::from_mib(16),
            decoders: 1,
        },
        ..RootfsRequest::new(vec![layer])
    };
    let built = Ext4RootfsBuilder.build(&request, &disk, &NoProgress, &CancellationToken::new());
    assert_eq!(built.is_ok(), disk.exists());
    drop(fs::remove_file(&disk));
});
