//! The committed Rust is what the `.proto` files generate.
//!
//! With `BANGER_CODEGEN=write` (set by `cargo xtask codegen`) the files are
//! written instead of compared.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use std::{fs, path::Path};

use prost::Message as _;

const PROTOS: [&str; 5] = [
    "banger/guest/v1/agent.proto",
    "banger/guest/v1/boot.proto",
    "banger/guest/v1/connect.proto",
    "banger/guest/v1/files.proto",
    "banger/monitor/v1/monitor.proto",
];

const GENERATED: [&str; 2] = ["banger.guest.v1.rs", "banger.monitor.v1.rs"];

/// The public API, which has a crate of its own.
const API: &str = "banger/v1";
const API_GENERATED: [&str; 2] = ["banger.v1.rs", API_DESCRIPTORS];
const API_DESCRIPTORS: &str = "banger.v1.descriptors.bin";

#[test]
fn generated_code_matches_the_protos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&scratch).unwrap();
    generate(root, &scratch);
    for name in GENERATED {
        let fresh = fs::read(scratch.join(name)).unwrap();
        settle(&root.join("src/generated").join(name), &fresh);
    }
}

#[test]
fn the_apis_generated_code_matches_its_protos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api");
    fs::create_dir_all(&scratch).unwrap();
    generate_api(root, &scratch);
    let committed = root.join("../banger-grpc/api/src/generated");
    for name in API_GENERATED {
        let fresh = fs::read(scratch.join(name)).unwrap();
        settle(&committed.join(name), &fresh);
    }
}

fn generate_api(root: &Path, out: &Path) {
    let files = fs::read_dir(root.join(API)).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut descriptors = protox::compile(&files, [root]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        // the same message has the same bytes
        .btree_map(".")
        .out_dir(out)
        .compile_fds(descriptors.clone())
        .unwrap();
    // comments are for readers of the protos
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join(API_DESCRIPTORS), descriptors.encode_to_vec()).unwrap();
}

fn generate(root: &Path, out: &Path) {
    let descriptors = protox::compile(PROTOS, [root]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();
}

fn settle(committed: &Path, fresh: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "the one switch of the generator")]
    if std::env::var_os("BANGER_CODEGEN").is_some_and(|mode| mode == "write") {
        fs::write(committed, fresh).unwrap();
        return;
    }
    let current = fs::read(committed).unwrap_or_default();
    assert!(
        current == fresh,
        "{} is not what the protos generate: run `cargo xtask codegen`",
        committed.display()
    );
}
