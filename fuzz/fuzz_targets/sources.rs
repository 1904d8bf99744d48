//! Files that hold images, opened as each kind of source opens them.
#![no_main]

mod tar_member;
mod tar_stream;

use std::fs;

use arbitrary::Arbitrary;
use banger_core::{
    directories::Directories,
    domain::Digest,
    oci::{ImageSources as _, LayerBytes, Platform, SourceOptions},
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};
use libfuzzer_sys::fuzz_target;
use tar_member::member;
use tar_stream::{Piece, render};

#[derive(Arbitrary, Debug)]
enum Input {
    Raw(Vec<u8>),
    Members(Vec<Piece>),
    /// A docker archive whose image has layers of these names.
    Docker(Vec<Layer>, Vec<Piece>),
    /// A layout with this index.
    Layout(Vec<u8>, Vec<Piece>),
}

#[derive(Arbitrary, Debug)]
enum Layer {
    A,
    B,
    Inner,
    Other(String),
}

const SOURCES: [&str; 3] = ["oci-archive", "docker-archive", "rootfs-tar"];

impl Input {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Members(pieces) => render(pieces),
            Self::Docker(layers, pieces) => [docker(layers), render(pieces)].concat(),
            Self::Layout(index, pieces) => {
                let marker = member("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
                [marker, member("index.json", index), render(pieces)].concat()
            }
        }
    }
}

fn docker(layers: &[Layer]) -> Vec<u8> {
    let names = layers.iter().map(|layer| match layer {
        Layer::A => "\"a\"".to_owned(),
        Layer::B => "\"./b\"".to_owned(),
        Layer::Inner => "\"a/b\"".to_owned(),
        Layer::Other(name) => format!("{name:?}"),
    });
    let names: Vec<String> = names.collect();
    let diff_ids = vec![format!("\"{}\"", Digest::of(b"")); layers.len()];
    let config = format!(r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#, diff_ids.join(","));
    let manifest = format!(r#"[{{"Config":"config","Layers":[{}]}}]"#, names.join(","));
    let config = member("config", config.as_bytes());
    [config, member("manifest.json", manifest.as_bytes())].concat()
}

async fn open(options: &SourceOptions, reference: &str) {
    let source = options.open(&reference.parse().unwrap()).unwrap();
    let Ok(image) = source.resolve(&Platform::host()).await else {
        return;
    };
    let layers = source.fetch_layers(&image.layers, &NoProgress).await;
    for layer in layers.into_iter().flatten() {
        let LayerBytes::Range(range) = layer.bytes else {
            panic!("an archive's layers are in its file")
        };
        assert_eq!(range.length(), layer.descriptor.size.get());
    }
}

fn options(scratch: &Utf8Path) -> SourceOptions {
    SourceOptions::new(Directories {
        state: scratch.join("state"),
        cache: scratch.join("cache"),
        runtime: scratch.join("run"),
    })
}

fuzz_target!(|input: Input| {
    let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let file = scratch.join("archive");
    fs::write(&file, input.bytes()).unwrap();
    let options = options(&scratch);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    for source in SOURCES {
        runtime.block_on(open(&options, &format!("{source}:{file}")));
    }
    let left = fs::read_dir(options.directories.blobs());
    assert_eq!(left.map_or(0, Iterator::count), 0);
});
