//! What the registries and layouts of these tests hold.

use std::collections::HashMap;

use banger_core::domain::Digest;
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A tar stream of one file, larger than what a server or the kernel holds
/// back before it is read.
pub(crate) const LAYER: &[u8] = &ONE_FILE;
static ONE_FILE: [u8; 512 + 16_000_000 + 1024] = one_file();

/// 16,000,000 times the same byte in `/file`, as POSIX ustar.
#[expect(clippy::large_stack_arrays, reason = "it is on the compiler's stack")]
const fn one_file() -> [u8; 512 + 16_000_000 + 1024] {
    let mut tar = [7; 512 + 16_000_000 + 1024];
    fill(&mut tar, 0, &[0; 512]);
    fill(&mut tar, 0, b"file");
    fill(
        &mut tar,
        100,
        b"0000644\x000000000\x000000000\x0000075022000\x0000000000000\x00",
    );
    fill(&mut tar, 148, b"        0");
    fill(&mut tar, 257, b"ustar\x0000");
    let (mut at, mut sum) = (0, 0);
    while at < 512 {
        sum += tar[at] as u16;
        at += 1;
    }
    let mut digit = 153;
    while digit >= 148 {
        tar[digit] = b'0' + (sum % 8) as u8;
        sum /= 8;
        digit -= 1;
    }
    tar[154] = 0;
    fill(&mut tar, 16_000_512, &[0; 1024]);
    tar
}

const fn fill(tar: &mut [u8], start: usize, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        tar[start + at] = bytes[at];
        at += 1;
    }
}

/// How the image is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An index with attestations, another platform's image and ours.
    Index,
    /// The same, inside another index.
    IndexInIndex,
    /// Indexes in indexes without an end in sight.
    DeepIndexes,
    /// A manifest alone, of this architecture.
    Manifest(&'static str),
    /// A manifest of docker's own kind.
    DockerManifest,
    /// A manifest longer than any that is read.
    HugeManifest,
    /// A manifest that claims a configuration longer than any that is read.
    HugeConfig,
    /// An index whose manifest is another one than it names.
    WrongManifest,
    /// A configuration that is another one than the manifest names.
    WrongConfig,
}

/// Documents and blobs by digest, and the one that a tag names.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Media type and bytes.
    pub(crate) blobs: HashMap<Digest, (String, Vec<u8>)>,
    /// Media type and bytes.
    pub(crate) root: (String, Vec<u8>),
}

impl Content {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut content = Self::default();
        let root = content.build(shape);
        let media_type = root["mediaType"].as_str().unwrap().to_owned();
        let mut bytes = root.to_string().into_bytes();
        if shape == Shape::HugeManifest {
            bytes.resize(5 << 20, b' ');
        }
        content.root = (media_type, bytes);
        content
    }

    /// The bytes of the layer, which are its digest's preimage.
    pub(crate) fn layer_digest() -> Digest {
        Digest::of(LAYER)
    }

    /// The descriptor of the root document, which is kept as a blob, too.
    pub(crate) fn root_descriptor(&mut self) -> Value {
        let (media_type, bytes) = self.root.clone();
        self.put(&media_type, bytes)
    }

    fn build(&mut self, shape: Shape) -> Value {
        match shape {
            Shape::Manifest(architecture) => self.manifest(architecture),
            Shape::DockerManifest => self.docker_manifest(),
            Shape::HugeManifest => self.manifest("amd64"),
            Shape::HugeConfig => {
                let mut manifest = self.manifest("amd64");
                manifest["config"]["size"] = json!(17 << 20);
                manifest
            }
            Shape::WrongConfig => {
                let manifest = self.manifest("amd64");
                self.spoil(manifest["config"]["digest"].as_str().unwrap());
                manifest
            }
            Shape::Index => self.platforms(),
            Shape::IndexInIndex => self.wrapped(1),
            Shape::DeepIndexes => self.wrapped(8),
            Shape::WrongManifest => {
                let index = self.platforms();
                self.spoil(index["manifests"][2]["digest"].as_str().unwrap());
                index
            }
        }
    }

    fn wrapped(&mut self, times: usize) -> Value {
        (0..times).fold(self.platforms(), |inner, _| {
            let inner = self.put(INDEX, inner.to_string().into());
            index(&[inner])
        })
    }

    fn platforms(&mut self) -> Value {
        let attestation = self.put(MANIFEST, b"{}".to_vec());
        let foreign = self.manifest("arm64");
        let ours = self.manifest("amd64");
        let entry = |mut descriptor: Value, os: &str, architecture: &str| {
            descriptor["platform"] = json!({"os": os, "architecture": architecture});
            descriptor
        };
        let foreign = self.put(MANIFEST, foreign.to_string().into());
        let ours = self.put(MANIFEST, ours.to_string().into());
        index(&[
            entry(attestation, "unknown", "unknown"),
            entry(foreign, "linux", "arm64"),
            entry(ours, "linux", "amd64"),
        ])
    }

    fn manifest(&mut self, architecture: &str) -> Value {
        let layer = self.put(TAR, LAYER.to_vec());
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = self.put(CONFIG, config.to_string().into());
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
    }

    fn docker_manifest(&mut self) -> Value {
        let mut manifest = self.manifest("amd64");
        manifest["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar");
        manifest
    }

    fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::of(&bytes);
        let descriptor =
            json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
        self.blobs.insert(digest, (media_type.to_owned(), bytes));
        descriptor
    }

    /// Exchanges a document for another of the same length.
    fn spoil(&mut self, digest: &str) {
        let (_, bytes) = self.blobs.get_mut(&digest.parse().unwrap()).unwrap();
        *bytes.last_mut().unwrap() = b' ';
    }
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}
