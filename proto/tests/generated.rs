//! The committed Rust is what the `.proto` files generate.
//!
//! With `BANGER_CODEGEN=write` (set by `cargo xtask codegen`) the files are
//! written instead of compared.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use std::{fs, path::Path};

const PROTOS: [&str; 5] = [
    "banger/guest/v1/agent.proto",
    "banger/guest/v1/boot.proto",
    "banger/guest/v1/connect.proto",
    "banger/guest/v1/files.proto",
    "banger/monitor/v1/monitor.proto",
];

const GENERATED: [&str; 2] = ["banger.guest.v1.rs", "banger.monitor.v1.rs"];

#[test]
fn generated_code_matches_the_protos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&scratch).unwrap();
    generate(root, &scratch);
    for name in GENERATED {
        let fresh = fs::read_to_string(scratch.join(name)).unwrap();
        settle(&root.join("src/generated").join(name), &fresh);
    }
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

fn settle(committed: &Path, fresh: &str) {
    #[expect(clippy::disallowed_methods, reason = "the one switch of the generator")]
    if std::env::var_os("BANGER_CODEGEN").is_some_and(|mode| mode == "write") {
        fs::write(committed, fresh).unwrap();
        return;
    }
    let current = fs::read_to_string(committed).unwrap_or_default();
    assert!(
        current == fresh,
        "{} is not what the protos generate: run `cargo xtask codegen`",
        committed.display()
    );
}
