//! `python/`: gRPC for Python with its tools, for a client that is not ours.
//!
//! Invariants: nothing is installed into the host's Python; whoever wants these
//! names the directory as PYTHONPATH.

use std::path::Path;

use crate::{
    Result,
    paths::workspace,
    run::{capture, command},
};

/// What pip is asked for; the rest follows from it.
const PACKAGES: [&str; 5] = [
    "grpcio==1.85.3",
    "grpcio-health-checking==1.85.1",
    "grpcio-reflection==1.85.1",
    "grpcio-tools==1.85.1",
    "protobuf==7.36.2",
];

/// The packages have parts that fit one version of Python.
pub(super) fn recipe() -> Result<String> {
    let version = capture(command("python3", workspace()).arg("--version"))?;
    Ok(format!("1 {PACKAGES:?} {}", version.trim()))
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let mut pip = command("python3", workspace());
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--root-user-action=ignore", "--target"])
        .arg(directory)
        .args(PACKAGES);
    capture(&mut pip).map(drop)
}
